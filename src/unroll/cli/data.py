"""`unroll data`: prepares texts once, and fetches the public corpora of the field."""

from pathlib import Path
from typing import Any

import click

from unroll.cli import console
from unroll.cli.inputs import SEPARATOR, TEXT, reads_text
from unroll.cli.options import JSON, LEVEL, PATH, SPLIT, TEST, VALID, WORDS, json_option
from unroll.errors import number_of


@click.group(
    "data",
    epilog="""\b
Examples:
  unroll data list
  unroll data fetch tinyshakespeare
  unroll data prepare big.txt.gz --level byte --out data/big""",
)
def verb() -> None:
    """Prepare texts, fetch public corpora."""


@verb.command(
    short_help="Encode texts once.",
    epilog="""\b
Examples:
  unroll data prepare big.txt.gz --out data/big
  unroll data prepare part1.txt part2.txt --level word --set vocab_size=20000 --out data/words
  unroll train data/big""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=TEXT)
@click.option("--out", metavar="DIR", type=PATH, required=True, help="The new folder.")
@LEVEL
@WORDS
@SPLIT
@VALID
@TEST
@SEPARATOR
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Set min_count, vocab_size or documents.  May be repeated.",
)
@JSON
@reads_text
def prepare(files: tuple[Path, ...], out: Path, as_json: bool, **choices: Any) -> None:
    """Encode text FILEs once, into a folder that `unroll train` takes in place of files.

    Several FILEs are documents in order: each but the last gets a final newline if it lacks one. A byte order mark at
    the start of a file is dropped, except at level byte.
    """
    from unroll.data.corpus import load_corpus, prepare

    console.run(prepare(files, out, **choices))
    corpus = load_corpus(out)
    parts = corpus.info.parts
    if as_json:
        console.put_json(
            {
                "out": str(out),
                "level": corpus.tokenizer.level,
                "words": corpus.info.config.words,
                "vocab_size": corpus.tokenizer.vocab_size,
                "parts": {name: vars(part) for name, part in parts.items()},
                "sources": [vars(source) for source in corpus.info.sources],
                "digest": corpus.info.digest,
                "warnings": corpus.info.warnings,
            }
        )
        return
    rows = [(name, number_of(part.tokens, "symbol"), f"{part.unknown:,} unknown") for name, part in parts.items()]
    console.put_columns(
        [*rows, ("vocabulary", number_of(corpus.tokenizer.vocab_size, "symbol"), corpus.tokenizer.level)]
    )
    for warning in corpus.info.warnings:
        console.warn(warning)
    console.note(f"To train on it: unroll train {console.quoted(out)}")


@verb.command(
    short_help="Fetch a public corpus.",
    epilog="""\b
Examples:
  unroll data fetch tinyshakespeare
  unroll data fetch enwik8 --out data""",
)
@click.argument("name", metavar="NAME")
@click.option(
    "--out", metavar="DIR", type=PATH, default=Path("data"), show_default=True, help="The folder for the files."
)
@JSON
def fetch(name: str, out: Path, as_json: bool) -> None:
    """Fetch the public corpus NAME of `unroll data list`; a broken download continues where it stopped."""
    from unroll.data import sources

    reports = sources.fetch(name, out)
    source = sources.SOURCES[name]
    if not source.verified:
        console.warn(f"no checksum is known for {name}: the download is not verified")
    files = list(map(str, console.run(reports)))
    if as_json:
        console.put_json({"name": name, "url": source.url, "verified": source.verified, "files": files})
        return
    for file in files:
        console.put(file)
    console.note(f"{source.description} · licence: {source.licence}")


@verb.command(
    "list",
    short_help="List the public corpora.",
    epilog="""\b
Examples:
  unroll data list
  unroll data list --json""",
)
@json_option('"corpora": [...]')
def list_sources(as_json: bool) -> None:
    """List the public corpora that can be fetched by name."""
    from unroll.data.sources import sources

    corpora = sources()
    if as_json:
        console.put_json({"corpora": [vars(source) | {"verified": source.verified} for source in corpora]})
        return
    console.put_columns(
        (
            source.name,
            console.size(source.bytes) if source.bytes else "?",
            "checked" if source.verified else "unverified",
            source.licence,
            source.description,
        )
        for source in corpora
    )
    console.note("checked: the download is compared with a published size and SHA-256; unverified: none is published.")

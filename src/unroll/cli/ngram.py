"""`unroll ngram`: counts an interpolated modified Kneser-Ney n-gram of text files."""

from pathlib import Path
from typing import Any

import click

from unroll.cli import console
from unroll.cli.info import rows_of
from unroll.cli.inputs import SEPARATOR, TEXT, reads_text
from unroll.cli.options import JSON, LEVEL, PATH, WORDS


@click.command(
    "ngram",
    epilog="""\b
Examples:
  unroll ngram book.txt --order 10                 into runs/book-10gram
  unroll ngram train.txt --order 5 --level word --valid valid.txt --test test.txt
  unroll ngram book.txt --order 20 --split 80/10/10 --out runs/counted
  unroll sample runs/book-10gram""",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=TEXT)
@click.option("--order", metavar="N", type=int, required=True, help="Predict from the N - 1 preceding symbols.")
@click.option(
    "--out", metavar="DIR", type=PATH, help="The model directory.  [default: runs/<name of the text>-<N>gram]"
)
@LEVEL
@WORDS
@click.option("--split", metavar="A/B[/C]", help="Count the first A percent, evaluate on the rest.")
@click.option("--valid", metavar="FILE", type=TEXT, help="Evaluate on this text.")
@click.option("--test", metavar="FILE", type=TEXT, help="Also evaluate on this text.")
@SEPARATOR
@click.option("--min-count", metavar="N", type=int, help="Read words that occur less often as <unk>.")
@click.option("--vocab-size", metavar="N", type=int, help="Maximum number of words or byte-pair pieces.")
@click.option("--force", is_flag=True, help="Replace an existing model directory.")
@JSON
@reads_text
def verb(files: tuple[Path, ...], order: int, out: Path | None, as_json: bool, **choices: Any) -> None:
    """Count a Kneser-Ney n-gram of text FILEs, or of a folder made by `unroll data prepare`.

    The other verbs take it like any model. All of the text is counted unless --split holds parts of it back. At level
    word each line is a sentence of its own. Several FILEs are documents in order: each but the last gets a final
    newline if it lacks one.
    """
    from unroll.artifact.info import info
    from unroll.artifact.ngram import ngram, ngram_folder

    folder = out or ngram_folder(files, order)
    console.run(ngram(files, order=order, out=folder, **choices))
    description = info(folder)
    if as_json:
        counted = {"tokens": description["tokens_seen"], "seconds": description["train_seconds"]}
        console.put_json({"out": str(folder), **counted, **description})
    else:
        rows = [(name, value) for name, value in rows_of(description) if value]
        console.put_columns([*rows, ("next", f"unroll sample {console.quoted(folder)}")], err=True)

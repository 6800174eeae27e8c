"""`unroll sample`: text from a model, shown as it is drawn."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from unroll.cli import console
from unroll.cli.inputs import TEXT, reads_lists
from unroll.cli.options import LABEL, PATH, PRECISION, REPLACE_UNKNOWN, json_option
from unroll.data.lines import unescaped, whole_text
from unroll.errors import UserError, check_positive, number_of

if TYPE_CHECKING:
    from unroll.artifact.open import Opened
    from unroll.engine.network import Precision
    from unroll.lm.sample import SampledSymbol


@click.command(
    "sample",
    epilog="""\b
Examples:
  unroll sample runs/book
  unroll sample runs/book --prompt "It was" --length 1000 --temperature 0.6
  unroll sample runs/book --count 3 --seed 7 --stop "." --stop "\\n\\n" --copied
  unroll sample runs/book --prompt "It was" --beam 10 --stop "."
  unroll sample runs/names --label italian --count 5       a model trained with labels""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.option("--prompt", metavar="T", help="The text to continue.")
@click.option("--prompt-file", metavar="F", type=TEXT, help="A file with the text to continue; - is standard input.")
@click.option("--length", metavar="N", type=int, default=500, show_default=True, help="Maximum number of symbols.")
@click.option("--count", metavar="N", type=int, default=1, show_default=True, help="Number of independent samples.")
@click.option(
    "--temperature",
    metavar="X",
    type=float,
    default=0.8,
    show_default=True,
    help="Below 1 safer, above 1 wilder; 0 takes the most probable symbol.",
)
@click.option("--top-k", metavar="N", type=int, default=0, help="Draw from the N most probable symbols only.")
@click.option(
    "--top-p", metavar="X", type=float, default=1.0, help="Draw from the most probable symbols that together reach X."
)
@click.option(
    "--min-p", metavar="X", type=float, default=0.0, help="Draw from symbols at least X times as probable as the best."
)
@click.option(
    "--stop",
    metavar="T",
    multiple=True,
    help=r"Stop before this text, with \n, \t and \\ for newline, tab and backslash.  May be repeated.",
)
@click.option(
    "--seed",
    metavar="N",
    type=int,
    default=0,
    show_default=True,
    help="Random seed: the same seed gives the same text.",
)
@click.option(
    "--beam", metavar="N", type=int, help="Search for the most probable text, keeping the N best beginnings; draw none."
)
@LABEL
@PRECISION
@REPLACE_UNKNOWN
@click.option("--copied", is_flag=True, help="Report the longest run of symbols copied from the training text.")
@json_option('"samples": [...]')
@reads_lists
@click.pass_context
def verb(
    ctx: click.Context,
    /,
    model: Path,
    prompt: str | None,
    prompt_file: Path | None,
    stop: tuple[str, ...],
    count: int,
    seed: int,
    beam: int | None,
    precision: "Precision",
    copied: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Generate text with the model in DIR, printed symbol by symbol as it is drawn."""
    from unroll.artifact.open import open_model
    from unroll.lm.beam import beam_search
    from unroll.lm.sample import sample

    check_positive("count", count, "ask for at least one text")
    options["stop"] = [unescaped(text, "--stop") for text in stop]
    drawing = {name: options.pop(name) for name in ("temperature", "top_k", "top_p", "min_p")} | {"seed": seed}
    if beam is not None:
        refuse_beside_beam(ctx, [*drawing, "count"])
    opened = open_model(model, precision=precision)
    prompt = whole_prompt(prompt, prompt_file, opened.tokenizer.level)
    samples = []
    for stream in range(count):
        if count > 1 and not as_json:
            console.put_rule(f"{stream + 1} of {count}", err=True)
        symbols: Iterable[SampledSymbol]
        if beam is None:
            symbols = sample(opened, prompt, stream=stream, **drawing, **options)
        else:
            symbols = console.run(beam_search(opened, prompt, beam=beam, **options))
        sampled = list(symbols if as_json else shown(prompt, symbols))
        figures: dict[str, Any] = {
            "text": "".join(symbol.text for symbol in sampled),
            "symbols": len(sampled),
            "nats_per_token": sum(symbol.nats for symbol in sampled) / len(sampled),
        }
        if copied:
            figures["copied"] = longest_copied(opened, [symbol.id for symbol in sampled])
            if not as_json:
                put_copied(figures["copied"])
        samples.append(figures)
    if as_json:
        how = drawing if beam is None else {"beam": beam}
        about = {"model": str(model), "prompt": prompt, "precision": precision}
        console.put_json(about | how | options | {"samples": samples})


def refuse_beside_beam(ctx: click.Context, names: Sequence[str]) -> None:
    """Raise UserError for options about drawing, beside a search that draws nothing."""
    for param in ctx.command.params:
        if param.name in names and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
            raise UserError(
                f"{param.get_error_hint(ctx)} cannot be combined with --beam, which draws nothing",
                allowed="--prompt, --prompt-file, --length, --stop, --label, --precision, --replace-unknown, --copied, "
                "--json",
                fix="leave it out, or leave out --beam",
            )


def whole_prompt(prompt: str | None, file: Path | None, level: str) -> str:
    """Return the prompt as given or as it stands in its file, whose byte order mark is text at level byte alone."""
    if file is None:
        return prompt or ""
    if prompt is not None:
        raise UserError("both --prompt and --prompt-file are given", allowed="one of them", fix="leave one out")
    return whole_text(file, keep_mark=level == "byte")


def shown(prompt: str, symbols: "Iterable[SampledSymbol]") -> "Iterator[SampledSymbol]":
    """Print the prompt and each symbol as it comes, and pass them on."""
    print(console.printable(prompt), end="", flush=True)
    for symbol in symbols:
        print(console.printable(symbol.text), end="", flush=True)
        yield symbol
    print(flush=True)


def longest_copied(opened: "Opened", ids: list[int]) -> dict[str, Any] | None:
    """Return the longest run of ids that stands in the training text, where that is there."""
    from unroll.artifact.directory import data_path
    from unroll.data.corpus import load_corpus
    from unroll.lm.sample import longest_copy

    folder = data_path(opened.path)
    if not os.path.exists(folder) or load_corpus(folder).tokenizer.digest != opened.tokenizer.digest:
        return None
    copy = longest_copy(ids, folder / "train.bin", opened.tokenizer.dtype)
    return {"length": copy.length, "text": opened.tokenizer.decode(ids[copy.start : copy.start + copy.length])}


def put_copied(copied: dict[str, Any] | None) -> None:
    """Print how much of a sample is copied."""
    if copied is None:
        console.note("The training text is not beside the model, so copies cannot be found.")
    else:
        console.note(
            f"Longest run copied from the training text, {number_of(copied['length'], 'symbol')}: {copied['text']!r}"
        )

"""`unroll next`: what comes after a text, symbols or whole words, as bars."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unroll.cli import console
from unroll.cli.options import PATH, PRECISION, REPLACE_UNKNOWN, json_option
from unroll.cli.score import named

if TYPE_CHECKING:
    from unroll.engine.network import Precision
    from unroll.lm.continuations import Next

EIGHTHS = " ▏▎▍▌▋▊▉█"
WIDEST = 40


@click.command(
    "next",
    epilog="""\b
Examples:
  unroll next runs/book "John is driving a"
  unroll next runs/book "John is driving a " --whole-words
  unroll next runs/book "It wa" --top 1000 --json

\b
For a model of characters, bytes or BPE a whole word is one whose characters come next, followed
by white space. Where TEXT ends inside a word, these are the words that complete it: end TEXT with
a space to see the word after it. More white space in place of a word is listed too.""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.argument("text", metavar="TEXT")
@click.option(
    "--top", metavar="N", type=int, default=10, show_default=True, help="How many to show, the most probable first."
)
@click.option("--whole-words", is_flag=True, help="Search for whole words, and report what the search left out.")
@REPLACE_UNKNOWN
@PRECISION
@json_option('"next": [...], "rest": P')
def verb(
    model: Path,
    text: str,
    top: int,
    whole_words: bool,
    replace_unknown: bool,
    precision: "Precision",
    as_json: bool,
) -> None:
    """Show what the model in DIR expects after TEXT, and how probable it is."""
    from unroll.artifact.open import open_model
    from unroll.lm.continuations import NextWords, next_symbols, next_words

    search = next_words if whole_words else next_symbols
    expected = search(open_model(model, precision=precision), text, top, replace_unknown=replace_unknown)
    figures: dict[str, Any] = {"model": str(model), "text": text, "whole_words": whole_words}
    if isinstance(expected, NextWords):
        figures |= {"begun": expected.begun, "certain": expected.certain}
        if expected.begun:
            console.note(
                f"The text ends inside a word: these complete '{named(expected.begun)}'. "
                "End it with a space for the word after it."
            )
        if not expected.certain:
            console.warn("the search stopped at its limit: omitted words may be as probable as the last ones")
    if as_json:
        likely = [
            {"token": each.token, "probability": each.probability} | ({} if each.id is None else {"id": each.id})
            for each in expected.likely
        ]
        console.put_json(figures | {"next": likely, "rest": expected.rest})
    else:
        put_bars(expected)


def put_bars(expected: "Next") -> None:
    """Print what may come next with its probability, and on a terminal a bar as long as that."""
    from rich.cells import cell_len

    names = [named(each.token) or "(white space)" for each in expected.likely]
    width = max(map(cell_len, [*names, "(all others)"]))
    room = min(WIDEST, console.columns() - width - 10) if sys.stdout.isatty() else 0
    highest = max(expected.likely[0].probability, 1e-300)
    for name, each in zip(names, expected.likely, strict=True):
        bar = drawn(each.probability / highest * room) if room > 0 else ""
        console.put(f"{name}{' ' * (width - cell_len(name))}  {share(each.probability)}  {bar}".rstrip())
    console.put(f"{'(all others)':{width}}  {share(expected.rest)}", dim=True)


def share(p: float) -> str:
    """Return a probability with four decimals, and a small one as 1e-05."""
    return f"{p:.4f}" if p >= 0.0005 or not p else f"{p:.0e}".ljust(6)


def drawn(length: float) -> str:
    """Return a bar of the given length in cells, to an eighth of one."""
    eighths = round(length * 8)
    return EIGHTHS[8] * (eighths // 8) + EIGHTHS[eighths % 8].strip()

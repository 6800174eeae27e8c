"""`unroll evolution`: the samples that were taken while a model learned, and how like their text they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unroll.cli import console, pictures
from unroll.cli.inputs import TEXT, reads_text
from unroll.cli.options import PATH, json_option, plot_option

if TYPE_CHECKING:
    from unroll.insight.style.kinds import Kind
    from unroll.insight.style.measure import Style


@click.command(
    "evolution",
    epilog="""\b
Measures, in percent; the last line has those of pieces of text that was held out:
  words, pairs   of the words of three letters or more, and of the pairs of words: those that the
                 training text has
  punctuation, capitals   how far they are as frequent as in the training text, by what they
                 stand between
  closing        brackets and quotes that close, beyond those that would by chance

\b
Kinds of text have their own; the kind is recognised, or named by --kind:
  latex   environments and mathematics that close        play   paragraphs with a speaker's line
  c       braces and comments that close, lines that     wiki   links that close
          consist of tokens of C                         plain  none

\b
Examples:
  unroll evolution runs/book
  unroll evolution runs/book --plot growth.svg
  unroll evolution runs/kernel --kind c
  unroll evolution runs/copied --file book.txt     where the training text is no longer beside it
  unroll evolution runs/book --json""",
)
@click.argument("model", metavar="DIR", type=PATH)
@click.option("--file", metavar="F", type=TEXT, help="The training text.  [default: the one beside the model]")
@click.option("--kind", metavar="K", help="Kind of text: latex, c, wiki, play or plain.  [default: recognised]")
@plot_option("the measures by step")
@json_option('"samples": [...], "ceiling": {...}, ...')
@reads_text
def verb(model: Path, file: Path | None, kind: "Kind | None", plot: Path | None, as_json: bool) -> None:
    """Show how the model in DIR learned: its samples at step 0, 100, 300, ..., and how like the text each is."""
    from unroll.artifact.info import info
    from unroll.insight.style.measure import measure

    pictures.check(plot)
    style = console.run(measure(model, file, kind))
    if plot is not None:
        from unroll.insight.style.picture import picture

        pictures.write(plot, lambda ending: picture(style, ending))
    if as_json:
        console.put_json(style.figures() | ({} if plot is None else {"plot": plot}))
        return
    description = info(model)
    for sample in style.samples:
        console.put_rule(f"step {sample['step']:,} · {console.quality_of(description, sample['nats'], 'train')}")
        console.put(console.printable(sample["prompt"] + sample["text"]))
    if style.samples:
        console.put_rule(f"how like the text, in percent{f' · {style.kind}' if style.kind else ''}")
        for number, line in enumerate(table(style)):
            console.put(line, dim=not number)
    console.warn(*style.notes)
    if plot is not None:
        console.put_columns([("plot", str(plot))])


def table(style: "Style") -> Iterator[str]:
    """Yield the measures by step, a line each, and below them those of the text."""
    names, rows = list(style.ceiling), [(f"{sample['step']:,}", sample["measures"]) for sample in style.samples]
    width = max(len(step) for step, _ in [("step", {}), *rows])
    yield "  ".join(["step".rjust(width), *names])
    for step, measures in [*rows, ("text", style.ceiling)]:
        yield "  ".join([step.rjust(width), *(percent(measures[name]).rjust(len(name)) for name in names)])


def percent(share: float | None) -> str:
    """Return a share in percent; a dash where it says nothing."""
    return "–" if share is None else f"{100 * share:.0f}"

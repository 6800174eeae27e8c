"""`unroll memory`: how far back models remember."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unroll.cli import console, pictures
from unroll.cli.inputs import TEXT, reads_text
from unroll.cli.options import PATH, json_option, plot_option

if TYPE_CHECKING:
    from unroll.insight.memory.measure import Memory


@click.command(
    "memory",
    epilog="""\b
Three views, at the same thousand symbols of the text:
  context    the loss after exactly 1, 2, 4, … symbols, and where 99 % of the gain is reached.
             A window is flat beyond its length; a model that remembers more keeps falling.
  disturbed  the loss when everything beyond 1, 2, 4, … symbols is shuffled, or replaced by
             symbols drawn from the text (Khandelwal et al. 2018): what must stay as it is?
  gradient   how fast the gradient of the loss fades with the distance of a state, by half-life.

\b
Examples:
  unroll memory runs/book
  unroll memory runs/window runs/rnn runs/lstm --report memory.html
  unroll memory runs/window runs/lstm --file test.txt --plot memory.png
  unroll memory runs/book --context unrelated --limit 1024 --targets 2000
  unroll memory runs/book --json""",
)
@click.argument("models", metavar="DIR...", nargs=-1, required=True, type=PATH)
@click.option("--file", metavar="F", type=TEXT, help="The text.  [default: the models' own validation part]")
@click.option("--limit", metavar="N", type=int, help="The largest context.  [default: 512, or a quarter of the text]")
@click.option(
    "--context",
    type=click.Choice(["fresh", "unrelated"]),
    default="fresh",
    show_default=True,
    help="What precedes it: nothing, or other text.",
)
@click.option("--targets", metavar="N", type=int, help="Number of symbols whose loss is measured.  [default: 1000]")
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Random seed of their places.")
@click.option("--report", metavar="F", type=PATH, help="Write everything as one HTML page.")
@plot_option("the loss by context")
@json_option('"models": [...], ...')
@reads_text
def verb(
    models: tuple[Path, ...],
    file: Path | None,
    targets: int | None,
    report: Path | None,
    plot: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure how far back the models in the DIRs remember, several in one picture."""
    from unroll.insight.memory.contexts import TARGETS
    from unroll.insight.memory.measure import measure
    from unroll.insight.memory.picture import check_written, main_picture
    from unroll.insight.memory.report import page

    check_written(len(models), report, plot)
    memory = console.run(measure(models, file, targets=TARGETS if targets is None else targets, **options))
    pictures.write(report, lambda _: page(memory).encode())
    pictures.write(plot, lambda ending: main_picture(memory, ending))
    written = {"report": report, "plot": plot}
    if as_json:
        console.put_json(memory.figures() | written)
    else:
        console.put_columns([*rows_of(memory), *((name, str(path)) for name, path in written.items() if path)])
        console.warn(*memory.notes)


def rows_of(memory: "Memory") -> Iterator[tuple[str, str]]:
    """Yield a line for the text, one for each model, and one that puts them in order."""
    from unroll.insight.memory.report import agreement, summary
    from unroll.insight.plots import labels

    plan = memory.models[0].plan
    yield "text", f"{memory.text}: {len(plan.targets):,} targets, after 1 to {plan.contexts[-1]:,} symbols"
    for label, model in zip(labels(memory.models), memory.models, strict=True):
        yield label, summary(model)
    if order := " ".join(agreement(memory)):
        yield "together", order

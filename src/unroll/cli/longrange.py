"""`unroll longrange`: what architectures remember over which distance, on tasks made for the question."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unroll.cli import console, pictures
from unroll.cli.options import PATH, json_option, plot_option
from unroll.errors import UserError, check_positive
from unroll.nn.arch import ARCHITECTURES

if TYPE_CHECKING:
    from unroll.insight.longrange.table import LongRange, Plan, Result, Trial

INTERRUPTED = 130


@click.command(
    "longrange",
    epilog=f"""\b
Tasks, with their chance of guessing right:
  pronouns   1/2  she or he, by the person the story is about
  german     1/7  the particle that ends a German sentence, by its verb (sieht sich … an)
  agreement  1/2  is or are, by the first noun, with other nouns in between
  copying    1/8  repeat letters after blanks
  dyck1      1/2  whether all brackets are closed      dyck2   1/2  which kind a bracket closes
  parity     1/2  whether the number of ones is even   adding       the sum of two marked numbers

\b
Architectures, all with as many weights as an LSTM of 64 units (within 2 %):
  {", ".join(name + variant for name, a in reversed(ARCHITECTURES.items()) for variant in a.trial_rates)}
  (uniform, orthogonal: how recurrent weights start)

\b
A distance is the number of symbols from the cue to the answer; the window sees 10. Each distance
has its own network; with --mixed there is one for all, which trains more often on the short
ones. Everything but the cue is drawn at random, whatever the answer, and no test sequence is
trained on.

\b
Examples:
  unroll longrange                                       people and pronouns, all architectures
  unroll longrange --task german --seeds 5 --plot german.png
  unroll longrange --task adding --arch rnn-uniform --arch lstm --steps 3000 --json
  unroll longrange --arch lstm --mixed --out runs/pronouns     keeps the networks for other verbs
  unroll longrange --write-text pronouns.txt --sentences 20000     for unroll train --level word""",
)
@click.option("--task", metavar="NAME", default="pronouns", show_default=True, help="The task.")
@click.option(
    "--arch", "archs", metavar="NAME", multiple=True, help="Train this architecture.  May be repeated.  [default: all]"
)
@click.option(
    "--distance",
    "distances",
    metavar="N",
    multiple=True,
    type=int,
    help="Test at this distance.  May be repeated.  [default: the task's]",
)
@click.option("--seeds", metavar="N", type=int, help="Number of networks of each kind, for intervals.  [default: 1]")
@click.option("--steps", metavar="N", type=int, help="Steps of each training.  [default: 1000]")
@click.option("--mixed", is_flag=True, help="Train one network on all distances up to the largest.")
@click.option("--tuned", is_flag=True, help="Choose learning rates by validation: three more trainings of each.")
@plot_option("accuracy by distance")
@click.option("--out", metavar="DIR", type=PATH, help="Keep every network in this new folder, as model directories.")
@click.option("--write-text", "text", metavar="F", type=PATH, help="Only write sequences of the task, one per line.")
@click.option("--sentences", metavar="N", type=int, help="Number of lines for --write-text.  [default: 10000]")
@json_option('"task", "results": [...]')
def verb(
    task: str,
    archs: tuple[str, ...],
    distances: tuple[int, ...],
    mixed: bool,
    tuned: bool,
    plot: Path | None,
    out: Path | None,
    text: Path | None,
    sentences: int | None,
    as_json: bool,
    **numbers: int | None,
) -> int:
    """Train networks of equal size on a long-range task, and report accuracy by distance."""
    pictures.check(plot)
    from unroll.insight.longrange.measure import make_plan
    from unroll.insight.longrange.picture import picture
    from unroll.insight.longrange.table import ARCHS

    given = {name: value for name, value in numbers.items() if value is not None}
    plan = make_plan(task, archs=archs or ARCHS, distances=distances or None, mixed=mixed, tuned=tuned, **given)
    if text is not None:
        write_text(plan, text, 10_000 if sentences is None else sentences, as_json=as_json)
        return 0
    if sentences is not None:
        raise UserError("--sentences needs --write-text", allowed="both, or neither", fix="add --write-text F")
    result = followed(plan, out, quiet=as_json)
    if result is None:
        console.note("Stopped before the first network was trained.")
        return INTERRUPTED
    pictures.write(plot, lambda ending: picture(result, ending))
    if as_json:
        console.put_json(result.figures() | {"plot": plot, "out": out})
    else:
        put_table(result)
    if not result.finished:
        console.warn("stopped: these are the networks trained so far")
    return 0 if result.finished else INTERRUPTED


def followed(plan: "Plan", out: Path | None, *, quiet: bool) -> "LongRange | None":
    """Train what is planned, keep the networks in `out`, and return the table, of what is done if interrupted."""
    from unroll.cli.stopping import Stop, stop_signals
    from unroll.insight.longrange.measure import save, trials
    from unroll.insight.longrange.table import Trial, table

    if out is not None:
        check_out(plan, out)
    trained: list[Trial] = []
    with stop_signals(Stop(between_steps=True)) as stop, console.bar() as show:
        for report in trials(plan):
            if isinstance(report, Trial):
                trained.append(report)
                if out is not None:
                    save(report, plan, out)
                if not quiet:
                    console.note(summary(report))
            else:
                show(report.phase, report.done, report.total, f"{report.done / report.total:.0%}")
            if stop.wanted:
                break
    return table(plan, trained) if trained else None


def check_out(plan: "Plan", out: Path) -> None:
    """Raise UserError where networks cannot be kept."""
    from unroll.insight.longrange.tasks import Task

    if not isinstance(plan.task, Task):
        raise UserError(
            f"networks for {plan.task.name} are not language models",
            allowed="--out with another task",
            fix="leave it out",
        )
    if out.exists():
        raise UserError(f"{out} exists", allowed="a new directory", fix="name another with --out")


def write_text(plan: "Plan", text: Path, sentences: int, *, as_json: bool) -> None:
    """Write sequences of the training part, one a line, of distances up to the largest."""
    from unroll.files import write_atomically
    from unroll.insight.longrange.measure import stream
    from unroll.insight.longrange.tasks import Task, lines

    if not isinstance(plan.task, Task):
        raise UserError(f"{plan.task.name} has no text", allowed="another --task", fix="for example: --task pronouns")
    check_positive("--sentences", sentences, "leave it out for 10,000")
    most, written = max(plan.distances), list[str]()
    with console.bar() as show:
        for line in lines(plan.task, stream(0, most, "train"), sentences, most):
            written.append(f"{line}\n")
            if len(written) % 100 == 0:
                show("writing", len(written), sentences, f"{sentences:,} lines")
    content = "".join(written).encode()
    write_atomically(text, content)
    if as_json:
        console.put_json({"task": plan.task.name, "text": str(text), "lines": sentences, "distance": most})
        return
    console.put(f"{text}: {sentences:,} lines of {plan.task.name}, {console.size(len(content))}")


def summary(trial: "Trial") -> str:
    """Return what one network has reached, in a line."""
    from unroll.insight.longrange.table import named

    scores = ", ".join(
        f"{score.right / score.decisions:.1%} at {score.distance}"
        + ("" if score.error is None else f", error {score.error:.4f}")
        for score in trial.scores
    )
    return f"{named(trial.arch)}, seed {trial.seed}: {scores}"


def put_table(result: "LongRange") -> None:
    """Print a line for each architecture, and below it the intervals."""
    plan = result.plan
    weights = [row_result.parameters for row_result in result.results]
    console.put(f"{plan.task.name}: {plan.task.about}")
    console.put(
        f"{min(weights):,} to {max(weights):,} weights, {plan.steps:,} steps, "
        + ("all distances at once" if plan.mixed else "a network for each distance")
        + f"; right in %, 95 % intervals, chance {100 * plan.task.chance:.1f} %"
    )
    console.put()
    rows = list(rows_of(result))
    widths = [max(map(len, column)) for column in zip(*(cells for cells, _ in rows), strict=True)]
    for (first, *others), dim in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        console.put("  ".join(cells).rstrip(), dim=dim)


def rows_of(result: "LongRange") -> Iterator[tuple[list[str], bool]]:
    """Yield the cells of every line, and whether it is dim."""
    from unroll.insight.longrange.table import named
    from unroll.insight.longrange.tasks import Task

    plan = result.plan
    yield ["distance", *(f"{distance:,}" for distance in plan.distances)], False
    for arch in plan.archs:
        by_distance = {cell.distance: cell for cell in result.results if cell.arch == arch}
        in_row = [by_distance.get(distance) for distance in plan.distances]
        if not by_distance:
            continue
        yield [named(arch), *("–" if cell is None else f"{100 * cell.accuracy:.1f}" for cell in in_row)], False
        yield ["", *("" if cell is None else interval(cell) for cell in in_row)], True
        if not isinstance(plan.task, Task):
            yield ["  squared error", *("" if cell is None else error(cell) for cell in in_row)], False
            yield ["  solved at step", *("" if cell is None else solved(cell) for cell in in_row)], False


def interval(result: "Result") -> str:
    """Return an interval in percent."""
    low, high = result.interval
    return f"{100 * low:.1f}–{100 * high:.1f}"


def error(result: "Result") -> str:
    """Return the mean squared error, and its interval over seeds where there are several."""
    figures = result.figures()
    interval = figures["mean_squared_error_interval"]
    text = f"{figures['mean_squared_error']:.4f}"
    return text if interval is None else f"{text} ({interval[0]:.4f}–{interval[1]:.4f})"


def solved(result: "Result") -> str:
    """Return the steps after which each seed had solved it."""
    return ", ".join("never" if step is None else f"{step:,}" for step in result.solved_at)

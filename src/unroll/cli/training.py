"""The verbs that train a task share their options, how a training is shown, and how it ends."""

import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from unroll.cli import console
from unroll.cli.options import PATH
from unroll.cli.stopping import DIVERGED, INTERRUPTED, Stop, driving
from unroll.errors import UserError, number_of
from unroll.progress import Progress

if TYPE_CHECKING:
    from unroll.training.report import Report

Verb = TypeVar("Verb", bound=Callable[..., Any])
Rows = Iterator[tuple[str, str]]

OPTIONS = (
    click.option("--out", metavar="DIR", type=PATH, help="The model directory.  [default: runs/<name of the file>]"),
    click.option("--minutes", metavar="M", type=float, help="Budget of wall clock, everything included.  [default: 3]"),
    click.option("--steps", metavar="N", type=int, help="Budget in steps instead of minutes."),
    click.option("--recipe", metavar="FILE", type=PATH, help="A TOML file that fixes keys of the recipe."),
    click.option(
        "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Fix a key of the recipe.  May be repeated."
    ),
    click.option("--seed", metavar="N", type=int, help="Random seed.  [default: 0]"),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda", "mps"]),
        default="auto",
        help="Where to compute.  [default: auto]",
    ),
    click.option("--resume", metavar="DIR", type=PATH, help="Continue a training exactly where it stopped."),
    click.option("--force", is_flag=True, help="Replace an existing model once there are trained weights."),
    click.option("--json", "as_json", is_flag=True, help="End with one JSON object on stdout."),
)
RESUMING = ("resume", "device", "as_json")
"""Parameters that a resumed training takes."""


def training_options(verb: Verb) -> Verb:
    """Add what every task's training takes: its output, its budget, its recipe, and how it is resumed."""
    for option in reversed(OPTIONS):
        verb = option(verb)
    return verb


def refuse_beside_resume(ctx: click.Context) -> None:
    """Raise UserError for options that would contradict the recipe of a resumed training."""
    for param in ctx.command.params:
        given = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
        if given and param.name not in RESUMING:
            name = str(param.metavar).strip("[]") if isinstance(param, click.Argument) else max(param.opts, key=len)
            raise UserError(
                f"{name} cannot be combined with --resume, which keeps the recorded recipe",
                allowed="--device, --json",
                fix="leave it out",
            )


class Display(NamedTuple):
    """How a task's training is shown."""

    verb: str
    """As `classify train`."""
    started: Callable[[dict[str, Any]], Rows]
    """The rows of what was chosen, from the detail of the first report."""
    figures: Callable[["Report"], str]
    """A validation, in a few words."""
    ended: Callable[[Path], Rows]
    """The rows of how good a finished model is, and what to do next; none of one that is not finished."""
    described: Callable[[Path], dict[str, Any]]
    """The model as JSON."""
    unit: str = " nats"
    """What follows the loss."""


def rounds(detail: dict[str, Any], examples: str) -> str:
    """Return how long a training is to be, by the detail of its first report: its steps, and how often they read all.

    `examples` names what is read.
    """
    times = detail["epochs"]
    return f"{number_of(detail['steps'], 'step')}, {times:{',.0f' if times >= 100 else '.3g'}} times the {examples}"


def show_training(
    display: Display,
    folder: Path,
    reports: "Generator[Progress | Report, None, None]",
    *,
    wanted: bool,
    resumed: bool,
    as_json: bool,
) -> int:
    """Drive a training to its end, or until it is stopped, and print how it ended; return the exit code.

    `wanted` tells whether its end was asked for before it began.
    """
    stop = Stop(between_steps=resumed, wanted=wanted)
    with driving(folder, reports, stop, lambda show: _drawing(display, folder, show)) as drive:
        for report in reports:
            if drive.take(report):
                break
    last, stays = drive.last, drive.stays
    if not stays and stop.wanted and last != "end":
        console.note(f"Stopped, and saved. To resume: unroll {display.verb} --resume {console.quoted(folder)}")
    elif not stays and (rows := [*display.ended(folder)]):
        if not last:
            console.note(f"{folder} is finished: there is nothing to resume.")
        console.put_rule("done", err=True)
        console.put_columns(rows, err=True)
    if as_json:
        console.put_json({"out": str(folder)} | ({"replaced": False} if stays else {}) | display.described(folder))
    if stop.wanted and last != "end":
        return INTERRUPTED
    return DIVERGED if (last and last != "end") or stays else 0


def _drawing(display: Display, folder: Path, show: console.Show) -> "Callable[[Report], None]":
    """Return what draws the reports of a training: a bar on a screen, elsewhere a line for each validation."""
    from unroll.settings import read_toml

    steps, trained, figures = 0, "", ""

    def draw(report: "Report") -> None:
        nonlocal steps, trained, figures
        if not steps:
            recipe = read_toml(Path(report.detail.get("beside", folder)) / "recipe.toml")
            steps = recipe["training"]["steps"]
        place = f"{report.step:,}/{steps:,}"
        match report.kind:
            case "start":
                console.put_columns([*display.started(report.detail), ("folder", str(folder))], err=True)
            case "train":
                trained = f"training {report.nats:.3f}{display.unit}"
                show(place, report.step, steps, " · ".join(filter(None, (trained, figures))))
            case "valid":
                figures = display.figures(report)
                if not console.is_screen(sys.stderr):
                    console.note(" · ".join(filter(None, (f"step {place}", trained, figures))))
            case "sample":
                console.put_rule(f"step {report.step:,} · {report.nats:.3f} nats", err=True)
                console.note(console.visible(report.text or ""))
            case "warn":
                console.warn(report.text or "")

    return draw

"""The frame of a task's training: its terms, its directory, the steps that fit its minutes, its start and resume."""

import platform
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch

from unroll._version import __version__
from unroll.artifact.directory import (
    check_free,
    clear,
    locked,
    partial_of,
    publish,
    put_back_replaced,
    remove_abandoned,
)
from unroll.artifact.events import METRICS, EventLog
from unroll.errors import UserError
from unroll.files import Folder, StrPath, explained, printable_name, real_folder
from unroll.nn.process import keep_memory
from unroll.progress import Progress, Work
from unroll.settings import Settings, setting_pairs
from unroll.threads import threads_are_set, threads_up_to
from unroll.training.budget import RESERVE, Budget
from unroll.training.checks import choose_device
from unroll.training.loop import Lesson, step_on
from unroll.training.prepare import Training
from unroll.training.recipe import Overrides, Tables, read_about, read_recipe_of
from unroll.training.report import Report
from unroll.training.request import DEFAULT_MINUTES, overrides_of, reports_of
from unroll.training.run import AnyRun, save, save_weights

R = TypeVar("R")

MEASURED_STEPS = 12
"""Steps by which the rate of a training is measured."""


@dataclass(frozen=True)
class Terms:
    """What is fixed of a training before its examples are read."""

    overrides: Overrides
    budget: Budget
    device: torch.device
    force: bool
    started: float
    """When the minutes began (time.monotonic)."""


def terms_of(
    tables: Tables,
    *,
    recipe: StrPath | None,
    settings: Settings,
    named: Overrides,
    minutes: float | None,
    device: str,
    force: bool,
    started: float | None,
) -> Terms:
    """Return the terms of a training: `named` arguments override the file `recipe`, `settings` override both.

    The budget is `minutes`, or the steps that are fixed; with neither, three minutes. Raises UserError.
    """
    overrides = overrides_of(recipe, settings, named, tables)
    if minutes is not None:
        steps = named.get("training", {}).get("steps")
        if steps is not None or any(key in ("steps", "training.steps") for key, _ in setting_pairs(settings)):
            raise UserError("both minutes and steps are given", allowed="one budget", fix="leave one out")
        overrides["training"].pop("steps", None)
    steps = overrides["training"].get("steps")
    budget = Budget(minutes=DEFAULT_MINUTES if minutes is None else minutes) if steps is None else Budget(steps=steps)
    started = time.monotonic() if started is None else started
    return Terms(overrides, budget, choose_device(device), force, started)


# ---- the directory


def check_output(out: Path, inputs: Sequence[Path], verb: str, *, force: bool) -> Path:
    """Return the real path of a new model directory; raises UserError where `verb` must not put a model there."""
    out = real_folder(out)
    put_back_replaced(out)
    check_free(out, inputs, force=force, fix=f"resume it with `unroll {verb} --resume {out}`, ")
    return out


@contextmanager
def new_directory(
    locks: ExitStack, out: Path, inputs: Sequence[Path], *, force: bool
) -> Iterator[tuple[Folder, Folder | None]]:
    """Give a new directory beside `out`, locked and empty, and the model that is to be replaced, if there is one.

    An error within removes the directory. Raises UserError.
    """
    partial = partial_of(out)
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(exist_ok=True)
    remove_abandoned(out)
    folder = locks.enter_context(locked(partial, out))
    try:
        check_free(out, inputs, force=force)
        earlier = locks.enter_context(locked(out)) if (out / "model.json").exists() else None
        clear(partial)
        yield folder, earlier
    except BaseException:
        folder.remove()
        raise


def write_start(
    run: AnyRun, lesson: Lesson, first: Sequence[Report], out: Path, earlier: Folder | None,
    write: Callable[[Folder], None],
) -> Training:  # fmt: skip
    """Write a complete model directory of step 0, and publish it as `out` where no earlier model is.

    `write` writes what the task adds to it: its recipe, its vocabularies, its examples.
    """
    folder = run.writes
    with closing(EventLog(folder, METRICS)) as log:
        for report in first:
            log.write(report.to_json())
        run.log_sizes = (log.size, 0)
    write(folder)
    lesson.describe(run, None)
    save_weights(run, None)
    save(run)
    if earlier is None:
        publish(folder, out)
    else:
        first[0].detail["beside"] = str(folder.path)  # for the caller, not for the log
    return Training(run, lesson, first, earlier)


def trained(prepare: Callable[[ExitStack], Work[Training]]) -> Generator[Progress | Report, None, None]:
    """Train what `prepare` returns, its directories locked by the stack that it gets; closing saves a checkpoint."""
    with ExitStack() as locks:
        training = yield from prepare(locks)
        yield from reports_of(training)


def about_of(run: AnyRun, digest: str, *files: Path, **named: Path | None) -> dict[str, Any]:
    """Return what a recipe says about a run: versions, the names of `files` and others, the digest of the examples."""
    about = {
        "unroll": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": run.device.type,
        "files": [printable_name(path) for path in files],
        "examples_digest": digest,
    }
    return about | {name: printable_name(path) for name, path in named.items() if path is not None}


def reopen(locks: ExitStack, path: Path, recipe: type[R], tables: Tables) -> tuple[Folder, R, dict[str, Any]]:
    """Lock the directory of an unfinished training; return it, its recipe, and what that says about the run."""
    about, resolved = read_about(path / "recipe.toml"), read_recipe_of(recipe, tables, path / "recipe.toml")
    return locks.enter_context(locked(path)), resolved, about


def check_examples(path: Path, digest: str, about: dict[str, Any]) -> None:
    """Raise UserError where stored examples are not those of the recipe."""
    if digest != about.get("examples_digest"):
        raise UserError(
            f"the examples in {path} are not those that it was trained on",
            allowed="the examples as they were prepared",
            fix="restore the directory, or train again",
        )


def recorded_device(about: dict[str, Any], device: str) -> torch.device:
    """Return the device that a resumed training continues on: its own, unless another is named."""
    return choose_device(str(about.get("device", "auto")) if device == "auto" else device)


# ---- the steps


def fitting(
    terms: Terms, make_run: Callable[[int], AnyRun], lesson: Lesson, valid_every: int
) -> tuple[int, int]:  # fmt: skip
    """Return the threads that are fastest now, and the steps that fit the minutes with them.

    `make_run` returns a run of many steps with so many threads that writes nothing; a validation is expected after
    `valid_every` steps, and more often in short trainings. Raises UserError where not even one step fits.
    """
    assert terms.budget.minutes is not None
    minutes, fixed = terms.budget.minutes, terms.overrides["training"].get("threads")
    most = threads_up_to(4) if terms.device.type == "cpu" and not threads_are_set() else 1
    choices = [fixed] if fixed else [count for count in (1, 2, 4) if count <= most]
    keep_memory()
    seconds = {}
    for threads in choices:
        run = make_run(threads)
        run.model.train()
        step_on(run, lesson.batch(run), lesson.start(run))  # the first step also loads kernels
        began, times = time.monotonic(), list[float]()
        while not times or (len(times) < MEASURED_STEPS and time.monotonic() - began < 0.6 * minutes):
            start = time.monotonic()
            step_on(run, lesson.batch(run), lesson.start(run))
            times.append(time.monotonic() - start)
        seconds[threads] = fmean(times)
    threads = min(seconds, key=seconds.__getitem__)
    torch.set_num_threads(threads)
    began = time.monotonic()
    lesson.validate(run)
    validation = time.monotonic() - began
    left = (terms.started + 60 * minutes - time.monotonic()) * (1 - RESERVE) - 2 * validation
    steps = steps_within(left, seconds[threads], validation, valid_every)
    if steps < 1:
        raise UserError(
            f"{minutes:g} minutes is not enough for a single step on this machine",
            allowed="a budget that holds one step",
            fix="give more minutes, or a number of steps",
        )
    return threads, steps


def steps_within(left: float, step: float, validation: float, valid_every: int) -> int:
    """Return how many steps of so many seconds fit, with their validations.

    As the recipes of tasks have it, one comes after `valid_every` steps, and after a tenth of a short training.
    """
    steps = int(left / (step + validation / valid_every))
    while steps > 0 and steps * (step + validation / max(1, min(steps // 10, valid_every))) > left:
        steps -= max(1, steps // 100)
    return max(0, steps)

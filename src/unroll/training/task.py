"""The frame of a task's training: its terms, its directory, the steps that fit its minutes, its start and resume."""

import platform
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Generic, Protocol, TypeVar

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
from unroll.training.checks import check_alone, choose_device
from unroll.training.config import OptimConfig
from unroll.training.loop import Lesson, step_on
from unroll.training.prepare import Training
from unroll.training.recipe import Overrides, Tables, read_about, read_recipe_of
from unroll.training.report import Report
from unroll.training.request import DEFAULT_MINUTES, overrides_of, reports_of
from unroll.training.run import AnyRun, C, M, Run, begin, restore, save, save_weights


class Described(Protocol):
    """What a directory says about the model of a task."""

    @property
    def result(self) -> dict[str, Any] | None:
        """How good it is; None until its training is finished."""


class Examples(Protocol):
    """The examples of a training on disk."""

    @property
    def digest(self) -> str:
        """Of all of them, in hexadecimal."""


D = TypeVar("D", bound=Described)
R = TypeVar("R", bound=Any)
S = TypeVar("S", bound=Examples)

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


@dataclass(frozen=True)
class Reopened(Generic[D, R, S]):
    """An unfinished training as it lies in its directory."""

    folder: Folder
    info: D
    recipe: R
    stored: S
    device: torch.device
    """That which it continues on: its own, unless another is named."""

    @property
    def path(self) -> Path:
        """The directory."""
        return self.folder.path


@contextmanager
def reopened(
    path: StrPath, device: str, name: str, read: Callable[[Path], D], recipe: type[R], tables: Tables,
    load: Callable[[Path], S],
) -> Iterator[Reopened[D, R, S] | None]:  # fmt: skip
    """Give an unfinished training, its directory locked; None where it is finished.

    `read` and `load` return what a directory says about a model and its stored examples; `name` is what messages call
    it, as `a tagger`. Raises UserError where it cannot be resumed.
    """
    check_alone(name)
    path = real_folder(Path(path))
    put_back_replaced(path)
    info = read(path)
    if info.result is not None:
        yield None
        return
    about, resolved = read_about(path / "recipe.toml"), read_recipe_of(recipe, tables, path / "recipe.toml")
    with locked(path) as folder:
        stored = load(folder.path)
        check_examples(path, stored.digest, about)
        own = str(about.get("device", "auto")) if device == "auto" else device
        yield Reopened(folder, info, resolved, stored, choose_device(own))


def check_examples(path: Path, digest: str, about: dict[str, Any]) -> None:
    """Raise UserError where stored examples are not those of the recipe."""
    if digest != about.get("examples_digest"):
        raise UserError(
            f"the examples in {path} are not those that it was trained on",
            allowed="the examples as they were prepared",
            fix="restore the directory, or train again",
        )


def resumed(run: AnyRun, lesson: Lesson) -> Generator[Report, None, None]:
    """Continue a training from its checkpoint; closing saves another."""
    restore(run)
    yield from reports_of(Training(run, lesson))


# ---- the steps


def new_run(
    network: Callable[[], M], folder: Folder | None, optim: OptimConfig, config: C, device: torch.device
) -> Run[M, C]:
    """Return a run at step 0 of a network that `network` makes; its first weights depend on seed and recipe alone."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    return begin(folder, network().to(device), optim, config)


def fitting(
    terms: Terms, make_run: Callable[[None, R, torch.device], AnyRun], recipe: R, lesson: Lesson, valid_every: int
) -> tuple[int, int]:
    """Return the threads that are fastest now, and the steps that fit the minutes with them.

    The rate is that of a run which `make_run` makes by the `recipe`, but that writes nothing; a validation is expected
    after `valid_every` steps, and more often in short trainings. Raises UserError where not even one step fits.
    """
    assert terms.budget.minutes is not None
    minutes, fixed = terms.budget.minutes, terms.overrides["training"].get("threads")
    most = threads_up_to(4) if terms.device.type == "cpu" and not threads_are_set() else 1
    choices = [fixed] if fixed else [count for count in (1, 2, 4) if count <= most]
    keep_memory()
    seconds = {}
    for threads in choices:
        config = replace(recipe.training, steps=2**40, threads=threads)
        run = make_run(None, replace(recipe, training=config), terms.device)
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

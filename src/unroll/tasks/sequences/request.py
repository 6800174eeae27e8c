"""The training of a model of sequences as it is asked for, started or resumed."""

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from unroll.artifact.directory import output_folder
from unroll.artifact.series import SeriesInfo, read_series_info
from unroll.data.ragged import Vectors
from unroll.data.scaling import Scaling
from unroll.data.series import Series, series_parts
from unroll.data.series_files import read_series
from unroll.data.series_reading import Columns
from unroll.errors import check_choice
from unroll.files import Folder, StrPath, as_path
from unroll.nn.series import SeriesNetwork
from unroll.nn.series_config import Answer, SeriesConfig, Task, series_parameters
from unroll.progress import Progress, Work
from unroll.settings import Settings
from unroll.tasks.sequences.lesson import SeriesLesson, SeriesRun
from unroll.tasks.sequences.memory import announcement
from unroll.tasks.sequences.recipe import TABLES, SeriesRecipe, Sizes, choose, steps_enough
from unroll.tasks.sequences.store import Stored, load
from unroll.training.checks import check_alone
from unroll.training.prepare import Training
from unroll.training.recipe import check_overrides, write_recipe
from unroll.training.report import Report
from unroll.training.task import (
    Terms,
    about_of,
    check_output,
    fitting,
    new_directory,
    new_run,
    reopened,
    resumed,
    terms_of,
    trained,
    write_start,
)

Reports = Generator[Progress | Report, None, None]


@dataclass(frozen=True)
class Wish:
    """What is asked of the training of a model of sequences."""

    file: Path
    series: Series | None
    """The sequences of the file, where they are in memory already."""
    valid: Path | None
    columns: Columns
    terms: Terms


def train_sequences(
    file: StrPath | Series,
    *,
    target: str | None = None,
    task: Task = "classify",
    valid: StrPath | None = None,
    id: str | None = None,
    time: str | None = None,
    out: StrPath | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    recipe: StrPath | None = None,
    settings: Settings = (),
    seed: int | None = None,
    device: str = "auto",
    force: bool = False,
    started: float | None = None,
) -> Reports:
    """Train a model on the sequences of a CSV, JSON-lines, parquet, npz or ts file, yielding progress and reports.

    The sequences may also be in memory. `target` names the column of the labels or numbers, which a ts file names
    itself; `id` that of the sequences, and `time` that of their times, as `unroll.data.series_files.read_series` reads
    them. Without `valid`, one sequence in ten is held out. The model appears in `out`, by default
    `output_folder(file)`. The budget is `minutes` since `started` (time.monotonic), which may end sooner where more
    rounds over the sequences would teach nothing, or a number of steps; with neither, three minutes. `settings`
    override the file `recipe`. Closing the generator saves a checkpoint. Raises UserError.
    """
    check_alone("a model of sequences")
    check_choice("task", task, get_args(Answer))
    series = file if isinstance(file, Series) else None
    path = file.path if isinstance(file, Series) else as_path(file)
    folder = Path(out) if out is not None else output_folder(path)
    terms = terms_of(
        TABLES, recipe=recipe, settings=settings, named={"training": {"seed": seed, "steps": steps}}, minutes=minutes,
        device=device, force=force, started=started,
    )  # fmt: skip
    check_overrides(terms.overrides, TABLES)
    wish = Wish(path, series, as_path(valid), Columns(task, target, id, time), terms)
    return trained(partial(prepare, out=folder, wish=wish))


def resume_sequences(path: StrPath, *, device: str = "auto") -> Reports:
    """Continue the training of a model of sequences exactly where it stopped; yields nothing if it is finished.

    Raises UserError if it cannot.
    """
    with reopened(path, device, "a model of sequences", read_series_info, SeriesRecipe, TABLES, load) as again:
        if again is not None:
            lesson = SeriesLesson(again.info, again.stored.train, again.stored.valid, again.recipe.training)
            yield from resumed(make_run(again.folder, again.recipe, again.device), lesson)


def prepare(locks: ExitStack, out: Path, wish: Wish) -> Work[Training]:
    """Read the sequences and choose a recipe; return the training, its directories locked by `locks`.

    The directory `out` appears, complete and loadable; with `force` an earlier model stays there, and the new one lies
    beside it. Raises UserError for what a user can fix.
    """
    terms, inputs = wish.terms, [path for path in (wish.file, wish.valid) if path is not None]
    out = check_output(out, inputs, "sequences train", force=terms.force)
    series, valid = wish.series, None
    if series is None:
        series = yield from read_series(wish.file, wish.columns)
    columns = replace(wish.columns, channels=series.channels)
    if wish.valid is not None:
        valid = yield from read_series(wish.valid, columns)
    parts = series_parts(series, valid)
    with new_directory(locks, out, inputs, force=terms.force) as (folder, earlier):
        labels = tuple(sorted({*series.labels}))
        stored = Stored.of(parts, labels)
        sizes = sizes_of(stored, labels)
        recipe = choose(sizes, terms.budget.steps or 1, terms.overrides)
        info = info_of(stored, recipe.model, columns, labels)
        lesson = SeriesLesson(info, stored.train, stored.valid, recipe.training)
        large = announcement(recipe, lesson.epochs, terms.device)
        if terms.budget.minutes is not None:
            yield Progress("measuring this machine", 0, 1)
            size = lesson.epochs.size
            threads, steps = fitting(terms, make_run, recipe, lesson, size)
            recipe = choose(sizes, min(steps, steps_enough(size)), terms.overrides, threads)
            lesson = replace(lesson, config=recipe.training)
        run = make_run(folder, recipe, terms.device)
        first = first_reports(recipe, lesson, [*([large] if large else []), *parts.remarks])

        def write(folder: Folder) -> None:
            about = about_of(run, stored.digest, wish.file, valid_file=wish.valid)
            write_recipe(folder, recipe, about | {"sequences": len(stored.train)})
            stored.save(folder)

        return write_start(run, lesson, first, out, earlier, write)


def sizes_of(stored: Stored, labels: tuple[str, ...]) -> Sizes:
    """Return what a recipe depends on."""
    answer: Answer = "classify" if labels else "regress"
    values = stored.train.rows.values
    missing = bool(np.isnan(values).any() or np.isnan(stored.valid.rows.values).any())
    return Sizes(answer, values.shape[1], len(labels) or 1, len(stored.train), missing)


def info_of(stored: Stored, config: SeriesConfig, columns: Columns, labels: tuple[str, ...]) -> SeriesInfo:
    """Return the description of a model, with the scaling of the training part."""
    goals = Scaling((), ())
    if not labels:
        numbers = stored.train.targets[:, None]
        goals = Scaling.of(Vectors(numbers, np.arange(1, len(numbers) + 1)))
    return SeriesInfo(config, columns, labels, Scaling.of(stored.train.rows), goals, None)


def make_run(folder: Folder | None, recipe: SeriesRecipe, device: torch.device) -> SeriesRun:
    """Return a run at step 0; its first weights depend on the recipe alone."""
    return new_run(partial(SeriesNetwork, recipe.model), folder, recipe.optim, recipe.training, device)


def first_reports(recipe: SeriesRecipe, lesson: SeriesLesson, remarks: list[str]) -> list[Report]:
    """Return the reports before the first step: what was chosen, and what is odd about the sequences."""
    lengths = lesson.train.rows.lengths
    detail: dict[str, Any] = {
        "task": recipe.model.task,
        "parameters": series_parameters(recipe.model),
        "steps": recipe.training.steps,
        "train_examples": len(lesson.train),
        "valid_examples": len(lesson.valid),
        "labels": len(lesson.info.labels),
        "channels": recipe.model.channels,
        "shortest": int(lengths.min()),
        "longest": int(lengths.max()),
        "epochs": round(recipe.training.steps / lesson.epochs.size, 2),
    }
    return [
        Report("start", 0, 0, 0.0, detail=detail),
        *(Report("warn", 0, 0, 0.0, text=remark) for remark in remarks),
    ]

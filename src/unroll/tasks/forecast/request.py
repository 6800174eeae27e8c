"""The training of a forecaster as it is asked for, started or resumed."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from unroll.artifact.directory import output_folder
from unroll.artifact.forecaster import ForecasterInfo, read_forecaster
from unroll.data.history import History, season_of
from unroll.data.series import Series
from unroll.data.series_reading import Columns
from unroll.errors import check_positive
from unroll.files import Folder, StrPath, as_path
from unroll.nn.forecast import Forecaster
from unroll.nn.forecast_config import forecast_parameters
from unroll.progress import Progress, Work
from unroll.settings import Settings
from unroll.tasks.forecast.lesson import ForecasterRun, Forecasting
from unroll.tasks.forecast.memory import announcement
from unroll.tasks.forecast.reading import read_values
from unroll.tasks.forecast.recipe import TABLES, ForecastRecipe, ForecastTraining, choose, steps_enough, training_of
from unroll.tasks.forecast.store import Stored, load
from unroll.tasks.forecast.windows import parts_of
from unroll.training.checks import check_alone
from unroll.training.prepare import Training
from unroll.training.recipe import write_recipe
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


@dataclass(frozen=True)
class Wish:
    """What is asked of the training of a forecaster."""

    file: Path
    columns: Columns
    horizon: int
    season: int | None
    """None to estimate it."""
    terms: Terms


def train_forecaster(
    file: StrPath,
    *,
    target: str,
    horizon: int,
    id: str | None = None,
    time: str | None = None,
    season: int | None = None,
    out: StrPath | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    recipe: StrPath | None = None,
    settings: Settings = (),
    seed: int | None = None,
    device: str = "auto",
    force: bool = False,
    started: float | None = None,
) -> Generator[Progress | Report, None, None]:
    """Train a forecaster on the series of numbers in a file, yielding progress and reports as they come.

    The column `target` has the values, one row for each step; `id` names the series of a row, without it all rows are
    one series; `time` has regular times. The model forecasts `horizon` steps. Its season, in steps, is estimated unless
    `season` gives it, 1 for none. The end of each series is held out. The model appears in `out`, by default
    `output_folder(file)`. The budget is `minutes` since `started` (time.monotonic), which may end sooner where more
    steps would teach nothing, or a number of steps; with neither, three minutes. `settings` override the file `recipe`.
    Closing the generator saves a checkpoint. Raises UserError.
    """
    check_alone("a forecaster")
    path = as_path(file)
    folder = Path(out) if out is not None else output_folder(path)
    check_positive("the horizon", horizon, "give the number of steps to forecast")
    if season is not None:
        check_positive("the season", season, "give its steps, 1 where there is none, or leave it out")
    named: dict[str, dict[str, Any]] = {"training": {"seed": seed, "steps": steps}}
    terms = terms_of(
        TABLES, recipe=recipe, settings=settings, named=named, minutes=minutes, device=device, force=force,
        started=started,
    )  # fmt: skip
    wish = Wish(path, Columns("forecast", target, id, time), horizon, season, terms)
    return trained(partial(prepare, out=folder, wish=wish))


def resume_forecaster(path: StrPath, *, device: str = "auto") -> Generator[Report, None, None]:
    """Continue the training of a forecaster exactly where it stopped; yields nothing if it is finished.

    Raises UserError if it cannot.
    """
    with reopened(path, device, "a forecaster", read_forecaster, ForecastRecipe, TABLES, load) as again:
        if again is not None:
            lesson = _lesson(again.info, again.stored.histories, again.recipe)
            yield from resumed(make_run(again.folder, again.recipe, again.device), lesson)


def prepare(locks: ExitStack, out: Path, wish: Wish) -> Work[Training]:
    """Read the series and choose a recipe; return the training, its directories locked by `locks`.

    The directory `out` appears, complete and loadable; with `force` an earlier model stays there, and the new one lies
    beside it. Raises UserError for what a user can fix.
    """
    terms, columns = wish.terms, wish.columns
    out = check_output(out, [wish.file], "sequences train", force=terms.force)
    series = yield from read_values(wish.file, columns)
    stored = Stored(series.rows)
    histories = stored.histories
    given = terms.overrides["model"].get("season", wish.season)
    kept = _kept(histories, training_of(1, terms.overrides), wish.horizon)
    season = season_of(kept) if given is None else given
    choice = partial(choose, wish.horizon, season, min(map(len, histories)))
    recipe = choice(terms.budget.steps or 1, terms.overrides)
    large = announcement(recipe, terms.device)
    with new_directory(locks, out, [wish.file], force=terms.force) as (folder, earlier):
        assert columns.target is not None
        info = ForecasterInfo(recipe.model, columns.target, columns.id, columns.time, series.sha256, None)
        lesson = _lesson(info, histories, recipe)
        if terms.budget.minutes is not None:
            yield Progress("measuring this machine", 0, 1)
            every = max(1, steps_enough(len(lesson.train)) // 20)
            threads, steps = fitting(terms, make_run, recipe, lesson, every)
            recipe = choice(min(steps, steps_enough(len(lesson.train))), terms.overrides, threads)
            lesson = replace(lesson, config=recipe.training)
        run = make_run(folder, recipe, terms.device)
        first = first_reports(series, histories, lesson, recipe, estimated=given is None)
        first += [Report("warn", 0, 0, 0.0, text=large)] if large else []

        def write(folder: Folder) -> None:
            write_recipe(folder, recipe, about_of(run, stored.digest, wish.file) | {"series": len(series)})
            stored.save(folder)

        return write_start(run, lesson, first, out, earlier, write)


def _lesson(info: ForecasterInfo, histories: Sequence[History], recipe: ForecastRecipe) -> Forecasting:
    """Return the lesson of some series, the end of each held out."""
    kept = _kept(histories, recipe.training, recipe.model.horizon)
    return Forecasting(info, *parts_of(histories, [*map(len, kept)], recipe.model), recipe.training)


def _kept(histories: Sequence[History], training: ForecastTraining, horizon: int) -> list[History]:
    """Return the part of each series that is trained on."""
    return [h.until(max(0, len(h) - training.held_out_of(len(h), horizon))) for h in histories]


def make_run(folder: Folder | None, recipe: ForecastRecipe, device: torch.device) -> ForecasterRun:
    """Return a run at step 0; its first weights depend on the recipe alone."""
    return new_run(partial(Forecaster, recipe.model), folder, recipe.optim, recipe.training, device)


def first_reports(
    series: Series, histories: Sequence[History], lesson: Forecasting, recipe: ForecastRecipe, *, estimated: bool
) -> list[Report]:
    """Return the reports before the first step: what was chosen, and what is odd about the series."""
    model = recipe.model
    detail: dict[str, Any] = {
        "parameters": forecast_parameters(model),
        "steps": recipe.training.steps,
        "series": len(series),
        "values": sum(map(len, histories)),
        "missing": sum(int((~history.present).sum()) for history in histories),
        "train_windows": len(lesson.train),
        "valid_windows": len(lesson.valid),
        "horizon": model.horizon,
        "season": model.season,
        "season_estimated": estimated,
        "reach": model.reach,
        "epochs": round(recipe.training.steps * recipe.training.batch_size / len(lesson.train), 2),
    }
    constant = [id for id, h in zip(series.ids, histories, strict=True) if (h.values == h.values[0]).all()]
    remarks = []
    if constant:
        remarks.append(f"{len(constant):,} of the series never change, as {constant[0]!r}: nothing is learnt of them")
    return [
        Report("start", 0, 0, 0.0, detail=detail),
        *(Report("warn", 0, 0, 0.0, text=remark) for remark in remarks),
    ]

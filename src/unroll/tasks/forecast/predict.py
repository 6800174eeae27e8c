"""Forecasts of series, with their quantiles and beside the two simplest rules; without torch."""

from pathlib import Path
from typing import Any

import numpy as np

from unroll.artifact.forecaster import OpenForecaster, open_forecaster
from unroll.data.history import Floats, History
from unroll.data.ragged import Integers
from unroll.data.series import Series
from unroll.data.series_reading import Columns
from unroll.data.spacing import Spacing, Times, shown_times
from unroll.errors import UserError
from unroll.files import StrPath
from unroll.progress import Progress, Work, result
from unroll.tasks.forecast.naive import last_value, seasonal
from unroll.tasks.forecast.reading import histories_of, read_values

AnyForecaster = StrPath | OpenForecaster
"""A forecaster as a caller may name it."""


def forecast(model: AnyForecaster, file: StrPath) -> list[dict[str, Any]]:
    """Return how each series of a file continues, as `forecasts_of` does. Raises UserError."""
    opened = as_forecaster(model)
    return result(forecasts_of(opened, result(read_series_of(opened, Path(file)))))


def as_forecaster(model: AnyForecaster) -> OpenForecaster:
    """Return a forecaster opened, whatever it is named by. Raises UserError."""
    return model if isinstance(model, OpenForecaster) else open_forecaster(model)


def read_series_of(model: OpenForecaster, file: Path) -> Work[Series]:
    """Read the series of a file, in the columns of the training. Raises UserError."""
    info = model.info
    return read_values(file, Columns("forecast", info.target_column, info.id_column, info.time_column))


def forecasts_of(model: OpenForecaster, series: Series) -> Work[list[dict[str, Any]]]:
    """Return how each of the series continues.

    Each is `{"id", "steps": [{"time", "quantiles": {"0.1": …}, "last", "seasonal"}]}`. Times continue those of the
    series, or are the numbers of steps; `last` and `seasonal` are the forecasts of the two simplest rules, null without
    a season. Raises UserError for a series that is too short.
    """
    config = model.info.config
    histories, forecasts = histories_of(series.rows), []
    for k, (id, history) in enumerate(zip(series.ids, histories, strict=True)):
        check_length(series, id, history, config.lags, config.lags)
        quantiles = quantiles_after(model, history, np.array([len(history)]))[0].tolist()
        known = history.values[None]
        last = last_value(known, config.horizon)[0].tolist()
        before = seasonal(known, config.horizon, config.season)[0].tolist() if config.season > 1 else None
        times = shown_times(times_of(series, k, 0, config.horizon))
        forecasts.append({
            "id": id,
            "steps": [
                {
                    "time": times[step],
                    "quantiles": dict(zip(map(str, config.levels), quantiles[step], strict=True)),
                    "last": last[step],
                    "seasonal": None if before is None else before[step],
                }
                for step in range(config.horizon)
            ],
        })  # fmt: skip
        yield Progress("forecasting", k + 1, len(series), "series")
    return forecasts


def quantiles_after(model: OpenForecaster, history: History, ends: Integers) -> Floats:
    """Return the quantiles (B, horizon, Q) of what follows the first `ends` (B,) values of a series.

    All are divided by the scale of what lies before the first of these ends, at least `lags` of the model.
    """
    config, network = model.info.config, model.network
    scale = history.scale(config.season, int(ends.min()))
    reads = np.minimum(ends, config.reach)
    quantiles = np.empty((len(ends), config.horizon, len(config.levels)))
    for length in np.unique(reads).tolist():
        rows = np.flatnonzero(reads == length)
        known = history.values[ends[rows, None] + np.arange(-length, 0)]
        levels = known[:, -1:, None]
        ahead = network.forecast((known - levels[:, :, 0]) / scale).astype(np.float64)
        quantiles[rows] = ahead * scale + levels
    return quantiles


def check_length(series: Series, id: str, history: History, steps: int, lags: int) -> None:
    """Raise UserError for a series of fewer steps than so many."""
    if len(history) < steps:
        raise UserError(
            f"series {id!r} of {series.path} has {len(history):,} steps from its first value on",
            allowed=f"at least {steps:,}: the model reads {lags:,} values at each step",
            fix="give more of its past, or leave it out",
        )


def times_of(series: Series, number: int, steps: int, further: int) -> Times:
    """Return the times of the last `steps` steps of a series and of those that follow, (steps + further,).

    Where it has no times, they are the numbers of its steps from 1.
    """
    start, end = int(series.rows.starts[number]), int(series.rows.ends[number])
    if series.times is None or end - start < 2:
        return np.arange(end - start - steps + 1, end - start + further + 1)
    times = series.times[start:end]
    return np.concatenate([times[len(times) - steps :], Spacing.of(times).after(times, max(0, further))])

"""How good a forecaster is: its errors over rolling origins, beside those of the two simplest rules."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.forecaster import OpenForecaster
from unroll.data.history import Floats, History
from unroll.data.series import Series
from unroll.errors import UserError, check_positive, number_of
from unroll.files import StrPath
from unroll.nn.forecast_config import ForecastConfig
from unroll.progress import Progress, Work, result
from unroll.tasks.forecast.naive import last_value, seasonal
from unroll.tasks.forecast.predict import AnyForecaster, as_forecaster, check_length, quantiles_after, read_series_of
from unroll.tasks.forecast.reading import histories_of

ORIGINS = 20
"""Forecasts of each series, unless another number is asked for."""


def evaluate_forecaster(model: AnyForecaster, file: StrPath, *, origins: int = ORIGINS) -> dict[str, Any]:
    """Return how good a forecaster is on the series of a file, as `measure_forecaster` does. Raises UserError."""
    opened = as_forecaster(model)
    return result(measure_forecaster(opened, result(read_series_of(opened, Path(file))), origins))


def measure_forecaster(model: OpenForecaster, series: Series, origins: int = ORIGINS) -> Work[dict[str, Any]]:
    """Forecast each of the series from rolling origins: the last ones that all steps follow, one step apart.

    The model is not trained anew; at each origin it reads the values before it. `mae` and `rmse` are of the median, in
    units of the series; `mase` divides the error of each series by that of the seasonal rule one season ahead, or of
    the last value, before its first origin (Hyndman & Koehler 2006), and is null where that is 0; `pinball` is twice
    the mean pinball loss over all quantiles; `coverage` is the share of values between the lowest and the highest of
    them, which should be `nominal`. Missing values are left out. `rules` has the errors of both rules, `by_step` those
    of each step ahead. Raises UserError for a series that is too short.
    """
    check_positive("the number of origins", origins, "leave it out for 20")
    config = model.info.config
    levels, middle = np.array(config.levels), config.levels.index(0.5)
    parts: dict[str, list[Floats]] = {name: [] for name in ("model", "last", "seasonal", "pinball", "inside", "scaled")}
    present: list[NDArray[np.bool_]] = []
    histories = histories_of(series.rows)
    _check_origins(series, histories, origins, config)
    for k, history in enumerate(histories):
        ends = np.arange(len(history) - config.horizon - origins + 1, len(history) - config.horizon + 1)
        quantiles = quantiles_after(model, history, ends)
        ahead = ends[:, None] + np.arange(config.horizon)
        values, errors = history.values[ahead], history.values[ahead][:, :, None] - quantiles
        known = history.values[ends[:, None] + np.arange(-config.season, 0)]
        parts["model"].append(errors[:, :, middle])
        parts["last"].append(values - last_value(known, config.horizon))
        parts["seasonal"].append(values - seasonal(known, config.horizon, config.season))
        parts["pinball"].append(2 * np.maximum(levels * errors, (levels - 1) * errors).mean(axis=2))
        parts["inside"].append(((errors[:, :, 0] >= 0) & (errors[:, :, -1] <= 0)).astype(np.float64))
        parts["scaled"].append(np.abs(errors[:, :, middle]) / (_ease(history, int(ends[0]), config.season) or np.nan))
        present.append(history.present[ahead])
        yield Progress("forecasting", k + 1, len(series), "series")
    there = np.concatenate(present)
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    scaled = joined["scaled"][there]
    rules = ["last", *(["seasonal"] if config.season > 1 else [])]
    notes = []
    if series.sha256 == model.info.sha256:
        notes.append("the model was trained on this very file: its forecasts are of values that it may have seen")
    return {
        "series": len(series),
        "origins": origins,
        "horizon": config.horizon,
        "season": config.season,
        "count": int(there.sum()),
        **_errors(joined["model"][there]),
        "mase": float(scaled.mean()) if len(scaled) and np.isfinite(scaled).all() else None,
        "pinball": float(joined["pinball"][there].mean()) if there.any() else None,
        "coverage": float(joined["inside"][there].mean()) if there.any() else None,
        "nominal": float(round(levels[-1] - levels[0], 12)),
        "rules": {name: _errors(joined[name][there]) for name in rules},
        "by_step": {
            name: [_errors(joined[name][:, step][there[:, step]])["mae"] for step in range(config.horizon)]
            for name in ("model", *rules)
        },
        "notes": notes,
    }


def _check_origins(series: Series, histories: Sequence[History], origins: int, config: ForecastConfig) -> None:
    """Raise UserError where the shortest of the series has fewer origins than are asked for."""
    id, history = min(zip(series.ids, histories, strict=True), key=lambda pair: len(pair[1]))
    check_length(series, id, history, config.lags + config.horizon, config.lags)
    most = len(history) - config.lags - config.horizon + 1
    if origins > most:
        raise UserError(
            f"series {id!r} of {series.path} has {len(history):,} steps from its first value on, too few for "
            f"{number_of(origins, 'origin')}",
            allowed=f"at most {most:,}: the model reads {config.lags:,} values before the first origin, and "
            f"{config.horizon:,} follow the last",
            fix=f"give --origins {most}, or leave the series out",
        )


def _errors(errors: Floats) -> dict[str, float | None]:
    """Return the mean absolute and the root mean squared error; None of no values."""
    if not len(errors):
        return {"mae": None, "rmse": None}
    return {"mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt((errors**2).mean()))}


def _ease(history: History, end: int, season: int) -> float:
    """Return the mean absolute error of the seasonal rule one season ahead in the first `end` values; 0 of none."""
    values, present = history.values[:end], history.present[:end]
    both = present[season:] & present[:-season]
    return float(np.abs(values[season:] - values[:-season])[both].mean()) if both.any() else 0.0

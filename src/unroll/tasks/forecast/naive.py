"""The two rules that a forecaster must beat: the last value, and the value a season before."""

import numpy as np
from numpy.typing import NDArray

from unroll.data.history import Floats


def last_value(known: Floats, horizon: int) -> Floats:
    """Return the forecasts (B, horizon) that nothing changes, after values (B, N)."""
    return np.repeat(known[:, -1:], horizon, axis=1)


def seasonal(known: Floats, horizon: int, season: int) -> Floats:
    """Return the forecasts (B, horizon) that the last season repeats itself, after values (B, N), N at least that."""
    return np.asarray(known[:, -season:][:, np.arange(horizon) % season])


def absolute_errors(forecast: Floats, values: Floats, present: NDArray[np.bool_]) -> Floats:
    """Return the absolute errors (M,) of forecasts (B, horizon) where values (B, horizon) are present."""
    return np.asarray(np.abs(forecast - values)[present])

"""Windows of series: the values that a forecast reads, standardised, and those that follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.history import Floats, History
from unroll.data.ragged import Integers
from unroll.nn.forecast_config import ForecastConfig


class Examples(NamedTuple):
    """Forecasts side by side: what each reads, and what followed."""

    values: Floats
    """(B, known + horizon), in the units of the series, with missing values filled in."""
    present: NDArray[np.bool_]
    """(B, known + horizon) whether each was there."""
    scales: Floats
    """(B, 1) the scale of each series."""
    known: int
    """Number of values that are read."""

    @property
    def levels(self) -> Floats:
        """The last value that is read, (B, 1): standardised values are distances from it, in scales."""
        return self.values[:, self.known - 1 : self.known]

    def standardised(self) -> Floats:
        """Return the values as a network reads them, (B, known + horizon)."""
        return (self.values - self.levels) / self.scales


@dataclass(frozen=True)
class Windows:
    """All windows of one size in a part of each series: series k has `counts[k]`, the first at `starts[k]`."""

    values: Floats
    """(N,) of all series, one after the other, with missing values filled in."""
    present: NDArray[np.bool_]
    """(N,) whether each was there."""
    starts: Integers
    """(S,)"""
    counts: Integers
    """(S,)"""
    scales: Floats
    """(S,)"""
    known: int
    horizon: int

    @cached_property
    def ends(self) -> Integers:
        """The number of windows up to each series, (S,)."""
        return np.cumsum(self.counts)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def select(self, numbers: Integers) -> Examples:
        """Return some of the windows, by their numbers."""
        series = np.searchsorted(self.ends, numbers, side="right")
        first = self.starts[series] + numbers - (self.ends - self.counts)[series]
        places = first[:, None] + np.arange(self.known + self.horizon)
        return Examples(self.values[places], self.present[places], self.scales[series, None], self.known)

    def spread(self, most: int) -> Examples:
        """Return all windows or, of more than `most`, so many at equal distances."""
        return self.select(np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(np.int64)))


def parts_of(histories: Sequence[History], kept: Sequence[int], config: ForecastConfig) -> tuple[Windows, Windows]:
    """Return the windows for training, in the first `kept` steps of each series, and those whose forecast lies behind.

    Each series is divided by the scale of the part that is kept.
    """
    lengths = np.array([len(history) for history in histories], np.int64)
    first = np.cumsum(lengths) - lengths
    ends = np.array(kept, np.int64)
    shared: dict[str, Any] = {
        "values": np.concatenate([history.values for history in histories]),
        "present": np.concatenate([history.present for history in histories]),
        "scales": np.array([h.scale(config.season, end) for h, end in zip(histories, kept, strict=True)]),
        "known": config.reach,
        "horizon": config.horizon,
    }
    train = Windows(starts=first, counts=ends - config.reach - config.horizon + 1, **shared)
    valid = Windows(starts=first + ends - config.reach, counts=lengths - ends - config.horizon + 1, **shared)
    return train, valid

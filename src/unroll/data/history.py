"""A series of numbers as a forecaster reads it: filled, scaled by its own past; and the season of several."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LONGEST_SEASON = 400
"""Steps of a season that is looked for: a year of days, and a little more."""
LEAST_RISE = 0.3
"""How much a peak of the autocorrelation rises above what comes before it where a season is assumed."""
DEVIATIONS = 3.0
"""The least autocorrelation at a peak, in standard deviations of what noise gives."""
NEARLY = 0.9
"""Part of the highest peak that the first one must reach: multiples of a season correlate as well."""
MOST_SERIES = 200
"""Series by which a season is estimated."""


@dataclass(frozen=True)
class History:
    """The values of a series from its first one on."""

    values: Floats
    """(N,), where a missing one is the last before it."""
    present: NDArray[np.bool_]
    """(N,) whether each value was there."""

    @classmethod
    def of(cls, values: Floats) -> "History":
        """Return a series of values (N,), NaN where one is missing; those missing before the first one are no steps."""
        present = ~np.isnan(values)
        first = int(present.argmax()) if present.any() else len(values)
        present = present[first:]
        latest = np.maximum.accumulate(np.where(present, np.arange(len(present)), 0))
        return cls(np.asarray(values[first:][latest], np.float64), present)

    def __len__(self) -> int:
        return len(self.values)

    def until(self, end: int) -> "History":
        """Return the first `end` steps."""
        return History(self.values[:end], self.present[:end])

    def scale(self, season: int, end: int | None = None) -> float:
        """Return the standard deviation of the values up to `end` about the mean of the season that ends with each.

        Of a constant series it is 1: the scale changes nothing there.
        """
        values = self.values[:end]
        sums = np.cumsum(np.concatenate([np.zeros(1), values - values[:1]]))
        means = (sums[season:] - sums[:-season]) / season + values[0]
        distances = values[season - 1 :] - (means if season > 1 else np.concatenate([values[:1], values[:-1]]))
        scale = float(np.sqrt(np.mean(distances**2))) if len(distances) else 0.0
        return scale if scale > 1e-12 * float(np.abs(values).max(initial=0.0)) else 1.0


def season_of(histories: Sequence[History]) -> int:
    """Return the season of series, in steps: the first of the highest peaks of their autocorrelation, or 1.

    Each is taken less a parabola over time, its trend. A season lies between 2 and a third of a series, at most 400.
    """
    total, steps = np.zeros(LONGEST_SEASON + 2), np.zeros(LONGEST_SEASON + 2, np.int64)
    for history in histories[:MOST_SERIES]:
        longest = min(LONGEST_SEASON + 1, len(history) // 3 + 1)
        if longest < 3:
            continue
        time = np.linspace(-1, 1, len(history))
        values = (history.values - history.values.mean()) / history.scale(1)
        values = values - np.polyval(np.polyfit(time, values, 2), time)
        power = float((values**2).sum())
        for lag in range(1, longest + 1) if power else ():
            total[lag] += len(values) * (values[lag:] * values[:-lag]).sum() / power
            steps[lag] += len(values)
    correlations = np.where(steps > 0, total / np.maximum(1, steps), -1.0)
    rises = correlations - np.minimum.accumulate(np.where(steps > 0, correlations, 1.0))
    inner = correlations[2:-1]
    peaks = (inner >= correlations[1:-2]) & (inner >= correlations[3:]) & (rises[2:-1] >= LEAST_RISE)
    peaks &= inner >= DEVIATIONS / np.sqrt(np.maximum(1, steps[2:-1]))
    highest = float(inner[peaks].max(initial=0.0))
    return int(np.argmax(peaks & (inner >= NEARLY * highest))) + 2 if peaks.any() else 1

"""How certain a share is: Wilson's interval."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.integer]
Floats = NDArray[np.float64]

Z95 = 1.959963984540054
"""The normal distribution lies within so many standard deviations with a probability of 95 %."""


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Return part / whole (K,), nan where there is no whole."""
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0))


def listed(values: Floats) -> list[float | None]:
    """Return numbers for JSON: None in place of nan."""
    return [None if np.isnan(value) else float(value) for value in values]


def number(value: float) -> float | None:
    """Return a number for JSON: None in place of inf and nan."""
    return float(value) if math.isfinite(value) else None


def wilson(hits: Counts, total: Counts) -> tuple[Floats, Floats]:
    """Return the 95 % intervals (K,), (K,) of the shares `hits` of `total` (Wilson 1927), nan where there are none."""
    share, n = ratio(hits, total), np.maximum(total, 1)
    middle = share + Z95**2 / (2 * n)
    half = Z95 * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n.astype(np.float64) ** 2))
    scale = 1 + Z95**2 / n
    # Rounding must not leave the share outside.
    return np.maximum(0.0, np.minimum((middle - half) / scale, share)), np.minimum(
        1.0, np.maximum((middle + half) / scale, share)
    )

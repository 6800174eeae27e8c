"""Vectors as a network reads them: standardised, and with what is missing filled in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Vectors

FARTHEST = 1000.0
"""Standard deviations from the mean beyond which a value is read as one that lies so far."""


@dataclass(frozen=True)
class Scaling:
    """The mean and standard deviation of each channel over the training part."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]
    """0 of a channel that is constant: it is read as 0, whatever its value."""

    @classmethod
    def of(cls, rows: Vectors) -> "Scaling":
        """Measure the channels of `rows`; one without any value has mean and deviation 0."""
        values = np.asarray(rows.values, np.float64)
        present = ~np.isnan(values)
        counts = np.maximum(present.sum(axis=0), 1)
        means = np.where(present, values, 0.0).sum(axis=0) / counts
        squares = np.where(present, values - means, 0.0) ** 2
        deviations = np.sqrt(squares.sum(axis=0) / counts)
        # What rounding leaves of equal values is no deviation.
        deviations[deviations <= 1e-12 * np.abs(means)] = 0.0
        return cls(tuple(means.tolist()), tuple(deviations.tolist()))

    def standardised(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return values (N, C) less the mean, in standard deviations; those missing stay so."""
        deviations = np.array(self.deviations)
        scaled = (values - np.array(self.means)) / np.where(deviations > 0, deviations, np.inf)
        return np.asarray(np.clip(scaled, -FARTHEST, FARTHEST), np.float64)

    def read(self, rows: Vectors, *, marks: bool) -> Vectors:
        """Return the rows as a network reads them, in float32: C channels or, with `marks`, 2C.

        A missing value is the last one of its channel in the sequence or, where none came before, the mean, 0. A mark
        is 1 where the value was missing, else 0.
        """
        values = self.standardised(rows.values)
        missing = np.isnan(values)
        if missing.any():
            place = np.arange(len(values))[:, None]
            latest = np.maximum.accumulate(np.where(missing, -1, place), axis=0)
            first = np.repeat(rows.starts, rows.lengths)[:, None]
            values = np.where(latest >= first, np.take_along_axis(values, np.maximum(latest, 0), axis=0), 0.0)
        parts = [values, missing] if marks else [values]
        return Vectors(np.concatenate(parts, axis=1).astype(np.float32), rows.ends)

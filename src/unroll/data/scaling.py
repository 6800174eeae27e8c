"""Vectors as a network reads them: standardised, and with what is missing filled in."""

from dataclasses import dataclass
from functools import cached_property

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

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The means (C,), and what a distance from them is multiplied by (C,)."""
        deviations = np.array(self.deviations)
        return np.array(self.means), np.where(deviations > 0, 1 / np.where(deviations > 0, deviations, 1.0), 0.0)

    def standardised(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return values (N, C) less the mean, in standard deviations; those missing stay so."""
        return np.asarray(np.clip(self._scaled(values), -FARTHEST, FARTHEST), np.float64)

    def _scaled(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        means, factors = self._arrays
        scaled: NDArray[np.float64] = (values - means) * factors
        return scaled

    def read(self, rows: Vectors, *, marks: bool) -> Vectors:
        """Return the rows as a network reads them, in float32: C channels or, with `marks`, 2C.

        A missing value is the last one of its channel in the sequence or, where none came before, the mean, 0. A mark
        is 1 where the value was missing, else 0.
        """
        values = self._scaled(rows.values)
        if np.abs(values).max(initial=0.0) <= FARTHEST:  # neither missing nor far: most sequences, and quickly
            parts = [values, np.zeros_like(values)] if marks else [values]
        else:
            values = self.standardised(rows.values)
            missing = np.isnan(values)
            place = np.arange(len(values))[:, None]
            latest = np.maximum.accumulate(np.where(missing, -1, place), axis=0)
            first = np.repeat(rows.starts, rows.lengths)[:, None]
            values = np.where(latest >= first, np.take_along_axis(values, np.maximum(latest, 0), axis=0), 0.0)
            parts = [values, missing] if marks else [values]
        return Vectors((parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)).astype(np.float32), rows.ends)

"""How well each label is predicted, and all together: precision, recall, F1, confusion."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.integer]


@dataclass(frozen=True)
class Counts:
    """How often each of K labels was rightly predicted, predicted, and true (K,)."""

    right: Numbers
    predicted: Numbers
    true: Numbers

    @cached_property
    def precision(self) -> Floats:
        """Share of what was predicted that is right (K,); 0 where nothing was."""
        return share(self.right, self.predicted)

    @cached_property
    def recall(self) -> Floats:
        """Share of what is true that was predicted (K,); 0 where nothing is."""
        return share(self.right, self.true)

    @cached_property
    def f1(self) -> Floats:
        """Harmonic mean of both (K,)."""
        return share(2 * self.right, self.predicted + self.true)

    @property
    def macro(self) -> dict[str, float | None]:
        """Means over the labels that occur; None where none does."""
        occurs = self.true > 0
        values = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {name: float(value[occurs].mean()) if occurs.any() else None for name, value in values.items()}

    @property
    def micro(self) -> dict[str, Any]:
        """Precision, recall and F1 of all decisions together, and the count of what is true."""
        together = Counts(*(counts.sum(keepdims=True) for counts in (self.right, self.predicted, self.true)))
        return together.by_label(["all"])["all"]

    def by_label(self, labels: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return precision, recall, F1 and count of each label by its name."""
        rows = zip(labels, self.precision, self.recall, self.f1, self.true, strict=True)
        return {
            label: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "count": int(count)}
            for label, precision, recall, f1, count in rows
        }


def share(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Return part / whole, 0 where there is no whole."""
    return np.asarray(part / np.maximum(whole, 1), np.float64)


def confusion(true: Numbers, predicted: Numbers, labels: int) -> NDArray[np.int64]:
    """Return how often each true label (rows) was predicted as each one (columns), (K, K)."""
    return np.bincount(true * labels + predicted, minlength=labels * labels).reshape(labels, labels)

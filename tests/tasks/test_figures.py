"""Figures of labels: shares without a whole, means over what occurs, and all decisions together."""

import numpy as np
import pytest

from unroll.tasks.figures import Counts, confusion, share


def test_counts() -> None:
    counts = Counts(np.array([2, 0, 0]), np.array([4, 1, 0]), np.array([2, 3, 0]))
    assert counts.by_label("abc") == {
        "a": {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "count": 2},
        "b": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "count": 3},
        "c": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "count": 0},
    }
    assert counts.macro == {"precision": 0.25, "recall": 0.5, "f1": pytest.approx(1 / 3)}, "over a and b"
    assert counts.micro == {"precision": 0.4, "recall": 0.4, "f1": pytest.approx(0.4), "count": 5}


def test_without_anything_a_mean_is_none() -> None:
    nothing = Counts(*[np.zeros(2, int)] * 3)
    assert set(nothing.macro.values()) == {None} and nothing.micro["f1"] == 0


def test_confusion_has_a_row_for_each_true_label() -> None:
    assert confusion(np.array([0, 0, 2]), np.array([1, 0, 1]), 3).tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert share(np.array([1, 0]), np.array([2, 0])).tolist() == [0.5, 0]

"""Sequences and their parts: those held out depend on values alone, and what cannot be learnt from is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unroll.data.ragged import Vectors
from unroll.data.series import Series, series_parts
from unroll.errors import UserError


def sequences(lengths: list[int], task: Any = "classify", targets: Any = None, seed: int = 0) -> Series:
    values = np.random.default_rng(seed).normal(size=(sum(lengths), 2))
    count = len(lengths)
    rows = Vectors(values, np.cumsum(lengths, dtype=np.int64))
    series = Series(Path("a.csv"), rows, ("x", "y"), tuple(map(str, range(count))), np.arange(count))
    return series.with_targets(task, [("a", "b")[k % 2] for k in range(count)] if targets is None else targets)


@given(st.lists(st.integers(1, 5), min_size=30, max_size=60), st.data())
def test_which_sequences_are_held_out_does_not_depend_on_their_order(lengths: list[int], data: st.DataObject) -> None:
    series = sequences(lengths)
    order = np.array(data.draw(st.permutations(range(len(lengths)))))
    parts, again = series_parts(series), series_parts(series.select(order))
    assert {*parts.valid.ids} == {*again.valid.ids}
    assert {*parts.train.ids} | {*parts.valid.ids} == {*series.ids}
    assert len(parts.train) + len(parts.valid) == len(series)


def test_a_sequence_that_is_repeated_is_in_one_part() -> None:
    series = sequences([3] * 100)
    twice = series.select(np.repeat(np.arange(100), 2))
    parts = series_parts(twice)
    assert not {*parts.train.ids} & {*parts.valid.ids}
    assert any("100 sequences" in remark for remark in parts.remarks)


def test_selected_sequences_keep_their_times_targets_and_lines() -> None:
    series = sequences([2, 1, 3], "regress", [1.0, 2.0, 3.0]).at(np.arange(6.0))
    some = series.select(np.array([2, 0]))
    assert some.numbers.tolist() == [3.0, 1.0] and some.ids == ("2", "0") and some.lines.tolist() == [2, 0]
    assert some.times is not None and some.times.tolist() == [3.0, 4.0, 5.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("task", "targets", "part"),
    [("classify", ["a"] * 40, "the same label: 'a'"), ("regress", [2.0] * 40, "for training have the same target: 2")],
)
def test_targets_that_never_differ_are_refused(task: Any, targets: Any, part: str) -> None:
    with pytest.raises(UserError, match=part):
        series_parts(sequences([2] * 40, task, targets))


def test_targets_that_differ_in_those_held_out_alone_are_refused() -> None:
    held_out = series_parts(sequences([2] * 40, "regress", np.arange(40.0))).valid.numbers
    with pytest.raises(UserError, match="for training have the same target: 0"):
        series_parts(sequences([2] * 40, "regress", np.isin(np.arange(40), held_out).astype(float)))


def test_a_label_of_validation_that_training_lacks_is_refused_and_shared_sequences_are_counted() -> None:
    train, valid = sequences([2] * 40), sequences([2] * 3, targets=["a", "b", "c"], seed=1)
    with pytest.raises(UserError, match=r"line 2 of a\.csv has the label 'c'"):
        series_parts(train, valid)
    assert "3 sequences of a.csv also in" in series_parts(train, train.select(np.arange(3))).remarks[0]


def test_constant_channels_and_missing_values_are_remarked() -> None:
    series = sequences([2] * 40)
    series.rows.values[:, 1] = 7.0
    series.rows.values[3, 1] = np.nan
    remarks = series_parts(series).remarks
    assert remarks[0] == "1 channel of a.csv constant, and read as 0: y"
    assert remarks[1].startswith("1 value of a.csv missing (0.6 %)")

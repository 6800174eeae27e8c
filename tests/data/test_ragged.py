"""Rows of different length keep what is in them; an epoch has every row once, in batches of little padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unroll.data.ragged import Ragged, buckets

tables = st.lists(st.lists(st.integers(0, 255), max_size=6), max_size=8)


def listed(rows: Ragged) -> list[list[int]]:
    return [rows[k].tolist() for k in range(len(rows))]


@given(tables, st.data())
def test_rows_are_what_they_were(table: list[list[int]], data: st.DataObject) -> None:
    rows = Ragged.of(table, np.uint8)
    assert listed(rows) == table and rows.values.dtype == np.uint8
    assert rows.lengths.tolist() == [len(row) for row in table]
    numbers = data.draw(st.lists(st.sampled_from(range(len(table))), max_size=9) if table else st.just([]))
    assert listed(rows.select(np.array(numbers, np.int64))) == [table[k] for k in numbers]
    mask = np.array([len(row) % 2 == 1 for row in table], np.bool_)
    assert listed(rows.select(mask)) == [row for row in table if len(row) % 2]


@given(tables)
def test_what_pads_a_row_is_zero(table: list[list[int]]) -> None:
    ids, lengths = Ragged.of(table, np.uint8).padded()
    width = max(map(len, table), default=0)
    assert ids.tolist() == [row + [0] * (width - len(row)) for row in table] and ids.shape == (len(table), width)
    assert lengths.tolist() == [len(row) for row in table]


def test_some_rows_are_padded_to_the_longest_of_them() -> None:
    ids, lengths = Ragged.of([[1, 2, 3], [4], [5, 6]]).padded([2, 1])
    assert ids.tolist() == [[5, 6], [4, 0]] and lengths.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("values", "ends"),
    [([1, 2], [1]), ([1, 2], [2, 1, 2]), ([1, 2], [-1, 2]), ([1], []), ([1.0], [1]), ([[1]], [1]), ([1, 2], [3])],
)
def test_rows_that_do_not_add_up_are_refused(values: list[int], ends: list[int]) -> None:
    with pytest.raises(ValueError, match=r"values|ends"):
        Ragged(np.array(values), np.array(ends, np.int64))


def test_a_number_too_large_for_its_type_is_refused() -> None:
    with pytest.raises(OverflowError):
        Ragged.of([[1, 256]], np.uint8)


lengths = st.lists(st.integers(0, 5000), max_size=200)


@given(lengths, st.integers(1, 40), st.integers(0, 3), st.integers(1, 10_000))
def test_an_epoch_has_every_row_once(lengths: list[int], batch_size: int, epoch: int, units: int) -> None:
    batches = buckets(np.array(lengths, np.int64), batch_size, seed=1, epoch=epoch, units=units)
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert 0 < len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= units
    other = buckets(np.array(lengths, np.int64), batch_size, seed=1, epoch=epoch + 1, units=units)
    assert sorted(map(len, batches)) == sorted(map(len, other)), "epochs have the same batches but for who is in them"


def questions(count: int = 5000) -> NDArray[np.int64]:
    """Return lengths such as those of the questions of TREC."""
    return np.random.default_rng(0).poisson(9, count) + 2


def test_batches_are_mixed_anew_in_each_epoch_and_the_same_again_for_the_same_seed() -> None:
    def epoch(seed: int, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in buckets(questions(), 32, seed=seed, epoch=epoch)]

    first = epoch(1, 0)
    assert first == epoch(1, 0)
    for other in (epoch(1, 1), epoch(2, 0)):
        same = {frozenset(batch) for batch in first} & {frozenset(batch) for batch in other}
        assert len(same) < 5, "only the shortest and the longest rows meet again"
    means = [questions()[batch].mean() for batch in first]
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.2, "lengths come in a random order"


@pytest.mark.parametrize("scale", [1, 40])
def test_little_is_padding(scale: int) -> None:
    sizes = questions() * scale
    padded = sum(len(batch) * sizes[batch].max() for batch in buckets(sizes, 32, seed=0, epoch=0))
    assert 1 - sizes.sum() / padded < 0.05


def test_a_text_of_a_million_symbols_is_a_batch_by_itself() -> None:
    batches = buckets(np.array([5] * 40 + [10**6]), 32, seed=0, epoch=0)
    assert sorted(map(len, batches)) == [1, 8, 32]

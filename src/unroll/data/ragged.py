"""Rows of ids or of vectors of different length in one array, and batches of rows of similar length."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer]

GRAIN = 16
"""Lengths are sorted in steps of this part of the power of two below them, so exactly up to twice as much."""


N = TypeVar("N", bound=np.number[Any])


@dataclass(frozen=True)
class Rows(Generic[N]):
    """Rows of different length, one after the other: row k is `values[ends[k - 1] : ends[k]]`."""

    values: NDArray[N]
    """Those of all rows, the first axis along the steps."""
    ends: NDArray[np.int64]
    """Where each row ends (rows,)."""

    kinds: ClassVar[str]
    """The kinds of numbers that values may be, as numpy's letters."""
    axes: ClassVar[int]
    name: ClassVar[str]

    def __post_init__(self) -> None:
        if self.values.ndim != self.axes or self.ends.ndim != 1 or self.values.dtype.kind not in self.kinds:
            raise ValueError(f"the values or the ends are no row of {self.name}")
        if len(self.ends) == 1 and self.ends.dtype == np.int64 and self.ends[0] == len(self.values):
            return  # quickly: single rows are read one at a time
        if self.ends.dtype != np.int64 or (self.ends[:1] < 0).any() or (self.ends[1:] < self.ends[:-1]).any():
            raise ValueError("the ends do not rise")
        if (self.ends[-1] if len(self.ends) else 0) != len(self.values):
            raise ValueError("the last row does not end with the values")

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> NDArray[N]:
        """Return the values of a row."""
        return self.values[self.starts[row] : self.ends[row]]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The number of steps of each row (rows,)."""
        lengths = self.ends.copy()
        lengths[1:] -= self.ends[:-1]
        return lengths

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each row starts (rows,)."""
        return self.ends - self.lengths

    def select(self, rows: Sequence[int] | Integers | NDArray[np.bool_]) -> Self:
        """Return the rows with these numbers, in their order, or those of a mask."""
        lengths, starts = self.lengths[rows], self.starts[rows]
        return self._of_spans(starts, lengths)

    def padded(self, rows: Sequence[int] | Integers | None = None) -> tuple[NDArray[N], NDArray[np.int64]]:
        """Return some rows, or all, as values (B, T, …) with zeros behind each row's end, and their lengths (B,)."""
        batch = self if rows is None else self.select(rows)
        shape = (len(batch), batch.lengths.max(initial=0), *self.values.shape[1:])
        values = np.zeros(shape, self.values.dtype)
        values[np.arange(shape[1]) < batch.lengths[:, None]] = batch.values
        return values, batch.lengths

    def _of_spans(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Self:
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
        return type(self)(self.values[places], ends)


class Ragged(Rows[np.integer[Any]]):
    """Rows of ids (N,)."""

    kinds, axes, name = "iu", 1, "integers"

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | Integers], dtype: Any = np.int64) -> "Ragged":
        """Return the rows as one array; raises OverflowError for an id that its `dtype` does not hold."""
        arrays = [np.asarray(row, np.int64) for row in rows]
        values = arrays[0] if len(arrays) == 1 else np.concatenate([np.zeros(0, np.int64), *arrays])
        limits = np.iinfo(dtype)
        if len(values) and not limits.min <= values.min() <= values.max() <= limits.max:
            raise OverflowError(f"{dtype} does not hold all ids from {values.min()} to {values.max()}")
        return cls(values.astype(dtype), np.cumsum([len(array) for array in arrays], dtype=np.int64))


class Vectors(Rows[np.floating[Any]]):
    """Rows of vectors (N, C)."""

    kinds, axes, name = "f", 2, "vectors"


AnyRows = Ragged | Vectors


UNITS = 2**16
"""The most ids of a batch, with its padding."""


def buckets(
    lengths: Integers, batch_size: int, *, seed: int, epoch: int, units: int = UNITS
) -> list[NDArray[np.int64]]:
    """Return the batches of an epoch: the numbers of rows of similar length, each row once, in a random order.

    They are as large as those of `side_by_side`. Rows of the same rounded length meet at random, anew in each epoch;
    the number of batches is the same in all.
    """
    rng = np.random.default_rng([seed, epoch])
    rounded = _rounded(np.asarray(lengths, np.int64))
    batches = side_by_side(rounded, np.lexsort((rng.random(len(rounded)), rounded)), batch_size, units)
    return [batches[k] for k in rng.permutation(len(batches))]


@dataclass(frozen=True)
class Epochs:
    """The batches of a training, one after the other: every row once in each epoch, as `buckets` has them."""

    lengths: Integers
    batch_size: int
    seed: int
    units: int = UNITS
    """The most ids of a batch, with its padding."""

    def of(self, number: int) -> list[NDArray[np.int64]]:
        """Return the batches of an epoch, as numbers of rows; all epochs have equally many."""
        return buckets(self.lengths, self.batch_size, seed=self.seed, epoch=number, units=self.units)

    @cached_property
    def size(self) -> int:
        """Number of batches of an epoch."""
        return len(self.of(0))

    @cached_property
    def _current(self) -> dict[int, list[NDArray[np.int64]]]:
        return {}

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the rows of the batch that a step reads, a function of the step alone."""
        epoch, place = divmod(step, self.size)
        if epoch not in self._current:
            self._current.clear()
            self._current[epoch] = self.of(epoch)
        return self._current[epoch][place]


def side_by_side(
    lengths: NDArray[np.int64], order: NDArray[np.int64], batch_size: int, units: int = UNITS
) -> list[NDArray[np.int64]]:
    """Return rows in batches, in an order in which their lengths rise.

    A batch has at most `batch_size` rows, and at most `units` ids with its padding; a longer row is a batch by itself.
    """
    batches, start = [], 0
    for end, length in enumerate(lengths[order].tolist(), 1):
        if end - start > batch_size or (end - start) * length > units:
            batches.append(order[start : end - 1])
            start = end - 1
    return [batch for batch in (*batches, order[start:]) if len(batch)]


def _rounded(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return lengths rounded up to one of GRAIN steps between two powers of two."""
    step = np.maximum(1, 2 ** np.floor(np.log2(np.maximum(lengths, 1))).astype(np.int64) // GRAIN)
    return -(-lengths // step) * step

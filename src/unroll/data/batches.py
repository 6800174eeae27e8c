"""Ids as windows: rows that read the corpus as a ring while training, and the protocols of evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.errors import UserError

Ids = NDArray[np.integer]
Window = NDArray[np.int64]


class Batch(NamedTuple):
    """One window of every row."""

    inputs: Window  # (B, T) the symbol before each target
    targets: Window  # (B, T)
    resets: NDArray[np.bool_] | None  # (B, T) true where the state must be fresh before the step; None: nowhere

    @property
    def tokens(self) -> int:
        """Number of targets."""
        return self.targets.size

    def arrays(self) -> dict[str, NDArray[Any] | None]:
        """Return the arguments of a model's `loss`, by name."""
        return {"ids": self.inputs, "targets": self.targets, "resets": self.resets}


@dataclass(frozen=True)
class Streams:
    """A corpus as `batch_size` rows, evenly spaced around the ring of its ids, that all move forward together.

    With `documents`, the sorted starts of the texts in it, each text begins with the start symbol and a fresh state.
    """

    ids: Ids
    batch_size: int
    start_id: int
    documents: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if len(self.ids) < self.batch_size:
            raise UserError(
                f"the training part has {len(self.ids):,} symbols for {self.batch_size:,} rows",
                allowed="at least one symbol for each row",
                fix="train on more text, or set a smaller batch_size",
            )

    def batch(self, position: int, seq_len: int) -> Batch:
        """Return the window of T = `seq_len` symbols that follows `position` symbols already read in each row.

        Target j of row b is `ids[(b * (N // B) + position + j) % N]`: a pure function, so one integer resumes it.
        """
        total = len(self.ids)
        rows = np.arange(self.batch_size)[:, None] * (total // self.batch_size)
        places = (rows + position % total + np.arange(-1, seq_len)) % total
        symbols = self.ids[places].astype(np.int64)
        inputs, targets, places = symbols[:, :-1].copy(), symbols[:, 1:].copy(), places[:, 1:]
        inputs[places == 0] = self.start_id
        if self.documents is None:
            return Batch(inputs, targets, None)
        resets = self.documents[np.searchsorted(self.documents, places, side="right") - 1] == places
        inputs[resets] = self.start_id
        return Batch(inputs, targets, resets if resets.any() else None)


def stream_windows(ids: Ids, start_id: int, window: int) -> Iterator[tuple[Window, Window]]:
    """Yield inputs and targets (1, T): every symbol once and in order, after the start symbol."""
    return _windows(ids[None], np.array([start_id]), window)


def rows(ids: Ids, start_id: int, num_rows: int, window: int) -> Iterator[Iterator[tuple[Window, Window]]]:
    """Yield streams of windows (B, T), each from a fresh state, that together hold every symbol once.

    The first is `num_rows` rows of equal length side by side, the second the few symbols that remain, if any.
    """
    length = len(ids) // num_rows
    even = length * num_rows
    if length:
        block = ids[:even].reshape(num_rows, length)
        yield _windows(block, np.array([start_id, *block[:-1, -1]]), window)
    if even < len(ids):
        yield _windows(ids[None, even:], np.array([ids[even - 1] if even else start_id]), window)


def crops(ids: Ids, size: int = 256, batch_size: int = 64) -> Iterator[tuple[Window, Window]]:
    """Yield inputs and targets (up to `batch_size`, `size`) of nanoGPT's protocol, where each crop has a fresh state.

    A crop is `ids[i : i + size]` with the targets `ids[i + 1 : i + size + 1]`; crops follow one another, and what is
    left at the end is too short for one.
    """
    count = (len(ids) - 1) // size
    inputs = ids[: count * size].reshape(count, size)
    targets = ids[1 : count * size + 1].reshape(count, size)
    for first in range(0, count, batch_size):
        yield inputs[first : first + batch_size].astype(np.int64), targets[first : first + batch_size].astype(np.int64)


def _windows(block: Ids, before: NDArray[np.integer], window: int) -> Iterator[tuple[Window, Window]]:
    """Yield the windows of the rows of `block` (B, N), given the symbol `before` each row."""
    for first in range(0, block.shape[1], window):
        targets = block[:, first : first + window].astype(np.int64)
        yield np.concatenate([before[:, None], targets[:, :-1]], axis=1, dtype=np.int64), targets
        before = targets[:, -1]

"""How much of a validation or test text stands in the training text, so that nobody takes memory for success.

Compared are the different lines of the texts, by their hashes; a long line is cut where its own symbols say so, thus in
the same places wherever it stands. Lines come again in every text: braces in code, first names in lists, rows in tables
of a few kinds. What is usual in a text is measured on the training text itself: how many of the lines of its end, as
long as the other text, stand in the rest of it.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer]
Hashes = NDArray[np.uint64]

SAMPLE = 2**16
"""Lines of each text that are looked for: those of the smallest hashes, which is a random choice."""
FEWEST = 10
"""Different lines below which a share says nothing."""
WINDOW = 16
"""Symbols that decide whether a line is cut after them,"""
CUT = 256
"""as it is after one in so many."""
BLOCK = 2**18
"""Symbols that are read at a time."""
FACTOR = 0x9E3779B97F4A7C15
"""An odd number that looks random (Knuth 1998, section 6.4)."""
MOST = 0.5
"""The share from which a text is called known, if it is also twice what is usual."""


@dataclass(frozen=True)
class Overlap:
    """How much of a part stands in the training text."""

    name: str
    """Of the file that the part was read from."""
    same_as: str | None = None
    """The name of a training file that is this very file, byte for byte."""
    share: float | None = None
    """Of its different lines, those that stand in the training text; None where they are few."""
    usual: float | None = None
    """The same of the end of the training text, as long as the part, in the rest of it."""

    def __post_init__(self) -> None:
        if not all(share is None or 0 <= share <= 1 for share in (self.share, self.usual)):
            raise ValueError(f"the share is {self.share}, usual {self.usual}")

    def warning(self, part: str) -> str | None:
        """Return what is to be said of the figures of a part: valid or test; None where nothing is."""
        figures = {"valid": "the validation figures", "test": "the test figures"}[part]
        if self.same_as is not None:
            return f"{self.name} is the training file {self.same_as} itself: {figures} are of text that was learnt"
        if self.share is None or self.usual is None or self.share < MOST or self.share < 2 * self.usual:
            return None
        share, usual = (f"{100 * value:.0f} %" for value in (self.share, self.usual))
        return (
            f"{share} of the lines of {self.name} stand in the training text ({usual} would be usual in this text): "
            f"{figures} are mostly of text that was learnt"
        )


def shared(train: Ids, other: Ids, newline_id: int) -> Generator[float, None, tuple[float, float] | None]:
    """Return the share of the different lines of `other` that stand in `train`, and the share that is usual.

    Both are ids of one vocabulary. None where one of the shares would be of fewer than `FEWEST` lines. Memory does not
    grow with the texts. Yields how much of the work is done.
    """
    size = min(len(other), len(train) // 2)
    rest, end = train[: len(train) - size], train[len(train) - size :]
    total = len(other) + size + len(train)
    wanted, usual = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    done = 0
    for hashes, count in _lines(other, newline_id):
        wanted = np.unique(np.concatenate([wanted, hashes]))[:SAMPLE]
        yield (done := done + count) / total
    for hashes, count in _lines(end, newline_id):
        usual = np.unique(np.concatenate([usual, hashes]))[:SAMPLE]
        yield (done := done + count) / total
    if min(len(wanted), len(usual)) < FEWEST:
        return None
    wanted_stands, usual_stands = np.zeros(len(wanted), np.bool_), np.zeros(len(usual), np.bool_)
    for part in (rest, end):
        for hashes, count in _lines(part, newline_id):
            _mark(wanted, wanted_stands, hashes)
            if part is rest:
                _mark(usual, usual_stands, hashes)
            yield (done := done + count) / total
    return float(wanted_stands.mean()), float(usual_stands.mean())


def _mark(wanted: Hashes, stands: NDArray[np.bool_], hashes: Hashes) -> None:
    """Note which of the `wanted` (sorted) are among the hashes."""
    places = np.searchsorted(wanted, hashes)
    places[places == len(wanted)] = 0
    stands[places[wanted[places] == hashes]] = True


def _lines(ids: Ids, newline_id: int) -> Iterator[tuple[Hashes, int]]:
    """Yield the hashes of the lines of a text, long ones in pieces, some at a time, with the symbols read for them.

    The hash of s_0 … s_n is the sum of m(s_i) r^i modulo 2^64, mixed, where m gives each symbol a random number.
    """
    powers = _powers(FACTOR)
    inverse = _powers(pow(FACTOR, -1, 2**64))
    held = ids[:0]
    for first in range(0, len(ids), BLOCK):
        block = np.concatenate([held, ids[first : first + BLOCK]])
        last = first + BLOCK >= len(ids)
        sums = np.zeros(len(block) + 1, np.uint64)
        np.cumsum(_mixed(block.astype(np.uint64) + np.uint64(1)) * powers[: len(block)], out=sums[1:])
        ends = block == newline_id
        lines = np.cumsum(ends)  # where the window lies in one line, it began before as many ends as stand before it
        window = _mixed((sums[WINDOW:] - sums[:-WINDOW]) * inverse[: max(0, len(sums) - WINDOW)])
        ends[WINDOW:] |= (window[1:] % np.uint64(CUT) == 0) & (lines[WINDOW:] == lines[:-WINDOW])
        if last or not ends.any():
            ends[-1] = True
        edges = np.append(0, np.flatnonzero(ends) + 1)
        yield _mixed((sums[edges[1:]] - sums[edges[:-1]]) * inverse[edges[:-1]]), min(BLOCK, len(ids) - first)
        held = block[edges[-1] :]


def _powers(base: int) -> Hashes:
    """Return the powers of a number modulo 2^64, as many as symbols can be at hand."""
    found = np.full(2 * BLOCK, base & (2**64 - 1), np.uint64)
    found[0] = 1
    return np.multiply.accumulate(found)


def _mixed(numbers: Hashes) -> Hashes:
    """Return numbers of which every bit depends on all bits of these (Stafford 2011, Mix13)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))

"""How much of a validation or test text occurs in the training text, so that nobody takes memory for success.

The distinct lines of the texts are compared by their hashes; a long line is cut where its own symbols decide, so at the
same places wherever it occurs. Lines repeat in every text: braces in code, first names in lists, rows in tables of few
kinds. The usual share is measured on the training text itself: how many of the lines of its end, as long as the other
text, occur in the rest of it.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer]
Hashes = NDArray[np.uint64]

SAMPLE = 2**16
"""Lines of each text that are looked up: those with the smallest hashes, which is a random choice."""
FEWEST = 10
"""Distinct lines below which a share means nothing."""
WINDOW = 16
"""Symbols that decide whether a line is cut after them."""
CUT = 256
"""A line is cut after one symbol in this many, on average."""
BLOCK = 2**18
"""Symbols read at a time."""
FACTOR = 0x9E3779B97F4A7C15
"""An odd number that looks random (Knuth 1998, section 6.4)."""
MOST = 0.5
"""Share from which a text counts as known, if it is also twice the usual share."""


@dataclass(frozen=True)
class Overlap:
    """How much of a part occurs in the training text."""

    name: str
    """Name of the file that the part was read from."""
    same_as: str | None = None
    """Name of a training file with the same bytes."""
    share: float | None = None
    """Share of its distinct lines that occur in the training text; None where they are few."""
    usual: float | None = None
    """The same for the end of the training text, as long as the part, in the rest of it."""

    def __post_init__(self) -> None:
        if not all(share is None or 0 <= share <= 1 for share in (self.share, self.usual)):
            raise ValueError(f"the share is {self.share}, usual {self.usual}")

    def warning(self, part: str) -> str | None:
        """Return the warning about the figures of a part, valid or test; None where there is none."""
        figures = {"valid": "the validation figures", "test": "the test figures"}[part]
        if self.same_as is not None:
            return f"{self.name} is the training file {self.same_as} itself: {figures} are of text that was learnt"
        if self.share is None or self.usual is None or self.share < MOST or self.share < 2 * self.usual:
            return None
        share, usual = (f"{100 * value:.0f} %" for value in (self.share, self.usual))
        return (
            f"{share} of the lines of {self.name} occur in the training text ({usual} would be usual in this text): "
            f"{figures} are mostly of text that was learnt"
        )


def shared(train: Ids, other: Ids, newline_id: int) -> Generator[float, None, tuple[float, float] | None]:
    """Return the share of the distinct lines of `other` that occur in `train`, and the usual share.

    Both are ids of one vocabulary. None where one of the shares would be of fewer than `FEWEST` lines. Memory does not
    grow with the texts. Yields the share of the work that is done.
    """
    size = min(len(other), len(train) // 2)
    rest, end = train[: len(train) - size], train[len(train) - size :]
    total = len(other) + size + len(train)
    sample, usual = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    done = 0
    for hashes, count in _lines(other, newline_id):
        sample = np.unique(np.concatenate([sample, hashes]))[:SAMPLE]
        yield (done := done + count) / total
    for hashes, count in _lines(end, newline_id):
        usual = np.unique(np.concatenate([usual, hashes]))[:SAMPLE]
        yield (done := done + count) / total
    if min(len(sample), len(usual)) < FEWEST:
        return None
    sample_occurs, usual_occurs = np.zeros(len(sample), np.bool_), np.zeros(len(usual), np.bool_)
    for part in (rest, end):
        for hashes, count in _lines(part, newline_id):
            _mark(sample, sample_occurs, hashes)
            if part is rest:
                _mark(usual, usual_occurs, hashes)
            yield (done := done + count) / total
    return float(sample_occurs.mean()), float(usual_occurs.mean())


def _mark(sample: Hashes, occurs: NDArray[np.bool_], hashes: Hashes) -> None:
    """Record which of the `sample` (sorted) are among the hashes."""
    places = np.searchsorted(sample, hashes)
    places[places == len(sample)] = 0
    occurs[places[sample[places] == hashes]] = True


def _lines(ids: Ids, newline_id: int) -> Iterator[tuple[Hashes, int]]:
    """Yield the hashes of the lines of a text, long ones in pieces, some at a time, with the symbols read for them.

    The hash of s_0 … s_n is the sum of m(s_i) r^i modulo 2^64, mixed, where m gives each symbol a random number.
    """
    powers = _powers(FACTOR)
    inverse = _powers(pow(FACTOR, -1, 2**64))
    rest = ids[:0]
    for first in range(0, len(ids), BLOCK):
        block = np.concatenate([rest, ids[first : first + BLOCK]])
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
        rest = block[edges[-1] :]


def _powers(base: int) -> Hashes:
    """Return the powers of a number modulo 2^64, one for each symbol that can be in memory."""
    factors = np.full(2 * BLOCK, base & (2**64 - 1), np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)


def _mixed(numbers: Hashes) -> Hashes:
    """Return numbers whose every bit depends on all bits of these (Stafford 2011, Mix13)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))

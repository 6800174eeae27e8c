"""How much of a sample is memory: the longest stretch of it that stands in the training text word for word."""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Copy:
    """A run of symbols of a sample that also stands in the training text."""

    start: int
    length: int
    """In symbols."""


def longest_copy(ids: Sequence[int], file: Path, dtype: np.dtype[np.unsignedinteger]) -> Copy:
    """Return the longest run of `ids` that occurs in a file of ids of type `dtype`; the first one of that length.

    One search of the file per symbol: the longest run that ends at a symbol is at most one longer than the longest run
    before it, so all there is to ask is whether a longer one ends here.
    """
    best = Copy(0, 0)
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
        symbols = np.asarray(ids, dtype).tobytes()
        for end in range(1, len(ids) + 1):
            start = end - best.length - 1
            if _occurs(symbols[start * dtype.itemsize : end * dtype.itemsize], text, dtype.itemsize):
                best = Copy(start, best.length + 1)
    return best


def _occurs(symbols: bytes, text: mmap.mmap, width: int) -> bool:
    """Tell whether the bytes occur at a place where a symbol of `width` bytes begins."""
    place = text.find(symbols)
    while place % width and place >= 0:
        place = text.find(symbols, place + 1)
    return place >= 0

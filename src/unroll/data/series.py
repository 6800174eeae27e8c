"""Sequences of vectors with what is to be learnt of them, and their parts for training and validation."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Vectors

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Sequences of a file: vectors in time, and a label or a number for each sequence where one is to be learnt."""

    path: Path
    rows: Vectors
    """The vectors (N, C) of all sequences in float64: finite, or NaN where a value is missing."""
    channels: tuple[str, ...]
    """The names of the C channels."""
    ids: tuple[str, ...]
    """The name of each sequence."""
    lines: NDArray[np.int64]
    """Where each sequence begins: the number of its first line, or of its row where a file has none, from 1."""
    labels: tuple[str, ...] = ()
    """Of each sequence, to be told; empty where nothing of the kind was read."""
    numbers: Floats = field(default_factory=lambda: np.zeros(0))
    """Of each sequence, to be predicted; empty where nothing of the kind was read."""
    times: NDArray[Any] | None = None
    """When each vector was taken (N,), rising within a sequence: float64 or datetime64[us]; None where not given."""
    sha256: str = ""
    """Digest of the file, unpacked, in hexadecimal."""

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Series":
        """Return some of the sequences, by their numbers or a mask."""
        numbers = np.arange(len(self))[rows]
        spans = zip(self.rows.starts[numbers].tolist(), self.rows.ends[numbers].tolist(), strict=True)
        times = self.times
        if times is not None:
            times = np.concatenate([times[:0], *(times[start:end] for start, end in spans)])
        return replace(
            self,
            rows=self.rows.select(numbers),
            ids=tuple(self.ids[k] for k in numbers.tolist()),
            lines=self.lines[numbers],
            labels=tuple(self.labels[k] for k in numbers.tolist()) if self.labels else (),
            numbers=self.numbers[numbers] if len(self.numbers) else self.numbers,
            times=times,
        )

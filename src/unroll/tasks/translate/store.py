"""The pairs of a translator on disk, beside its model: what resuming and measuring need."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.arrays import EXAMPLES, damaged_examples, digest_of, load_arrays, save_arrays
from unroll.artifact.translator import Readers
from unroll.data.parallel import Pairs, ParallelParts
from unroll.data.ragged import Ragged, side_by_side
from unroll.files import Folder


@dataclass(frozen=True)
class Read:
    """Pairs as they are read, without the symbol that ends a target."""

    sources: Ragged
    targets: Ragged
    cut: int = 0
    """Number of units left out behind the most that is read of a text."""

    @classmethod
    def of(cls, pairs: Pairs, readers: Readers) -> "Read":
        """Read pairs."""
        sources, targets = readers.source.read(pairs.sources), readers.target.read(pairs.targets)
        return cls(sources.units, targets.units, sources.cut + targets.cut)

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The longer of both in each pair, the symbol that ends a target included (N,)."""
        return np.maximum(self.sources.lengths, self.targets.lengths + 1)

    def select(self, rows: NDArray[np.int64]) -> "Read":
        """Return some of the pairs, by their numbers."""
        return Read(self.sources.select(rows), self.targets.select(rows))

    def batches(self, batch_size: int, symbols: int) -> Iterator["Read"]:
        """Yield pairs of similar length, at most so many, and as many symbols of one side, the shortest first."""
        lengths = self.lengths
        for rows in side_by_side(lengths, np.argsort(lengths, kind="stable"), batch_size, symbols):
            yield self.select(rows)


@dataclass(frozen=True)
class Stored:
    """Both parts as arrays."""

    train: Read
    valid: Read

    @classmethod
    def of(cls, parts: ParallelParts, readers: Readers) -> "Stored":
        """Read both parts."""
        return cls(Read.of(parts.train, readers), Read.of(parts.valid, readers))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name."""
        named = {}
        for part, pairs in (("train", self.train), ("valid", self.valid)):
            for side, rows in (("sources", pairs.sources), ("targets", pairs.targets)):
                named[f"{part}.{side}.values"] = np.ascontiguousarray(rows.values, np.int64)
                named[f"{part}.{side}.ends"] = rows.ends
        return named

    @property
    def digest(self) -> str:
        """The SHA-256 of all arrays, in hexadecimal."""
        return digest_of(self.arrays())

    def save(self, folder: Folder) -> None:
        """Write them."""
        save_arrays(folder, self.arrays())


def load(path: Path) -> Stored:
    """Read what `save` wrote; raises UserError where it is missing or damaged."""
    arrays = load_arrays(path)
    try:
        rows = {
            (part, side): Ragged(arrays[f"{part}.{side}.values"], arrays[f"{part}.{side}.ends"])
            for part in ("train", "valid")
            for side in ("sources", "targets")
        }
    except (KeyError, ValueError) as error:
        raise damaged_examples(path / EXAMPLES, error) from None
    train, valid = (Read(rows[part, "sources"], rows[part, "targets"]) for part in ("train", "valid"))
    return Stored(train, valid)

"""The sequences of a training on disk, beside its model: what resuming needs, and those held out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.arrays import EXAMPLES, Arrays, damaged_examples, digest_of, load_arrays, save_arrays
from unroll.data.ragged import Vectors
from unroll.data.series import Series, SeriesParts
from unroll.files import Folder

PARTS = ("train", "valid")


@dataclass(frozen=True)
class Taught:
    """Sequences as they were read, with what is to be learnt of them."""

    rows: Vectors
    """As in the file: neither standardised nor filled in."""
    targets: NDArray[Any]
    """The id of the label, or the number, of each sequence (rows,)."""

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, series: Series, labels: tuple[str, ...]) -> "Taught":
        """Return sequences with the ids of their labels, or their numbers."""
        ids = {label: id for id, label in enumerate(labels)}
        return cls(series.rows, np.array([ids[label] for label in series.labels], np.int64) if ids else series.numbers)


@dataclass(frozen=True)
class Stored:
    """Both parts of a training."""

    train: Taught
    valid: Taught

    @classmethod
    def of(cls, parts: SeriesParts, labels: tuple[str, ...]) -> "Stored":
        """Return the parts as they are stored; `labels` are the names of the ids."""
        return cls(Taught.of(parts.train, labels), Taught.of(parts.valid, labels))

    @property
    def arrays(self) -> Arrays:
        """All arrays by name."""
        return {
            f"{name}.{key}": np.ascontiguousarray(array)
            for name, part in zip(PARTS, (self.train, self.valid), strict=True)
            for key, array in (("values", part.rows.values), ("ends", part.rows.ends), ("targets", part.targets))
        }

    @property
    def digest(self) -> str:
        """The SHA-256 of all arrays, in hexadecimal."""
        return digest_of(self.arrays)

    def save(self, folder: Folder) -> None:
        """Write all arrays."""
        save_arrays(folder, self.arrays)


def load(path: Path) -> Stored:
    """Read what `save` wrote; raises UserError where it is missing or damaged."""
    arrays = load_arrays(path)
    try:
        parts = [
            Taught(Vectors(arrays[f"{name}.values"], arrays[f"{name}.ends"]), arrays[f"{name}.targets"])
            for name in PARTS
        ]
    except (KeyError, ValueError) as error:
        raise damaged_examples(path / EXAMPLES, error) from None
    return Stored(*parts)

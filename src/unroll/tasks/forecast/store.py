"""The series of a forecaster on disk, beside its model: what resuming needs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unroll.artifact.arrays import EXAMPLES, Arrays, damaged_examples, digest_of, load_arrays, save_arrays
from unroll.data.history import History
from unroll.data.ragged import Vectors
from unroll.files import Folder
from unroll.tasks.forecast.reading import histories_of


@dataclass(frozen=True)
class Stored:
    """The values of some series."""

    rows: Vectors
    """(N, 1), NaN where one is missing."""

    @property
    def histories(self) -> list[History]:
        """Each series as it is read."""
        return histories_of(self.rows)

    def arrays(self) -> Arrays:
        """Return all arrays by name."""
        return {"values": np.ascontiguousarray(self.rows.values, np.float64), "ends": self.rows.ends}

    @property
    def digest(self) -> str:
        """The SHA-256 of all arrays, in hexadecimal."""
        return digest_of(self.arrays())

    def save(self, folder: Folder) -> None:
        """Write them into a model directory."""
        save_arrays(folder, self.arrays())


def load(path: Path) -> Stored:
    """Read what `save` wrote; raises UserError where it is missing or damaged."""
    arrays = load_arrays(path)
    try:
        return Stored(Vectors(arrays["values"], arrays["ends"]))
    except (KeyError, ValueError) as error:
        raise damaged_examples(path / EXAMPLES, error) from None

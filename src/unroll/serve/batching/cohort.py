"""Rows that are stepped together, and how many steps fit into a quantum."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unroll.engine.draw import Drawing, Floats
from unroll.serve.batching.stops import BEFORE
from unroll.serve.batching.streams import Row, Start
from unroll.state import State, join_rows, select_rows

QUANTUM_SECONDS = 0.005
ROOM = 256
"""Symbols of each row that are buffered before they are handed to it."""


class Cohort:
    """Rows that are stepped together.

    What is drawn is held in arrays until a row has a use for it: thousands of rows then cost little at a step.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.logits: Floats = np.zeros((0, 0))
        self.state: State = ()
        self.drawing = Drawing()
        self.fill = 0
        """Number of columns that are filled."""
        self.ids: NDArray[np.int64] = np.zeros((0, ROOM), np.int64)
        self.nats: Floats = np.zeros((0, ROOM))
        self.numbers: Floats = np.zeros((0, ROOM))
        """The uniform numbers that draw the symbols."""
        self.since: NDArray[np.int64] = np.zeros(0, np.int64)
        """The first column of each row that was not handed to it."""
        self.ends: NDArray[np.int64] = np.zeros(0, np.int64)
        """The column at which each row ends."""
        self.due: Floats = np.zeros(0)
        """When each row must be looked at, at the latest, by time.monotonic."""

    def add(self, joining: Sequence[tuple[Row, Start]], never: int | None) -> None:
        """Add rows."""
        if not joining:
            return
        rows, count = [row for row, _ in joining], len(joining)
        starts = [start for _, start in joining]
        if self.rows:
            starts.insert(0, Start(self.state, self.logits, ()))
        self.logits = np.concatenate([start.logits for start in starts])
        self.state = join_rows([start.state for start in starts])
        self.rows += rows
        self.ids = np.concatenate([self.ids, np.zeros((count, ROOM), np.int64)])
        self.nats = np.concatenate([self.nats, np.zeros((count, ROOM))])
        self.numbers = np.concatenate([self.numbers, np.zeros((count, ROOM))])
        self.since = np.append(self.since, np.full(count, self.fill))
        self.ends = np.append(self.ends, [self.fill + row.left for row in rows])
        self.due = np.append(self.due, np.zeros(count))
        for number in range(len(self.rows) - count, len(self.rows)):
            self._foresee(number)
        self._draw(never)

    def keep(self, rows: list[int], never: int | None) -> None:
        """Remove all rows but these."""
        self.rows = [self.rows[row] for row in rows]
        for name in ("ids", "nats", "numbers", "since", "ends", "due"):
            setattr(self, name, getattr(self, name)[rows])
        if self.rows:
            self.logits, self.state = self.logits[rows], select_rows(self.state, rows)
            self._draw(never)
        else:
            self.fill = 0

    def hold(self, ids: NDArray[np.int64], nats: Floats) -> None:
        """Buffer drawn symbols (B, N)."""
        until = self.fill + ids.shape[1]
        self.ids[:, self.fill : until] = ids
        self.nats[:, self.fill : until] = nats
        self.fill = until

    def held(self, row: int) -> tuple[list[int], list[float]]:
        """Return what is buffered for a row, and mark it as handed over."""
        first, self.since[row] = int(self.since[row]), self.fill
        return self.ids[row, first : self.fill].tolist(), self.nats[row, first : self.fill].tolist()

    def clear(self) -> None:
        """Reset to column 0 once every row has been flushed."""
        self.ends -= self.fill
        self.since[:] = 0
        self.fill = 0
        for number in range(len(self.rows)):
            self._foresee(number)

    def at(self, row: int) -> Start:
        """Return where the text of a row continues."""
        written = self.rows[row]
        before = (*written.before, *written.ids[-BEFORE:])[-BEFORE:]
        return Start(select_rows(self.state, [row]), self.logits[[row]], before)

    def _foresee(self, row: int) -> None:
        """Draw the numbers of a row for all remaining columns."""
        count = min(ROOM - self.fill, int(self.ends[row]) - self.fill)
        self.numbers[row, self.fill : self.fill + count] = self.rows[row].numbers(count)

    def _draw(self, never: int | None) -> None:
        options = [row.options for row in self.rows]
        self.drawing = Drawing(
            np.array([option.temperature for option in options], np.float64),
            np.array([option.top_k for option in options], np.int64),
            np.array([option.top_p for option in options], np.float64),
            np.array([option.min_p for option in options], np.float64),
            never,
        )


class Pace:
    """The pace of the last step, by its rows and seconds."""

    def __init__(self) -> None:
        self._rows = 1
        self._seconds = QUANTUM_SECONDS

    def note(self, rows: int, seconds: float) -> None:
        """Note a step of `rows` rows."""
        self._rows, self._seconds = rows, seconds

    def steps(self, rows: int, most: int) -> int:
        """Return how many steps of `rows` rows fit into a quantum: 1 to `most`."""
        return max(1, min(most, int(QUANTUM_SECONDS / (self._seconds * max(1.0, rows / self._rows)))))

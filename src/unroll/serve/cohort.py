"""Rows that are stepped together, and states that are kept for the next time."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from unroll.engine.draw import Drawing
from unroll.lm.predict import State, select_rows
from unroll.serve.stepping import Floats
from unroll.serve.streams import Row, Start
from unroll.serve.text import BEFORE


class Prefixes:
    """States after prompts that were read before, the least used forgotten first."""

    def __init__(self, nbytes: int) -> None:
        self._most = nbytes
        self._size = 0
        self._kept: OrderedDict[bytes, Start] = OrderedDict()

    def get(self, key: bytes) -> Start | None:
        """Return a state, if it is known."""
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, start: Start) -> None:
        """Keep a state."""
        if key in self._kept or start.nbytes > self._most:
            return
        self._kept[key] = start
        self._size += start.nbytes
        while self._size > self._most:
            self._size -= self._kept.popitem(last=False)[1].nbytes


class Cohort:
    """Rows that are stepped together."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.logits: Floats = np.zeros((0, 0))
        self.state: State = ()
        self.drawing = Drawing()

    def add(self, joining: Sequence[tuple[Row, Start]], never: int | None) -> None:
        """Let rows join."""
        if not joining:
            return
        starts = [start for _, start in joining]
        if self.rows:
            starts.insert(0, Start(self.state, self.logits, ()))
        self.logits = np.concatenate([start.logits for start in starts])
        self.state = joined([start.state for start in starts])
        self.rows += (row for row, _ in joining)
        self._draw(never)

    def keep(self, rows: list[int], never: int | None) -> None:
        """Let all rows leave but these."""
        self.rows = [self.rows[row] for row in rows]
        if self.rows:
            self.logits, self.state = self.logits[rows], select_rows(self.state, rows)
            self._draw(never)

    def at(self, row: int) -> Start:
        """Return where a row is."""
        written = self.rows[row]
        before = (*written.before, *written.ids[-BEFORE:])[-BEFORE:]
        return Start(select_rows(self.state, [row]), self.logits[[row]], before)

    def _draw(self, never: int | None) -> None:
        options = [row.options for row in self.rows]
        self.drawing = Drawing(
            np.array([each.temperature for each in options], np.float64),
            np.array([each.top_k for each in options], np.int64),
            np.array([each.top_p for each in options], np.float64),
            np.array([each.min_p for each in options], np.float64),
            never,
        )


def joined(states: Sequence[State]) -> State:
    """Return the rows of several states as one."""
    return tuple(
        tuple(np.concatenate(parts) for parts in zip(*layers, strict=True)) for layers in zip(*states, strict=True)
    )

"""One text of an answer: its symbols as they arrive, as JSON."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.serve.batching.streams import Part, Point, Prompt, Row, Start
from unroll.serve.served import Served

LEAST = -9999.0
"""Stands for the logarithm of zero, which JSON does not have."""


class Choice:
    """One text of an answer, as it arrives."""

    def __init__(self, served: Served, row: Row, prompt: Prompt, echo: NDArray[np.int64] | None) -> None:
        self.served, self.row, self.prompt, self.echo = served, row, prompt, echo
        self.index = row.number
        self._pieces: list[str] = []
        self._points: list[Point | None] = []
        self._ids: list[int] = []
        self._finish: str | None = None
        self._state: Start | None = None
        self._begun = False
        self._arrived = 0
        """Symbols taken so far."""
        self._sent = 0
        """Code points sent so far."""
        self._before: int | None = None
        """The symbol before those held."""

    @property
    def mean_log_probability(self) -> float:
        """The mean over its symbols."""
        return -math.fsum(self.row.nats) / max(1, len(self.row.ids))

    def take(self, part: Part) -> None:
        """Take a part from the batch."""
        if not self._begun:
            self._begun = True
            self._begin()
        first, self._arrived = self._arrived, self._arrived + len(part.pieces)
        self._pieces += part.pieces
        self._ids += self.row.ids[first : self._arrived]
        if part.points is not None:
            self._points += part.points
        self._finish, self._state = part.finish, part.state

    def _begin(self) -> None:
        """Put an echoed prompt before the text."""
        start = self.prompt.start
        before = [*(start.before if start else ()), *self.prompt.ids.tolist()[-1:]]
        self._before = before[-1] if before and not self.prompt.spaced else None
        if self.echo is None or not len(self.echo):
            return
        self._before = start.before[-1] if start else None
        decoder = self.served.tokenizer.decoder_after(
            start.before if start else (), spaced=start is not None and start.spaced
        )
        self._ids = self.echo.tolist()
        self._pieces = [decoder.push(id) for id in self._ids]
        if self.prompt.spaced:
            self._pieces[-1] += " "
        elif not self.row.options.length:
            self._pieces[-1] += decoder.flush()
        self._points = [None, *self.prompt.points]

    def whole(self, handle: Callable[[Start], str]) -> dict[str, Any]:
        """Return it as JSON for a whole answer; `handle` keeps a state and returns its name."""
        choice = {
            "index": self.index,
            "text": "".join(self._pieces),
            "logprobs": self._log_probabilities(),
            "finish_reason": self._finish,
        }
        return choice if self._state is None else {**choice, "state": handle(self._state)}

    def event(self, handle: Callable[[Start], str]) -> str:
        """Return what has arrived since the last event, as JSON."""
        logprobs = "null" if self.row.points is None else json.dumps(self._log_probabilities(), allow_nan=False)
        text = "".join(self._pieces)
        self._sent += len(text)
        self._before = self._ids[-1] if self._ids else self._before
        self._pieces, self._points, self._ids = [], [], []
        finish = "null" if self._finish is None else f'"{self._finish}"'
        state = "" if self._state is None else f',"state":"{handle(self._state)}"'
        head = f'{{"index":{self.index},"text":{json.dumps(text)},"logprobs":{logprobs}'
        return f'{head},"finish_reason":{finish}{state}}}'

    def _log_probabilities(self) -> dict[str, Any] | None:
        if self.row.points is None:
            return None
        offsets, at = [], self._sent
        for piece in self._pieces:
            offsets.append(at)
            at += len(piece)
        before = [self._before, *self._ids]
        return {
            "tokens": self._pieces,
            "token_logprobs": [None if point is None else _finite(point.log_probability) for point in self._points],
            "top_logprobs": [
                None if point is None else self._top(point, id, piece, last)
                for point, id, piece, last in zip(self._points, self._ids, self._pieces, before, strict=False)
            ],
            "text_offset": offsets,
        }

    def _top(self, point: Point, id: int, piece: str, before: int | None) -> dict[str, float]:
        """Return ln P of the most probable symbols and of the sampled one, by name.

        The sampled one has its name in `tokens`: what it wrote, so that names join to the text. A byte that only begins
        a character writes nothing, the one that ends it writes all of it. The others, which wrote nothing, have their
        own names; where such a name is taken (a piece `é`, after the last byte of an é), it is spelled in bytes.
        """
        names, pieces = self.served.printable, self.served.tokenizer.pieces
        start = self.served.tokenizer.start_id
        # A model of words writes a space between two of them.
        after = [before] if self.served.tokenizer.level == "word" and before is not None else []
        named = {}
        for other, value in zip(point.top_ids, point.top, strict=True):
            if other == id:
                named[piece] = _finite(value)
                continue
            name = names[other]
            if after and other != start:
                name = self.served.tokenizer.decoder_after(after).push(other)
            if name == piece or name in named:
                name = "".join(f"\\x{byte:02x}" for byte in pieces[other])
            named[name] = _finite(value)
        if id not in point.top_ids:
            named[piece] = _finite(point.log_probability)
        return named


def _finite(log_probability: float) -> float:
    return log_probability if math.isfinite(log_probability) and log_probability > LEAST else LEAST

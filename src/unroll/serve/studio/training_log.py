"""The log of a training, read as it grows: events, samples, and baselines to compare them with."""

import gzip
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.corpus import Corpus
from unroll.insight.cells.properties import decoded

MOST_LINE = 2**20
MOST_TAIL = 512
"""Bytes before the current offset that identify a file: a line or two, with the time and speed of a step."""
MOST_POINTS = 4000
"""Points of a curve that are sent."""
MOST_COUNTED = 5_000_000
"""Symbols of the training part that are counted for the baselines."""
MOST_PACKED = 2_000_000
"""Symbols of the validation part that are measured and compressed."""
MOST_BIGRAMS = 4096
"""Symbols of a vocabulary whose pairs are counted."""


@dataclass
class Tail:
    """A file of JSON lines that another process appends to, or truncates when it resumes."""

    path: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    turn: int = 0
    """How often it began again."""
    _offset: int = 0
    _inode: int = 0
    _last: bytes = b""
    """The end of what was read, which identifies the file."""
    _lock: Lock = field(default_factory=Lock)

    def update(self) -> None:
        """Read new lines. An incomplete last line waits for its end; a line that is not an object is skipped.

        A file that does not continue what was read was replaced, or truncated and has grown again since.
        """
        with self._lock:  # the page looks while a copy is made
            try:
                with open(self.path, "rb") as file:
                    inode = os.fstat(file.fileno()).st_ino
                    file.seek(self._offset - len(self._last))
                    if inode != self._inode or file.read(len(self._last)) != self._last:
                        self.lines, self._offset, self._last, self.turn = [], 0, b"", self.turn + 1
                        self._inode = inode
                        file.seek(0)
                    data = file.read()
            except OSError:
                return
            end = data.rfind(b"\n") + 1
            self._offset += end
            self._last = (self._last + data[:end])[-MOST_TAIL:]
            for line in data[:end].splitlines():
                try:
                    event = json.loads(line) if len(line) <= MOST_LINE else None
                except (ValueError, RecursionError):
                    event = None
                if isinstance(event, dict):
                    self.lines.append(event)

    def after(self, turn: int, seen: int) -> list[dict[str, Any]]:
        """Return the lines after the first `seen` of a turn; all lines if it has begun again since."""
        return self.lines[seen:] if turn == self.turn else self.lines


def thinned(events: list[dict[str, Any]], most: int = MOST_POINTS) -> list[dict[str, Any]]:
    """Return events with about `most` of the kind `train` at most: the lowest and highest loss of each stretch."""
    losses = [k for k, event in enumerate(events) if event.get("kind") == "train" and number(event.get("nats"))]
    if len(losses) <= most:
        return events
    kept = {losses[0], losses[-1]}
    for stretch in np.array_split(np.array(losses), most // 2):
        values = [events[k]["nats"] for k in stretch]
        kept |= {int(stretch[int(np.argmin(values))]), int(stretch[int(np.argmax(values))])}
    dropped = set(losses) - kept
    return [event for k, event in enumerate(events) if k not in dropped]


def number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def progress(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the progress of a training from its events, as JSON.

    `left`: seconds to the last step, at the pace of the latest reports; `rate`: symbols per second; `steps_rate`: steps
    per second; each None where it is unknown.
    """
    # An extension starts again, with more steps.
    start: dict[str, Any] = next((event for event in reversed(events) if event.get("kind") == "start"), {})
    steps = start.get("steps") if number(start.get("steps")) else None
    timed = [event for event in events if number(event.get("step")) and number(event.get("seconds"))]
    if not timed:
        return {"step": 0, "steps": steps, "seconds": 0.0, "left": None, "rate": None, "steps_rate": None}
    last, recent = timed[-1], [event for event in timed[-40:] if event.get("kind") == "train"]
    pace = rate = None
    if len(recent) > 1 and recent[-1]["step"] > recent[0]["step"]:
        pace = (recent[-1]["seconds"] - recent[0]["seconds"]) / (recent[-1]["step"] - recent[0]["step"])
        rates = [event["tokens_per_second"] for event in recent if number(event.get("tokens_per_second"))]
        rate = float(np.median(rates)) if rates else None
    left = None if pace is None or steps is None else max(0.0, pace * (steps - last["step"]))
    return {
        "step": int(last["step"]),
        "steps": steps,
        "seconds": float(last["seconds"]),
        "left": left,
        "rate": rate,
        "steps_rate": 1 / pace if pace else None,
    }


def baselines(corpus: Corpus) -> list[dict[str, Any]]:
    """Return the nats per symbol of the validation part under simple predictors, and under gzip.

    Counts come from the training part, each symbol counted once more than it occurs; pairs back off to single symbols
    (Witten & Bell 1991).
    """
    size, valid = corpus.tokenizer.vocab_size, np.asarray(corpus.valid[:MOST_PACKED], np.int64)
    lines = [{"label": "uniform", "nats": math.log(size), "what": f"all {size:,} symbols equally probable"}]
    if not len(valid):
        return lines
    train = np.asarray(corpus.train[:MOST_COUNTED], np.int64)
    single = (np.bincount(train, minlength=size) + 1.0) / (len(train) + size)
    lines.append({"label": "unigram", "nats": float(-np.log(single[valid]).mean()), "what": "how often symbols occur"})
    if size <= MOST_BIGRAMS and len(train) > 1 and len(valid) > 1:
        nats = _bigram(train, valid, single, size)
        lines.append({"label": "bigram", "nats": nats, "what": "given the symbol before"})
    text = decoded(corpus.tokenizer, valid).encode("utf-8", "surrogatepass")
    packed = 8 * math.log(2) * len(gzip.compress(text, 9)) / len(valid)
    lines.append({"label": "gzip −9", "nats": packed, "what": "the validation text, compressed"})
    return lines


def _bigram(train: NDArray[np.int64], valid: NDArray[np.int64], single: NDArray[np.float64], size: int) -> float:
    """Return the cross-entropy of `valid` given the symbol before each, in nats."""
    pairs, counts = np.unique(train[:-1] * size + train[1:], return_counts=True)
    before = np.bincount(train[:-1], minlength=size)
    kinds = np.bincount(pairs // size, minlength=size)  # different symbols after each
    targets = valid[:-1] * size + valid[1:]
    place = np.minimum(np.searchsorted(pairs, targets), len(pairs) - 1)
    count = np.where(pairs[place] == targets, counts[place], 0)
    total, different = before[valid[:-1]], kinds[valid[:-1]]
    seen = total > 0
    p = np.where(seen, (count + different * single[valid[1:]]) / np.maximum(1, total + different), single[valid[1:]])
    return float(-np.log(p).mean())

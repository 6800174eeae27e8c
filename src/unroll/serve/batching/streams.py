"""Streams: the prompt before one, the row that is written, and the parts that its request receives, sent together."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.engine.draw import Floats
from unroll.lm.sample import uniforms
from unroll.serve.batching.stops import BEFORE, Writing
from unroll.serve.errors import ApiError
from unroll.state import State, parts_of

CHUNK = 512
"""Symbols of a prompt that are read at a time; a boundary that depends on nothing else."""


class Point(NamedTuple):
    """The probability of one symbol: ln P under the model itself, and the most probable ones with theirs."""

    log_probability: float
    top_ids: list[int]
    top: list[float]


class Start(NamedTuple):
    """Where a text continues: the state of one row, the logits (1, V) of the next symbol, the symbols read last."""

    state: State
    logits: Floats
    before: tuple[int, ...]
    spaced: bool = False
    """Whether a space stands after them that the next symbol would write."""

    @property
    def nbytes(self) -> int:
        """Its size."""
        return int(self.logits.nbytes + sum(part.nbytes for part in parts_of(self.state)))


class Part(NamedTuple):
    """A piece of a stream, as its request receives it."""

    row: "Row"
    pieces: list[str]
    """The texts of its symbols."""
    points: list[Point] | None
    """The probability of each, if asked for."""
    finish: str | None = None
    """Why it ends: `stop` or `length`."""
    state: Start | None = None
    error: ApiError | None = None


@dataclass(frozen=True)
class Options:
    """How a stream is written."""

    length: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    stops: tuple[str, ...] = ()
    top: int | None = None
    """How many of the most probable symbols are returned at each; None returns no probabilities."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    bias: Mapping[int, float] = field(default_factory=dict)
    streaming: bool = False
    keep_state: bool = False

    @property
    def adjusted(self) -> bool:
        """Whether logits are changed before a symbol is drawn."""
        return bool(self.bias or self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1)

    @property
    def careful(self) -> bool:
        """Whether its distribution is needed at each symbol."""
        return self.adjusted or bool(self.top)


class Sink:
    """Where the parts for one request arrive, on the event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.closed = False
        self._parts: deque[Part] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, part: Part) -> None:
        """Add a part; on the loop."""
        self._parts.append(part)
        self._wake()

    def close(self) -> None:
        """End the waiting: the client has left; on the loop."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self, seconds: float | None = None) -> Part | None:
        """Return the next part; None after `seconds`, and when the sink is closed."""
        if not self._parts and not self.closed:
            self._waiter = self.loop.create_future()
            timer = None if seconds is None else self.loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        return self._parts.popleft() if self._parts and not self.closed else None

    def rest(self) -> list[Part]:
        """Return all remaining queued parts."""
        parts = list(self._parts)
        self._parts.clear()
        return parts


class Outbox:
    """Parts on their way from the engine thread to the event loops of their requests."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._ended = 0

    def put(self, part: Part) -> None:
        """Add a part; one with a `finish` or an `error` ends its stream."""
        self._parts.append(part)
        self._ended += part.finish is not None or part.error is not None

    def drop(self, streams: int) -> None:
        """Count streams that ended with nobody to tell."""
        self._ended += streams

    def take_ended(self) -> int:
        """Return how many streams have ended since the last time."""
        ended, self._ended = self._ended, 0
        return ended

    def send(self) -> None:
        """Hand the parts over, one call for each event loop."""
        parts, self._parts = self._parts, []
        by_loop: dict[asyncio.AbstractEventLoop, list[Part]] = {}
        for part in parts:
            if not part.row.cancelled:
                by_loop.setdefault(part.row.sink.loop, []).append(part)
        for loop, loop_parts in by_loop.items():
            with contextlib.suppress(RuntimeError):  # nobody waits on a closed loop
                loop.call_soon_threadsafe(_deliver, loop_parts)


def _deliver(parts: list[Part]) -> None:
    for part in parts:
        part.row.sink.put(part)


class Row:
    """One stream: what it has written, and how much of it was sent."""

    def __init__(self, sink: Sink, number: int, stream: int, options: Options) -> None:
        """Make stream `stream` of the seed; `number` is the request's own name for it."""
        self.sink = sink
        self.number = number
        self.stream = stream
        self.options = options
        self.ids: list[int] = []
        self.nats: list[float] = []
        """-ln P of each symbol under the model itself."""
        self.points: list[Point] | None = None if options.top is None else []
        self.taken = 0
        """Symbols that the client has read; only the event loop writes it."""
        self.handed = 0
        """Symbols handed to the request; only the engine writes it."""
        self.cancelled = False
        self.parked_since: float | None = None
        self.born = time.monotonic()
        self.first: float | None = None
        self.flush_at = 0.0
        """When its next part is handed over."""
        self.writing: Writing | None = None
        self.begin: Start | None = None
        """Where it began, kept only if it may have to be read again."""
        self.prompt: NDArray[np.int64] = np.zeros(0, np.int64)
        self.before: tuple[int, ...] = ()
        """The symbols before it."""
        self._penalties: _Penalties | None = None

    @property
    def left(self) -> int:
        """How many symbols may follow."""
        return self.options.length - len(self.ids)

    def numbers(self, count: int) -> Floats:
        """Return the uniform numbers (count,) that draw its next symbols."""
        return np.fromiter(uniforms(self.options.seed, self.stream, len(self.ids), max(1, count)), np.float64, count)

    def take(self, ids: list[int], nats: list[float], points: list[Point] | None) -> str | None:
        """Take drawn symbols; return why the stream ends, if it does."""
        assert self.writing is not None
        del ids[self.left :]
        taken = self.writing.push(ids)
        self.ids += ids[:taken]
        self.nats += nats[:taken]
        if self.points is not None:
            if points is None:
                self.points += (Point(-n, [], []) for n in nats[:taken])
            else:
                self.points += points[:taken]
        if self.writing.ended:
            return "stop"
        if not self.left:
            self.writing.finish()
            return "stop" if self.writing.ended else "length"
        return None

    def part(self, finish: str | None = None, state: Start | None = None) -> Part:
        """Return what may be handed over now."""
        assert self.writing is not None
        start, self.handed = self.handed, self.writing.free
        pieces = self.writing.pieces[start : self.handed]
        return Part(self, pieces, None if self.points is None else self.points[start : self.handed], finish, state)

    def adjust(self, logits: Floats) -> Floats:
        """Return its logits (V,) with penalties and bias.

        Presence and frequency count the symbols it wrote; the repetition penalty (Keskar et al. 2019) counts the prompt
        as well.
        """
        options = self.options
        if self._penalties is None:
            self._penalties = _Penalties(options, self.prompt, len(logits))
        return self._penalties.apply(logits, self.ids)


class _Penalties:
    """The penalties and bias of one row."""

    def __init__(self, options: Options, prompt: NDArray[np.int64], size: int) -> None:
        self._options = options
        self._counts = np.zeros(size)
        self._seen = np.zeros(size, dtype=bool)
        self._seen[prompt] = True
        self._bias = np.zeros(size)
        self._bias[list(options.bias)] = list(options.bias.values())
        self._counted = 0

    def apply(self, logits: Floats, written: list[int]) -> Floats:
        options = self._options
        for id in written[self._counted :]:
            self._counts[id] += 1
            self._seen[id] = True
        self._counted = len(written)
        if (penalty := options.repetition_penalty) != 1:
            logits = np.where(self._seen, np.where(logits > 0, logits / penalty, logits * penalty), logits)
        return np.asarray(
            logits
            + self._bias
            - options.frequency_penalty * self._counts
            - options.presence_penalty * (self._counts > 0)
        )


class Prompt:
    """The symbols read before streams are written: from the start of a text, or after a state."""

    def __init__(
        self,
        ids: NDArray[np.int64],
        rows: Sequence[Row],
        start: Start | None = None,
        *,
        echoed: int = 0,
        top: int | None = None,
        spaced: bool = False,
    ) -> None:
        """Read `ids`, then write the rows, after a space if `spaced`.

        With `top`, return the probabilities of the last `echoed` of the ids.
        """
        self.ids = ids
        self.rows = list(rows)
        self.start = start
        self.echoed = echoed
        self.top = top
        self.spaced = spaced if start is None or len(ids) else start.spaced
        self.points: list[Point] = []
        """The probabilities of the echoed ids but the first."""
        self.read = 0
        self.state = start.state if start else None
        self.logits = start.logits if start else None
        self.keys: list[tuple[int, bytes]] = []
        """Boundaries, and the digests of the ids up to them."""
        for row in self.rows:
            row.prompt = ids

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any longer."""
        return all(row.cancelled for row in self.rows)

    @property
    def chunk(self) -> int:
        """The length of the next piece."""
        return min(CHUNK, len(self.ids) - self.read)

    def begin(self) -> Start:
        """Return where its streams begin."""
        assert self.state is not None and self.logits is not None
        before = (*(self.start.before if self.start else ()), *self.ids[-BEFORE:].tolist())
        return Start(self.state, self.logits, before[-BEFORE:], self.spaced)


def points_of(log_p: Floats, ids: NDArray[np.int64], top: int) -> list[Point]:
    """Return the probability of each of `ids` (N,) by `log_p` (N, V), and the `top` most probable, best first."""
    chosen = log_p[np.arange(len(ids)), ids].tolist()
    if not top:
        return [Point(value, [], []) for value in chosen]
    top = min(top, log_p.shape[1])
    if log_p.shape[1] > 8 * top:
        largest = np.argpartition(-log_p, top - 1, axis=1)[:, :top]
        largest.sort(axis=1)
        order = np.argsort(-np.take_along_axis(log_p, largest, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(largest, order, axis=1)
    else:
        best = np.argsort(-log_p, axis=1, kind="stable")[:, :top]
    values = np.take_along_axis(log_p, best, axis=1)
    return [Point(*point) for point in zip(chosen, best.tolist(), values.tolist(), strict=True)]

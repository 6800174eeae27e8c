"""Continuous batching: one thread for each model; streams join and leave at every quantum.

A quantum is at most 16 steps, or 5 ms; a stream that is alone gets the 5 ms whole, for whoever comes ends them at the
next step. A prompt is read in pieces of 512 symbols between two of them, many prompts of
the same length at once. What a stream draws depends on its seed, its number and its position alone, and the pieces in
which a prompt is read on nothing but its length: so nothing that a stream writes depends on who else is there.
"""

import asyncio
import contextlib
import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from unroll.predict.predictor import log_probabilities, logits_along
from unroll.serve.batching.cohort import ROOM, Cohort, Prefixes
from unroll.serve.batching.stops import BEFORE, Writing
from unroll.serve.batching.streams import CHUNK, Part, Point, Prompt, Row, Start, points_of
from unroll.serve.errors import ApiError, internal
from unroll.serve.metrics import Metrics
from unroll.serve.models import Served
from unroll.serve.settings import Settings
from unroll.state import join_rows, select_rows

log = logging.getLogger("unroll.serve")

MOST_STEPS = 16
QUANTUM_SECONDS = 0.005
READ_TOGETHER = 2048
"""Symbols of several prompts that are read at a time."""
READ_LOGITS = 2**21
"""Logits held at a time while a prompt is echoed."""

FLUSH_SECONDS = 0.025
FLUSH_SECONDS_PER_ROW = 0.001
"""The more streams, the rarer each is sent: or else sending takes the time of writing."""
UNSENT_SYMBOLS = 512
"""A stream with more that its client has not taken is parked."""


class Batcher:
    """The engine thread of one model."""

    def __init__(self, served: Served, settings: Settings, metrics: Metrics) -> None:
        """Start it; it ends by `close`, when all that it was given is done."""
        self.served = served
        self._settings = settings
        self._metrics = metrics
        self._predictor = served.predictor
        self._tokenizer = served.tokenizer
        self._never = served.tokenizer.unknown_id
        self._lock = threading.Condition()
        # What several threads touch, under the lock:
        self._incoming: deque[Prompt] = deque()
        self._count = 0
        self._woken = False
        self._closing = False
        self._error: ApiError | None = None
        # What only the engine touches:
        self._reading: list[Prompt] = []
        self._ready: deque[tuple[Row, Start]] = deque()
        self._plain, self._careful = Cohort(), Cohort()
        self._parked: dict[Row, Start] = {}
        self._prefixes = Prefixes(settings.prefix_bytes)
        self._outbox: list[Part] = []
        self._ended = 0
        self._halt = np.zeros(1, np.int32)
        """1 ends what a lone stream writes at the next step: there is something to look at. Under the lock."""
        self._pace = (1, QUANTUM_SECONDS)
        """Rows and seconds of the last step."""
        self._thread = threading.Thread(target=self._run, name=f"engine {served.name}", daemon=True)
        self._thread.start()

    # ---- for the event loop

    def submit(self, prompts: Sequence[Prompt]) -> None:
        """Take prompts with their rows; raises ApiError where there is no room, or the server is stopping."""
        rows = sum(len(prompt.rows) for prompt in prompts)
        with self._lock:
            if self._closing:
                raise shutting_down()
            if self._count + rows > self._settings.slots + self._settings.queue:
                raise ApiError(
                    429, "queue_full", "too many streams wait; try again in a moment", headers={"Retry-After": "1"}
                )
            self._count += rows
            self._incoming.extend(prompts)
            self._halt[0] = 1
            self._lock.notify()

    def wake(self) -> None:
        """Look again at once: a row was cancelled, or a parked one has been taken."""
        with self._lock:
            self._woken = True
            self._halt[0] = 1
            self._lock.notify()

    def close(self) -> None:
        """Take nothing more, and end the thread when all is done."""
        with self._lock:
            self._closing = True
            self._lock.notify()

    def abort(self, error: ApiError) -> None:
        """End all streams with an error."""
        with self._lock:
            self._error = error
            self._woken = True
            self._halt[0] = 1
            self._lock.notify()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the thread; tell whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def load(self) -> tuple[int, int, int]:
        """How many streams are written, are parked, and wait for a slot."""
        parked, active = len(self._parked), self._active()
        return active - parked, parked, max(0, self._count - active)

    # ---- the thread

    def _run(self) -> None:
        while True:
            with self._lock:
                while not (self._working() or self._woken or (self._incoming and self._room() > 0)):
                    if self._closing and not self._count:
                        return
                    self._lock.wait(0.5 if self._parked else None)
                    if self._parked:
                        break
                self._halt[0] = 0
                woken, self._woken = self._woken, False
                error, self._error = self._error, None
                arriving = self._arriving()
            try:
                if woken:
                    self._drop_cancelled()
                if error is not None:
                    self._fail(error)
                for prompt in arriving:
                    self._admit(prompt)
                self._unpark()
                self._read()
                self._join_ready()
                self._step()
                self._step_carefully()
            except Exception:
                log.exception("the engine of %s failed", self.served.name)
                self._fail(internal())
            self._hand_over()

    def _working(self) -> bool:
        return bool(self._reading or self._plain.rows or self._careful.rows or (self._ready and self._room() > 0))

    def _active(self) -> int:
        return len(self._plain.rows) + len(self._careful.rows) + len(self._parked)

    def _room(self) -> int:
        """Return how many slots are free, also of what is being read for them."""
        return self._settings.slots - self._active()

    def _arriving(self) -> list[Prompt]:
        """Take from the queue what there is room for; under the lock."""
        found = []
        room = self._room() - len(self._ready) - sum(len(prompt.rows) for prompt in self._reading)
        while self._incoming and room > 0:
            prompt = self._incoming.popleft()
            room -= len(prompt.rows)
            found.append(prompt)
        return found

    def _admit(self, prompt: Prompt) -> None:
        """Begin to read a prompt, at the last boundary up to which it was read before."""
        now = time.monotonic()
        for row in prompt.rows:
            self._metrics.queued.observe(now - row.born)
        self._metrics.prompt_tokens.inc(len(prompt.ids))
        if prompt.start is None and prompt.top is None:
            whole = hashlib.sha256()
            for first in range(0, len(prompt.ids), CHUNK):
                whole.update(prompt.ids[first : first + CHUNK].tobytes())
                prompt.keys.append((min(first + CHUNK, len(prompt.ids)), whole.digest()))
            for boundary, key in reversed(prompt.keys):
                if (known := self._prefixes.get(key)) is not None:
                    prompt.read, prompt.state, prompt.logits = boundary, known.state, known.logits
                    break
            (self._metrics.prefix_hits if prompt.read else self._metrics.prefix_misses).inc()
        self._reading.append(prompt)
        self._admit_ready([prompt])

    def _admit_ready(self, prompts: Iterable[Prompt]) -> None:
        """Let the rows of prompts that are read be written."""
        for prompt in prompts:
            if prompt.read == len(prompt.ids):
                self._reading.remove(prompt)
                start = prompt.begin()
                self._ready.extend((row, start) for row in prompt.rows)

    def _read(self) -> None:
        """Read a piece of a prompt, and of all others that need one of the same length."""
        if not self._reading:
            return
        first = self._reading[0]
        if first.top is not None:
            self._read_telling(first, first.top)
            self._admit_ready([first])
            return
        size, fresh = first.chunk, first.state is None
        group = [
            each for each in self._reading if each.top is None and each.chunk == size and (each.state is None) == fresh
        ][: max(1, READ_TOGETHER // size)]
        ids = np.stack([each.ids[each.read : each.read + size] for each in group])
        before = None if fresh else join_rows([each.state for each in group if each.state is not None])
        logits, after = self._predictor.logits(ids, before)
        for row, each in enumerate(group):
            each.state, each.logits = select_rows(after, [row]), logits[[row]]
            each.read += size
            for boundary, key in each.keys:
                if boundary == each.read:
                    self._prefixes.put(key, Start(each.state, each.logits, ()))
        self._admit_ready(group)

    def _read_telling(self, prompt: Prompt, top: int) -> None:
        """Read a piece of one prompt, and take down the probability of what is echoed of it."""
        last = prompt.read + prompt.chunk
        size = max(1, READ_LOGITS // self._predictor.vocab_size)
        for first in range(prompt.read, last, size):
            ids = prompt.ids[None, first : min(first + size, last)]
            (logits,), prompt.state = logits_along(self._predictor, ids, prompt.state)
            prompt.logits = logits[-1:]
            at = np.arange(first, first + len(logits)) + 1  # what each row of the logits is about
            wanted = (at > len(prompt.ids) - prompt.echoed) & (at < len(prompt.ids))
            prompt.points += points_of(log_probabilities(logits[wanted]), prompt.ids[at[wanted]], top)
        prompt.read = last

    def _join_ready(self) -> None:
        """Let streams begin, as many as there is room for."""
        joining: dict[bool, list[tuple[Row, Start]]] = {False: [], True: []}
        room = self._room()
        while self._ready and room > 0:
            row, start = self._ready.popleft()
            if row.cancelled:
                self._ended += 1
                continue
            if row.writing is None:
                row.before = start.before
                row.writing = Writing(self._tokenizer, start.before, row.options.stops)
                if row.options.keep_state and row.options.stops:
                    row.begin = start
                if not row.left:
                    self._finish(row, "length", start)
                    continue
            joining[row.options.careful].append((row, start))
            room -= 1
        self._plain.add(joining[False], self._never)
        self._careful.add(joining[True], self._never)

    def _step(self) -> None:
        """Write up to 16 symbols of every plain row."""
        cohort = self._plain
        if not cohort.rows:
            return
        left = cohort.ends - cohort.fill
        # Nobody waits for the end of the block, or for the first symbol; and no stop has to be looked for.
        first, others = cohort.rows[0], self._reading or self._careful.rows
        alone = len(cohort.rows) == 1 and first.first is not None and not (first.options.stops or others)
        steps = min(self._steps(len(cohort.rows), ROOM if alone else MOST_STEPS), ROOM - cohort.fill, int(left.max()))
        kept = [number for number, row in enumerate(cohort.rows) if row.options.keep_state]
        if kept:
            steps = min(steps, int(left[kept].min()))  # their states are wanted just there
        started = time.perf_counter()
        numbers = cohort.numbers[:, cohort.fill : cohort.fill + steps]
        ids, nats, cohort.logits, cohort.state = self._predictor.generate(
            cohort.logits, cohort.state, cohort.drawing, numbers, self._halt if alone else None
        )
        self._note(len(cohort.rows), (time.perf_counter() - started) / ids.shape[1])
        cohort.hold(ids, nats)
        self._look(cohort, None)

    def _step_carefully(self) -> None:
        """Write symbols of the rows whose distribution is needed at each, one at a time."""
        cohort, end = self._careful, time.perf_counter() + QUANTUM_SECONDS
        for _ in range(MOST_STEPS):
            if not cohort.rows:
                return
            said = log_probabilities(cohort.logits)
            logits = cohort.logits
            if any(row.options.adjusted for row in cohort.rows):
                logits = logits.copy()
                for number, row in enumerate(cohort.rows):
                    if row.options.adjusted:
                        logits[number] = row.adjust(logits[number])
            numbers = cohort.numbers[:, cohort.fill : cohort.fill + 1]
            started = time.perf_counter()
            ids, _, cohort.logits, cohort.state = self._predictor.generate(
                logits, cohort.state, cohort.drawing, numbers
            )
            self._metrics.step.observe(time.perf_counter() - started)
            self._metrics.batch.observe(len(cohort.rows))
            told = points_of(said, ids[:, 0], max(row.options.top or 0 for row in cohort.rows))
            cohort.hold(ids, np.array([[-point.log_probability] for point in told]))
            self._look(cohort, [
                [Point(point.log_probability, point.top_ids[: row.options.top], point.top[: row.options.top])]
                for point, row in zip(told, cohort.rows, strict=True)
            ])  # fmt: skip
            if time.perf_counter() > end:
                return

    def _steps(self, rows: int, most: int) -> int:
        """Return how many steps fit into a quantum, of what the last one took."""
        before, seconds = self._pace
        return max(1, min(most, int(QUANTUM_SECONDS / (seconds * max(1.0, rows / before)))))

    def _note(self, rows: int, seconds: float) -> None:
        self._pace = (rows, seconds)
        self._metrics.step.observe(seconds)
        self._metrics.batch.observe(rows)

    def _look(self, cohort: Cohort, points: list[list[Point]] | None) -> None:
        """Give rows what was drawn, where it is time: hand over, end and park them."""
        now = time.monotonic()
        full = cohort.fill == ROOM
        if points is not None or full:
            numbers = list(range(len(cohort.rows)))
        else:
            wanted = (cohort.ends <= cohort.fill) | (cohort.due <= now)
            if not wanted.any():
                return
            numbers = np.flatnonzero(wanted).tolist()
        interval = max(FLUSH_SECONDS, FLUSH_SECONDS_PER_ROW * len(cohort.rows))
        leaving, written = [], 0
        for number in numbers:
            row = cohort.rows[number]
            before = len(row.ids)
            finish = row.take(*cohort.held(number), None if points is None else points[number])
            written += len(row.ids) - before
            if row.first is None:
                row.first = now
                self._metrics.first.observe(now - row.born)
            if finish is not None:
                self._finish(row, finish, self._state_of(cohort, number, finish))
                leaving.append(number)
                continue
            if now - row.born > self._settings.generation_seconds:
                self._end(row, ApiError(503, "generation_timeout", "it took longer than a stream may"))
                leaving.append(number)
                continue
            assert row.writing is not None
            if row.options.streaming and row.flush_at <= now and row.writing.free > row.handed:
                row.flush_at = now + interval
                self._outbox.append(row.part())
                if row.handed - row.taken > UNSENT_SYMBOLS:
                    row.parked_since = now
                    self._parked[row] = cohort.at(number)
                    leaving.append(number)
                    continue
            # A stop must be seen as soon as it is written; what is not sent is looked at now and then.
            cohort.due[number] = 0.0 if row.options.stops else row.flush_at if row.options.streaming else now + 0.25
        self._metrics.generated_tokens.inc(written)
        if leaving:
            gone = set(leaving)
            cohort.keep([number for number in range(len(cohort.rows)) if number not in gone], self._never)
        if full and cohort.rows:
            cohort.clear()

    def _state_of(self, cohort: Cohort, number: int, finish: str) -> Start | None:
        """Return the state after the text of a row that has ended, where it is wanted."""
        row = cohort.rows[number]
        if not row.options.keep_state:
            return None
        if finish == "length":
            return cohort.at(number)
        assert row.begin is not None and row.writing is not None
        state, logits = row.begin.state, row.begin.logits
        kept = row.ids[: row.writing.whole]  # the stop was read already: without it, from the beginning
        for first in range(0, len(kept), CHUNK):
            logits, state = self._predictor.logits(np.array([kept[first : first + CHUNK]], np.int64), state)
        return Start(state, logits, (*row.begin.before, *kept)[-BEFORE:])

    def _finish(self, row: Row, why: str, state: Start | None) -> None:
        now = time.monotonic()
        self._metrics.request.observe(now - row.born)
        if row.first is not None and len(row.ids) > 1:
            self._metrics.inter.observe((now - row.first) / (len(row.ids) - 1))
        self._outbox.append(row.part(why, state if row.options.keep_state else None))
        self._ended += 1

    def _end(self, row: Row, error: ApiError) -> None:
        self._outbox.append(Part(row, [], None, error=error))
        self._ended += 1

    def _unpark(self) -> None:
        now = time.monotonic()
        for row, start in list(self._parked.items()):
            assert row.parked_since is not None
            if row.handed - row.taken <= UNSENT_SYMBOLS // 2:
                del self._parked[row]
                row.parked_since = None
                self._ready.append((row, start))
            elif now - row.parked_since > self._settings.write_seconds:
                del self._parked[row]
                self._metrics.cut.inc()
                self._end(row, ApiError(503, "slow_reader", "nothing was taken for too long"))

    def _drop_cancelled(self) -> None:
        """Forget the rows of clients that have left."""
        with self._lock:
            gone = [prompt for prompt in self._incoming if not prompt.listened]
            for prompt in gone:
                self._incoming.remove(prompt)
        for prompt in [each for each in self._reading if not each.listened]:
            self._reading.remove(prompt)
            gone.append(prompt)
        self._ended += sum(len(prompt.rows) for prompt in gone)
        for row in [row for row in self._parked if row.cancelled]:
            del self._parked[row]
            self._ended += 1
        for cohort in (self._plain, self._careful):
            staying = [number for number, row in enumerate(cohort.rows) if not row.cancelled]
            if len(staying) < len(cohort.rows):
                self._ended += len(cohort.rows) - len(staying)
                cohort.keep(staying, self._never)

    def _fail(self, error: ApiError) -> None:
        """End everything with an error."""
        with self._lock:
            prompts = [*self._incoming, *self._reading]
            self._incoming.clear()
        rows = [row for prompt in prompts for row in prompt.rows]
        rows += [row for row, _ in self._ready]
        rows += [*self._parked, *self._plain.rows, *self._careful.rows]
        self._reading.clear()
        self._ready.clear()
        self._parked.clear()
        self._plain, self._careful = Cohort(), Cohort()
        for row in rows:
            self._end(row, error)

    def _hand_over(self) -> None:
        """Send what there is to the requests: one call for all."""
        ended, self._ended = self._ended, 0
        if ended:
            with self._lock:
                self._count -= ended
        outbox, self._outbox = self._outbox, []
        loops: dict[asyncio.AbstractEventLoop, list[Part]] = {}
        for part in outbox:
            if not part.row.cancelled:
                loops.setdefault(part.row.sink.loop, []).append(part)
        for loop, parts in loops.items():
            with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody who waits
                loop.call_soon_threadsafe(_put, parts)


class Batchers:
    """The engine threads, one for each model in use."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._batchers: dict[str, Batcher] = {}
        self.closing = False

    def of(self, served: Served) -> Batcher:
        """Return the thread of a model; one of older weights ends when its streams have."""
        if self.closing:
            raise shutting_down()
        known = self._batchers.get(served.name)
        if known is None or known.served.version != served.version:
            if known is not None:
                known.close()
            known = self._batchers[served.name] = Batcher(served, self._settings, self._metrics)
            self._metrics.model.labels(served.name, served.version[:12]).set(1)
        return known

    def drain(self) -> None:
        """Take nothing more."""
        self.closing = True
        for batcher in self._batchers.values():
            batcher.close()

    def abort(self, error: ApiError) -> None:
        """End all streams with an error."""
        for batcher in self._batchers.values():
            batcher.abort(error)

    def close(self) -> None:
        """End all threads, and the streams with them."""
        self.drain()
        self.abort(shutting_down())
        for batcher in self._batchers.values():
            batcher.join(5)

    def loads(self) -> dict[str, tuple[int, int, int]]:
        """Return how many streams of each model are written, are parked, and wait for a slot."""
        return {name: batcher.load for name, batcher in self._batchers.items()}

    @property
    def idle(self) -> bool:
        """Whether nothing is written and nothing waits."""
        return not any(map(sum, self.loads().values()))


def shutting_down() -> ApiError:
    """Return the error for requests while the server stops."""
    return ApiError(503, "shutting_down", "the server is stopping", headers={"Retry-After": "5"})


def _put(parts: list[Part]) -> None:
    for part in parts:
        part.row.sink.put(part)

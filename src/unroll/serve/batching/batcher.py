"""Continuous batching: one thread for each model; streams join and leave at every quantum.

A quantum ends after 16 steps or about 5 ms, whichever comes first. A lone stream without stop texts may use all of the
5 ms, up to 256 steps, because an arriving request ends its quantum at the next step. Between two quanta a prompt is
read in pieces of 512 symbols, together with other prompts that need a piece of the same length. What a stream draws
depends on its seed, its number and its position alone, and the pieces of a prompt on its length alone: nothing that a
stream writes depends on the other streams.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from unroll.predict.predictor import log_probabilities
from unroll.serve.batching.cohort import QUANTUM_SECONDS, ROOM, Cohort, Pace
from unroll.serve.batching.prompts import PromptReader
from unroll.serve.batching.stops import BEFORE, Writing
from unroll.serve.batching.streams import CHUNK, Outbox, Part, Point, Prompt, Row, Start, points_of
from unroll.serve.errors import ApiError, internal, log, queue_full, shutting_down, slow_reader, timed_out
from unroll.serve.metrics import Metrics
from unroll.serve.served import Served
from unroll.serve.settings import Settings

MOST_STEPS = 16

FLUSH_SECONDS = 0.025
FLUSH_SECONDS_PER_ROW = 0.001
"""The pause between parts of a stream, if longer, for each stream: sending takes time away from writing."""
UNSENT_SYMBOLS = 512
"""A stream is parked when its client has more than this many symbols left to read."""


class Batcher:
    """The engine thread of one model."""

    def __init__(self, served: Served, settings: Settings, metrics: Metrics) -> None:
        """Start the thread; after `close` it ends when all its streams have ended."""
        self.served = served
        self._settings = settings
        self._metrics = metrics
        self._never = served.tokenizer.unknown_id
        self._lock = threading.Condition()
        # Shared between threads, under the lock:
        self._incoming: deque[Prompt] = deque()
        self._count = 0
        self._woken = False
        self._closing = False
        self._error: ApiError | None = None
        # Written by the engine thread alone, except for _halt; load reads some of them:
        self._reader = PromptReader(served.predictor, settings.prefix_bytes, metrics)
        self._ready: deque[tuple[Row, Start]] = deque()
        self._plain, self._careful = Cohort(), Cohort()
        self._parked: dict[Row, Start] = {}
        self._outbox = Outbox()
        self._pace = Pace()
        self._halt = np.zeros(1, np.int32)
        """Set to 1, under the lock, to end a lone stream's quantum at its next step; the predictor reads without it."""
        self._thread = threading.Thread(target=self._run, name=f"engine {served.name}", daemon=True)
        self._thread.start()

    # ---- for the event loop

    def submit(self, prompts: Sequence[Prompt]) -> None:
        """Accept prompts with their rows; raises ApiError where there is no room, or the server is stopping."""
        rows = sum(len(prompt.rows) for prompt in prompts)
        with self._lock:
            if self._closing:
                raise shutting_down()
            if self._count + rows > (most := self._settings.slots + self._settings.queue):
                raise queue_full(most)
            self._count += rows
            self._incoming.extend(prompts)
            self._halt[0] = 1
            self._lock.notify()

    def wake(self) -> None:
        """Look at the rows at once: one was cancelled, or the client of a parked one has read on."""
        with self._lock:
            self._woken = True
            self._halt[0] = 1
            self._lock.notify()

    def close(self) -> None:
        """Accept nothing more; the thread ends when all streams have."""
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
        """Wait for the end of the thread; return whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def load(self) -> tuple[int, int, int]:
        """How many streams are being written, are parked, and have yet to be written: queued, or prompts being read."""
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
                    for row in prompt.rows:
                        self._metrics.queued.observe(time.monotonic() - row.born)
                    self._reader.admit(prompt)
                self._admit_ready()
                self._unpark()
                self._reader.read()
                self._admit_ready()
                self._join_ready()
                self._step()
                self._step_carefully()
            except Exception:
                log.exception("the engine of %s failed", self.served.name)
                self._fail(internal())
            if ended := self._outbox.take_ended():
                with self._lock:
                    self._count -= ended  # first: clients that hear of an end may ask again at once
            self._outbox.send()

    def _working(self) -> bool:
        return bool(
            self._reader.prompts or self._plain.rows or self._careful.rows or (self._ready and self._room() > 0)
        )

    def _active(self) -> int:
        return len(self._plain.rows) + len(self._careful.rows) + len(self._parked)

    def _room(self) -> int:
        """Return how many slots no stream is using; those that prompts being read will need count as free."""
        return self._settings.slots - self._active()

    def _arriving(self) -> list[Prompt]:
        """Take prompts from the queue while there is room; under the lock."""
        arriving = []
        room = self._room() - len(self._ready) - sum(len(prompt.rows) for prompt in self._reader.prompts)
        while self._incoming and room > 0:
            prompt = self._incoming.popleft()
            room -= len(prompt.rows)
            arriving.append(prompt)
        return arriving

    def _admit_ready(self) -> None:
        """Move the rows of prompts that are read to the ready ones."""
        for prompt in self._reader.take_ready():
            start = prompt.begin()
            self._ready.extend((row, start) for row in prompt.rows)

    def _join_ready(self) -> None:
        """Let ready streams join, as many as there is room for."""
        joining: dict[bool, list[tuple[Row, Start]]] = {False: [], True: []}
        room = self._room()
        while self._ready and room > 0:
            row, start = self._ready.popleft()
            if row.cancelled:
                self._outbox.drop(1)
                continue
            if row.writing is None:
                row.before = start.before
                row.writing = Writing(self.served.tokenizer, start.before, row.options.stops, spaced=start.spaced)
                if row.options.keep_state and row.writing.may_end:
                    row.begin = start
                if not row.left:
                    self._finish(row, "length", start)
                    continue
            joining[row.options.careful].append((row, start))
            room -= 1
        self._plain.add(joining[False], self._never)
        self._careful.add(joining[True], self._never)

    def _step(self) -> None:
        """Write the next symbols of every plain row: up to 16, or up to 256 when a stream is alone."""
        cohort = self._plain
        if not cohort.rows:
            return
        left = cohort.ends - cohort.fill
        # Alone: no other stream is read or written, its first symbol was handed over, it has no stop text to look for.
        first, others = cohort.rows[0], self._reader.prompts or self._careful.rows
        alone = len(cohort.rows) == 1 and first.first is not None and not (first.options.stops or others)
        steps = self._pace.steps(len(cohort.rows), ROOM if alone else MOST_STEPS)
        steps = min(steps, ROOM - cohort.fill, int(left.max()))
        stateful = [index for index, row in enumerate(cohort.rows) if row.options.keep_state]
        if stateful:
            steps = min(steps, int(left[stateful].min()))  # their states are kept exactly there
        started = time.perf_counter()
        uniforms = cohort.numbers[:, cohort.fill : cohort.fill + steps]
        ids, nats, cohort.logits, cohort.state = self.served.predictor.generate(
            cohort.logits, cohort.state, cohort.drawing, uniforms, self._halt if alone else None
        )
        self._note_step(len(cohort.rows), (time.perf_counter() - started) / ids.shape[1])
        cohort.hold(ids, nats)
        self._look(cohort, None)

    def _step_carefully(self) -> None:
        """Write symbols of the rows whose distribution is needed at each step, one at a time."""
        cohort, end = self._careful, time.perf_counter() + QUANTUM_SECONDS
        for _ in range(MOST_STEPS):
            if not cohort.rows:
                return
            log_p = log_probabilities(cohort.logits)
            logits = cohort.logits
            if any(row.options.adjusted for row in cohort.rows):
                logits = logits.copy()
                for index, row in enumerate(cohort.rows):
                    if row.options.adjusted:
                        logits[index] = row.adjust(logits[index])
            uniforms = cohort.numbers[:, cohort.fill : cohort.fill + 1]
            started = time.perf_counter()
            ids, _, cohort.logits, cohort.state = self.served.predictor.generate(
                logits, cohort.state, cohort.drawing, uniforms
            )
            self._metrics.step.observe(time.perf_counter() - started)
            self._metrics.batch.observe(len(cohort.rows))
            points = points_of(log_p, ids[:, 0], max(row.options.top or 0 for row in cohort.rows))
            cohort.hold(ids, np.array([[-point.log_probability] for point in points]))
            self._look(cohort, [
                [Point(point.log_probability, point.top_ids[: row.options.top], point.top[: row.options.top])]
                for point, row in zip(points, cohort.rows, strict=True)
            ])  # fmt: skip
            if time.perf_counter() > end:
                return

    def _note_step(self, rows: int, seconds: float) -> None:
        self._pace.note(rows, seconds)
        self._metrics.step.observe(seconds)
        self._metrics.batch.observe(rows)

    def _look(self, cohort: Cohort, points: list[list[Point]] | None) -> None:
        """Hand buffered symbols to the rows that are due; send their parts, and end or park streams."""
        now = time.monotonic()
        full = cohort.fill == ROOM
        if points is not None or full:
            indices = list(range(len(cohort.rows)))
        else:
            due = (cohort.ends <= cohort.fill) | (cohort.due <= now)
            if not due.any():
                return
            indices = np.flatnonzero(due).tolist()
        interval = max(FLUSH_SECONDS, FLUSH_SECONDS_PER_ROW * len(cohort.rows))
        leaving, written = [], 0
        for index in indices:
            row = cohort.rows[index]
            before = len(row.ids)
            finish = row.take(*cohort.held(index), None if points is None else points[index])
            written += len(row.ids) - before
            if row.first is None:
                row.first = now
                self._metrics.first.observe(now - row.born)
            if finish is not None:
                self._finish(row, finish, self._state_of(cohort, index, finish))
                leaving.append(index)
                continue
            if now - row.born > self._settings.generation_seconds:
                self._end(row, timed_out(self._settings.generation_seconds))
                leaving.append(index)
                continue
            assert row.writing is not None
            if row.options.streaming and row.flush_at <= now and row.writing.free > row.handed:
                row.flush_at = now + interval
                self._outbox.put(row.part())
                if row.handed - row.taken > UNSENT_SYMBOLS:
                    row.parked_since = now
                    self._parked[row] = cohort.at(index)
                    leaving.append(index)
                    continue
            # A stop must be seen as soon as it is written; texts that are not streamed are looked at now and then.
            cohort.due[index] = 0.0 if row.writing.may_end else row.flush_at if row.options.streaming else now + 0.25
        self._metrics.generated_tokens.inc(written)
        if leaving:
            cohort.keep(sorted({*range(len(cohort.rows))} - {*leaving}), self._never)
        if full and cohort.rows:
            cohort.clear()

    def _state_of(self, cohort: Cohort, number: int, finish: str) -> Start | None:
        """Return the state after the text of a row that has ended, where it is asked for."""
        row = cohort.rows[number]
        if not row.options.keep_state:
            return None
        assert row.writing is not None
        if finish == "length":
            return cohort.at(number)._replace(spaced=row.writing.spaced)
        assert row.begin is not None
        state, logits = row.begin.state, row.begin.logits
        kept = row.ids[: row.writing.whole]  # the stop was read already: read again without it
        for first in range(0, len(kept), CHUNK):
            logits, state = self.served.predictor.logits(np.array([kept[first : first + CHUNK]], np.int64), state)
        spaced = row.writing.spaced if kept else row.begin.spaced
        return Start(state, logits, (*row.begin.before, *kept)[-BEFORE:], spaced)

    def _finish(self, row: Row, why: str, state: Start | None) -> None:
        now = time.monotonic()
        self._metrics.request.observe(now - row.born)
        if row.first is not None and len(row.ids) > 1:
            self._metrics.inter.observe((now - row.first) / (len(row.ids) - 1))
        self._outbox.put(row.part(why, state if row.options.keep_state else None))

    def _end(self, row: Row, error: ApiError) -> None:
        self._outbox.put(Part(row, [], None, error=error))

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
                self._end(row, slow_reader(self._settings.write_seconds))

    def _drop_cancelled(self) -> None:
        """Drop the rows of clients that have left."""
        with self._lock:
            gone = [prompt for prompt in self._incoming if prompt.cancelled]
            for prompt in gone:
                self._incoming.remove(prompt)
        gone += self._reader.take_cancelled()
        parked = [row for row in self._parked if row.cancelled]
        for row in parked:
            del self._parked[row]
        self._outbox.drop(sum(len(prompt.rows) for prompt in gone) + len(parked))
        for cohort in (self._plain, self._careful):
            staying = [index for index, row in enumerate(cohort.rows) if not row.cancelled]
            if len(staying) < len(cohort.rows):
                self._outbox.drop(len(cohort.rows) - len(staying))
                cohort.keep(staying, self._never)

    def _fail(self, error: ApiError) -> None:
        """End everything with an error."""
        with self._lock:
            prompts = [*self._incoming, *self._reader.prompts]
            self._incoming.clear()
        rows = [row for prompt in prompts for row in prompt.rows]
        rows += [row for row, _ in self._ready]
        rows += [*self._parked, *self._plain.rows, *self._careful.rows]
        self._reader.prompts.clear()
        self._ready.clear()
        self._parked.clear()
        self._plain, self._careful = Cohort(), Cohort()
        for row in rows:
            self._end(row, error)

"""How many threads a block of steps gets: one, or as many as may work, whichever was faster lately."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from unroll.threads import threads_up_to


@dataclass
class Block:
    """Steps that one call of the kernel takes."""

    threads: int
    steps: int


@dataclass
class _Timing:
    """What was measured of blocks of one kind and number of rows."""

    seconds: dict[int, float] = field(default_factory=dict)
    """Seconds that a step has taken lately, by the number of threads."""
    gap: float = 0.0
    """Seconds between the last trial of the slower way and the next."""
    due: float = 0.0
    """Time of the next trial, on the clock time.perf_counter."""

    @property
    def better(self) -> int:
        return min(self.seconds, key=self.seconds.__getitem__)


class Pace:
    """How many threads a block of steps gets: one, or as many as may work, whichever was faster lately.

    Threads that share the steps of few rows wait for each other at every layer: beside other busy processes that is
    slower than one. Both ways are tried, and tried again now and then. The result is the same, bit for bit.
    """

    SOONEST, LATEST = 0.05, 5.0
    """Seconds until the slower way is tried again: doubled each time that it is slower still."""
    FEW, SECONDS = 8, 0.001
    """Steps of a trial, or as many as the faster way takes in that many seconds."""
    SLOWLY = 8
    """Blocks after which a way that has become slower counts as such."""

    def __init__(self, threads: int | None) -> None:
        """Use up to `threads`, by default as the environment says, up to 16. Raises ValueError for less than one."""
        if threads is not None and not 1 <= threads < 2**31:
            raise ValueError(f"threads is {threads}; allowed: 1 or more, or None for as many as pay")
        self.most = threads or threads_up_to(16)
        self._timings: dict[tuple[str, int], _Timing] = {}

    @contextmanager
    def of(self, kind: str, rows: int, steps: int) -> Iterator[Block]:
        """Give a block of up to `steps` steps, and measure it; `kind` is what they do.

        Set `block.steps` if fewer steps were taken.
        """
        threads, most = self.choose(kind, rows)
        block, started = Block(threads, min(steps, most)), time.perf_counter()
        yield block
        if block.steps:
            self.note(kind, rows, threads, (time.perf_counter() - started) / block.steps)

    def choose(self, kind: str, rows: int) -> tuple[int, int]:
        """Return the number of threads for a block of `rows` rows, and the most steps that it may have."""
        if self._certain(rows):
            return self.most, sys.maxsize
        timing = self._timings.get((kind, rows), _Timing())
        for threads in (1, self.most):
            if threads not in timing.seconds:
                return threads, self.FEW
        left, seconds = timing.due - time.perf_counter(), timing.seconds[timing.better]
        if left > 0:
            return timing.better, max(self.FEW, round(left / seconds))
        return self.most if timing.better == 1 else 1, max(self.FEW, round(self.SECONDS / seconds))

    def note(self, kind: str, rows: int, threads: int, seconds: float) -> None:
        """Record the seconds of a step: the best lately, since a single slow one says nothing about the way."""
        if self._certain(rows):
            return
        if len(self._timings) > 32:
            self._timings.clear()
        timing = self._timings.setdefault((kind, rows), _Timing())
        trial = len(timing.seconds) < 2 or threads != timing.better
        before = timing.seconds.get(threads, seconds)
        timing.seconds[threads] = min(seconds, before + (seconds - before) / self.SLOWLY)
        if trial:
            lost = len(timing.seconds) == 2 and threads != timing.better
            timing.gap = min(max(self.SOONEST, 2 * timing.gap), self.LATEST) if lost else self.SOONEST
            timing.due = time.perf_counter() + timing.gap

    def _certain(self, rows: int) -> bool:
        """Return whether there is nothing to try: each thread has rows of its own, or there is only one."""
        return rows >= 2 * self.most or self.most == 1

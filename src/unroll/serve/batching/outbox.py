"""What the engine thread sends to the requests: parts of texts, gathered and handed over once per quantum."""

import asyncio
import contextlib

from unroll.serve.batching.streams import Part


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

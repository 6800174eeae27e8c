"""The outbox: parts reach their own event loops in order, ends are counted once, and nothing waits on a closed loop."""

import asyncio

from serve.live import run_apart
from unroll.serve.batching.errors import timed_out
from unroll.serve.batching.outbox import Outbox
from unroll.serve.batching.streams import Options, Part, Row, Sink


def test_parts_arrive_in_order_and_ends_are_counted() -> None:
    async def receive() -> list[str]:
        outbox, sink = Outbox(), Sink()
        row, closed_row = Row(sink, 0, 0, Options(9)), Row(sink, 1, 1, Options(9))
        closed_row.cancelled = True
        outbox.put(Part(row, ["a"], None))
        outbox.put(Part(closed_row, ["nobody reads this"], None, "stop"))
        outbox.put(Part(row, ["b"], None, error=timed_out(1)))
        outbox.drop(2)
        assert outbox.take_ended() == 4 and outbox.take_ended() == 0
        outbox.send()
        outbox.send()
        await asyncio.sleep(0)
        return [piece for part in sink.rest() for piece in part.pieces]

    assert run_apart(receive()) == ["a", "b"]


def test_a_closed_loop_is_passed_over() -> None:
    async def make() -> Row:
        return Row(Sink(), 0, 0, Options(9))

    outbox = Outbox()
    outbox.put(Part(run_apart(make()), ["a"], None, "stop"))
    outbox.send()
    assert outbox.take_ended() == 1

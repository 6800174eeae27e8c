"""Streams: the probabilities that are reported, what penalties and bias change, and how parts are delivered."""

import asyncio

import numpy as np
import pytest

from serve.live import run_apart
from unroll.serve.batching.streams import Options, Outbox, Part, Row, Sink, points_of
from unroll.serve.errors import timed_out

PROMPT = np.array([1, 4])


def row_of(options: Options) -> Row:
    async def make() -> Row:
        return Row(Sink(), 0, 0, options)

    row = run_apart(make())
    row.prompt, row.ids = PROMPT, [2, 2, 3]
    return row


@pytest.mark.parametrize("size", [6, 200])
@pytest.mark.parametrize("top", [0, 1, 5, 20])
def test_the_most_probable_come_first_and_ties_go_by_id(size: int, top: int) -> None:
    log_p = np.round(np.random.default_rng(size).normal(size=(30, size)), 1)  # with ties
    ids = np.arange(30) % size
    for row, (point, id) in enumerate(zip(points_of(log_p, ids, top), ids, strict=True)):
        order = sorted(range(size), key=lambda k: (-log_p[row, k], k))[:top]
        assert point.log_probability == log_p[row, id]
        assert point.top == [log_p[row, k] for k in order]
        if size == 6:
            assert point.top_ids == order


def test_penalties_change_what_was_written_and_what_was_read() -> None:
    logits = np.array([1.0, -2.0, 3.0, -4.0, 5.0, 0.0])
    unchanged = row_of(Options(9)).adjust(logits)
    assert np.array_equal(unchanged, logits)
    assert row_of(Options(9, bias={5: 2.5})).adjust(logits)[5] == 2.5
    assert (logits - row_of(Options(9, presence_penalty=1.0)).adjust(logits)).tolist() == [0, 0, 1, 1, 0, 0]
    assert (logits - row_of(Options(9, frequency_penalty=0.5)).adjust(logits)).tolist() == [0, 0, 1, 0.5, 0, 0]
    repeated = row_of(Options(9, repetition_penalty=2.0)).adjust(logits)
    assert repeated.tolist() == [1.0, -4.0, 1.5, -8.0, 2.5, 0.0]  # of the prompt as well


def test_symbols_are_counted_once() -> None:
    """A planted fault: penalties that count a symbol again at each step would grow."""
    row, logits = row_of(Options(9, frequency_penalty=1.0)), np.zeros(6)
    first = row.adjust(logits)
    assert np.array_equal(first, row.adjust(logits)) and first[2] == -2
    row.ids.append(2)
    assert row.adjust(logits)[2] == -3


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

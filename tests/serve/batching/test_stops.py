"""Stops, held back and cut off however the symbols come, against an oracle that sees the whole text."""

import itertools
import random
from collections.abc import Sequence

import pytest

from unroll.data.documents import DocumentTokenizer
from unroll.data.tokenizer import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.data.words import UnicodeWordTokenizer
from unroll.serve.batching.stops import Writing

LETTERS = "abc \n\u00e9"
CASES: list[tuple[Tokenizer, list[int]]] = []
for tokenizer in (
    CharTokenizer.learn(LETTERS),
    ByteTokenizer(),
    WordTokenizer.learn({"a": 3, "b": 2, "ab": 1}),
    BpeTokenizer.learn(["abc abab\n é abcab ab" * 20], vocab_size=290),
):
    usual = set(LETTERS.encode())
    CASES.append((tokenizer, [id for id, piece in enumerate(tokenizer.pieces) if set(piece) <= usual]))
MARKS = UnicodeWordTokenizer.learn(["a b, c. ab (a)\n\na  b"])
ENDING = [DocumentTokenizer(base, " b") for base in (CASES[0][0], MARKS)]
MORE: list[Tokenizer] = [MARKS, *ENDING]
CASES += [(tokenizer, list(range(1, tokenizer.vocab_size))) for tokenizer in MORE]

COUNT = 50_000
"""Of cases for each level."""


def oracle(tokenizer: Tokenizer, ids: Sequence[int], stops: Sequence[str]) -> tuple[str, int]:
    """Return the text before `<end>` and the first stop that is complete, and how many symbols it took."""
    ids = ids[: ids.index(tokenizer.end_id)] if tokenizer.end_id in ids else ids
    decoder = tokenizer.stream_decoder()
    pieces = [decoder.push(id) for id in ids] or [""]
    pieces[-1] += decoder.flush()
    text = "".join(pieces)
    matches = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    if not matches:
        return text, len(ids)
    end, at = min(matches)
    sizes = itertools.accumulate(map(len, pieces))
    return text[:at], 1 + next(number for number, size in enumerate(sizes) if size >= end)


def law_stops(tokenizer: Tokenizer, pool: list[int], seed: int, count: int, make: type[Writing] = Writing) -> None:
    """What is shown, never to be taken back, is the oracle's text."""
    draw = random.Random(seed)
    for _ in range(count):
        ids = draw.choices(pool, k=draw.randint(1, 10))
        stops = ["".join(draw.choices(LETTERS + "\ufffd", k=draw.randint(1, 4))) for _ in range(draw.randint(1, 4))]
        writing = make(tokenizer, [], stops)
        text, released, consumed, position = "", 0, 0, 0
        while position < len(ids) and not writing.ended:
            size = draw.randint(1, 4)
            consumed += writing.push(ids[position : position + size])
            position += size
            assert released <= writing.free <= len(writing.pieces)
            text += "".join(writing.pieces[released : writing.free])
            released = writing.free
        if not writing.ended:
            writing.finish()
        text += "".join(writing.pieces[released : writing.free])
        expected, expected_count = oracle(tokenizer, ids, stops)
        assert (text, consumed) == (expected, expected_count)
        assert "".join(writing.pieces) == expected
        if writing.ended:
            assert writing.whole in (len(writing.pieces), len(writing.pieces) - 1)
            whole = tokenizer.stream_decoder()
            begun = "".join(map(whole.push, ids[: writing.whole])) + " " * writing.spaced
            assert expected.startswith(begun)
            assert expected == begun or writing.whole < len(writing.pieces) or tokenizer.level in ("byte", "bpe")


@pytest.mark.parametrize(("tokenizer", "pool"), CASES, ids=lambda value: getattr(value, "level", ""))
def test_two_hundred_thousand_stops(tokenizer: Tokenizer, pool: list[int]) -> None:
    law_stops(tokenizer, pool, 0, COUNT if (tokenizer, pool) in CASES[:4] else COUNT // 5)


class HoldsNothing(Writing):
    def _hold(self, since: int) -> None:
        pass


class ForgetsTheLongest(Writing):
    def __init__(self, tokenizer: Tokenizer, before: Sequence[int], stops: Sequence[str]) -> None:
        super().__init__(tokenizer, before, stops)
        self._longest -= 1


class TakesTheFirstNamed(Writing):
    def _stop(self, before: int) -> int | None:
        stops, self._stops = self._stops, self._stops[:1]
        try:
            return super()._stop(before)
        finally:
            self._stops = stops


@pytest.mark.parametrize("fault", [HoldsNothing, ForgetsTheLongest, TakesTheFirstNamed])
def test_planted_faults_are_caught(fault: type[Writing]) -> None:
    with pytest.raises(AssertionError):
        law_stops(*CASES[0], 0, 3000, fault)


@pytest.mark.parametrize(("tokenizer", "pool"), CASES, ids=lambda value: getattr(value, "level", ""))
def test_a_text_goes_on_from_what_stands_before_it(tokenizer: Tokenizer, pool: list[int]) -> None:
    draw, pool = random.Random(1), [id for id in pool if id != tokenizer.end_id]
    for _ in range(300):
        ids = draw.choices(pool, k=30)
        split = draw.randint(0, 29)
        decoder = tokenizer.stream_decoder()
        pieces = [decoder.push(id) for id in ids]
        writing = Writing(tokenizer, ids[:split], [])
        writing.push(ids[split:])
        assert writing.pieces == pieces[split:]

"""Beam search: brute force where it keeps all beginnings, greedy where it keeps one, and the nats of `score`."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm.predictors import Forgetful, Known, network
from tiny import ARCHS, TOKENIZER, Stepping, model_config, random_model
from unroll.data.documents import DocumentTokenizer
from unroll.data.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.engine.draw import Step
from unroll.errors import UserError
from unroll.lm.beam import beam_search, search
from unroll.lm.sample import SampledSymbol, SampleOptions, generate
from unroll.predict.predictor import Predictor, Window
from unroll.predict.protocols import stream
from unroll.predict.torch import TorchPredictor
from unroll.progress import result
from unroll.state import State, select_rows

FEW = CharTokenizer.learn("ab")
"""Four symbols: <unk>, the newline, a and b."""


def searched(
    predictor: Predictor, prompt: Sequence[int], length: int, beam: int, *stops: str, tokenizer: Tokenizer = FEW
) -> list[SampledSymbol]:
    return result(search(predictor, tokenizer, prompt, length, beam, stops))


def of_few(arch: str = "lstm", scale: float = 1.0) -> TorchPredictor:
    return TorchPredictor(random_model(model_config(arch, FEW.vocab_size), scale=scale))


def nats_of(predictor: Predictor, ids: Sequence[int]) -> list[float]:
    """Return the nats of each symbol, read as one text."""
    return [float(n) for nats, _ in stream(predictor, np.array(ids), FEW.start_id) for n in nats]


def brute_force(predictor: Predictor, prompt: list[int], length: int, *stops: str) -> tuple[float, list[int]]:
    """Return the least nats of all texts of this length, or that end with the first stop in them, and their ids."""
    texts: list[tuple[float, int, list[int]]] = []
    for size in range(1, length + 1):
        for ids in map(list, product(range(1, FEW.vocab_size), repeat=size)):
            ends, before = (any(stop in FEW.decode(part) for stop in stops) for part in (ids, ids[:-1]))
            if not before and (ends or size == length):
                texts.append((sum(nats_of(predictor, [*prompt, *ids])[len(prompt) :]), size, ids))
    nats, _, ids = min(texts)
    return nats, ids


def law_exact(predictor: Predictor, reference: Predictor, stops: Sequence[str]) -> None:
    """With as many beginnings as there are, the search returns what brute force does, with its nats."""
    for prompt in ([], [2, 3, 3]):
        symbols = searched(predictor, prompt, 5, FEW.vocab_size**5, *stops)
        nats, ids = brute_force(reference, prompt, 5, *stops)
        assert [symbol.id for symbol in symbols] == ids
        assert sum(symbol.nats for symbol in symbols) == pytest.approx(nats, abs=1e-9)


@pytest.mark.parametrize("stops", [(), ("b",), ("ab", "\n")], ids=str)
@pytest.mark.parametrize("arch", ARCHS)
def test_a_search_that_keeps_all_beginnings_is_brute_force(arch: str, stops: tuple[str, ...]) -> None:
    law_exact(of_few(arch), of_few(arch), stops)


def mixed_rows(inner: Step) -> Step:
    def step(ids: Window, state: State | None) -> tuple[np.ndarray, State]:
        logits, after = inner(ids, state)
        return logits, select_rows(after, np.arange(len(ids))[::-1])

    return step


@pytest.mark.parametrize("fault", [mixed_rows, lambda step: Forgetful(Stepping(step)).logits])
def test_the_law_fails_on_faults(fault: Callable[[Step], Step]) -> None:
    step = of_few().logits
    law_exact(Stepping(step), of_few(), ())
    with pytest.raises(AssertionError):
        law_exact(Stepping(fault(step)), of_few(), ())


@pytest.mark.parametrize("arch", ARCHS)
def test_one_beginning_is_the_most_probable_symbol_each_time(arch: str) -> None:
    predictor = TorchPredictor(random_model(model_config(arch)))
    for stop in ((), "c", ("de", "a")):
        greedy = list(generate(predictor, TOKENIZER, [3, 4], 40, SampleOptions(temperature=0), stop=stop))
        symbols = searched(predictor, [3, 4], 40, 1, *stop, tokenizer=TOKENIZER)
        assert [symbol.id for symbol in symbols] == [symbol.id for symbol in greedy]
        assert "".join(symbol.text for symbol in symbols) == "".join(symbol.text for symbol in greedy)


def test_its_nats_are_those_of_score_and_it_repeats_itself() -> None:
    predictor = network()
    symbols = searched(predictor, [5, 6], 30, 7, tokenizer=TOKENIZER)
    assert len(symbols) == 30
    ids = [5, 6, *(symbol.id for symbol in symbols)]
    nats = [n for part, _ in stream(predictor, np.array(ids), TOKENIZER.start_id) for n in part]
    np.testing.assert_allclose([symbol.nats for symbol in symbols], nats[2:], rtol=1e-9, atol=1e-9)
    assert symbols == searched(network(), [5, 6], 30, 7, tokenizer=TOKENIZER)


def test_a_search_finds_what_greed_misses() -> None:
    """The most probable first symbol leads to two equal halves, the other one on for certain."""
    rows = np.log(np.array([[1e-9, 0.6, 0.4, 1e-9], [1e-9, 0.5, 0.25, 0.25], [1e-9, 1e-9, 1e-9, 1.0]]))

    def step(ids: Window, state: State | None) -> tuple[np.ndarray, State]:
        return rows[[0 if state is None else int(id) for id in ids[:, -1]]], ((ids,),)

    def best(beam: int) -> list[int]:
        return [symbol.id for symbol in searched(Stepping(step), [], 2, beam)]

    assert best(1) == [1, 1]
    assert best(2) == [2, 3]


def test_of_equal_continuations_the_shorter_and_then_the_smaller_wins() -> None:
    even = Known([0.25] * 4)
    for beam in (1, 2, 3, 50):
        assert [symbol.id for symbol in searched(even, [], 3, beam)] == [1, 1, 1]
    certain = Known([1e-300, 1e-300, 1.0, 1e-300])
    assert [symbol.id for symbol in searched(certain, [], 9, 4, "aa")] == [2, 2]


def test_the_unknown_symbol_is_never_chosen_and_its_probability_still_counts() -> None:
    symbols = searched(Known([0.97, 0.01, 0.015, 0.005]), [], 4, 3)
    assert [symbol.id for symbol in symbols] == [2] * 4
    assert all(symbol.nats == pytest.approx(-np.log(0.015)) for symbol in symbols)


def test_a_document_that_ends_is_a_complete_text() -> None:
    tokenizer = DocumentTokenizer(FEW, "|")
    symbols = searched(Known([0.1, 0.1, 0.3, 0.1, 0.4]), [], 9, 3, tokenizer=tokenizer)
    assert [(symbol.id, symbol.text) for symbol in symbols] == [(tokenizer.end_id, "")]


TOKENIZERS: list[Tokenizer] = [CharTokenizer.learn("abé€😀"), ByteTokenizer(), WordTokenizer(("the", "cat", "é€"))]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: str(tokenizer.level))
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_its_text_is_that_of_the_ids_before_the_stop(tokenizer: Tokenizer, data: st.DataObject) -> None:
    """Also where an id ends in the middle of a character, and right after a prompt."""
    known_ids = [id for id in range(tokenizer.vocab_size) if id != tokenizer.unknown_id]
    ids = data.draw(st.lists(st.sampled_from(known_ids), min_size=1, max_size=12))
    prompt = data.draw(st.lists(st.sampled_from(known_ids), max_size=3))
    stop = data.draw(st.sampled_from(["", "a", "the", "\n"]))
    following = iter(ids)

    def step(read: Window, state: State | None) -> tuple[np.ndarray, State]:
        return np.where(np.arange(tokenizer.vocab_size)[None] == next(following), 0.0, -np.inf), ()

    stops = [stop] if stop else []
    symbols = searched(Stepping(step), prompt, len(ids), 2, *stops, tokenizer=tokenizer)
    decoder = tokenizer.stream_decoder()
    for id in prompt:
        decoder.push(id)
    text = "".join(map(decoder.push, ids)) + decoder.flush()
    assert "".join(symbol.text for symbol in symbols) == (text.split(stop)[0] if stop else text)
    assert [symbol.id for symbol in symbols] == ids[: len(symbols)]


@pytest.mark.parametrize("wrong", [{"length": 0}, {"beam": 0}, {"stop": ""}], ids=str)
def test_what_makes_no_sense_is_refused(wrong: dict[str, int | str]) -> None:
    with pytest.raises(UserError) as refusal:
        beam_search("nowhere", **wrong)  # type: ignore[arg-type]
    assert refusal.value.fix

"""The n-gram against a slow textbook implementation and by hand; its state; damaged tables; the model directory."""

import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import unroll
from tiny import make_corpus, overrides, start, text
from unroll.artifact.ngram import write_ngram
from unroll.artifact.open import load, open_model
from unroll.data.corpus import DataConfig, load_corpus
from unroll.data.tokenizer import CharTokenizer
from unroll.errors import UserError
from unroll.lm.sample import SampleOptions, generate
from unroll.predict import ngram_counts, protocols
from unroll.predict.ngram import MAX_ORDER, NgramConfig, NgramPredictor, Tables, fault
from unroll.predict.ngram_counts import FALL_BACK, count
from unroll.predict.predictor import log_probabilities
from unroll.progress import result
from unroll.state import select_rows
from unroll.training.budget import Budget

Ids = NDArray[np.int64]
BEGIN = "<s>"
"""The textbook's start of a sentence."""


def tables_of(ids: Ids, config: NgramConfig) -> Tables:
    tables = result(count(ids, config))
    assert isinstance(tables, Tables)
    return tables


def sentences(ids: Ids, config: NgramConfig) -> list[list[Any]]:
    """Return the text as the textbook has it: one sentence after its start symbol, or one a line."""
    if not config.lines:
        return [[config.start_id, *ids.tolist()]]
    sequences: list[list[Any]] = [[BEGIN]]
    for symbol in ids.tolist():
        sequences[-1].append(symbol)
        if symbol == config.start_id:
            sequences.append([BEGIN])
    return sequences


class Textbook:
    """Interpolated modified Kneser-Ney, word for word from its formulas, in dictionaries."""

    def __init__(self, ids: Ids, config: NgramConfig) -> None:
        self.config = config
        orders = range(1, config.order + 1)
        raw: dict[int, Counter[tuple[Any, ...]]] = {order: Counter() for order in orders}
        at_start: dict[int, Counter[tuple[Any, ...]]] = {order: Counter() for order in orders}
        for sentence in sentences(ids, config):
            for order in orders:
                for first in range(len(sentence) - order + 1):
                    if order > 1 or first > 0:  # the start itself is not predicted
                        ngram = tuple(sentence[first : first + order])
                        raw[order][ngram] += 1
                        at_start[order][ngram] += first == 0
        self.adjusted: dict[int, dict[tuple[Any, ...], int]] = {config.order: dict(raw[config.order])}
        for order in orders[:-1]:
            before = defaultdict(set)
            for ngram in raw[order + 1]:
                before[ngram[1:]].add(ngram[0])
            self.adjusted[order] = {ngram: len(before[ngram]) + at_start[order][ngram] for ngram in raw[order]}
        self.discounts = {order: self.discounts_of(order) for order in orders}
        self.below: dict[int, dict[tuple[Any, ...], dict[int, int]]] = {order: defaultdict(dict) for order in orders}
        for order in orders:
            for ngram, a in self.adjusted[order].items():
                self.below[order][ngram[:-1]][ngram[-1]] = a

    def discounts_of(self, order: int) -> tuple[float, float, float]:
        n = Counter(self.adjusted[order].values())
        try:
            y = n[1] / (n[1] + 2 * n[2])
            discounts = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
        except ZeroDivisionError:
            return FALL_BACK
        return discounts if all(0 < d <= i for i, d in enumerate(discounts, 1)) else FALL_BACK

    def p(self, history: list[int]) -> NDArray[np.float64]:
        """Return the distribution after a history."""
        h: list[Any] = list(history)
        if self.config.lines and self.config.start_id in h:
            h = [BEGIN, *h[len(h) - h[::-1].index(self.config.start_id) :]]
        p = np.full(self.config.vocab_size, 1 / self.config.vocab_size)
        for order in range(1, min(self.config.order, len(h) + 1) + 1):
            followers = self.below[order].get(tuple(h[len(h) - order + 1 :]))
            if not followers:
                break
            total = sum(followers.values())
            discounts = {w: self.discounts[order][min(a, 3) - 1] for w, a in followers.items()}
            p = p * sum(discounts.values()) / total
            for w, a in followers.items():
                p[w] += max(a - discounts[w], 0) / total
        return p


def corpus_of(seed: int, size: int, vocab_size: int) -> Ids:
    """Return a text in which some strings come again and again, most of its symbols seldom."""
    random = np.random.default_rng(seed)
    p = 1 / np.arange(1, vocab_size + 1) ** 1.2
    ids = random.choice(vocab_size, size, p=p / p.sum())
    pieces = [ids[first : first + random.integers(1, 12)] for first in random.integers(0, size, size // 8)]
    return np.concatenate([ids, *pieces])


Reader = Callable[[Tables], NgramPredictor]


def law_textbook(ids: Ids, config: NgramConfig, history: Ids, reader: Reader = NgramPredictor) -> None:
    """Discounts, and P of every symbol after every history in what is heard, are the textbook's."""
    tables, book = tables_of(ids, config), Textbook(ids, config)
    assert fault(tables) == ""
    for order in range(1, config.order + 1):
        assert np.allclose(tables.discounts[order - 1], book.discounts[order], rtol=0, atol=1e-12)
    predictor = reader(tables)
    inputs = np.array([[config.start_id, *history.tolist()]])
    expected = np.array([book.p(inputs[0, : end + 1].tolist()) for end in range(inputs.shape[1])])
    assert np.allclose(expected.sum(axis=1), 1, rtol=0, atol=1e-12)
    for symbol in range(config.vocab_size):  # a target that does not come next, too
        nats, _ = predictor.nats(inputs, np.full_like(inputs, symbol))
        assert np.allclose(np.exp(-nats[0]), expected[:, symbol], rtol=0, atol=1e-9)
    nats, _ = predictor.nats(inputs[:, :-1], inputs[:, 1:])
    assert np.allclose(np.exp(-nats[0]), expected[np.arange(len(history)), history], rtol=0, atol=1e-9)
    state = None
    for end, p in enumerate(expected):
        logits, state = predictor.logits(inputs[:, end : end + 1], state)
        assert np.allclose(np.exp(logits[0]), p, rtol=0, atol=1e-9)


@pytest.mark.parametrize("lines", [False, True], ids=["stream", "lines"])
@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize(("seed", "size", "vocab_size"), [(0, 1, 2), (1, 9, 3), (2, 60, 3), (3, 400, 6), (4, 900, 60)])
def test_it_is_the_textbooks(seed: int, size: int, vocab_size: int, order: int, lines: bool) -> None:
    ids = corpus_of(seed, size, vocab_size)
    config = NgramConfig(vocab_size, order, start_id=seed % vocab_size, lines=lines)
    for history in (ids[: 3 * order], ids[-20:], corpus_of(seed + 100, 30, vocab_size)):
        law_textbook(ids, config, history)


def test_some_of_those_texts_have_discounts_of_their_own() -> None:
    estimated = tables_of(corpus_of(4, 900, 60), NgramConfig(60, 4, 4)).discounts != FALL_BACK
    assert estimated.all(axis=1).all()


@settings(max_examples=150, deadline=None)
@given(
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    heard=st.lists(st.integers(0, 3), max_size=12),
    order=st.integers(1, 8),
    lines=st.booleans(),
    start_id=st.integers(0, 3),
)
def test_any_text_and_any_history(ids: list[int], heard: list[int], order: int, lines: bool, start_id: int) -> None:
    law_textbook(np.array(ids), NgramConfig(4, order, start_id, lines), np.array(heard, np.int64))


class WrongDiscount(NgramPredictor):
    """Planted fault: each order uses the discounts of the one below it."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self._discounts = np.roll(self._discounts, 1, axis=0)


class NoSingles(NgramPredictor):
    """Planted fault: what followed a context once is not looked up in the text."""

    def _steps(self, symbols: Any, asked: Any) -> Iterator[Any]:
        empty = np.zeros(0, np.int64)
        for step in super()._steps(symbols, asked):
            yield step._replace(single=empty, place=empty)


class NotAlongTheText(NgramPredictor):
    """Planted fault: a context that goes on from one that is followed once is taken for one that was never seen."""

    def _steps(self, symbols: Any, asked: Any) -> Iterator[Any]:
        nodes = {
            int(place)
            for places, follows in zip(self.tables.places, self.tables.follows, strict=True)
            for place in places[: len(follows) // 2]
        }
        for step in super()._steps(symbols, asked):
            along_text = np.array([int(place) in nodes for place in step.place], np.bool_)
            yield step._replace(single=step.single[along_text], place=step.place[along_text])


@pytest.mark.parametrize("reader", [WrongDiscount, NoSingles, NotAlongTheText])
def test_the_law_finds_a_reader_that_errs(reader: Reader) -> None:
    ids = corpus_of(4, 900, 60)
    with pytest.raises(AssertionError):
        law_textbook(ids, NgramConfig(60, 4, 4, lines=True), ids[:60], reader)


def raw_counts(strings: Any, longer: Any, after: Any, starts: Any) -> Any:
    """Planted fault: every order is counted like the highest."""
    return COUNTED(strings, None, after, starts)


def starts_like_others(strings: Any, longer: Any, after: Any, starts: Any) -> Any:
    """Planted fault: an n-gram at a start counts only for what stands before it elsewhere."""
    return COUNTED(strings, longer, after, starts[:0])


COUNTED = ngram_counts._adjusted


@pytest.mark.parametrize("planted", [raw_counts, starts_like_others])
def test_the_law_finds_a_miscount(monkeypatch: pytest.MonkeyPatch, planted: Callable[..., Any]) -> None:
    monkeypatch.setattr(ngram_counts, "_adjusted", planted)
    ids = corpus_of(4, 900, 60)
    with pytest.raises(AssertionError):
        law_textbook(ids, NgramConfig(60, 4, 4, lines=True), ids[:60])


def test_by_hand() -> None:
    """Bigrams of two sentences, `a b` and `a a`; <unk> is 0, <eos> 1, a 2, b 3; discounts of 0.5 and 1.

    Before a: <s>, a. Before b: a. Before <eos>: b, a. So the unigrams get 2 - 1, 1 - 0.5, 2 - 1 of 5; 2.5 of 5 is left.
    """
    predictor = NgramPredictor(tables_of(np.array([2, 3, 1, 2, 2, 1]), NgramConfig(4, 2, start_id=1, lines=True)))
    assert np.allclose(predictor.tables.discounts, FALL_BACK)
    unigrams = np.array([0.125, 0.325, 0.325, 0.225])
    expected = {
        0: unigrams,
        1: np.array([0, 0, 1 / 2, 0]) + 1 / 2 * unigrams,  # <s> a, twice
        2: np.array([0, 1 / 6, 1 / 6, 1 / 6]) + 1 / 2 * unigrams,  # a <eos>, a a, a b
        3: np.array([0, 1 / 2, 0, 0]) + 1 / 2 * unigrams,  # b <eos>, which is read in the text
    }
    for symbol, p in expected.items():
        logits, _ = predictor.logits(np.array([[symbol]]))
        assert np.allclose(np.exp(logits[0]), p, rtol=0, atol=1e-12), symbol
    logits, _ = predictor.logits(np.zeros((1, 0), np.int64))
    assert np.allclose(np.exp(logits[0]), unigrams)


def test_discounts_by_hand() -> None:
    """Four symbols occur once, two twice, one three times and one four times: Y = 4 / 8."""
    ids = np.array([0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 7, 7, 7, 7])
    tables = tables_of(ids, NgramConfig(9, 1, start_id=8))
    assert tables.discounts.tolist() == [[0.5, 1.25, 1.0]]
    assert tables.counts[0].tolist() == [1, 1, 1, 1, 2, 2, 3, 4, 0]


def test_contexts_that_are_followed_once_have_no_table() -> None:
    """A text without repetition takes no more n-grams than its first context has, whatever the order."""
    ids = np.arange(1, 200)
    tables = tables_of(ids, NgramConfig(201, 20, start_id=200))
    assert tables.size == 201
    law_textbook(ids, NgramConfig(201, 20, start_id=200), ids[:40])


def predictor_of(order: int = 5, *, lines: bool = False, size: int = 500) -> tuple[NgramPredictor, Ids]:
    ids = corpus_of(7, size, 12)
    return NgramPredictor(tables_of(ids, NgramConfig(12, order, 1, lines))), corpus_of(8, 120, 12)


Nats = Callable[[NgramPredictor, Ids, int], list[float]]


def carried(predictor: NgramPredictor, ids: Ids, window: int) -> list[float]:
    """Return the nats of each symbol, read in windows."""
    state, before, nats_read = None, 1, []
    for first in range(0, len(ids), window):
        targets = ids[None, first : first + window]
        nats, state = predictor.nats(np.concatenate([[[before]], targets[:, :-1]], axis=1), targets, state)
        nats_read += nats[0].tolist()
        before = int(targets[0, -1])
    return nats_read


def law_windows(predictor: NgramPredictor, ids: Ids, reader: Nats) -> None:
    """The nats of a text do not depend on the windows it is read in."""
    expected = predictor.nats(np.array([[1, *ids[:-1].tolist()]]), ids[None])[0][0]
    for window in (1, 2, 3, 7, 64, len(ids) - 1, len(ids)):
        assert np.allclose(reader(predictor, ids, window), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lines", [False, True], ids=["stream", "lines"])
@pytest.mark.parametrize("order", [1, 2, 5, 9])
def test_nats_do_not_depend_on_windows(order: int, lines: bool) -> None:
    law_windows(*predictor_of(order, lines=lines), carried)


def test_the_law_of_windows_finds_a_lost_state(monkeypatch: pytest.MonkeyPatch) -> None:
    nats = NgramPredictor.nats
    monkeypatch.setattr(NgramPredictor, "nats", lambda self, inputs, targets, state=None: nats(self, inputs, targets))
    with pytest.raises(AssertionError):
        law_windows(*predictor_of(), carried)


def test_rows_do_not_see_each_other() -> None:
    predictor, ids = predictor_of()
    rows = ids[:120].reshape(6, 20)
    batched, state = predictor.nats(rows[:, :-1], rows[:, 1:])
    next_nats, _ = predictor.nats(rows[:, ::-1], rows, state)
    logits, _ = predictor.logits(rows[:, ::-1], state)
    for row in range(6):
        single, row_state = predictor.nats(rows[row : row + 1, :-1], rows[row : row + 1, 1:])
        assert np.array_equal(single[0], batched[row])
        assert np.array_equal(row_state[0][0], select_rows(state, [row])[0][0])
        assert np.array_equal(
            predictor.nats(rows[row : row + 1, ::-1], rows[row : row + 1], row_state)[0][0], next_nats[row]
        )
        assert np.allclose(
            predictor.logits(rows[row : row + 1, ::-1], row_state)[0][0], logits[row], rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("lines", [False, True], ids=["stream", "lines"])
@pytest.mark.parametrize("order", [1, 4])
def test_nats_are_those_of_the_logits(order: int, lines: bool) -> None:
    predictor, ids = predictor_of(order, lines=lines)
    state = None
    nats, _ = predictor.nats(ids[None, :-1], ids[None, 1:])
    for place in range(len(ids) - 1):
        logits, state = predictor.logits(ids[None, place : place + 1], state)
        assert abs(np.exp(logits).sum() - 1) < 1e-12
        assert abs(nats[0, place] + log_probabilities(logits)[0, ids[place + 1]]) < 1e-9


def test_the_state_is_what_was_read_last() -> None:
    predictor, _ = predictor_of(4)
    _, ((context,),) = predictor.logits(np.array([[5, 6], [7, 8]]))
    assert context.tolist() == [[-1, 5, 6], [-1, 7, 8]]
    assert context.dtype == np.int64
    _, ((context,),) = predictor.nats(np.array([[3]]), np.array([[1]]), ((context[1:],),))
    assert context.tolist() == [[7, 8, 3]]


def test_where_lines_are_sentences_the_protocols_agree() -> None:
    for lines, agrees in ((True, True), (False, False)):
        predictor, ids = predictor_of(lines=lines)
        ids = np.append(ids, 1)
        lines_of_ids = np.split(ids, np.flatnonzero(ids[:-1] == 1) + 1)
        (line_nats,) = protocols.lines(predictor, lines_of_ids, 1)
        streamed = np.concatenate([nats for nats, _ in protocols.stream(predictor, ids, 1)])
        assert np.allclose(np.concatenate(line_nats), streamed, rtol=0, atol=1e-12) is agrees


def test_sampling_tells_the_nats_of_scoring() -> None:
    tokenizer = CharTokenizer.learn("abcdefghij")
    predictor, _ = predictor_of()
    symbols = list(generate(predictor, tokenizer, [3, 4], 30, SampleOptions(seed=5)))
    ids = np.array([tokenizer.start_id, 3, 4, *(symbol.id for symbol in symbols)])
    nats, _ = predictor.nats(ids[None, :-1], ids[None, 1:])
    assert np.allclose(nats[0, 2:], [symbol.nats for symbol in symbols], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"order": 0}, "order is 0"), ({"order": MAX_ORDER + 1}, f"1 to {MAX_ORDER}"), ({"vocab_size": 0}, "vocab_size"),
     ({"start_id": 12}, "start_id"), ({"start_id": -1}, "start_id")],
)  # fmt: skip
def test_a_shape_that_there_is_not(values: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        NgramConfig(**{"vocab_size": 12, "order": 3, "start_id": 1} | values)  # type: ignore[arg-type]


def test_a_text_that_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="0 symbols"):
        list(count(np.zeros(0, np.int64), NgramConfig(2, 2, 0)))
    monkeypatch.setattr(ngram_counts, "MAX_TOKENS", 5)
    with pytest.raises(UserError, match="6 symbols"):
        list(count(np.zeros(6, np.int64), NgramConfig(2, 2, 0)))


def test_a_product_of_the_smallest_shares_is_a_number() -> None:
    """All lines are equal and as long as the order: every order keeps the raw count of its line."""
    ids = np.tile(np.append(np.full(MAX_ORDER, 2), 1), 3000)
    predictor = NgramPredictor(tables_of(ids, NgramConfig(4, MAX_ORDER, 1, lines=True)))
    nats, _ = predictor.nats(np.array([[1, *[2] * (MAX_ORDER - 2)]]), np.full((1, MAX_ORDER - 1), 3))
    assert np.isfinite(nats).all()
    assert nats.max() > 8


GROUPS = ("counts", "symbols", "follows", "places")

DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a symbol beyond the vocabulary": lambda arrays: arrays["symbols/3"].__setitem__(-1, 200),
    "symbols out of order": lambda arrays: arrays.update({"symbols/2": arrays["symbols/2"][::-1].copy()}),
    "a count of 0": lambda arrays: arrays["counts/2"].__setitem__(0, 0),
    "no counts": lambda arrays: arrays["counts/1"].fill(0),
    "counts beyond all texts": lambda arrays: arrays.update(
        {"counts/2": np.full(len(arrays["counts/2"]), 2**32 - 1, np.uint32)}
    ),
    "a place outside the text": lambda arrays: arrays["places/2"].__setitem__(0, 2**31),
    "a place before the text": lambda arrays: arrays["places/2"].__setitem__(0, 0),
    "too few places": lambda arrays: arrays.update({"places/2": arrays["places/2"][1:]}),
    "more children than there are": lambda arrays: arrays["follows/2"].__setitem__(0, 250),
    "a context too many": lambda arrays: arrays.update({"follows/2": np.append(arrays["follows/2"], np.uint8(0))}),
    "a unigram too many": lambda arrays: arrays.update({"counts/1": np.append(arrays["counts/1"], np.uint8(1))}),
    "a text beyond the vocabulary": lambda arrays: arrays["text"].__setitem__(3, 200),
    "a text without its start": lambda arrays: arrays.update({"text": arrays["text"][1:]}),
    "no text": lambda arrays: arrays.update({"text": arrays["text"][:0]}),
    "a discount of nothing": lambda arrays: arrays["discounts"].__setitem__((0, 0), 0.0),
    "a discount that is no number": lambda arrays: arrays["discounts"].__setitem__((1, 2), math.nan),
    "a discount above the count": lambda arrays: arrays["discounts"].__setitem__((1, 0), 1.5),
    "an order too few": lambda arrays: arrays.pop("counts/3"),
    "an order too many": lambda arrays: arrays.update({"counts/4": arrays["counts/3"]}),
    "counts with signs": lambda arrays: arrays.update({"counts/2": arrays["counts/2"].astype(np.int16)}),
    "counts of two dimensions": lambda arrays: arrays.update({"counts/2": arrays["counts/2"][None]}),
    "discounts of another shape": lambda arrays: arrays.update({"discounts": arrays["discounts"][:1]}),
}


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """A trigram of words as a model directory."""
    (tmp_path / "text.txt").write_text(text(60))
    list(unroll.ngram(tmp_path / "text.txt", order=3, level="word", out=tmp_path / "model"))
    return tmp_path / "model"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tables_are_refused(counted: Path, damage: str) -> None:
    file = counted / "weights.safetensors"
    arrays = load_file(file)
    DAMAGES[damage](arrays)
    save_file(arrays, file, metadata={"info": "{}"})
    with pytest.raises(UserError, match=r"weights.safetensors is damaged: \w"):
        open_model(counted)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), lines=st.booleans())
def test_whatever_passes_the_check_can_be_read(data: st.DataObject, lines: bool) -> None:
    """No file leads out of its arrays, and what is read are probabilities that sum to one."""
    tables = tables_of(corpus_of(5, 60, 5), NgramConfig(5, 4, 1, lines))
    arrays: dict[str, Any] = {"text": [tables.text.copy()]} | {
        group: [part.copy() for part in getattr(tables, group)] for group in GROUPS
    }
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from([part for group in arrays.values() for part in group if len(part)]))
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 7))
    (changed_text,) = arrays.pop("text")
    groups: dict[str, Any] = {group: tuple(parts) for group, parts in arrays.items()}
    damaged = replace(tables, text=changed_text, **groups)
    if fault(damaged) == "":
        predictor = NgramPredictor(damaged)
        history = np.append(np.random.default_rng(0).integers(0, 5, 40), changed_text % 5)
        rows = np.lib.stride_tricks.sliding_window_view(history, 5)  # every history as a row of its own
        for inputs in (rows, rows[:, :2]):
            nats, _ = predictor.nats(inputs, inputs[:, ::-1])
            assert (nats >= -1e-9).all()
            logits, _ = predictor.logits(inputs)
            assert np.allclose(np.exp(logits).sum(axis=1), 1, rtol=0, atol=1e-9)


def test_the_directory_gives_back_what_was_counted(counted: Path) -> None:
    opened, corpus = open_model(counted), load_corpus(counted / "resume" / "data")
    tables = tables_of(np.asarray(corpus.train), NgramConfig(corpus.tokenizer.vocab_size, 3, 1, lines=True))
    assert isinstance(opened.predictor, NgramPredictor)
    tables_read = opened.predictor.tables
    assert opened.tokenizer == corpus.tokenizer
    assert opened.description["parameters"] == tables_read.size == tables.size
    assert tables_read.config == tables.config
    assert np.array_equal(tables_read.text, tables.text)
    assert np.array_equal(tables_read.discounts, tables.discounts)
    for group in GROUPS:
        for array_read, original in zip(getattr(tables_read, group), getattr(tables, group), strict=True):
            assert np.array_equal(array_read, original)
            assert array_read.dtype == original.dtype


def test_equal_texts_give_equal_bytes(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(text(60))
    for out in ("one", "two"):
        list(unroll.ngram(tmp_path / "text.txt", order=4, out=tmp_path / out))
    for name in ("weights.safetensors", "model.json", "tokenizer.json", "recipe.toml"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_every_level_holds_parts_back_on_request(tmp_path: Path, level: str) -> None:
    (tmp_path / "text.txt").write_text(text(200))
    list(unroll.ngram(tmp_path / "text.txt", order=4, level=level, split="80/10/10", out=tmp_path / "model"))
    description, opened = unroll.info(tmp_path / "model"), open_model(tmp_path / "model")
    corpus = load_corpus(tmp_path / "model" / "resume" / "data")
    assert (description["arch"], description["order"], description["finished"]) == ("ngram", 4, True)
    assert (description["level"], description["split"], description["protocol"]) == (level, "80/10/10", "stream")
    assert description["tokens_seen"] == len(corpus.train)
    assert description["valid_tokens"] == description["valid_part_tokens"] == len(corpus.valid)
    assert corpus.test is not None
    for name, ids in (("valid", corpus.valid), ("test", corpus.test)):
        nats = protocols.stream_nats(opened.predictor, ids, opened.tokenizer.start_id)
        assert abs(description[f"{name}_nats_per_token"] - nats) < 1e-12
        assert nats < 0.9 * math.log(opened.tokenizer.vocab_size)
    assert description["valid_bits_per_char"] is not None
    assert not any("held back" in note for note in description["notes"])


def test_all_of_the_text_is_counted(tmp_path: Path) -> None:
    """Its vocabulary, too, which a split would take from the first part."""
    for name, content in (("one.txt", "abab\n"), ("two.txt", "cdcd\n")):
        (tmp_path / name).write_text(content)
    list(unroll.ngram([tmp_path / "one.txt", tmp_path / "two.txt"], order=2, out=tmp_path / "model"))
    description, opened = unroll.info(tmp_path / "model"), open_model(tmp_path / "model")
    assert isinstance(opened.predictor, NgramPredictor)
    assert opened.tokenizer.decode(opened.predictor.tables.text[1:]) == "abab\ncdcd\n"
    assert (description["tokens_seen"], description["valid_nats_per_token"], description["split"]) == (10, None, "100")
    assert any("no text was held back" in note for note in description["notes"])


def test_other_texts_can_be_held_against_it(tmp_path: Path) -> None:
    for name, content in (("a.txt", text(100)), ("b.txt", text(20, seed=1)), ("c.txt", text(20, seed=2))):
        (tmp_path / name).write_text(content)
    list(unroll.ngram(tmp_path / "a.txt", order=3, level="word", vocab_size=9, valid=tmp_path / "b.txt",
                      test=tmp_path / "c.txt", out=tmp_path / "model"))  # fmt: skip
    description = unroll.info(tmp_path / "model")
    assert description["vocab_size"] == 9
    assert (description["valid_file"], description["test_file"], description["split"]) == ("b.txt", "c.txt", None)
    assert description["valid_perplexity"] < 9 < description["parameters"]
    assert description["test_nats_per_token"] is not None


def test_a_prepared_corpus_is_counted_where_it_lies(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path, [text(170)], DataConfig(level="word", split="90/10"))
    list(write_ngram([folder], tmp_path / "model", 3, {}))
    description, corpus = unroll.info(tmp_path / "model"), load_corpus(folder)
    assert (description["tokens_seen"], description["valid_tokens"]) == (len(corpus.train), len(corpus.valid))
    assert not (tmp_path / "model" / "resume" / "data").exists()
    with pytest.raises(UserError, match="split cannot be changed now"):
        list(write_ngram([folder], tmp_path / "other", 3, {"split": "80/20"}))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("moment", [1, 3, 6])
def test_what_is_interrupted_leaves_nothing(tmp_path: Path, moment: int) -> None:
    (tmp_path / "text.txt").write_text(text(30))
    reports = unroll.ngram(tmp_path / "text.txt", order=4, out=tmp_path / "model")
    for _, _report in zip(range(moment), reports, strict=False):
        pass
    assert isinstance(reports, Iterator)
    reports.close()
    assert os.listdir(tmp_path) == ["text.txt"]


def test_an_existing_directory_is_replaced_on_request_alone(counted: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in counted.rglob("*")}
    with pytest.raises(UserError, match="exists") as refusal:
        list(unroll.ngram(tmp_path / "text.txt", order=2, out=counted))
    assert "--force" in str(refusal.value)
    assert "--resume" not in str(refusal.value)
    assert before == {path: path.stat().st_mtime_ns for path in counted.rglob("*")}
    list(unroll.ngram(tmp_path / "text.txt", order=2, out=counted, force=True))
    assert unroll.info(counted)["order"] == 2


def test_nothing_trains_on_an_ngram(counted: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is an n-gram"):
        load(counted)
    with pytest.raises(UserError, match="is an n-gram"):
        list(unroll.resume(counted))
    with pytest.raises(UserError, match="is an n-gram"):
        list(unroll.train(tmp_path / "text.txt", base=counted, steps=1, out=tmp_path / "tuned", device="cpu"))
    assert not (tmp_path / "tuned").exists()


def test_nothing_is_trained_without_validation(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path, [text(170)], DataConfig(split="100"))
    assert len(load_corpus(folder).valid) == 0
    for file in (folder, tmp_path / "text0.txt"):
        fixed = overrides() | ({"data": {"split": "100"}} if file != folder else {})
        with pytest.raises(UserError, match="held back for validation"):
            list(start([file], tmp_path / "run", Budget(steps=1), fixed, device="cpu"))
    assert not (tmp_path / "run").exists()


def test_a_description_that_is_damaged(counted: Path) -> None:
    description = json.loads((counted / "model.json").read_text())
    for changes, message in (
        ({"model": description["model"] | {"order": 0}}, "order is 0"),
        ({"model": description["model"] | {"hidden_size": 3}}, "unknown key 'hidden_size'"),
        ({"model": description["model"] | {"order": 4}}, "weights.safetensors is damaged"),
        ({"model": description["model"] | {"vocab_size": 4}}, "the tokenizer has"),
        ({"model": description["model"] | {"lines": False}}, "weights.safetensors is damaged"),
        ({"result": description["result"] | {"valid_nats_per_token": "x"}}, "valid_nats_per_token"),
    ):
        (counted / "model.json").write_text(json.dumps(description | changes))
        with pytest.raises(UserError, match=message):
            open_model(counted)

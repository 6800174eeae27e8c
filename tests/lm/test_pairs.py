"""Minimal pairs: nats against brute force, which text is likelier, and the statistics of it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lm.test_pair_files import agreement, write
from tiny import ARCHS, model_config, random_model
from unroll.artifact.open import Opened
from unroll.data.tokenizer import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.errors import UserError
from unroll.lm import pairs as pairs_module
from unroll.lm.pair_files import Pair, read_pairs
from unroll.lm.pairs import (
    Count,
    PairNats,
    PairsResult,
    carried,
    counts_of,
    mcnemar,
    minimal_pairs,
    score_pairs,
    word_nats,
)
from unroll.predict import protocols
from unroll.predict.predictor import Predictor, log_probabilities
from unroll.predict.torch import TorchPredictor
from unroll.progress import Progress, result
from unroll.state import State

CHARS = CharTokenizer.learn("abcdefghij ")


def opened(tokenizer: Tokenizer = CHARS, arch: str = "lstm", **options: int) -> Opened:
    model = random_model(model_config(arch, tokenizer.vocab_size, **options))
    return Opened(Path("model"), TorchPredictor(model), tokenizer, {})


def pair(good: str, bad: str, set: str = "s", **fields: object) -> Pair:
    return replace(Pair(good, bad, set, "", Path("f"), 1), **fields)  # type: ignore[arg-type]


def step_by_step(predictor: Predictor, start_id: int, ids: Sequence[int]) -> tuple[list[float], NDArray[np.float64]]:
    """Return the nats of every symbol, each from the whole distribution before it, and the one after the last."""
    state: State | None = None
    nats: list[float] = []
    previous = start_id
    for symbol in [*ids, None]:
        logits, state = predictor.logits(np.array([[previous]]), state)
        distribution = log_probabilities(logits[0])
        if symbol is not None:
            nats.append(-float(distribution[symbol]))
            previous = symbol
    return nats, distribution


# What models say

TEXTS = [("a bad cab", "a bad cabs"[:9]), ("fade", "a jade head"), ("hi", "hi"), ("a" * 70, "b"), ("bad", "dab")]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("eos", [True, False])
def test_sentences_are_scored_from_their_start_to_their_end(arch: str, eos: bool) -> None:
    model = opened(arch=arch)
    pairs = [pair(good, bad) for good, bad in TEXTS]
    nats = result(score_pairs("m", model.predictor, CHARS, pairs, "include", eos=eos))
    for item, good, bad in zip(pairs, nats.good, nats.bad, strict=True):
        for text, total in ((item.good, good), (item.bad, bad)):
            ids = CHARS.encode(text + "\n" * eos).tolist()
            assert abs(sum(step_by_step(model.predictor, CHARS.start_id, ids)[0]) - total) < 1e-9


def test_the_same_text_is_a_tie_though_its_digits_depend_on_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = iter(1e-9 * np.arange(1, 9))
    exact_lines = protocols.lines

    def noisy(*arguments: Any) -> Iterator[list[NDArray[np.float64]]]:
        return ([nats + next(noise) for nats in batch] for batch in exact_lines(*arguments))

    monkeypatch.setattr(pairs_module, "lines", noisy)
    pairs = [pair("a zebra", "a kebra"), pair("hi", "hi"), pair("hi", "ha")]
    scores = result(score_pairs("m", opened().predictor, CHARS, pairs, "include", eos=True))
    assert (scores.good == scores.bad).tolist() == [True, True, False]


def test_nats_do_not_depend_on_the_other_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(arch="gru")
    pairs = [pair(good, bad) for good, bad in TEXTS] + [pair("bad", "cab", prefix="a " * k) for k in range(1, 4)]
    batched = result(score_pairs("m", model.predictor, CHARS, pairs, "include", eos=True))
    monkeypatch.setattr(protocols, "LINE_TOKENS", 12)
    monkeypatch.setattr(protocols, "STREAM_WINDOW", 5)
    monkeypatch.setattr(pairs_module, "LINE_TOKENS", 12)
    monkeypatch.setattr(pairs_module, "STREAM_WINDOW", 5)
    singles = [result(score_pairs("m", model.predictor, CHARS, [single], "include", eos=True)) for single in pairs]
    backwards = result(score_pairs("m", model.predictor, CHARS, pairs[::-1], "include", eos=True))
    assert np.allclose(batched.good, [single.good[0] for single in singles], rtol=0, atol=1e-9)
    assert np.allclose(batched.bad, [single.bad[0] for single in singles], rtol=0, atol=1e-9)
    assert np.allclose(batched.bad, backwards.bad[::-1], rtol=0, atol=1e-9)


Words = Callable[[Predictor, Tokenizer, Sequence[tuple[str, str]]], NDArray[np.float64]]
BPE = BpeTokenizer.learn(["bad bads cab cabs fade faded the dab\n"] * 9, vocab_size=280)
TOKENIZERS = [CHARS, ByteTokenizer(), BPE, WordTokenizer(("a", "bad", "bads", "cab", "fade"))]
ITEMS = [("a bad", "cab"), ("a bad", "cabs"), ("fade a", "bad"), ("", "bad"), ("a bad a bad a bad", "a"), ("a", "fade")]


def law_words(words: Words, tokenizer: Tokenizer) -> None:
    """Of a word after its prefix all symbols count, nothing before them, and below words that white space follows."""
    model = opened(tokenizer)
    word_totals = words(model.predictor, tokenizer, ITEMS)
    spaces = [
        k
        for k, piece in enumerate(tokenizer.pieces)
        if piece.decode(errors="ignore")[:1] in ("\n", " ", "\t", "\r", "\x0b", "\x0c") and piece
    ]
    for (prefix, word), nats in zip(ITEMS, word_totals, strict=True):
        prefix_ids = tokenizer.encode(prefix).tolist()
        ids = tokenizer.encode(f"{prefix} {word}" if prefix else word).tolist()
        assert ids[: len(prefix_ids)] == prefix_ids
        symbol_nats, after = step_by_step(model.predictor, tokenizer.start_id, ids)
        end = 0.0 if tokenizer.level == "word" else -math.log(sum(math.exp(after[k]) for k in spaces))
        assert abs(sum(symbol_nats[len(prefix_ids) :]) + end - nats) < 1e-9, (prefix, word)


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: tokenizer.level)
def test_a_word_after_its_prefix(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    law_words(word_nats, tokenizer)
    monkeypatch.setattr(pairs_module, "LINE_TOKENS", 3)
    monkeypatch.setattr(pairs_module, "STREAM_WINDOW", 2)
    law_words(word_nats, tokenizer)


def wrong_place(predictor: Predictor, tokenizer: Tokenizer, items: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Planted fault: the target is read one symbol too late."""
    word_totals = []
    for prefix, word in items:
        ids = tokenizer.encode(f"{prefix} {word}" if prefix else word).tolist()
        symbol_nats, after = step_by_step(predictor, tokenizer.start_id, ids)
        spaces = [k for k, piece in enumerate(tokenizer.pieces) if piece[:1].isspace()]
        end = -math.log(sum(math.exp(after[k]) for k in spaces))
        word_totals.append(sum(symbol_nats[len(tokenizer.encode(prefix)) + 1 :]) + end)
    return np.array(word_totals)


def without_end(predictor: Predictor, tokenizer: Tokenizer, items: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Planted fault: `cab` is as good as the beginning of `cabs`."""
    word_totals = []
    for prefix, word in items:
        ids = tokenizer.encode(f"{prefix} {word}" if prefix else word).tolist()
        symbol_nats, _ = step_by_step(predictor, tokenizer.start_id, ids)
        word_totals.append(sum(symbol_nats[len(tokenizer.encode(prefix)) :]))
    return np.array(word_totals)


@pytest.mark.parametrize("fault", [wrong_place, without_end])
def test_the_law_of_words_fails_for_faults(fault: Words) -> None:
    with pytest.raises(AssertionError):
        law_words(fault, CHARS)


def test_the_words_that_may_follow_have_probability_one() -> None:
    """All words of one to three symbols, white space at once, and what goes on longer."""
    tokenizer = CharTokenizer.learn("ab ")
    model = opened(tokenizer)
    words = ["".join(letters) for n in (1, 2, 3) for letters in product("ab\0", repeat=n)]  # NUL: <unk>
    total = float(np.exp(-word_nats(model.predictor, tokenizer, [("ab", word) for word in words])).sum())
    prefix = tokenizer.encode("ab ").tolist()
    space, after = step_by_step(model.predictor, tokenizer.start_id, prefix)
    at_once = sum(math.exp(after[k]) for k, piece in enumerate(tokenizer.pieces) if piece.isspace())
    longer = 0.0
    for letters in product("ab\0", repeat=4):
        nats, _ = step_by_step(
            model.predictor, tokenizer.start_id, prefix + tokenizer.encode("".join(letters)).tolist()
        )
        longer += math.exp(-sum(nats[3:]))
    # The space before the word is scored with it.
    assert abs(total / math.exp(-space[-1]) + at_once + longer - 1) < 1e-9


def test_pairs_with_unknown_symbols_count_for_no_model_or_are_read_as_unk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = write(tmp_path / "p.tsv", "a bad\tbad a\nzany\ta\nkelp\tbad\n")
    models = {"one": opened(), "two": opened(CharTokenizer.learn("abcdefghijnzy "))}
    monkeypatch.setattr(pairs_module, "open_model", lambda path: models[path.name])

    def counted(*names: str, unknown: str = "exclude") -> PairsResult:
        report = result(minimal_pairs([Path(name) for name in names], [file], unknown))  # type: ignore[arg-type]
        assert isinstance(report, PairsResult)
        return report

    assert counted("one").counted.tolist() == [True, False, False]
    assert counted("two").counted.tolist() == [True, True, False]
    joint = counted("one", "two")
    assert joint.counted.tolist() == [True, False, False]
    assert [model.total.pairs for model in joint.models] == [1, 1]
    figures = joint.figures()
    assert (figures["pairs"], figures["given"], figures["excluded"]) == (1, 3, 2)
    assert [model["excluded_by_model"] for model in figures["models"]] == [2, 1]
    assert [model["unknown_rate"] for model in figures["models"]] == [6 / 28, 3 / 28]
    assert "'z', 'n', 'y', 'k', 'l'" in figures["notes"][0]
    included = counted("one", "two", unknown="include")
    assert included.counted.all()
    assert "read as <unk>" in included.notes[0]
    nats = included.models[0].nats
    ids = [0, *CHARS.encode("a").tolist(), 0, 0, CHARS.start_id]
    assert abs(sum(step_by_step(models["one"].predictor, CHARS.start_id, ids)[0]) - nats.good[1]) < 1e-9


def test_progress_reaches_what_there_is_to_read() -> None:
    model = opened()
    pairs = [pair("a bad cab", "fade")] * 3
    reports = list(score_pairs("m", model.predictor, CHARS, pairs, "exclude", eos=True))
    assert reports[-1] == Progress("m", 39, 39, "characters")


# Who is right


def nats_of(name: str, good: list[float], bad: list[float]) -> PairNats:
    return PairNats(name, np.array(good), np.array(bad), 0.0)


def law_right(count: Callable[[Sequence[Pair], Sequence[PairNats]], PairsResult]) -> None:
    pairs = [pair("g", "b", set=name) for name in "xxyyy"]
    results = count(pairs, [nats_of("m", [1, 5, 2, 3, math.nan], [2, 4, 2, 9, math.nan])])
    (model,) = results.models
    assert model.total == Count(4, 2, 1)
    assert model.sets == {"x": Count(2, 1, 0), "y": Count(2, 1, 1)}
    assert results.figures()["by_set"] == {"x": 0.5, "y": 0.5}


def test_the_likelier_text_is_the_right_one_and_a_tie_is_not() -> None:
    law_right(lambda pairs, models: counts_of(pairs, models, "exclude", eos=True))


@pytest.mark.parametrize(
    "fault",
    [
        lambda model: replace(model, good=model.bad, bad=model.good),  # the wrong way round
        lambda model: replace(model, good=model.good - (model.good == model.bad)),  # ties are right
        lambda model: replace(model, good=np.nan_to_num(model.good), bad=np.nan_to_num(model.bad)),  # all count
    ],
)
def test_the_law_of_right_fails_for_faults(fault: Callable[[PairNats], PairNats]) -> None:
    with pytest.raises(AssertionError):
        law_right(lambda pairs, models: counts_of(pairs, [fault(m) for m in models], "exclude", eos=True))


def test_two_models_are_compared_where_they_differ() -> None:
    pairs = [pair("g", "b")] * 6
    a = nats_of("one", [1, 1, 1, 1, 9, 2], [2, 2, 2, 2, 2, 2])
    b = nats_of("two", [1, 9, 9, 9, 1, 9], [2, 2, 2, 2, 2, 2])
    c = nats_of("three", [1] * 6, [2] * 6)
    results = counts_of(pairs, [a, b, c], "exclude", eos=True)
    assert [(test.first, test.second, test.only_first, test.only_second) for test in results.comparisons] == [
        ("one", "two", 3, 1), ("one", "three", 0, 2), ("two", "three", 0, 4),
    ]  # fmt: skip
    assert results.comparisons[0].p == pytest.approx(2 * (1 + 4) / 16)
    assert results.figures()["comparisons"][2] == {
        "models": ["two", "three"],
        "only_first": 0,
        "only_second": 4,
        "p": pytest.approx(1 / 8),
    }


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_binomial_test(only_first: int, only_second: int) -> None:
    n, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(fewer + 1))
    assert mcnemar(only_first, only_second) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-9, abs=1e-300)


def test_mcnemar_of_many_pairs_is_a_number() -> None:
    assert mcnemar(33_500, 33_500) == 1
    assert 0 < mcnemar(33_000, 34_000) < 2e-4
    assert mcnemar(0, 67_000) == 0


@given(st.integers(1, 70_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_is_where_the_share_is_just_so_far_off(counts: tuple[int, int]) -> None:
    correct, n = counts
    interval = Count(n, correct, 0).interval
    assert interval is not None
    assert 0 <= interval[0] <= correct / n <= interval[1] <= 1
    for edge in interval:
        assert (correct / n - edge) ** 2 == pytest.approx(1.959963984540054**2 * edge * (1 - edge) / n, abs=1e-9)


def test_no_pairs_have_no_accuracy() -> None:
    assert (Count(0, 0, 0).accuracy, Count(0, 0, 0).interval) == (None, None)
    results = counts_of([pair("g", "b")], [nats_of("m", [math.nan], [math.nan])], "exclude", eos=True)
    assert results.figures()["by_set"] == {"s": None}
    assert any("no pair counts in s" in note for note in results.notes)


# Scores that files carry


def test_carried_scores_are_log_probabilities(tmp_path: Path) -> None:
    table = agreement(
        ("1", "original", "is", "are", -1.5, -2),
        ("2", "original", "go", "goes", -3, -2),
        ("3", "generated", "a", "b", -3, -4),
    )
    table_file = write(tmp_path / "one.tab", table)
    lines = table.replace("\tmodel", "\tother").splitlines()
    other_file = write(tmp_path / "two.tab", "\n".join([lines[0], *lines[:0:-1]]))
    pairs = read_pairs([table_file, other_file], scored=True)
    assert len(pairs) == 3
    first, second = carried(pairs)
    assert (first.model, first.good.tolist(), first.bad.tolist()) == ("model", [1.5, 3, 3], [2, 2, 4])
    assert (second.model, second.good.tolist()) == ("other", [1.5, 3, 3])
    results = result(minimal_pairs([], [table_file], scored=True))
    assert isinstance(results, PairsResult)
    assert results.figures()["by_set"] == {"original": 0.5, "nonsense": 1.0}
    assert results.figures()["unknown_rate"] is None


def test_the_table_of_all_pairs_has_one_row_for_each(tmp_path: Path) -> None:
    pairs = [pair("a\tb\\", "c\n"), pair("is", "are", prefix="it"), pair("x", "y")]
    results = counts_of(pairs, [nats_of("m", [1, 2, math.nan], [2, 1, math.nan])], "exclude", eos=True)
    rows = [line.split("\t") for line in results.table().splitlines()]
    assert rows[1] == ["m", "f", "1", "s", "a\\tb\\\\", "c\\n", "1.000000", "2.000000", "right"]
    assert rows[2][4:] == ["it is", "it are", "2.000000", "1.000000", "wrong"]
    assert rows[3][6:] == ["", "", "excluded"]


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    file = write(tmp_path / "p.tsv", "a\tb\n")
    for models, files, unknown, message in (
        ([], [file], "exclude", "no model"),
        ([tmp_path], [], "exclude", "no files"),
        ([tmp_path], [file], "x", "exclude or include"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            list(minimal_pairs(models, files, unknown))  # type: ignore[arg-type]


@given(st.lists(st.text("a\t\n\r\v\f\x1c\x85\u2028\\", max_size=6), min_size=2, max_size=2))
@settings(deadline=None, max_examples=60)
def test_every_pair_is_one_row_of_the_table(endings: list[str]) -> None:
    """Whatever its texts, its set and the name of its file hold; and the texts can be restored."""
    good, bad = (f"x{text}" for text in endings)
    pair = Pair(good, bad, bad, "", Path("a\tb\n\udce9"), 1)
    nats = PairNats("model", np.array([1.0]), np.array([2.0]), 0.0)
    table = counts_of([pair], [nats], "exclude", eos=True).table()
    table.encode()
    header, row = (line.split("\t") for line in table.splitlines())
    cells = dict(zip(header, row, strict=True))
    assert cells["file"] == "a\\tb\\n\\xe9"
    assert [cells[name].encode("latin-1").decode("unicode_escape") for name in ("good", "bad", "set")] == [
        good,
        bad,
        bad,
    ]

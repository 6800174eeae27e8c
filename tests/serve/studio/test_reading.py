"""Texts read while they are typed: reading on is reading at once."""

from pathlib import Path

import numpy as np
import pytest

from cli.command import text
from unroll.artifact.open import Opened, open_model
from unroll.data.tokenizer import BpeTokenizer, WordTokenizer
from unroll.lm.sample import read_prompt
from unroll.predict.predictor import log_probabilities
from unroll.serve.studio.reading import Prefixes, as_typed, compared, expectations, written_text


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 400])
@pytest.mark.parametrize("start", [0, 1, 100, 128, 399])
def test_reading_on_is_reading_at_once(book: Opened, length: int, start: int) -> None:
    """Whatever was read before and is kept, what is expected at each place is what a fresh reading expects."""
    ids = np.asarray(book.tokenizer.encode(text(600, seed=3)[:length]), np.int64)
    prefixes = Prefixes()
    list(expectations(book, ids[: length // 2], 0, prefixes))
    start = min(start, length)
    places = {first + k: row for first, rows in expectations(book, ids, start, prefixes) for k, row in enumerate(rows)}
    assert sorted(places) == list(range(start, length + 1))
    for place in {start, (start + length) // 2, length}:
        expected, _ = read_prompt(book.predictor, [book.tokenizer.start_id, *ids[:place].tolist()])
        assert places[place] == pytest.approx(expected[0], abs=1e-4)


def test_a_stale_state_would_be_seen(book: Opened) -> None:
    """The law above, with a fault: a state that is kept under the wrong text."""
    ids = np.asarray(book.tokenizer.encode("the cat sat"), np.int64)
    prefixes = Prefixes()
    list(expectations(book, ids, 0, prefixes))
    state, logits = prefixes.kept[ids.tobytes()]
    prefixes.kept[ids[:5].tobytes()] = (state, logits)
    *_, (_, stale) = expectations(book, ids[:6], 6, prefixes)
    fresh, _ = read_prompt(book.predictor, [book.tokenizer.start_id, *ids[:6].tolist()])
    assert np.abs(stale[-1] - fresh).max() > 1e-3


def test_states_that_are_kept_take_bounded_memory(book: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unroll.serve.studio.reading.MOST_BYTES", 20_000)
    prefixes = Prefixes()
    for k in range(60):
        as_typed(book, "the cat sat on a mat"[: 1 + k % 20] + "s" * k, 0, prefixes)
    assert prefixes.size <= 20_000
    assert prefixes.size == sum(map(prefixes._bytes, prefixes.kept))


def test_next_in_the_middle_of_a_text(book: Opened) -> None:
    reading = as_typed(book, "the cat sat", 0, Prefixes(), at=4)
    part = as_typed(book, "the ", 0, Prefixes())
    assert reading["place"] == 4
    assert reading["next"]["ids"] == part["next"]["ids"]
    assert len(reading["nats"]) == 11


def test_an_ngram_is_read_along_too(tmp_path: Path, book: Opened) -> None:
    import unroll

    (tmp_path / "book.txt").write_text(text(5000))
    list(unroll.ngram(tmp_path / "book.txt", order=3, out=tmp_path / "tri"))
    opened = open_model(tmp_path / "tri")
    reading = as_typed(opened, "the cat", 0, Prefixes())
    logits, _ = read_prompt(opened.predictor, [opened.tokenizer.start_id, *opened.tokenizer.encode("the ca").tolist()])
    target = int(opened.tokenizer.encode("t")[0])
    assert reading["nats"][-1] == pytest.approx(-float(log_probabilities(logits)[0, target]))


def test_models_of_other_vocabularies_meet_where_both_begin_a_symbol(tmp_path: Path, book: Opened) -> None:
    import unroll

    (tmp_path / "book.txt").write_text(text(5000))
    list(unroll.ngram(tmp_path / "book.txt", order=2, level="byte", out=tmp_path / "bytes"))
    bytewise = open_model(tmp_path / "bytes")
    content = "the cät sat“ on"
    comparison = compared(book, bytewise, content, (Prefixes(), Prefixes()))
    assert "".join(comparison["pieces"]) == content
    assert comparison["symbols"] == [len(content), len(content.encode())]
    for opened, nats in zip((book, bytewise), comparison["nats"], strict=True):
        assert sum(nats) == pytest.approx(sum(as_typed(opened, content, 0, Prefixes())["nats"]), rel=1e-5)


def test_a_symbol_that_is_no_text_writes_none() -> None:
    bpe = BpeTokenizer.learn(["la la la"], vocab_size=260)
    assert written_text(bpe, bpe.start_id, bpe.stream_decoder()) == ""
    words = WordTokenizer(("la",))
    assert [written_text(words, id, words.stream_decoder()) for id in (1, 2)] == ["\n", "la"]

"""Words, pairs, and how marks and capitals stand: against counting by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unroll.insight.style import counts
from unroll.insight.style.counts import (
    Counts,
    agreement,
    blocks,
    counted,
    known_pairs,
    known_words,
    punctuation_and_capitals,
    word_spans,
)
from unroll.progress import result

TEXT = "Don't stop, said the Prince; the prince of Genoa. And the\nrest_of it is Genoa.\n"


def of(text: str) -> Counts:
    return result(counted(text))


@settings(max_examples=40)
@given(st.text(alphabet="ab .,'Xé\n_1", max_size=200))
def test_a_text_knows_itself(text: str) -> None:
    known = of(text)
    assert known_words(text, known) in (None, 1)
    assert known_pairs(text, known) in (None, 1)
    assert all(value is None or value == pytest.approx(1) for value in punctuation_and_capitals(text, known))


def test_shares_of_words_and_pairs() -> None:
    known = of(TEXT)
    assert word_spans("an ox, don't!") == [(7, 12)]
    assert known_words("the Prince Pierre of Genua don't the.", known) == 3 / 6
    # (the, prince), (prince, of), (of, it) and (it, is); none over a mark, an underscore or a digit.
    assert known_pairs("the prince of Genua And, the Genoa. rest_of it 1 is it is.", known) == 4 / 8


def test_a_word_that_the_end_has_cut_does_not_count() -> None:
    known = of(TEXT)
    assert known_words("the the the the Prin", known) == 1
    assert known_pairs("of it is Genoa. it is. said the Prin", known) == 1


def test_too_little_is_no_zero() -> None:
    known = of(TEXT)
    assert known_words("xxx yyy zzz", known) is None
    assert known_words("xxx yyy zzz vvv.", known) == 0
    assert known_pairs("x y z. w", known) is None
    assert punctuation_and_capitals("abc", of("abc. " * 9)) == (None, None)
    assert punctuation_and_capitals("abc" * 30, of("abc. " * 9)) == (0, None)  # it should have some, and has none


def test_words_of_a_script_without_spaces_are_no_words() -> None:
    text = "彼は言った。そして彼女は笑った。\n" * 20
    known = of(text)
    assert known_words("the cat sat down there", known) is None and known_pairs("the cat sat down there", known) is None
    assert punctuation_and_capitals(text, known)[0] == pytest.approx(1)


def test_marks_agree_by_where_they_stand() -> None:
    known = of("one, two, three, four, five, six.\n" * 10)
    right, _ = punctuation_and_capitals("six, five, four, three, two, one.\n" * 3, known)
    moved, _ = punctuation_and_capitals("six ,five ,four ,three ,two ,one.\n" * 3, known)
    assert right == pytest.approx(1, abs=0.05)
    assert moved is not None and moved < 0.3


@settings(max_examples=40)
@given(st.dictionaries(st.integers(0, 9), st.integers(1, 50)), st.dictionaries(st.integers(0, 9), st.integers(1, 50)))
def test_agreement_is_a_similarity(first: dict[int, int], second: dict[int, int]) -> None:
    p, q = Counter(first), Counter(second)
    value = agreement(p, 100, q, 200)
    assert value is None or 0 <= value <= 1
    assert agreement(p, 100, p, 100) in (None, 1)
    if value is not None and not first.keys() & second.keys():
        assert value == 0


def test_blocks_are_the_text_and_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = of(TEXT * 9)
    monkeypatch.setattr(counts, "BLOCK", 7)
    assert "".join(blocks(TEXT)) == TEXT
    parts = of(TEXT * 9)
    assert parts.words == whole.words
    np.testing.assert_array_equal(parts.pairs, whole.pairs)
    assert parts.places.characters == whole.places.characters and parts.places.letters == whole.places.letters


def test_only_the_beginning_of_a_long_text_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST", 20)
    known = of("one two three four five six")
    assert known.places.characters == 20 and "six" not in known.words


def test_an_empty_text_has_no_words() -> None:
    assert known_words("one two three four five", of("")) is None
    text = "one two three four five six"
    assert known_words(text, of(" \n")) == known_pairs(text, of(" \n")) == 0
    assert punctuation_and_capitals("One, two, three, four", of("")) == (None, None)

"""A reader gives texts as rows of units and their distinct words as rows of characters."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.hostile import texts
from unroll.data import reader
from unroll.data.reader import Reader, learn_characters, lowered
from unroll.data.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.data.words import UnicodeWordTokenizer

WORDS: Sequence[Tokenizer] = [WordTokenizer(("the", "a", "漢")), UnicodeWordTokenizer(("the", "a", ", ", "漢"))]
TOKENIZERS: Sequence[Tokenizer] = [CharTokenizer.learn("abthe"), ByteTokenizer(), *WORDS]
CHARACTERS = CharTokenizer.learn("abehtT漢")


@given(st.lists(texts, max_size=5), st.sampled_from(TOKENIZERS))
def test_a_row_has_the_ids_of_its_text(texts: list[str], tokenizer: Tokenizer) -> None:
    reading = Reader(tokenizer).read(texts)
    assert len(reading) == len(texts) and reading.cut == 0
    for number, text in enumerate(texts):
        assert reading.units[number].tolist() == (tokenizer.encode(text).tolist() or [tokenizer.start_id])


@given(st.lists(texts, max_size=5), st.sampled_from(WORDS))
def test_words_are_read_by_their_characters_as_they_are_written(texts: list[str], tokenizer: Tokenizer) -> None:
    plain = Reader(tokenizer, lowercase=True)
    reading = Reader(tokenizer, CHARACTERS, lowercase=True).read(texts)
    assert reading.units.values.tolist() == plain.read(texts).units.values.tolist()
    assert reading.word_of.ends.tolist() == reading.units.ends.tolist()
    for number, text in enumerate(texts):
        written = Reader(tokenizer, CHARACTERS, lowercase=True).units(text)[1]
        for word, place in zip(written, reading.word_of[number].tolist(), strict=True):
            spelt = CHARACTERS.encode(word[: reader.LONGEST_WORD]).tolist()
            assert reading.words[place].tolist() == spelt
            assert word in text


@given(st.lists(texts, min_size=1, max_size=6), st.data())
def test_selected_texts_read_as_they_do_alone(texts: list[str], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=4))
    whole = Reader(WORDS[1], CHARACTERS)
    chosen, alone = whole.read(texts).select(np.array(rows, np.int64)), whole.read([texts[row] for row in rows])
    assert chosen.units.values.tolist() == alone.units.values.tolist()
    for first, second in zip(chosen.word_of.values, alone.word_of.values, strict=True):
        assert chosen.words[first].tolist() == alone.words[second].tolist()


def test_texts_are_read_side_by_side_as_far_as_they_are_short() -> None:
    lengths = [*[3] * 70, *[3000] * 30, 70_000]
    reading = Reader(ByteTokenizer()).read(["a" * length for length in lengths])
    batches = [(numbers, part.units.lengths.tolist()) for numbers, part in reading.batches()]
    assert sorted(number for numbers, _ in batches for number in numbers) == list(range(len(lengths)))
    assert all(own == [lengths[number] for number in numbers] for numbers, own in batches)
    assert [(len(own), own[-1]) for _, own in batches] == [(64, 3), (21, 3000), (15, 3000), (1, 70_000)]


@given(texts)
def test_lower_case_has_as_many_characters(text: str) -> None:
    assert len(lowered(text)) == len(text)


def test_lower_case_leaves_what_would_grow() -> None:
    assert lowered("İX") == "İx" and lowered("ÄB") == "äb"


@pytest.mark.parametrize(
    ("text", "spans"), [("the cat", [[0, 3], [4, 7]]), ("ÄÖ the", [[0, 2], [3, 6]]), ("", [[0, 0]])]
)
def test_spans_are_code_points(text: str, spans: list[list[int]]) -> None:
    assert Reader(WORDS[0], CHARACTERS, lowercase=True).spans(text).tolist() == spans


def test_pieces_are_the_text_that_is_read() -> None:
    reader = Reader(WORDS[0], CHARACTERS, lowercase=True, max_units=3)
    assert reader.pieces(" the  ÄÖ the cat") == [" the  ", "ÄÖ ", "the"]
    assert reader.pieces("") == [""]


def test_what_is_beyond_the_most_units_is_counted() -> None:
    reading = Reader(WORDS[0], CHARACTERS, max_units=2).read(["the a the a", "the"])
    assert reading.units.lengths.tolist() == [2, 1] and reading.word_of.lengths.tolist() == [2, 1]
    assert reading.cut == 2


def test_arrays_are_at_least_one_unit_wide() -> None:
    arrays = Reader(WORDS[0]).read([]).arrays()
    assert arrays["ids"] is not None and arrays["ids"].shape == (0, 1)
    assert set(arrays) == {"ids", "lengths"}
    assert set(Reader(WORDS[0], CHARACTERS).read(["a"]).arrays()) > {"characters", "word_lengths", "word_of"}


def test_a_character_of_a_single_word_is_unknown() -> None:
    assert learn_characters(["cat", "act", "tax", "cat", "ox"]).symbols == "\nactx", "o is in one word only"

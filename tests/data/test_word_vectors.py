"""Vectors are those of the file, whatever characters its words have; a broken line is refused with its number."""

import bz2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from data.hostile import texts
from unroll.data import word_vectors
from unroll.data.word_vectors import WordVectors, read_word_vectors
from unroll.errors import UserError
from unroll.progress import Progress, result

GLOVE = "the 0.5 -1e-2\n, 1 2\n. . . 3 4\na\u00a0b 5 6\n\x85 7 8\nat x@y.z 9 10\n"
WORDS = [",", "absent", ". . .", "a\u00a0b", "\x85", "at x@y.z", ","]
VECTORS = [[1, 2], [0, 0], [3, 4], [5, 6], [7, 8], [9, 10], [1, 2]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vectors.txt"


def read(file: Path, content: str | bytes, words: list[str] = WORDS, width: int | None = None) -> WordVectors:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return result(read_word_vectors(file, words, width=width))


@pytest.mark.parametrize("header", ["", "6 2\n", "\ufeff6 2\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])  # word2vec's own program ends lines with a space
@pytest.mark.parametrize("last", ["", "\n"])
def test_words_may_hold_spaces_of_all_kinds(file: Path, header: str, end: str, last: str) -> None:
    vectors = read(file, (header + GLOVE).replace("\n", end) + last)
    assert vectors.vectors.tolist() == VECTORS and vectors.vectors.dtype == np.float32
    assert vectors.present.tolist() == [True, False, True, True, True, True, True]


def test_a_packed_file_is_read(file: Path) -> None:
    assert read(file, bz2.compress(GLOVE.encode()), width=2).vectors.tolist() == VECTORS


words = texts.map(lambda text: text.replace("\n", "").replace("\0", "").strip(" \r\ufeff")).filter(bool)


def is_number(text: str) -> bool:
    try:
        float(text.encode())
    except ValueError:
        return False
    return True


@given(st.lists(words, min_size=1, max_size=6, unique=True), st.booleans(), st.integers(3, 4))
def test_any_word_is_found(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], header: bool, width: int
) -> None:
    # Without a header the numbers at the end of the first line are counted: its word must not end with one.
    assume(header or not is_number(words[0].partition(" ")[2].rpartition(" ")[2]))
    vectors = np.random.default_rng(0).normal(size=(len(words), width)).astype(np.float32)
    lines = [f"{word} {' '.join(map(repr, vector.tolist()))}\n" for word, vector in zip(words, vectors, strict=True)]
    content = f"{len(words)} {width}\n" * header + "".join(lines)
    found = read(tmp_path_factory.mktemp("words") / "vectors.txt", content, words[::-1])
    assert np.array_equal(found.vectors, vectors[::-1]) and found.present.all()


def test_of_a_word_that_stands_twice_the_first_counts(file: Path) -> None:
    assert read(file, "a 1\nb 2\na 3\n", ["a"]).vectors.tolist() == [[1]]


def test_numbers_of_other_words_are_not_read(file: Path) -> None:
    assert read(file, b"a 1 2\nb x y\n\xff 1 2\n", ["a"]).vectors.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a 1 2 3\n", r"the vectors of .* have 3 numbers\n.*vectors of 2, the embedding_size\n.*embedding_size=3"),
        ("1 3\na 1 2 3\n", "have 3 numbers"),
        (", 1 2\nb 1\n", "line 2 of .* has fewer than 2 numbers after its word\n"),
        ("2 2\na 1 2\nb 1\n", "line 3 of .* has fewer than 2 numbers"),
        ("a 1 2\n, 1 x\n", "line 2 of .* has 'x' where a finite number"),
        ("a 1 2\n, 1 nan\n", "line 2 of .* has 'nan' where"),
        ("a 1 2\n, -inf 1\n", "line 2 of .* has '-inf' where"),
        ("a 1 2\n, 1e39 1\n", "line 2 of .* has '1e39' where"),
        ("a 1 2\n, 1  2\n", "line 2 of .* has more than 2 numbers"),
        ("1 2\n, 1 2 3\n", "line 2 of .* has more than 2 numbers"),
        ("3 2\na 1 2\n, 1 2\n", "has 2 words, but its first line says 3"),
        ("1 2\na 1 2\n, 1 2\n", "has 2 words, but its first line says 1"),
        ("", "does not begin with a word and its vector"),
        ("It was a dark night\n", "does not begin with a word and its vector\n.*GloVe"),
        ("2 9999\na 1 2\n", "does not begin with"),
        (b"2 2\na \0\1\2\3\0\0\0\n\n", "is binary, from line 2 on\n.*\n.*save_word2vec_format"),
    ],
)
def test_what_is_broken_is_refused(file: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read(file, content, width=2)


def test_progress_ends_with_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_vectors, "REPORT_LINES", 2)
    file.write_text(GLOVE)
    reports: list[Progress] = []
    result(read_word_vectors(file, WORDS), reports.append)
    assert len(reports) == 4 and reports[-1].done == reports[-1].total == file.stat().st_size

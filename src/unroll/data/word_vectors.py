"""Vectors of words in the text formats of word2vec and GloVe: those of the words that are sought."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.data.blocks import file_size
from unroll.data.opening import read_chunks
from unroll.data.tables import lines_of
from unroll.errors import UserError, number_of
from unroll.files import StrPath, as_path
from unroll.progress import Progress, Work

MAX_WIDTH = 4096
MAX_NUMBER = float(np.finfo(np.float32).max)
REPORT_LINES = 10_000
END = b" \r\n"
"""All that may end a line. A no-break space or U+0085 may be a word: bytes are split at these and at nothing else."""


@dataclass(frozen=True)
class WordVectors:
    """The vectors of some words."""

    vectors: NDArray[np.float32]
    """A row for each word (words, width); zeros where the file lacks it."""
    present: NDArray[np.bool_]
    """Which of the words the file has (words,)."""


def read_word_vectors(path: StrPath, words: Sequence[str], *, width: int | None = None) -> Work[WordVectors]:
    """Read the vectors of `words`, which may repeat; of a word that the file has twice, the first vector.

    A line ends with its numbers; what is before them is the word, which may hold spaces. The width is that of the first
    line. Only the numbers of `words` are looked at. Raises UserError for another `width` than the one given, a broken
    line, a number that is not finite, and a count that is not that of the lines.
    """
    path, total, done = as_path(path), file_size(as_path(path)), 0

    def chunks() -> Iterator[bytes]:
        nonlocal done
        for chunk, place in read_chunks(path):
            done = place
            yield chunk

    lines = enumerate(lines_of(chunks(), b"\n", path), 1)
    _, first = next(lines, (1, b""))
    first = first.removeprefix(b"\xef\xbb\xbf")
    fields = first.rstrip(END).split(b" ")
    is_header = len(fields) == 2 and all(field.isdigit() for field in fields)
    width = _checked_width(int(fields[1]) if is_header else _numbers_at_end(fields), width, path)
    rows: dict[bytes, list[int]] = {}
    for row, word in enumerate(words):
        rows.setdefault(word.encode("utf-8", "surrogatepass"), []).append(row)
    vectors, present, count = np.zeros((len(words), width), np.float32), np.zeros(len(words), np.bool_), 0
    for number, line in lines if is_header else chain([(1, first)], lines):
        if number % REPORT_LINES == 0:
            yield Progress("reading vectors", done, total, "bytes")
        line = line.rstrip(END)
        if not line:
            continue
        count += 1
        spaces = line.count(b" ")
        if spaces < width:
            raise _broken(path, number, line, f"has fewer than {number_of(width, 'number')} after its word")
        start = line.partition(b" ")[0]
        name = start if spaces == width else line.rsplit(b" ", width)[0]
        if name is not start and start in rows and _numbers_at_end(name.split(b" ")):
            raise _broken(path, number, line, f"has more than {number_of(width, 'number')} after its word")
        if (places := rows.pop(name, None)) is not None:
            vectors[places] = _numbers(line, width, path, number)
            present[places] = True
    if is_header and count != int(fields[0]):
        raise UserError(
            f"{path} has {number_of(count, 'word')}, but its first line says {int(fields[0]):,}",
            allowed="as many words as the first line says",
            fix="fetch the file again, or correct its first line",
        )
    yield Progress("reading vectors", total, total, "bytes")
    return WordVectors(vectors, present)


def _numbers_at_end(fields: Sequence[bytes]) -> int:
    """Return how many fields at the end of a line are its numbers, where the first belongs to the word."""
    for count, field in enumerate(reversed(fields[1:])):
        try:
            float(field)
        except ValueError:
            return count
    return len(fields) - 1


def _checked_width(own: int, expected: int | None, path: Path) -> int:
    """Return the width of the vectors in a file; raises UserError for another than expected."""
    if not 0 < own <= MAX_WIDTH:
        raise UserError(
            f"{path} does not begin with a word and its vector",
            allowed=f"word2vec's or GloVe's text format, with 1 to {MAX_WIDTH:,} numbers after each word",
            fix="check that it is the file that you mean",
        )
    if expected not in (None, own):
        raise UserError(
            f"the vectors of {path} have {number_of(own, 'number')}",
            allowed=f"vectors of {expected:,}, the embedding_size",
            fix=f"set embedding_size={own}, or name other vectors",
        )
    return own


def _numbers(line: bytes, width: int, path: Path, number: int) -> NDArray[np.float32]:
    """Return the numbers at the end of a line; raises UserError for what is no finite number."""
    fields = line.rsplit(b" ", width)[1:]
    for field in fields:
        try:
            finite = abs(float(field)) <= MAX_NUMBER
        except ValueError:
            finite = False
        if not finite:
            text = field.decode(errors="backslashreplace")
            raise _broken(path, number, line, f"has {text!r:.40} where a finite number belongs")
    return np.array(fields, np.float64).astype(np.float32)


def _broken(path: Path, number: int, line: bytes, fault: str) -> UserError:
    """Return the error for a line that is no word with its vector."""
    if b"\0" in line:
        return UserError(
            f"{path} is binary, from line {number:,} on",
            allowed="the text format of word2vec or GloVe",
            fix="save it as text, with gensim: KeyedVectors.load_word2vec_format(FILE, binary=True)"
            ".save_word2vec_format(TEXT)",
        )
    return UserError(
        f"line {number:,} of {path} {fault}",
        allowed="a word and its vector on each line, with a space between two numbers",
        fix="correct the line, or fetch the file again",
    )

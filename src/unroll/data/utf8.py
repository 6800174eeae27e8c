"""Characters and their bytes in UTF-8: whole texts, and decoders that take one id at a time."""

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unroll.errors import UserError

Ids = NDArray[np.int64]


class StreamDecoder(Protocol):
    """Turns ids into text as they come; nothing that it has returned is ever taken back."""

    def push(self, id: int) -> str:
        """Return the text that the id completes, which may be empty."""

    def flush(self) -> str:
        """Return what is left: unfinished bytes as U+FFFD."""


class Utf8Decoder:
    """Joins the bytes of each id; a character appears with its last byte."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """Return the characters that the id completes."""
        return self._decoder.decode(self._pieces[id])

    def flush(self) -> str:
        """Return unfinished bytes as U+FFFD."""
        return self._decoder.decode(b"", final=True)


class WordDecoder:
    """Puts the gap between two words; a space that ends a punctuation mark is written with the symbol after it."""

    def __init__(self, pieces: Sequence[bytes], gap: Callable[[int, int], str]) -> None:
        self._pieces = pieces
        self._gap = gap
        self._before: int | None = None
        self._held = ""

    def push(self, id: int) -> str:
        """Return the symbol with the space before it."""
        piece = self._pieces[id].decode()
        gap = self._held or ("" if self._before is None else self._gap(self._before, id))
        self._before = id
        self._held = " " if piece.endswith(" ") and not piece.isspace() else ""
        return gap + piece.removesuffix(self._held)

    def flush(self) -> str:
        """Return the space that is held back."""
        held, self._held = self._held, ""
        return held


class AfterSpace:
    """Decodes what follows a space that stands in the text already, which the first symbol would write again."""

    def __init__(self, decoder: StreamDecoder) -> None:
        self._decoder = decoder
        self._space = " "

    def push(self, id: int) -> str:
        """Return the text that the id completes."""
        return self._without_space(self._decoder.push(id))

    def flush(self) -> str:
        """Return what is left."""
        return self._without_space(self._decoder.flush())

    def _without_space(self, text: str) -> str:
        space, self._space = self._space, "" if text else self._space
        return text.removeprefix(space)


def code_points(text: str) -> NDArray[np.unsignedinteger]:
    """Return the code points of the text, as bytes where all are ASCII; raises UserError for a lone surrogate."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(encoded(text, "utf-32-le"), "<u4")


def encoded(text: str, codec: str) -> bytes:
    """Return a text in UTF-8 or UTF-32; raises UserError for a lone surrogate, which has no bytes."""
    try:
        return text.encode(codec)
    except UnicodeEncodeError as error:
        raise UserError(
            f"lone surrogate U+{ord(text[error.start]):04X} at character {error.start} of the text",
            allowed="Unicode text, in which surrogates stand in pairs only",
            fix="remove it; text read from a file or a terminal must be UTF-8",
        ) from None


def byte_lengths(text: str) -> Ids:
    """Return the bytes of each character (N,) in UTF-8."""
    codes = code_points(text)
    return np.array([1, 2, 3, 4])[np.searchsorted([0x80, 0x800, 0x10000], codes, side="right")]


def spans_of(lengths: Ids) -> Ids:
    """Return the starts and ends (N, 2) of pieces of these lengths, one after the other."""
    ends = np.cumsum(lengths)
    return np.stack([ends - lengths, ends], axis=1)

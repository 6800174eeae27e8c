"""What all vocabularies share: everything that follows from the bytes of each id."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.data.blocks import Level
from unroll.data.utf8 import AfterSpace, Ids, StreamDecoder, Utf8Decoder
from unroll.files import write_atomically

FORMAT_VERSION = 1
UNK = "<unk>"
EOS = "<eos>"


class Vocabulary(ABC):
    """The base of all levels: everything that follows from the bytes of each id."""

    separator: str = ""
    """The string that ends a document and is one symbol, `<end>`; empty where there is none."""

    @property
    @abstractmethod
    def level(self) -> Level:
        """What a symbol is."""

    @property
    @abstractmethod
    def lossless(self) -> bool:
        """Whether decoding gives the text back."""

    @property
    @abstractmethod
    def start_id(self) -> int:
        """The id that is read first where there is no state."""

    @property
    @abstractmethod
    def unknown_id(self) -> int | None:
        """The id of `<unk>`; None where every symbol is known."""

    @property
    def specials(self) -> Mapping[int, str]:
        """The names of the ids that stand for no text of their own."""
        return {}

    @property
    def end_id(self) -> int | None:
        """The id of `<end>`, with which a sample ends; None where there is no separator."""
        return None

    @abstractmethod
    def encode(self, text: str) -> Ids:
        """Return the ids (N,) of a text."""

    @abstractmethod
    def encode_offsets(self, text: str) -> tuple[Ids, Ids]:
        """Return the ids (N,) and their spans (N, 2) in bytes of UTF-8."""

    @abstractmethod
    def unknown(self, text: str) -> list[tuple[int, str]]:
        """Return the offset in code points and the text of each unknown symbol."""

    @cached_property
    @abstractmethod
    def pieces(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes that each id writes."""

    @abstractmethod
    def to_json(self) -> str:
        """Return the vocabulary as JSON: equal vocabularies, equal texts."""

    @property
    def vocab_size(self) -> int:
        """The number of ids, special symbols included."""
        return len(self.pieces)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned little-endian type that holds every id."""
        return np.min_scalar_type(self.vocab_size - 1).newbyteorder("<")

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of `to_json`, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def newline_id(self) -> int:
        """The id that ends a line: newline, at level word `<eos>`."""
        return self.pieces.index(b"\n")

    def count_unknown(self, ids: NDArray[np.integer]) -> int:
        """Return the number of `<unk>` among the ids."""
        return 0 if self.unknown_id is None else int(np.count_nonzero(ids == self.unknown_id))

    def symbol(self, id: int) -> str:
        """Return a printable name for tables: a newline is `\\n`, the lone byte 255 `\\xff`."""
        return self.specials.get(id) or _printable(self.pieces[id])

    def gap(self, before: int, after: int) -> str:
        """Return the text between two symbols that belongs to neither: at level word the space between words."""
        return ""

    def gaps(self, ids: NDArray[np.integer]) -> list[str]:
        """Return the text after each of the ids (N,) that belongs to none; after the last there is none."""
        row = ids.tolist()
        return [*map(self.gap, row[:-1], row[1:]), ""][: len(row)]

    def to_continue(self, text: str) -> str:
        """Return a prompt as it is best encoded."""
        return text

    def stream_decoder(self) -> StreamDecoder:
        """Return a decoder that takes one id at a time."""
        return Utf8Decoder(self.pieces)

    def decoder_after(self, ids: Iterable[int], *, spaced: bool = False) -> StreamDecoder:
        """Return a decoder that continues the text of ids; where that is `spaced`, no second space follows it."""
        decoder = self.stream_decoder()
        for id in ids:
            decoder.push(id)
        return AfterSpace(decoder) if spaced else decoder

    def leaves_space(self, text: str, ids: Sequence[int]) -> bool:
        """Tell whether a text ends with a space that its ids leave to the symbol after them, as words do."""
        return text.endswith(" ") and not "".join(map(self.stream_decoder().push, ids)).endswith(" ")

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> str:
        """Return the text of the ids; bytes that are not UTF-8 and unknown characters become U+FFFD."""
        decoder = self.stream_decoder()
        return "".join(map(decoder.push, np.asarray(ids, dtype=np.int64).tolist())) + decoder.flush()

    def save(self, path: Path) -> None:
        """Write the vocabulary to `path`, atomically."""
        write_atomically(path, self.to_json().encode())


def json_of(level: str, **vocabulary: object) -> str:
    """Return a vocabulary as JSON."""
    return json.dumps({"format_version": FORMAT_VERSION, "level": level, **vocabulary}, ensure_ascii=False)


def _printable(piece: bytes) -> str:
    text = piece.decode("utf-8", errors="backslashreplace")  # a broken byte is \xff, a character \u00ff
    return "".join(c if c.isprintable() else repr(c)[1:-1] if c.isascii() else f"\\u{ord(c):04x}" for c in text)

"""A vocabulary with one more symbol, `<end>`, for the string that separates the documents of a text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unroll.data.blocks import END, Block, Level
from unroll.data.utf8 import Ids, StreamDecoder
from unroll.data.vocabulary import Vocabulary

NAME = "<end>"


class DocumentDecoder:
    """Decodes each document by itself, and writes the separator after it."""

    def __init__(self, tokenizer: "DocumentTokenizer") -> None:
        self._tokenizer = tokenizer
        self._decoder = tokenizer.base.stream_decoder()

    def push(self, id: int) -> str:
        """Return the text that the id completes; the end of a document completes what it left unfinished."""
        if id != self._tokenizer.end_id:
            return self._decoder.push(id)
        text, self._decoder = self._decoder.flush(), self._tokenizer.base.stream_decoder()
        return text + self._tokenizer.separator

    def flush(self) -> str:
        """Return what is left of the last document."""
        return self._decoder.flush()


@dataclass(frozen=True)
class DocumentTokenizer(Vocabulary):
    """The vocabulary `base` and, as the last id, `<end>`, which is the `separator` wherever that occurs in a text.

    A text begins as a document does, after an `<end>`.
    """

    base: Vocabulary
    separator: str

    def __post_init__(self) -> None:
        if not self.separator or self.base.level == "byte" or self.base.separator:
            raise ValueError("there is no separator, or a separator at level byte")
        self.separator.encode()  # raises ValueError for a lone surrogate

    @property
    def level(self) -> Level:
        """The level of the base."""
        return self.base.level

    @property
    def lossless(self) -> bool:
        """As of the base."""
        return self.base.lossless

    @property
    def unknown_id(self) -> int | None:
        """As of the base."""
        return self.base.unknown_id

    @property
    def specials(self) -> Mapping[int, str]:
        """Those of the base and `<end>`."""
        return {**self.base.specials, self.end_id: NAME}

    @property
    def end_id(self) -> int:
        """The last id."""
        return self.base.vocab_size

    @property
    def start_id(self) -> int:
        """The id of `<end>`."""
        return self.end_id

    @property
    def newline_id(self) -> int:
        """The id that ends a line: that of the base, or `<end>` where each line is a document."""
        return self.end_id if self.separator == "\n" else self.base.newline_id

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """Those of the base and the separator."""
        return (*self.base.pieces, self.separator.encode())

    def gap(self, before: int, after: int) -> str:
        """As of the base; nothing stands beside an `<end>`."""
        return "" if self.end_id in (before, after) else self.base.gap(before, after)

    def to_continue(self, text: str) -> str:
        """Return a prompt as its last document is best encoded."""
        start = text.rfind(self.separator) + 1
        start += len(self.separator) - 1 if start else 0
        return text[:start] + self.base.to_continue(text[start:])

    def stream_decoder(self) -> StreamDecoder:
        """Return a decoder that takes one id at a time and writes the separators."""
        return DocumentDecoder(self)

    def encode(self, text: str) -> Ids:
        """Return the ids of the documents, with `<end>` between two."""
        return self._joined(_ended(text.split(self.separator)))

    def encode_block(self, block: Block) -> Ids:
        """Return the ids of a block that was read with this separator."""
        return self._joined(documents_of(block))

    def _joined(self, documents: Sequence[str]) -> Ids:
        ids = list(map(self.base.encode, documents))
        for document in ids[:-1]:
            document[-1] = self.end_id  # in place of the newline
        return np.concatenate(ids)

    def encode_offsets(self, text: str) -> tuple[Ids, Ids]:
        """Return the ids and their spans (N, 2) in bytes of UTF-8."""
        *documents, last = map(self.base.encode_offsets, _ended(text.split(self.separator)))
        start, size = 0, len(self.separator.encode())
        for ids, spans in documents:
            end = int(spans[-1, 1]) - 1
            ids[-1], spans[-1] = self.end_id, (end, end + size)  # in place of the newline
            spans += start
            start = int(spans[-1, 1])
        parts = [*documents, (last[0], last[1] + start)]
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([spans for _, spans in parts])

    def unknown(self, text: str) -> list[tuple[int, str]]:
        """Return the offset in code points and the text of each unknown symbol."""
        unknown, start = [], 0
        for document in _ended(text.split(self.separator)):
            unknown += [(start + offset, symbol) for offset, symbol in self.base.unknown(document)]
            start += len(document) - 1 + len(self.separator)
        return unknown

    def to_json(self) -> str:
        """Return the vocabulary as JSON: that of the base and the separator."""
        return json.dumps(json.loads(self.base.to_json()) | {"separator": self.separator}, ensure_ascii=False)


def base_of(tokenizer: Vocabulary) -> Vocabulary:
    """Return a vocabulary without its `<end>`."""
    return tokenizer.base if isinstance(tokenizer, DocumentTokenizer) else tokenizer


def documents_of(block: Block) -> Sequence[str]:
    """Return the documents that end in a block, each with a newline, and the beginning of the next."""
    return _ended(str(block.content).split(END)) if block.separator else [str(block.content)]


def _ended(documents: list[str]) -> list[str]:
    """Return documents, all but the last with a newline: at level word it keeps a space before the separator."""
    return [*(f"{document}\n" for document in documents[:-1]), documents[-1]]

"""The passes over a text: survey its content, learn its vocabulary, write its ids. Each reports its progress."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, takewhile
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.data.blocks import (
    END,
    Block,
    Level,
    Seen,
    Unit,
    bytes_of,
    characters,
    cut,
    file_size,
    read_blocks,
    text_of,
    units,
)
from unroll.data.documents import DocumentTokenizer, documents_of
from unroll.data.tokenizer import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.data.utf8 import code_points
from unroll.data.words import Boundaries, Spacing, UnicodeWordTokenizer, spacing
from unroll.errors import UserError
from unroll.files import printable_name
from unroll.progress import Progress, Work

CODE_POINTS = 0x110000


@dataclass(frozen=True)
class TextFile:
    """A file that went into a corpus, as it is; gzip counts as what it holds."""

    name: str
    """Bytes that are not UTF-8, and control characters, are escapes: `caf\\xe9.txt`."""
    bytes: int
    sha256: str
    byte_order_mark: bool = False
    """Whether it began with one, which is part of the text at level byte only."""
    newline_added: bool = False
    """Whether it lacked its final newline and got one, since another document follows."""


@dataclass(frozen=True)
class Survey:
    """The content of a text, after one reading."""

    units: int
    """Number of what the text is cut by."""
    sources: tuple[TextFile, ...]
    first: dict[str, int]
    """At level char: each character and the offset where it occurs first."""
    ends: int = 0
    """How often the separator of documents occurs."""


@dataclass(frozen=True)
class Part:
    """The size of one part of a corpus."""

    tokens: int
    chars: int
    bytes: int
    unknown: int
    """Number of tokens that are `<unk>`."""
    sha256: str
    """Digest of the ids."""

    @property
    def unknown_share(self) -> float:
        """The share of tokens that are `<unk>`."""
        return self.unknown / max(1, self.tokens)


@dataclass(frozen=True)
class Text:
    """Files read as one text that is cut into parts: documents in order, all but the last with a final newline."""

    files: tuple[Path, ...]
    level: Level
    names: tuple[str, ...]
    """Names of the parts that it is cut into."""
    block_bytes: int
    separator: str = ""
    """What ends a document within a file; empty where only a file is one."""
    documents: bool = False
    """Whether the starts of those documents are recorded."""
    by_words: bool = False
    """Whether it is cut between words at the levels word and bpe, and not between lines."""

    @cached_property
    def disk_bytes(self) -> int:
        """Bytes of all files on the disk."""
        return sum(map(file_size, self.files))

    @property
    def unit(self) -> Unit:
        """What it is cut by: code points at level char, bytes at level byte, else lines or words."""
        whole: dict[Level, Unit] = {"char": "characters", "byte": "bytes"}
        return whole.get(self.level, "words" if self.by_words else "lines")

    def parts(self, sizes: Sequence[int]) -> Iterator[tuple[int, Block]]:
        """Yield each block with the number of its part, cut where the parts of `sizes` units meet."""
        part, room = 0, sizes[0]
        for block in read_blocks(self.files, self.level, self.block_bytes, separator=self.separator):
            while units(block, self.unit) >= room:
                head, rest = cut(block, room, self.unit)
                if not rest.content:
                    break
                if head.content:
                    yield part, head
                part, block = part + 1, rest
                if part == len(sizes):
                    raise self._changed()
                room = sizes[part]
            yield part, block
            room -= units(block, self.unit)
        if room or part + 1 < len(sizes):
            raise self._changed()

    def _changed(self) -> UserError:
        names = ", ".join(f"{file}" for file in self.files)
        return UserError(f"{names} changed while being read", fix="try again when nothing writes to it")


def survey(text: Text) -> Work[Survey]:
    """Read the text once and return its survey."""
    count = ends = 0
    seen = [Seen() for _ in text.files]
    first: dict[str, int] = {}
    unseen = np.ones(CODE_POINTS, np.bool_)
    for block in read_blocks(text.files, text.level, text.block_bytes, seen, text.separator):
        if text.level == "char":
            _note_first(first, unseen, str(block.content), count)
        ends += len(documents_of(block)) - 1
        count += units(block, text.unit)
        yield Progress("reading", block.read, text.disk_bytes, "bytes")
    sources = (
        TextFile(printable_name(path), file.bytes, file.hash.hexdigest(), file.mark_bytes > 0, file.newline_added)
        for path, file in zip(text.files, seen, strict=True)
    )
    first.pop(END, None)
    return Survey(count, tuple(sources), first, ends)


def spacing_of(text: Text, sizes: Sequence[int]) -> Work[Spacing]:
    """Return how the words of the first part of the text stand."""
    total = Spacing()
    for block in _training(text, sizes):
        total += spacing("".join(documents_of(block)))
        yield Progress("measuring", block.read, text.disk_bytes, "bytes")
    return total


def learn(
    text: Text,
    sizes: Sequence[int],
    surveyed: Survey,
    *,
    boundaries: Boundaries = "space",
    min_count: int,
    vocab_size: int,
) -> Work[Tokenizer]:
    """Return the vocabulary of the first part of the text alone; at level word, of words with these `boundaries`."""
    documents = (document for block in _training(text, sizes) for document in documents_of(block))
    if text.separator:
        vocab_size = max(0, vocab_size - 1)
    tokenizer: Tokenizer
    match text.level:
        case "byte":
            tokenizer = ByteTokenizer()
        case "char":
            tokenizer = CharTokenizer.learn(symbol for symbol, offset in surveyed.first.items() if offset < sizes[0])
        case "word" if boundaries == "unicode":
            yield Progress("learning", 0, text.disk_bytes, "bytes")
            tokenizer = UnicodeWordTokenizer.learn(documents, min_count=min_count, vocab_size=vocab_size)
        case "word":
            counts: Counter[str] = Counter()
            for block in _training(text, sizes):
                for document in documents_of(block):
                    counts.update(document.split())
                yield Progress("learning", block.read, text.disk_bytes, "bytes")
            tokenizer = WordTokenizer.learn(counts, min_count=min_count, vocab_size=vocab_size)
        case "bpe":
            yield Progress("learning", 0, text.disk_bytes, "bytes")
            tokenizer = BpeTokenizer.learn(documents, vocab_size=vocab_size)
    return DocumentTokenizer(tokenizer, text.separator) if text.separator else tokenizer


def _training(text: Text, sizes: Sequence[int]) -> Iterator[Block]:
    """Yield the blocks of the first part."""
    return (block for _, block in takewhile(lambda pair: pair[0] == 0, text.parts(sizes)))


def encode(
    text: Text, sizes: Sequence[int], tokenizer: Tokenizer, folder: Path
) -> Work[tuple[dict[str, Part], list[int]]]:
    """Write the ids of each part to `folder/NAME.bin`; return the parts, and where documents begin in the first one."""
    parts: dict[str, Part] = {}
    starts: dict[int, int] = {}
    ends: list[int] = []
    for number, group in groupby(text.parts(sizes), key=itemgetter(0)):
        tokens = chars = size = unknown = 0
        hasher = hashlib.sha256()
        with open(folder / f"{text.names[number]}.bin", "wb") as file:
            for _, block in group:
                ids = block_ids(block, tokenizer)
                file.write(ids.data)
                hasher.update(ids.data)
                if number == 0:
                    starts.setdefault(block.file, tokens)
                    if tokenizer.end_id is not None and text.documents:
                        ends += (tokens + 1 + np.flatnonzero(ids == tokenizer.end_id)).tolist()
                tokens += len(ids)
                chars += characters(block)
                size += block.size
                unknown += tokenizer.count_unknown(ids)
                yield Progress("encoding", block.read, text.disk_bytes, "bytes")
        parts[text.names[number]] = Part(tokens, chars, size, unknown, hasher.hexdigest())
    return parts, sorted(start for start in {*starts.values(), *ends} if start < parts[text.names[0]].tokens)


@dataclass
class TextIds:
    """The ids of a text file, block by block, and how far it is read."""

    file: Path
    tokenizer: Tokenizer
    read: int = 0

    def __iter__(self) -> Iterator[NDArray[np.integer]]:
        for block in read_blocks([self.file], self.tokenizer.level, separator=self.tokenizer.separator):
            self.read = block.read
            yield block_ids(block, self.tokenizer)

    def progress(self) -> Progress:
        """Return how far the file is read."""
        return Progress("reading", self.read, file_size(self.file), "bytes")


def block_ids(block: Block, tokenizer: Tokenizer) -> NDArray[np.unsignedinteger]:
    """Return the ids of a block that was read for the level of the tokenizer."""
    match tokenizer:
        case ByteTokenizer():
            return np.frombuffer(bytes_of(block), np.uint8)
        case CharTokenizer():
            return tokenizer.lookup(text_of(block))
        case DocumentTokenizer():
            return tokenizer.encode_block(block).astype(tokenizer.dtype)
        case _:
            return tokenizer.encode(text_of(block)).astype(tokenizer.dtype)


def _note_first(first: dict[str, int], unseen: NDArray[np.bool_], text: str, offset: int) -> None:
    """Add the characters that are still unseen, with their offsets; `offset` is that of the text."""
    codes = code_points(text)
    fresh = unseen.take(codes, mode="clip")
    if fresh.any():
        for code in np.unique(codes[fresh]).tolist():
            first[chr(code)] = offset + text.index(chr(code))
            unseen[code] = False

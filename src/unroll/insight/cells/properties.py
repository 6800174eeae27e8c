"""What a cell may track: labels of a text, one for each symbol, by a rule, a regular expression or a table."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.directory import data_path
from unroll.artifact.open import Opened
from unroll.data.blocks import Seen, bytes_of, read_blocks, text_of
from unroll.data.corpus import open_corpus
from unroll.data.lines import line_text, read_lines
from unroll.data.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer
from unroll.errors import UserError, did_you_mean
from unroll.files import printable_name

Ids = NDArray[np.integer]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rule = Callable[[str], Floats]
"""Gives a number for each character of a text."""

RARE = 0.1
"""Largest share of falls among the changes at a mark that rises, and the other way round."""
MOST_CONTEXTS = 1024
"""Largest vocabulary whose marks depend on the symbol before; in a larger one pairs are too rare."""


@dataclass(frozen=True)
class Text:
    """A text as a network reads it."""

    name: str
    content: str
    """The text, with bytes that are not UTF-8 as surrogates (PEP 383)."""
    ids: Ids
    """(N,)"""
    ends: Ids
    """The index of the last character of each symbol (N,)."""
    offset: int = 0
    """Bytes of its file before it: those of a byte order mark."""


@dataclass(frozen=True)
class Labels:
    """A property of a text after each of its symbols."""

    name: str
    what: str
    """A description for people."""
    values: Floats
    """(N,) 1 where the property holds and 0 elsewhere, or a number."""

    @property
    def binary(self) -> bool:
        """Whether the property holds or does not; else it is a number."""
        return bool(np.isin(self.values, (0, 1)).all())

    @property
    def metric(self) -> str:
        """How units are scored against it."""
        return "auroc" if self.binary else "correlation"

    @property
    def changes(self) -> Mask:
        """Where the label moves in another way than it usually does (N,); usual is by 1 within a line, mostly by 0."""
        moves = np.diff(self.values)
        kinds, counts = np.unique(moves, return_counts=True)
        return np.concatenate([[False], moves != kinds[np.argmax(counts)]])


# ---- rules


def since_newline(text: str) -> Floats:
    """Return the position in its line of each character, from 1 on; 0 for the newline."""
    places = np.arange(len(text))
    newline = np.fromiter((letter == "\n" for letter in text), np.bool_, len(text))
    return (places - np.maximum.accumulate(np.where(newline, places, -1))).astype(np.float64)


def indent(text: str) -> Floats:
    """Return how many blanks or tabs the line begins with, up to each character."""
    counts = [0.0] * len(text)
    place = 0
    for line in text.split("\n"):
        width = len(line) - len(line.lstrip(" \t"))
        for k in range(len(line)):
            counts[place + k] = min(k + 1, width)
        place += len(line) + 1
    return np.array(counts)


def letters(text: str) -> Floats:
    """Return the position in its word of each character, from 1 on; 0 between words."""
    counts = np.zeros(len(text))
    for word in re.finditer(r"\w+", text):
        counts[word.start() : word.end()] = np.arange(1, 1 + word.end() - word.start())
    return counts


def capitalised(text: str) -> Floats:
    """Return 1 inside words that begin with a capital letter, else 0."""
    flags = np.zeros(len(text))
    for word in re.finditer(r"\w+", text):
        flags[word.start() : word.end()] = word.group()[0].isupper()
    return flags


def depth(text: str) -> Floats:
    """Return how many brackets of ([{ are open after each character.

    A closing bracket also closes those opened after its partner; without a partner it closes nothing. At the start of
    a line it closes all, so that an unclosed bracket is not carried through the text.
    """
    return _open_brackets(text, "([{", paragraphs=False)


def in_brackets(text: str) -> Floats:
    """Return 1 inside round or square brackets; a blank line closes them."""
    return np.minimum(_open_brackets(text, "([", paragraphs=True), 1)


def _open_brackets(text: str, kinds: str, *, paragraphs: bool) -> Floats:
    partners = {")": "(", "]": "[", "}": "{"}
    depths, stack, before = np.zeros(len(text)), "", 0
    for match in re.finditer(r"[(\[{}\])]|\n(?=\s*\n)", text):
        place, mark = match.start(), match.group()
        depths[before:place] = len(stack)
        before = place
        if mark in kinds:
            stack += mark
        elif mark == "\n":
            stack = "" if paragraphs else stack
        elif partners.get(mark, "none") in kinds:
            first = place == 0 or text[place - 1] == "\n"
            stack = "" if first else stack[: stack.rindex(partners[mark])] if partners[mark] in stack else stack
    depths[before:] = len(stack)
    return depths


def inside(pattern: str) -> Rule:
    """Return the rule that gives 1 inside the matches of a regular expression, else 0.

    With groups, it gives 1 inside the first group that takes part. `^` and `$` match at the ends of lines.
    """
    compiled = re.compile(pattern, re.MULTILINE)

    def rule(text: str) -> Floats:
        flags = np.zeros(len(text))
        for match in compiled.finditer(text):
            group = next((k for k in range(1, compiled.groups + 1) if match.start(k) >= 0), 0)
            if group or not compiled.groups:
                flags[match.start(group) : match.end(group)] = 1
        return flags

    return rule


_TO_QUOTE = r"(?:\\.|[^{}\\\n]|\n(?!\s*\n))*"
"""What may stand between quotation marks: anything but the closing mark, up to the end of the paragraph."""
QUOTES = (
    r"'\\?\"'"  # not the character constant of C
    + rf"|(\"{_TO_QUOTE.format(chr(34))})\"?|(“{_TO_QUOTE.format('”')})”?"
    + rf"|(„{_TO_QUOTE.format('“”')})[“”]?|(«{_TO_QUOTE.format('»')})»?"
)
PROPERTIES: dict[str, tuple[str, Rule]] = {
    "quotes": ("inside quotation marks", inside(QUOTES)),
    "bracket": ("inside ( ) or [ ]", in_brackets),
    "comment": (
        "inside a comment of C, Python or HTML",
        inside(r"/(\*[\s\S]*?\*)/|(?<![:\w])/(/[^\n]*)|(?<!\S)(# [^\n]*)|<(!--[\s\S]*?--)>"),
    ),
    "tag": ("inside < >", inside(r"(<[^<>\n]*)>")),
    "link": ("inside [[ ]]", inside(r"\[(\[[^\[\]\n]*\])\]")),
    "math": ("inside $ $", inside(r"\\.|(\$\$[^$]*)\$\$|(\$(?:\\.|[^$\\\n]|\n(?!\s*\n))*)\$")),
    "url": ("inside a web address", inside(r"https?://[^\s<>\"]*")),
    "case": ("inside a word that begins with a capital", capitalised),
    "line": ("characters since the newline", since_newline),
    "indent": ("blanks and tabs at the start of the line", indent),
    "depth": ("open brackets", depth),
    "word": ("letters of the word so far", letters),
}
"""Properties by name: a description and the rule."""


# ---- labels of a text


def label(text: Text, asked: str) -> Labels:
    """Return the labels of a text by a name of PROPERTIES, `re:PATTERN`, or `FILE.tsv` with an optional `:COLUMN`.

    Raises UserError for anything else, and for tables that do not fit the text.
    """
    if asked in PROPERTIES:
        what, rule = PROPERTIES[asked]
        return Labels(asked, what, rule(text.content)[text.ends])
    if asked.startswith("re:"):
        try:
            part = "the group of " if re.compile(asked[3:]).groups else ""
            return Labels(asked, f"inside {part}{asked[3:]}", inside(asked[3:])(text.content)[text.ends])
        except re.error as error:
            raise UserError(
                f"--property {asked} is not a regular expression: {error}",
                allowed="regular expressions of Python's re",
                fix="escape special characters, for example \\( for a bracket",
            ) from None
    file, ending, column = asked.partition(".tsv")
    if not ending or not (column == "" or column.startswith(":")):
        raise UserError(
            f"there is no property {asked!r}",
            allowed=f"{', '.join(PROPERTIES)}, re:PATTERN, or a table FILE.tsv",
            fix=did_you_mean(asked, PROPERTIES, "for example --property quotes"),
        )
    return _from_table(text, asked, Path(file + ".tsv"), column[1:])


def _from_table(text: Text, asked: str, file: Path, column: str) -> Labels:
    """Return the labels of a table with a row of names: a row for each symbol, or `start` and `end` in bytes."""
    lines = [line_text(line, file, number) for number, line in enumerate(read_lines(file), 1)]
    if not lines:
        raise UserError(
            f"{file} is empty",
            allowed="a table: a row of names, then rows of numbers, separated by tabs",
            fix="check the path",
        )
    names, *rows = [line.split("\t") for line in lines]
    spans = {"start", "end"} <= set(names)
    name = column or next((name for name in names if not spans or name not in ("start", "end")), "")
    if name not in names and (column or not spans):
        raise UserError(
            f"{file} has no column {name!r}",
            allowed=", ".join(names),
            fix=f"for example --property {file}:{names[0]}",
        )

    def numbers(column_name: str) -> Floats:
        index = names.index(column_name)
        try:
            parsed = np.array([float(row[index]) for row in rows])
            if np.isfinite(parsed).all():
                return parsed
        except (ValueError, IndexError):
            pass
        number, row = next((k, row) for k, row in enumerate(rows, 2) if not _is_number(row, index))
        raise UserError(
            f"line {number} of {file} has no number in the column {column_name}: {(row + [''] * index)[index]!r}",
            allowed="a number in every row; for classes, 1 and 0",
            fix="make a column of 1 and 0 for each class",
        )

    if not spans:
        if len(rows) != len(text.ids):
            raise UserError(
                f"{file} has {len(rows):,} labels, but {text.name} has {len(text.ids):,} symbols",
                allowed="one row for each symbol below a row of names, or columns start and end, in bytes",
                fix="count the symbols of the text with `unroll trace DIR --file F --json`",
            )
        return Labels(asked, f"{name} of {printable_name(file)}", numbers(name))
    ends = text.offset + np.cumsum(_bytes_of_letters(text.content))
    by_character, values = np.zeros(len(text.content)), numbers(name) if name else np.ones(len(rows))
    for number, (start, end, value) in enumerate(zip(numbers("start"), numbers("end"), values, strict=True), 2):
        if not 0 <= start < end <= ends[-1]:
            raise UserError(
                f"line {number} of {file} goes from {start:g} to {end:g}",
                allowed=f"a start below its end, in bytes of {text.name}, which has {ends[-1]:,}",
                fix="count bytes of UTF-8 from 0; the end is exclusive",
            )
        by_character[np.searchsorted(ends, start, "right") : np.searchsorted(ends, end, "left") + 1] = value
    return Labels(asked, f"{name or 'a stretch'} of {printable_name(file)}", by_character[text.ends])


def _is_number(row: list[str], place: int) -> bool:
    try:
        return math.isfinite(float(row[place]))
    except (ValueError, IndexError):
        return False


@dataclass(frozen=True)
class Marks:
    """The symbols at which a property changes, as a quotation mark, or a slash after a star."""

    kinds: Ids
    """(V, V) the kind of a symbol after another, or (1, V) after any: 0 no mark; 1 the label rises, 2 it falls, 3
    either, as at straight quotation marks."""
    symbols: Ids
    """Symbols that are marks anywhere, the most frequent first."""


def marks(labels: Labels, ids: Ids, vocab_size: int) -> Marks | None:
    """Return the symbols at which a property changes, or None where no symbols mark its changes.

    Pairs of neighbours are ranked by how often the second comes with a change, and cut where F1 is best. There are no
    marks where that is below 1/2, or where the property changes at most symbols.
    """
    changes = labels.changes[1:]
    if not 0 < changes.mean() <= 0.5:
        return None
    contexts = vocab_size if vocab_size <= MOST_CONTEXTS else 1
    pairs, pair_of = np.unique(ids[:-1].astype(np.int64) % contexts * vocab_size + ids[1:], return_inverse=True)
    occurrences, hits = np.bincount(pair_of), np.bincount(pair_of, changes)
    order = np.argsort(-hits / occurrences, kind="stable")
    f1 = 2 * np.cumsum(hits[order]) / (np.cumsum(occurrences[order]) + changes.sum())
    best = int(np.argmax(f1))
    if f1[best] < 0.5:
        return None
    chosen = order[: best + 1]
    rises = np.bincount(pair_of, changes & (np.diff(labels.values) > 0))[chosen] / hits[chosen]
    kinds = np.zeros(contexts * vocab_size, np.int8)
    kinds[pairs[chosen]] = np.where(rises > 1 - RARE, 1, np.where(rises < RARE, 2, 3))
    weight = np.bincount(pairs[chosen] % vocab_size, hits[chosen], minlength=vocab_size)
    symbols = np.argsort(-weight, kind="stable")[: np.count_nonzero(weight)]
    return Marks(kinds.reshape(contexts, vocab_size), symbols)


# ---- texts


def read_text(opened: Opened, file: Path | None) -> Text:
    """Return a text file, plain or gzip, or else the validation part of the text that a model was trained on."""
    tokenizer = opened.tokenizer
    if file is not None:
        seen = Seen()
        blocks = list(read_blocks([file], tokenizer.level, seen=[seen], separator=tokenizer.separator))
        name = printable_name(file)
        if tokenizer.level == "byte":
            return as_read(name, b"".join(map(bytes_of, blocks)).decode("utf-8", "surrogateescape"), tokenizer)
        return replace(as_read(name, "".join(map(text_of, blocks)), tokenizer), offset=seen.mark_bytes)
    folder = data_path(opened.path)
    corpus = open_corpus(folder) if folder.exists() else None
    if corpus is None or corpus.tokenizer.digest != tokenizer.digest or not len(corpus.valid):
        raise UserError(
            f"the validation part of {opened.path} is missing",
            allowed="a model that still has its training text, or --file",
            fix="name a text: --file F",
        )
    return as_read(f"the validation part of {opened.path}", decoded(tokenizer, np.asarray(corpus.valid)), tokenizer)


def decoded(tokenizer: Tokenizer, ids: Ids) -> str:
    """Return the text of ids; bytes that are not UTF-8 become surrogates (PEP 383)."""
    if isinstance(tokenizer, ByteTokenizer):
        return ids.astype(np.uint8).tobytes().decode("utf-8", "surrogateescape")
    return tokenizer.decode(ids)


def as_read(name: str, content: str, tokenizer: Tokenizer) -> Text:
    """Return a text with its symbols and their ends."""
    if isinstance(tokenizer, CharTokenizer):
        return Text(name, content, tokenizer.encode(content), np.arange(len(content)))
    lengths = _bytes_of_letters(content)
    if isinstance(tokenizer, ByteTokenizer):
        read = np.frombuffer(content.encode("utf-8", "surrogateescape"), np.uint8)
        return Text(name, content, read, np.repeat(np.arange(len(content)), lengths))
    ids, spans = tokenizer.encode_offsets(content)
    return Text(name, content, ids, np.searchsorted(np.cumsum(lengths), spans[:, 1], "left"))


def _bytes_of_letters(text: str) -> Ids:
    """Return the number of bytes of each character (N,); a surrogate for a byte takes one."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    lengths = np.array([1, 2, 3, 4])[np.searchsorted([0x80, 0x800, 0x10000], codes, side="right")]
    return np.where((codes >= 0xDC80) & (codes < 0xDD00), 1, lengths)

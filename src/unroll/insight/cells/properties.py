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
from unroll.errors import UserError
from unroll.files import printable_name

Ids = NDArray[np.integer]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rule = Callable[[str], Floats]
"""Gives a number for each character of a text."""


RARE = 0.1
"""Of the changes at a mark that rises, those at which the label falls."""
MOST_CONTEXTS = 1024
"""Of symbols that are told apart by the one before them; in a larger vocabulary pairs are too rare."""


@dataclass(frozen=True)
class Text:
    """A text as a network reads it."""

    name: str
    content: str
    """Bytes that are not UTF-8 as PEP 383 has them."""
    ids: Ids
    """(N,)"""
    ends: Ids
    """The number of the last character of each symbol (N,)."""
    offset: int = 0
    """Bytes of its file that lie before it: those of a byte order mark."""


@dataclass(frozen=True)
class Labels:
    """What holds after each symbol of a text was read."""

    name: str
    what: str
    """For people."""
    values: Floats
    """(N,), of a property that holds or does not 1 and 0."""

    @property
    def binary(self) -> bool:
        """Whether the property holds or does not; else it is a number."""
        return bool(np.isin(self.values, (0, 1)).all())

    @property
    def metric(self) -> str:
        """How units are measured against it."""
        return "auroc" if self.binary else "correlation"

    @property
    def changes(self) -> Mask:
        """Where the label moves other than it mostly does (N,): by 1 with each character of a line, else not at all."""
        moves = np.diff(self.values)
        kinds, counts = np.unique(moves, return_counts=True)
        return np.concatenate([[False], moves != kinds[np.argmax(counts)]])


# ---- rules


def since_newline(text: str) -> Floats:
    """Return how many characters of its line have been read after each character, 0 after the newline."""
    places = np.arange(len(text))
    newline = np.fromiter((letter == "\n" for letter in text), np.bool_, len(text))
    return (places - np.maximum.accumulate(np.where(newline, places, -1))).astype(np.float64)


def indent(text: str) -> Floats:
    """Return how many blanks or tabs the line began with, as far as it was read."""
    found = [0.0] * len(text)
    place = 0
    for line in text.split("\n"):
        width = len(line) - len(line.lstrip(" \t"))
        for k in range(len(line)):
            found[place + k] = min(k + 1, width)
        place += len(line) + 1
    return np.array(found)


def letters(text: str) -> Floats:
    """Return how many characters of the word have been read after each character, 0 between words."""
    found = np.zeros(len(text))
    for word in re.finditer(r"\w+", text):
        found[word.start() : word.end()] = np.arange(1, 1 + word.end() - word.start())
    return found


def capitalised(text: str) -> Floats:
    """Return 1 inside words that began with a capital letter, else 0."""
    found = np.zeros(len(text))
    for word in re.finditer(r"\w+", text):
        found[word.start() : word.end()] = word.group()[0].isupper()
    return found


def depth(text: str) -> Floats:
    """Return how many brackets of ([{ are open after each character.

    A closing one also closes what was opened after its partner; without a partner it closes nothing. At the start of
    a line it closes all, so that a bracket which never closes is not carried through the text.
    """
    return _open_brackets(text, "([{", paragraphs=False)


def in_brackets(text: str) -> Floats:
    """Return 1 inside round or square brackets, which a blank line closes."""
    return np.minimum(_open_brackets(text, "([", paragraphs=True), 1)


def _open_brackets(text: str, kinds: str, *, paragraphs: bool) -> Floats:
    partners = {")": "(", "]": "[", "}": "{"}
    found, held, before = np.zeros(len(text)), "", 0
    for match in re.finditer(r"[(\[{}\])]|\n(?=\s*\n)", text):
        place, mark = match.start(), match.group()
        found[before:place] = len(held)
        before = place
        if mark in kinds:
            held += mark
        elif mark == "\n":
            held = "" if paragraphs else held
        elif partners.get(mark, "none") in kinds:
            first = place == 0 or text[place - 1] == "\n"
            held = "" if first else held[: held.rindex(partners[mark])] if partners[mark] in held else held
    found[before:] = len(held)
    return found


def inside(pattern: str) -> Rule:
    """Return the rule that gives 1 inside the matches of a regular expression, else 0.

    Where it has groups, 1 is inside the first group that takes part. `^` and `$` are the ends of a line.
    """
    compiled = re.compile(pattern, re.MULTILINE)

    def rule(text: str) -> Floats:
        found = np.zeros(len(text))
        for match in compiled.finditer(text):
            group = next((k for k in range(1, compiled.groups + 1) if match.start(k) >= 0), 0)
            if group or not compiled.groups:
                found[match.start(group) : match.end(group)] = 1
        return found

    return rule


_TO_QUOTE = r"(?:\\.|[^{}\\\n]|\n(?!\s*\n))*"
"""What may stand between quotation marks: anything but the mark that ends it, to the end of the paragraph."""
QUOTES = (
    r"'\\?\"'"  # the character constant of C is no quotation
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
    "url": ("inside an address of the web", inside(r"https?://[^\s<>\"]*")),
    "case": ("inside a word that began with a capital", capitalised),
    "line": ("characters since the newline", since_newline),
    "indent": ("blanks and tabs that the line began with", indent),
    "depth": ("open brackets", depth),
    "word": ("letters of the word so far", letters),
}
"""The properties that have names: what they are, and the rule."""


# ---- labels of a text


def label(text: Text, asked: str) -> Labels:
    """Return the labels of a text: a name of PROPERTIES, `re:PATTERN`, or `FILE.tsv` with an optional `:COLUMN`.

    Raises UserError for what is none of these, and for tables that do not fit the text.
    """
    if asked in PROPERTIES:
        what, rule = PROPERTIES[asked]
        return Labels(asked, what, rule(text.content)[text.ends])
    if asked.startswith("re:"):
        try:
            return Labels(asked, f"inside {asked[3:]}", inside(asked[3:])(text.content)[text.ends])
        except re.error as error:
            raise UserError(
                f"--property {asked} is no regular expression: {error}",
                allowed="those of Python's re",
                fix="escape characters that have a meaning in them, for example \\( for a bracket",
            ) from None
    file, ending, column = asked.partition(".tsv")
    if not ending or not (column == "" or column.startswith(":")):
        raise UserError(
            f"there is no property {asked!r}",
            allowed=f"{', '.join(PROPERTIES)}, re:PATTERN, or a table FILE.tsv",
            fix="for example --property quotes",
        )
    return _from_table(text, asked, Path(file + ".tsv"), column[1:])


def _from_table(text: Text, asked: str, file: Path, column: str) -> Labels:
    """Return the labels of a table with a row of names: a row for each symbol, or `start` and `end` in bytes."""
    lines = [line_text(line, file, number) for number, line in enumerate(read_lines(file), 1)]
    if not lines:
        raise UserError(
            f"{file} is empty",
            allowed="a table with a row of names and rows of numbers below it, separated by tabs",
            fix="check the path",
        )
    names, *rows = [line.split("\t") for line in lines]
    spans = {"start", "end"} <= set(names)
    wanted = column or next((name for name in names if not spans or name not in ("start", "end")), "")
    if wanted not in names and (column or not spans):
        raise UserError(
            f"{file} has no column {wanted!r}",
            allowed=", ".join(names),
            fix=f"for example --property {file}:{names[0]}",
        )

    def numbers(name: str) -> Floats:
        place = names.index(name)
        try:
            found = np.array([float(row[place]) for row in rows])
            if np.isfinite(found).all():
                return found
        except (ValueError, IndexError):
            pass
        number, row = next((k, row) for k, row in enumerate(rows, 2) if not _is_number(row, place))
        raise UserError(
            f"line {number} of {file} has no number in the column {name}: {(row + [''] * place)[place]!r}",
            allowed="a number in every row; 1 and 0 for what holds or does not",
            fix="make a column of 1 and 0 for each class",
        )

    if not spans:
        if len(rows) != len(text.ids):
            raise UserError(
                f"{file} has {len(rows):,} labels, and {text.name} has {len(text.ids):,} symbols",
                allowed="one row for each symbol below a row of names, or columns named start and end, in bytes",
                fix="count the text's symbols with `unroll trace DIR --file F --json`",
            )
        return Labels(asked, f"{wanted} of {printable_name(file)}", numbers(wanted))
    ends = text.offset + np.cumsum(_bytes_of_letters(text.content))
    found, values = np.zeros(len(text.content)), numbers(wanted) if wanted else np.ones(len(rows))
    for number, (start, end, value) in enumerate(zip(numbers("start"), numbers("end"), values, strict=True), 2):
        if not 0 <= start < end <= ends[-1]:
            raise UserError(
                f"line {number} of {file} goes from {start:g} to {end:g}",
                allowed=f"from less to more, in bytes of {text.name}, which has {ends[-1]:,}",
                fix="count bytes of UTF-8 from 0; the end is not part of it",
            )
        found[np.searchsorted(ends, start, "right") : np.searchsorted(ends, end, "left") + 1] = value
    return Labels(asked, f"{wanted or 'a stretch'} of {printable_name(file)}", found[text.ends])


def _is_number(row: list[str], place: int) -> bool:
    try:
        return math.isfinite(float(row[place]))
    except (ValueError, IndexError):
        return False


@dataclass(frozen=True)
class Marks:
    """The symbols at which a property changes: a quotation mark, or a slash after a star."""

    kinds: Ids
    """(V, V) what a symbol is after the symbol before it, or (1, V) where that does not matter: 0 no mark; 1 the label
    rises, 2 it falls, 3 it does either, as at the quotation marks of typewriters."""
    symbols: Ids
    """Those that are marks anywhere, the most frequent first."""
    f1: float
    """Of "it changes at marks"."""


def marks(labels: Labels, ids: Ids, vocab_size: int) -> Marks | None:
    """Return the symbols at which a property changes, or None where no symbols stand for its changes.

    Of all pairs of neighbours, by how often the second comes with a change, as many are taken as give the best F1.
    Below 1/2, or where it changes at most symbols, there are none.
    """
    changes = labels.changes[1:]
    if not 0 < changes.mean() <= 0.5:
        return None
    contexts = vocab_size if vocab_size <= MOST_CONTEXTS else 1
    pairs, which = np.unique(ids[:-1].astype(np.int64) % contexts * vocab_size + ids[1:], return_inverse=True)
    often, hits = np.bincount(which), np.bincount(which, changes)
    order = np.argsort(-hits / often, kind="stable")
    f1 = 2 * np.cumsum(hits[order]) / (np.cumsum(often[order]) + changes.sum())
    best = int(np.argmax(f1))
    if f1[best] < 0.5:
        return None
    chosen = order[: best + 1]
    rises = np.bincount(which, changes & (np.diff(labels.values) > 0))[chosen] / hits[chosen]
    kinds = np.zeros(contexts * vocab_size, np.int8)
    kinds[pairs[chosen]] = np.where(rises > 1 - RARE, 1, np.where(rises < RARE, 2, 3))
    weight = np.bincount(pairs[chosen] % vocab_size, hits[chosen], minlength=vocab_size)
    symbols = np.argsort(-weight, kind="stable")[: np.count_nonzero(weight)]
    return Marks(kinds.reshape(contexts, vocab_size), symbols, float(f1[best]))


# ---- texts


def read_text(opened: Opened, file: Path | None) -> Text:
    """Return a text file, plain or gzip, or else the validation part of the text that a model was trained on."""
    tokenizer = opened.tokenizer
    if file is not None:
        seen = Seen()
        blocks = list(read_blocks([file], tokenizer.level, seen=[seen]))
        name = printable_name(file)
        if tokenizer.level == "byte":
            return as_read(name, b"".join(map(bytes_of, blocks)).decode("utf-8", "surrogateescape"), tokenizer)
        return replace(as_read(name, "".join(map(text_of, blocks)), tokenizer), offset=seen.mark_bytes)
    folder = data_path(opened.path)
    corpus = open_corpus(folder) if folder.exists() else None
    if corpus is None or corpus.tokenizer.digest != tokenizer.digest or not len(corpus.valid):
        raise UserError(
            f"the validation part of {opened.path} is not there",
            allowed="a model beside the text that it was trained on, or --file",
            fix="name a text: --file F",
        )
    ids = np.asarray(corpus.valid)
    if isinstance(tokenizer, ByteTokenizer):
        content = ids.astype(np.uint8).tobytes().decode("utf-8", "surrogateescape")
    else:
        content = tokenizer.decode(ids)
    return as_read(f"the validation part of {opened.path}", content, tokenizer)


def as_read(name: str, content: str, tokenizer: Tokenizer) -> Text:
    """Return a text with its symbols and where they end."""
    if isinstance(tokenizer, CharTokenizer):
        return Text(name, content, tokenizer.encode(content), np.arange(len(content)))
    lengths = _bytes_of_letters(content)
    if isinstance(tokenizer, ByteTokenizer):
        read = np.frombuffer(content.encode("utf-8", "surrogateescape"), np.uint8)
        return Text(name, content, read, np.repeat(np.arange(len(content)), lengths))
    ids, spans = tokenizer.encode_offsets(content)
    return Text(name, content, ids, np.searchsorted(np.cumsum(lengths), spans[:, 1], "left"))


def _bytes_of_letters(text: str) -> Ids:
    """Return how many bytes each character (N,) takes; one that stands for a broken byte takes one."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    lengths = np.array([1, 2, 3, 4])[np.searchsorted([0x80, 0x800, 0x10000], codes, side="right")]
    return np.where((codes >= 0xDC80) & (codes < 0xDD00), 1, lengths)

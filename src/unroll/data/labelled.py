"""Texts with labels: examples from a table, and their parts for training and validation."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.blocks import file_size
from unroll.data.lines import text_lines
from unroll.data.opening import read_table
from unroll.data.tables import Row, is_table, listed
from unroll.errors import UserError, nearest, number_of
from unroll.files import StrPath, as_path
from unroll.progress import Progress, Work

MAX_TEXT = 10_000_000
"""Characters of a text."""
MAX_TEXTS = 2**29
"""Characters of all texts together."""
MAX_EXAMPLES = 10_000_000
BAR = "|"
"""Stands between the labels of a text in CSV."""
HELD_OUT = 10
"""One text in so many is held out."""
FEW = 100
"""Fewer than one text in so many held out are too few."""
REPORT_ROWS = 1000

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Examples:
    """Texts of a table, with their labels."""

    path: Path
    columns: tuple[str, ...]
    """The names of the label columns."""
    multi: bool
    """Whether a text has any number of labels."""
    texts: tuple[str, ...]
    """The text columns of each row, joined by newlines."""
    labels: tuple[Labels, ...]
    """For each text one label from each label column; with `multi` all its labels, sorted, or none."""
    lines: NDArray[np.int64]
    """The number of each row's first line, from 1."""
    sha256: str
    """Digest of the file, unpacked, in hexadecimal."""

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def names(self) -> tuple[Labels, ...]:
        """The labels that occur in each label column, sorted by code points; with `multi` those of all in one."""
        columns = [chain(*self.labels)] if self.multi else zip(*self.labels, strict=True)
        return tuple(tuple(sorted(set(column))) for column in columns)

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Examples":
        """Return some of the examples, by their numbers or a mask."""
        numbers = np.arange(len(self))[rows].tolist()
        texts, labels = tuple(self.texts[k] for k in numbers), tuple(self.labels[k] for k in numbers)
        return replace(self, texts=texts, labels=labels, lines=self.lines[rows])


def read_examples(
    path: StrPath, text: Sequence[str], label: Sequence[str] = (), *, multi: bool = False, options: bool = True
) -> Work[Examples]:
    """Read the rows of a CSV or JSON-lines file: their `text` columns, joined by newlines, and their `label` columns.

    White space around a label is no part of it. In JSON lines a label may be an integer or a boolean. With `multi` a
    text has any number of labels: a list in JSON lines; in CSV they have bars between them, or stand in several
    columns. An encoding is that of a `text_path`. `options`: whether --text and --label name the columns. Raises
    UserError, naming file and line.
    """
    path, total = as_path(path), file_size(as_path(path))
    of_label, of_text = ("--label", "--text") if options else ("", "")
    columns = dict.fromkeys(label, of_label) | dict.fromkeys(text, of_text)
    texts: list[str] = []
    labels: list[Labels] = []
    lines: list[int] = []
    digest, size = hashlib.sha256(), 0
    shared: dict[Labels, Labels] = {}  # equal labels are kept once
    for row, done in read_table(path, columns, digest):
        texts.append(_text(row, text, path))
        size += len(texts[-1])
        if size > MAX_TEXTS or len(texts) > MAX_EXAMPLES:
            raise UserError(
                f"{path} is too large, as line {row.line:,} shows",
                allowed=f"at most {MAX_EXAMPLES:,} rows with {MAX_TEXTS:,} characters of text",
                fix="take a part of it",
            )
        own = (
            _several(row, label, path) if multi else tuple(_label(row.fields[name], name, row, path) for name in label)
        )
        labels.append(shared.setdefault(own, own))
        lines.append(row.line)
        if len(lines) % REPORT_ROWS == 0:
            yield Progress("reading", done, total, "bytes")
    if not texts:
        raise UserError(
            f"{path} has no rows", allowed="a header and at least one row", fix="check that it is the file you mean"
        )
    yield Progress("reading", total, total, "bytes")
    return Examples(
        path, tuple(label), multi, tuple(texts), tuple(labels), np.array(lines, np.int64), digest.hexdigest()
    )


def read_texts(path: StrPath, columns: Sequence[str]) -> Work[Sequence[str]]:
    """Read texts without labels: these columns of a table, or the lines of any other file. Raises UserError."""
    path = as_path(path)
    if is_table(path):
        examples = yield from read_examples(path, columns, options=False)
        return examples.texts
    yield Progress("reading", 0, 1)
    return text_lines(path)


def examples_of(
    texts: Sequence[str], labels: Sequence[str], *, name: str = "the texts", column: str = "label"
) -> Examples:
    """Return texts in memory as examples, each with one label; messages call them `name`, and number them from 1."""
    digest = hashlib.sha256(json.dumps([list(texts), list(labels)]).encode())
    rows = tuple((label,) for label in labels)
    lines = np.arange(1, len(texts) + 1)
    return Examples(Path(name), (column,), False, tuple(texts), rows, lines, digest.hexdigest())


def _text(row: Row, names: Sequence[str], path: Path) -> str:
    """Return the text of a row; raises UserError for one that is too long."""
    text = "\n".join(row.text(name, path) for name in names)
    if len(text) > MAX_TEXT:
        raise UserError(
            f"the text in line {row.line:,} of {path} has {len(text):,} characters",
            allowed=f"at most {MAX_TEXT:,}",
            fix="shorten it, or check its quotes: an open one takes all that follows",
        )
    return text


def _label(value: Any, name: str, row: Row, path: Path) -> str:
    """Return a label; raises UserError for an empty one, and for a value of JSON that is none."""
    if isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    if value is None or isinstance(value, str):
        what, fix = f"has no label in {name!r}", "label the row, or leave it out"
    else:
        what, fix = f"has no label in {name!r}, but {value!r:.60}", "write it as a text; lists are for --multi-label"
    raise UserError(f"line {row.line:,} of {path} {what}", allowed="a text, an integer, true or false", fix=fix)


def _several(row: Row, names: Sequence[str], path: Path) -> Labels:
    """Return the labels of a row, sorted; raises UserError for an empty one among them."""
    labels = set()
    for name in names:
        value = row.fields[name]
        if isinstance(value, str):
            value = value.split(BAR) if value.strip() else []
        labels |= {_label(label, name, row, path) for label in (value if isinstance(value, list) else [value])}
    return tuple(sorted(labels))


# ---- parts


@dataclass(frozen=True)
class Parts:
    """Examples for training and for validation, and what is odd about them."""

    train: Examples
    valid: Examples
    repeated: int
    """Rows for training with the text and the labels of an earlier one."""
    ambiguous: int
    """Texts for training that stand with different labels."""
    empty: int
    """Texts for training or validation without a character other than white space."""
    shared: int
    """Rows for validation whose text is also for training; none where the part was held out."""
    single: Labels
    """Labels with a single row for training."""
    few: int
    """Rows that were held out, where they are so few that the table was probably split by the same hash before."""

    @property
    def names(self) -> tuple[Labels, ...]:
        """The labels of each label column, in the order of their ids: those of training."""
        return self.train.names

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know before training."""
        name, valid = self.train.path, self.valid.path
        single = (
            f"{number_of(len(self.single), 'label')} of {name} with one example for training: {listed(self.single)}"
        )
        repeated = f"{number_of(self.repeated, 'row')} of {name} with text and label of an earlier row"
        ambiguous = f"{number_of(self.ambiguous, 'text')} of {name} with different labels in different rows"
        empty = f"{number_of(self.empty, 'empty text')}, read as the start symbol alone"
        shared = f"{number_of(self.shared, 'text')} of {valid} also in {name}: the figures of validation include them"
        few = f"{number_of(self.few, 'row')} held out of {name}, too few to choose weights by: name others with --valid"
        counts = (len(self.single), self.repeated, self.ambiguous, self.empty, self.shared, self.few)
        remarks = (single, repeated, ambiguous, empty, shared, few)
        return tuple(remark for remark, count in zip(remarks, counts, strict=True) if count)


def parts_of(examples: Examples, valid: Examples | None = None) -> Parts:
    """Return the parts of a training: the rows of `valid`, or else one text in ten held out by its hash.

    A text is held out where the first eight bytes of its SHA-256, a big-endian number, divide by ten; where none is,
    the text with the smallest number. So all rows of a text are in one part. A text whose label training would lack
    stays in training. Raises UserError for a label column with one label only, for a label of `valid` that training
    lacks, and where nothing can be held out.
    """
    for name, labels in zip(examples.columns, _by_column(examples), strict=True):
        if len(set(labels)) < 2:
            raise UserError(
                f"all rows of {examples.path} have the same {name!r}: {listed(labels[0]) or 'no label'}",
                allowed="at least two different labels",
                fix="name another column, or add examples of other labels",
            )
    held = valid is None
    if valid is None:
        rows = [set(row) if examples.multi else set(enumerate(row)) for row in examples.labels]
        held_out = held_out_rows(examples.texts, rows, examples.path)
        examples, valid = examples.select(~held_out), examples.select(held_out)
    else:
        check_labels(valid, examples.names, f"{examples.path}")
    pairs = Counter(zip(examples.texts, examples.labels, strict=True))
    texts = Counter(text for text, _ in pairs)
    counts = Counter(chain.from_iterable(map(set, examples.labels)))
    return Parts(
        examples,
        valid,
        repeated=len(examples) - len(pairs),
        ambiguous=sum(count > 1 for count in texts.values()),
        empty=sum(not text.strip() for text in chain(examples.texts, valid.texts)),
        shared=sum(text in texts for text in valid.texts),
        single=tuple(sorted(label for label, count in counts.items() if count == 1)),
        few=len(valid) if held and len(valid) * FEW < len(examples) else 0,
    )


def _by_column(examples: Examples) -> list[list[Labels]]:
    """Return the labels of each label column; with `multi` those of all, once for each."""
    if examples.multi:
        return [list(examples.labels)] * len(examples.columns)
    return [[(label,) for label in column] for column in zip(*examples.labels, strict=True)]


def held_out_rows(texts: Sequence[str], labels: Sequence[Set[Any]], path: Path) -> NDArray[np.bool_]:
    """Return which rows of a file are held out, by their texts: none whose labels no other text has.

    Raises UserError where none can be.
    """
    numbers = {text: text_number(text) for text in texts}
    out = {text for text, number in numbers.items() if number % HELD_OUT == 0} or {
        min(numbers, key=numbers.__getitem__)
    }
    rows = [*zip(texts, labels, strict=True)]
    trained = {label for text, row in rows if text not in out for label in row}
    for text, row in rows:
        if text in out and not row <= trained:
            out.remove(text)
        if text not in out:
            trained |= row
    if not out or len(out) == len(numbers):
        raise UserError(
            f"{path} has too few examples to hold any out for validation: {number_of(len(rows), 'row')}",
            allowed="several different texts of each label",
            fix="add examples, or give others with --valid FILE",
        )
    return np.array([text in out for text in texts])


def text_number(text: str) -> int:
    """Return the number that decides whether a text is held out."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def check_labels(examples: Examples, names: Sequence[Labels], where: str) -> None:
    """Raise UserError for the first label that is not among those of its column, which were learnt from `where`."""
    columns = [*map(frozenset, names)]
    for labels, line in zip(examples.labels, examples.lines.tolist(), strict=True):
        for place, label in enumerate(labels):
            column = 0 if examples.multi else place
            if label not in columns[column]:
                near = nearest(label, names[column])
                raise UserError(
                    f"line {line:,} of {examples.path} has the label {label!r}, which {where} lacks",
                    allowed=f"labels of training: {listed(names[column])}",
                    fix=f"correct it to {near!r}" if near else "leave the row out, or add examples of it for training",
                )

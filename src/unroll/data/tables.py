"""Lines, objects of JSON in them, and the named columns of a CSV or JSON-lines file, row by row."""

import csv
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from shlex import quote
from textwrap import shorten
from typing import Any, AnyStr, NamedTuple

from unroll.data.kinds import UNPACK
from unroll.errors import UserError, nearest, number_of

MAX_LINE = 64 * 2**20  # characters
DELIMITERS = (",", ";", "\t", "|")
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
"""Of the names of tables."""


class Row(NamedTuple):
    """A row of a table."""

    line: int
    """The number of its first line, from 1."""
    fields: Mapping[str, Any]
    """What stands in each column: a text, in JSON lines any value."""

    def text(self, name: str, path: Path) -> str:
        """Return the text in a column; raises UserError for a value of JSON that is none."""
        if isinstance(text := self.fields[name], str):
            return text
        raise UserError(
            f"line {self.line:,} of {path} has no text {name!r}, but {shorten(json.dumps(text), 60, placeholder=' …')}",
            allowed="a text, in quotes",
            fix="correct the row, or name another key",
        )


def is_table(path: Path) -> bool:
    """Return whether a file is a table by the ending of its name, in capitals or small letters, packed or not."""
    return (path.with_suffix("") if path.suffix.lower() in UNPACK else path).suffix.lower() in ENDINGS


def rows_of(texts: Iterator[str], path: Path, columns: Mapping[str, str], *, every: bool = False) -> Iterator[Row]:
    """Yield the rows of a table whose text comes in pieces, with the fields of `columns` or of `every` column.

    `columns` gives each name the option that names it, for advice. JSON lines begin with a brace; anything else is CSV
    with a header, in whose delimiter the columns exist: a comma, semicolon, tab or bar. Empty lines are no rows.
    Raises UserError for a table without one of the columns, and for a row that is damaged or lacks a field.
    """
    lines = lines_of(texts, "\n", path)
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip("\ufeff\r\n\t "))
    start, first = next(numbered, (1, ""))
    first = first.removeprefix("\ufeff")
    of_format = _of_json if first.lstrip().startswith("{") else _of_csv
    return of_format(chain([first], lines), start, path, columns, every)


def column_of(texts: Iterator[str], path: Path, name: str) -> Iterator[str]:
    """Yield the texts of one column, as `rows_of` reads it; raises UserError also where one is no text."""
    return (row.text(name, path) for row in rows_of(texts, path, {name: "--text"}))


def json_line(text: str) -> dict[str, Any] | None:
    """Return the JSON object in a line; None where there is none, or one with lone surrogates."""
    try:
        item = json.loads(text)
        json.dumps(item, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return item if isinstance(item, dict) else None


def lines_of(chunks: Iterator[AnyStr], newline: AnyStr, path: Path) -> Iterator[AnyStr]:
    """Yield the lines, with their ends, of a text or of bytes in chunks; raises UserError for an endless one."""
    parts: list[AnyStr] = []
    size = 0
    for chunk in chunks:
        lines = chunk.split(newline)
        parts.append(lines[0])
        size += len(lines[0])
        if size > MAX_LINE:
            raise UserError(
                f"{path} has a line of more than {MAX_LINE:,} characters",
                allowed="text in lines",
                fix="check that it is the file that you mean",
            )
        if len(lines) > 1:
            yield newline[:0].join(parts) + newline
            for line in lines[1:-1]:
                yield line + newline
            parts, size = [lines[-1]], len(lines[-1])
    if last := newline[:0].join(parts):
        yield last


def _of_json(lines: Iterable[str], start: int, path: Path, columns: Mapping[str, str], every: bool) -> Iterator[Row]:
    names: Collection[str] = columns
    for number, line in enumerate(lines, start):
        if not line.strip():
            continue
        item = json_line(line)
        if item is None:
            raise UserError(
                f"line {number:,} of {path} is not a JSON object",
                allowed="an object on each line",
                fix="correct the line",
            )
        _check_columns(item, columns, f"line {number:,} of {path}")
        if every:
            names = item if names is columns else names
            if item.keys() != {*names}:
                raise UserError(
                    f"line {number:,} of {path} has other keys than the first: {listed(item.keys() ^ {*names})}",
                    allowed="the same keys in each line",
                    fix="write null where a value is missing",
                )
        yield Row(number, {name: item[name] for name in names})


def _of_csv(lines: Iterator[str], start: int, path: Path, columns: Mapping[str, str], every: bool) -> Iterator[Row]:
    first = next(lines)
    headers = {
        delimiter: next(csv.reader([first.partition("\r")[0]], delimiter=delimiter), []) for delimiter in DELIMITERS
    }
    delimiter = max(DELIMITERS, key=lambda sign: (len(columns.keys() & {*headers[sign]}), len(headers[sign])))
    csv.field_size_limit(MAX_LINE)
    reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    number = start
    try:
        header = next(reader, [])
        _check_columns(header, columns, f"{path}")
        places = {name: header.index(name) for name in (_named(header, path) if every else columns)}
        number = start + reader.line_num
        for row in reader:
            if row and len(row) != len(header):
                raise UserError(
                    f"line {number:,} of {path} has {number_of(len(row), 'field')}, its header {len(header)}",
                    allowed="as many fields in each row as in the header",
                    fix="correct the row; a field with the delimiter in it stands in quotes",
                )
            if row:
                yield Row(number, {name: row[place] for name, place in places.items()})
            number = start + reader.line_num
    except csv.Error as error:
        raise UserError(
            f"line {number:,} of {path} is damaged: {error}",
            allowed="CSV with a header",
            fix="correct the row; a quote within quotes is doubled, and a line ends with LF or CR LF",
        ) from None


def _named(header: Sequence[str], path: Path) -> Sequence[str]:
    """Return the names of all columns; raises UserError where one has none, or that of another."""
    for place, name in enumerate(header):
        if not name.strip() or name in header[:place]:
            what = f"the name of another, {name!r}" if name.strip() else "no name"
            raise UserError(
                f"column {place + 1} of {path} has {what}",
                allowed="a name of its own for each column",
                fix="name it in the first line, or leave it out; pandas writes no index with index=False",
            )
    return header


def _check_columns(names: Collection[str], columns: Mapping[str, str], where: str) -> None:
    """Raise UserError for the first of the columns that is not among the names, with the nearest of them."""
    for name, option in columns.items():
        if name in names:
            continue
        folded = {other.casefold(): other for other in names}
        near = nearest(name.casefold(), folded)
        allowed = f"one of its columns: {listed(names)}" if names else "CSV with a header, or JSON lines"
        if option:
            fix = f"{option} {quote(folded[near])}" if near else f"name one of them with {option}"
        else:
            fix = f"call {quote(folded[near]) if near else 'the right one'} {quote(name)}, as in training"
        raise UserError(f"{where} has no column {name!r}", allowed=allowed, fix=fix)


def listed(names: Iterable[str]) -> str:
    """Return names in a row, as many as one reads."""
    return shorten(", ".join(names), 300, placeholder=" …")

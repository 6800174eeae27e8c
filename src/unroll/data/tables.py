"""Lines, objects of JSON in them, and one column of a CSV or JSON-lines file, row by row."""

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from shlex import quote
from textwrap import shorten
from typing import Any, AnyStr

from unroll.errors import UserError, nearest

MAX_LINE = 64 * 2**20  # characters
DELIMITERS = (",", ";", "\t", "|")


def column_of(texts: Iterator[str], path: Path, name: str) -> Iterator[str]:
    """Yield the column `name` of each row of a table, whose text comes in pieces.

    JSON lines begin with a brace; anything else is CSV with a header, in whose delimiter the column exists: a comma,
    semicolon, tab or bar. Empty lines are no rows. Raises UserError for a table without the column, and for a row that
    is damaged or has no text in it.
    """
    lines = lines_of(texts, "\n", path)
    first = next((line for line in lines if line.strip("\ufeff\r\n\t ")), "").removeprefix("\ufeff")
    lines = chain([first], lines)
    return _of_json(lines, path, name) if first.lstrip().startswith("{") else _of_csv(lines, first, path, name)


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


def _of_json(lines: Iterator[str], path: Path, name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        item = json_line(line)
        if item is None or not isinstance(item.get(name), str):
            fault = "is not a JSON object" if item is None else f"has no text {name!r}; its keys are {_listed(item)}"
            raise UserError(
                f"row {number:,} of {path} {fault}",
                allowed="an object on each line, with a text under the key that --text names",
                fix="correct the row, or name another key",
            )
        yield item[name]


def _listed(names: Iterable[str]) -> str:
    """Return the names of columns, so many as one reads."""
    return shorten(", ".join(names), 300, placeholder=" …")


def _of_csv(lines: Iterator[str], first: str, path: Path, name: str) -> Iterator[str]:
    line = first.partition("\r")[0]
    headers = {delimiter: next(csv.reader([line], delimiter=delimiter), []) for delimiter in DELIMITERS}
    delimiter = next((sign for sign, header in headers.items() if name in header), None)
    if delimiter is None:
        header = max(headers.values(), key=len)
        columns = {column.casefold(): column for column in header}
        near = nearest(name.casefold(), columns)
        raise UserError(
            f"{path} has no column {name!r}",
            allowed=f"a column of its header: {_listed(header)}" if header else "CSV with a header, or JSON lines",
            fix=f"--text {quote(columns[near])}"
            if near
            else "name one of them with --text; plain text needs no --text",
        )
    header = headers[delimiter]
    csv.field_size_limit(MAX_LINE)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        next(reader)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise UserError(
                    f"line {reader.line_num:,} of {path} has {len(row)} fields, its header {len(header)}",
                    allowed="as many fields in each row as in the header",
                    fix="correct the row; a field with the delimiter in it stands in quotes",
                )
            yield row[header.index(name)]
    except csv.Error as error:
        raise UserError(
            f"line {reader.line_num:,} of {path} is damaged: {error}",
            allowed="CSV with a header",
            fix="correct the row; a quote within quotes is doubled, and a line ends with LF or CR LF",
        ) from None

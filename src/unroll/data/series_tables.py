"""Sequences from tables: CSV, JSON lines and parquet, a row for each step or for each sequence."""

import hashlib
from array import array
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.blocks import file_size
from unroll.data.opening import read_table
from unroll.data.ragged import Vectors
from unroll.data.series import Series
from unroll.data.series_reading import (
    MAX_VALUES,
    Columns,
    check_channels,
    check_count,
    check_size,
    check_times,
    check_values,
    goal,
    label,
    moment,
    number,
    times_of,
)
from unroll.data.spacing import check_regular
from unroll.errors import UserError, install, nearest
from unroll.files import unreadable
from unroll.progress import Progress, Work

MAX_COLUMN = 2**28
"""Bytes of a column of texts, of times or of labels in a parquet file, unpacked."""
REPORT_ROWS = 1000
WIDE = ("value",)
"""The channel of sequences that are one row each."""


@dataclass
class Table:
    """The rows of a table as they are read: all columns as numbers but for those that have an option."""

    path: Path
    names: tuple[str, ...] = ()
    """Of the columns of numbers."""
    values: Any = field(default_factory=lambda: array("d"))
    lines: Any = field(default_factory=lambda: array("q"))
    ids: list[str] = field(default_factory=list)
    times: list[float | datetime] = field(default_factory=list)
    targets: list[Any] = field(default_factory=list)
    word: str = "line"
    sha256: str = ""

    def where(self, row: int) -> str:
        """Return where a row stands."""
        return f"{self.word} {self.lines[row]:,} of {self.path}"


def read_rows_of(path: Path, columns: Columns) -> Work[Series]:
    """Read the sequences of a CSV or JSON-lines file; raises UserError, naming the line."""
    _check_target(path, columns)
    table, total, digest = Table(path), file_size(path), hashlib.sha256()
    asked = dict.fromkeys([columns.id], "--id") | dict.fromkeys([columns.time], "--time")
    if columns.target is not None and (columns.required or not columns.labelled):
        asked[columns.target] = "--target"
    options = {name: option if columns.channels is None else "" for name, option in asked.items() if name is not None}
    own = _own(columns)
    for row, done in read_table(path, options, digest, every=columns.labelled):
        if not table.names:
            table.names = tuple(name for name in row.fields if name not in own)
        place = f"line {row.line:,} of {path}"
        for name in table.names:
            table.values.append(number(row.fields[name], f"{name!r} in {place}"))
        if len(table.values) > MAX_VALUES:
            check_size(path, len(table.lines) + 1, len(table.names))
        table.lines.append(row.line)
        if columns.id is not None:
            table.ids.append(label(row.fields[columns.id], f"{columns.id!r} in {place}"))
        if columns.time is not None:
            table.times.append(moment(row.fields[columns.time], f"{columns.time!r} in {place}"))
        if columns.reads_targets and columns.target is not None:
            table.targets.append(_target(row.fields[columns.target], columns, place))
        if len(table.lines) % REPORT_ROWS == 0:
            yield Progress("reading", done, total, "bytes")
    yield Progress("reading", total, total, "bytes")
    table.values = (
        np.frombuffer(table.values, np.float64).reshape(len(table.lines), -1) if table.lines else np.zeros((0, 1))
    )
    table.sha256 = digest.hexdigest()
    return series_of(table, columns)


def _check_target(path: Path, columns: Columns) -> None:
    """Raise UserError where a table's target is not named, and where it is named twice."""
    if columns.target is None and (columns.required or not columns.labelled):
        raise UserError(
            f"no column of {path} is named as the target", allowed="one of its columns", fix="add --target COL"
        )
    named = [name for name in (columns.id, columns.time, columns.target) if name is not None]
    if len({*named}) < len(named):
        raise UserError(
            f"{', '.join(named)} are the columns of the sequences, the times and the target",
            allowed="different columns for --id, --time and --target",
            fix="name others, or leave one out",
        )


def _own(columns: Columns) -> set[str | None]:
    """Return the columns that are no channels; to forecast one column, no others are read."""
    return {columns.id, columns.time, columns.target if columns.labelled else None}


def _target(value: Any, columns: Columns, place: str) -> str | float:
    where = f"{columns.target!r} in {place}"
    return label(value, where) if columns.task == "classify" else goal(value, where)


def read_parquet(path: Path, columns: Columns) -> Work[Series]:
    """Read the sequences of a parquet file column by column; raises UserError, naming the row."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise UserError(
            f"reading {path} needs pyarrow", allowed="CSV, JSON lines, npz or ts without it", fix=install("parquet")
        ) from None
    _check_target(path, columns)
    own, target = _own(columns), columns.target
    try:
        with open(path, "rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        texts = [f.name for f in parquet.read_schema(path) if f.name in own and not f.type.num_fields]
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            schema, count = file.schema_arrow, file.metadata.num_rows
            names = tuple(name for name in schema.names if (name not in own if columns.labelled else name == target))
            for name, option in ((columns.id, "--id"), (columns.time, "--time"), (columns.target, "--target")):
                optional = option == "--target" and columns.labelled and not columns.required
                if name is not None and name not in schema.names and not optional:
                    near = nearest(name, schema.names)
                    raise UserError(
                        f"{path} has no column {name!r}",
                        allowed=f"one of its columns: {', '.join(schema.names)[:300]}",
                        fix=f"{option} {near}" if near else f"name one of them with {option}",
                    )
            check_size(path, count, max(1, len(names)))
            for name in (columns.id, columns.time, columns.target if columns.reads_targets else None):
                if name is not None:
                    _check_column(path, name, schema.field(name).type, file.metadata)
            table = Table(path, names, lines=np.arange(1, count + 1), word="row", sha256=digest)
            table.values = np.empty((count, len(names)))
            for k, name in enumerate(names):
                kind = schema.field(name).type
                if not (
                    pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_null(kind)
                ):
                    raise UserError(
                        f"column {name!r} of {path} holds {kind}", allowed="numbers, in all columns without an option",
                        fix="leave it out; name a column of labels with --target, of sequences with --id",
                    )  # fmt: skip
                column = file.read(columns=[name]).column(0).cast(pyarrow.float64(), safe=False)
                where = lambda row, name=name: f"{name!r} in row {row + 1:,}"  # noqa: E731
                table.values[:, k] = check_values(column.to_numpy(zero_copy_only=False), path, where)
                yield Progress("reading", k + 1, len(names), "columns")

            def cells(name: str) -> list[Any]:
                column = file.read(columns=[name]).column(0)
                if pyarrow.types.is_timestamp(column.type):  # Python's dates have no nanoseconds
                    column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
                return [cell for chunk in column.chunks for cell in _cells(chunk)]

            if columns.id is not None:
                table.ids = [
                    label(value, f"{columns.id!r} in row {row:,} of {path}")
                    for row, value in enumerate(cells(columns.id), 1)
                ]
            if columns.time is not None:
                table.times = [
                    _moment(value, columns.time, path, row) for row, value in enumerate(cells(columns.time), 1)
                ]
            if columns.reads_targets:
                assert columns.target is not None
                table.targets = [
                    _target(value, columns, f"row {row:,} of {path}")
                    for row, value in enumerate(cells(columns.target), 1)
                ]
    except OSError as error:
        raise unreadable(path, error) from None
    except (pyarrow.ArrowException, ValueError, MemoryError) as error:
        raise UserError(
            f"{path} is damaged, or no parquet file: {str(error)[:200]}", allowed="a parquet file", fix="write it again"
        ) from None
    return series_of(table, columns)


def _check_column(path: Path, name: str, kind: Any, metadata: Any) -> None:
    """Raise UserError for a column of a parquet file with an option whose cells are too large, or no single values."""
    if kind.num_fields:  # a few bytes may stand for any number of values
        raise UserError(
            f"column {name!r} of {path} holds {kind!s:.60}",
            allowed="texts, numbers, dates, true or false in a column with an option",
            fix="name another column, or write the file with a value in each cell",
        )
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    columns = (group.column(place) for group in groups for place in range(metadata.num_columns))
    size = sum(column.total_uncompressed_size for column in columns if column.path_in_schema == name)
    if size > MAX_COLUMN:
        raise UserError(
            f"column {name!r} of {path} has {size:,} bytes",
            allowed=f"at most {MAX_COLUMN:,} in a column with an option",
            fix="shorten its texts, or take a part of the file",
        )


def _cells(chunk: Any) -> list[Any]:
    """Return the cells of a piece of a column: texts that repeat are one object."""
    if not hasattr(chunk, "dictionary"):
        return list(chunk.to_pylist())
    values = chunk.dictionary.to_pylist()
    return [None if place is None else values[place] for place in chunk.indices.to_pylist()]


def _moment(value: Any, name: str, path: Path, row: int) -> float | datetime:
    text = value.isoformat() if hasattr(value, "isoformat") else value
    return moment(text, f"{name!r} in row {row:,} of {path}")


def series_of(table: Table, columns: Columns) -> Series:
    """Return the sequences of a table's rows. Raises UserError."""
    if not len(table.lines):
        raise UserError(
            f"{table.path} has no rows",
            allowed="a header and at least one row",
            fix="check that it is the file you mean",
        )
    if not table.names:
        raise UserError(
            f"{table.path} has no column of numbers beside those with an option",
            allowed="at least one channel",
            fix="add a column, or leave an option out",
        )
    if columns.labelled and columns.id is None:
        return check_channels(_wide(table, columns), columns)
    return check_channels(_long(table, columns), columns)


def _wide(table: Table, columns: Columns) -> Series:
    """Return a sequence for each row, whose steps are the columns up to the last that is not empty."""
    if columns.time is not None:
        raise UserError(
            f"--time {columns.time} is given without --id, and each row of {table.path} is a sequence of its own",
            allowed="times of the steps of sequences that have several rows",
            fix="name the column of the sequences with --id, or leave --time out",
        )
    check_count(table.path, len(table.lines))
    rows = trimmed(table.values[:, :, None])
    ids = tuple(str(k) for k in range(1, len(rows) + 1))
    series = Series(table.path, rows, WIDE, ids, np.array(table.lines, np.int64), sha256=table.sha256)
    return series.with_targets(columns.task, table.targets)


def trimmed(values: NDArray[Any]) -> Vectors:
    """Return sequences (N, T, C) up to the last step that has any value."""
    present = ~np.isnan(values).all(axis=2)
    steps = values.shape[1]
    lengths = np.where(present.any(axis=1), steps - present[:, ::-1].argmax(axis=1), 0)
    return Vectors(values[np.arange(steps) < lengths[:, None]], np.cumsum(lengths, dtype=np.int64))


def _long(table: Table, columns: Columns) -> Series:
    """Return the sequences whose steps are rows."""
    numbers: dict[str, int] = {}
    of_row = np.array([numbers.setdefault(id, len(numbers)) for id in table.ids] or [0] * len(table.lines), np.int64)
    order = np.argsort(of_row, kind="stable")
    counts = np.bincount(of_row)
    rows = Vectors(table.values[order], np.cumsum(counts, dtype=np.int64))
    times, lines = None, np.array(table.lines, np.int64)[order]
    if columns.time is not None:

        def where(row: int) -> str:
            return f"{columns.time!r} in {table.where(row)}"

        times = times_of(table.times, where)[order]
        check_times(times, rows, lambda row: where(int(order[row])))
        if not columns.labelled:
            check_regular(times, rows, lambda row: where(int(order[row])))
    ids = tuple(numbers) or (table.path.stem,)
    series = Series(table.path, rows, table.names, ids, lines[rows.starts], times=times, sha256=table.sha256)
    return series.with_targets(columns.task, _of_sequences(table, columns, order, rows))


def _of_sequences(table: Table, columns: Columns, order: NDArray[np.int64], rows: Vectors) -> list[Any]:
    """Return the target of each sequence; raises UserError for a row with another than the first of its sequence."""
    if not table.targets:
        return []
    targets = []
    for start, end in zip(rows.starts.tolist(), rows.ends.tolist(), strict=True):
        first = table.targets[order[start]]
        for row in order[start:end].tolist():
            if table.targets[row] != first:
                raise UserError(
                    f"{columns.target!r} in {table.where(row)} is {table.targets[row]!r}, and {first!r} in the first "
                    f"row of its sequence {table.ids[row]!r}",
                    allowed="one target for each sequence, in all of its rows",
                    fix="correct it, or forecast the column with --task forecast",
                )
        targets.append(first)
    return targets

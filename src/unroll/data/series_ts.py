"""Sequences from ts files, as sktime and aeon write them: a header, then a line for each sequence."""

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from unroll.data.blocks import file_size
from unroll.data.kinds import broken
from unroll.data.opening import read_rows
from unroll.data.ragged import Vectors
from unroll.data.series import Floats, Series
from unroll.data.series_reading import (
    Columns,
    check_channels,
    check_count,
    check_size,
    check_times,
    goal,
    label,
    moment,
    number,
    times_of,
)
from unroll.data.series_tables import WIDE
from unroll.data.tables import listed
from unroll.errors import UserError, number_of
from unroll.progress import Progress, Work

REPORT_LINES = 100
STAMPED = re.compile(r"\(([^(),]*),([^(),]*)\)")
"""A time and a value."""


def read_ts(path: Path, columns: Columns) -> Work[Series]:
    """Read the sequences of a ts file. Values that are `?` or NaN are missing. Raises UserError, naming the line."""
    header, total, done, digest = dict[str, list[str]](), file_size(path), 0, hashlib.sha256()
    rows: list[Floats] = []
    lines: list[int] = []
    targets: list[Any] = []
    moments: list[float | datetime] = []
    size, started = 0, False
    for line, raw in enumerate(read_rows(path), 1):
        digest.update(raw)
        try:
            text = raw.decode("utf-8-sig" if line == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise broken(path, raw, done, error) from None
        done += len(raw)
        if not text or text.startswith("#"):
            continue
        place = f"line {line:,} of {path}"
        if not started:
            started = _header(text, header, place)
            if started and columns.labelled:
                _check_targets(header, columns, path)
            continue
        *dimensions, last = text.split(":")
        labelled = any(header.get(name, ["false"])[0].lower() == "true" for name in ("classlabel", "targetlabel"))
        if labelled and columns.reads_targets:
            where = f"the target in {place}"
            targets.append(_label(last, header, where) if columns.task == "classify" else goal(last, where))
        elif not labelled:
            dimensions.append(last)
        if not dimensions:
            raise UserError(
                f"{place} has no values, only a target: {last[:40]!r}",
                allowed="values with commas between them, a colon, and the target",
                fix="correct the line",
            )
        values, times = _values(dimensions, header.get("timestamps", ["false"])[0].lower() == "true", place)
        if rows and values.shape[1] != rows[0].shape[1]:
            raise UserError(
                f"{place} has {number_of(values.shape[1], 'dimension')}, the first sequence {rows[0].shape[1]}",
                allowed="as many in each line, with colons between them",
                fix="correct the line",
            )
        rows.append(values)
        lines.append(line)
        moments += times
        size += values.size
        check_size(path, size // values.shape[1], values.shape[1])
        check_count(path, len(rows))
        if len(rows) % REPORT_LINES == 0:
            yield Progress("reading", min(done, total), total, "bytes")
    yield Progress("reading", total, total, "bytes")
    if not rows:
        raise UserError(
            f"{path} has no sequences after @data",
            allowed="a header that ends with @data, then a line for each sequence",
            fix="check that it is the file you mean",
        )
    vectors = Vectors(np.concatenate(rows), np.cumsum([len(row) for row in rows], dtype=np.int64))
    channels = tuple(str(k + 1) for k in range(rows[0].shape[1])) if rows[0].shape[1] != 1 else WIDE
    series = Series(
        path, vectors, channels, tuple(map(str, range(1, len(rows) + 1))), np.array(lines), sha256=digest.hexdigest()
    )
    if moments:
        of_step = np.repeat(series.lines, vectors.lengths)
        where_of = lambda step: f"a time in line {of_step[step]:,} of {path}"  # noqa: E731
        times_array = times_of(moments, where_of)
        check_times(times_array, vectors, where_of)
        series = series.at(times_array)
    return check_channels(series.with_targets(columns.task, targets), columns)


def _header(text: str, header: dict[str, list[str]], place: str) -> bool:
    """Add a line of the header; return whether it is the last."""
    if not text.startswith("@"):
        raise UserError(
            f"{place} stands before @data and begins with no @: {text[:40]!r}",
            allowed="a header whose lines begin with @, and then @data",
            fix="check that it is a ts file, as sktime and aeon write it",
        )
    name, *rest = text[1:].split()
    header[name.lower()] = rest or [""]
    return name.lower() == "data"


def _check_targets(header: dict[str, list[str]], columns: Columns, path: Path) -> None:
    """Raise UserError where a header names targets of the other kind, or none for training."""
    kinds = {"classify": "classlabel", "regress": "targetlabel"}
    named = [task for task, name in kinds.items() if header.get(name, ["false"])[0].lower() == "true"]
    if named and named != [columns.task]:
        raise UserError(
            f"{path} has targets to {named[0]}, as its header says",
            allowed=f"--task {named[0]}",
            fix="choose that task",
        )
    if columns.required and not named:
        raise UserError(
            f"the header of {path} names no targets",
            allowed="@classLabel true and the labels, or @targetlabel true",
            fix="use a file with targets",
        )


def _label(text: str, header: dict[str, list[str]], where: str) -> str:
    """Return the label at the end of a line; raises UserError for one that a header with labels does not list."""
    named, name = header["classlabel"][1:], label(text, where)
    if named and name not in named:
        raise UserError(
            f"{where} is {name!r}, which @classLabel does not list",
            allowed=listed(named),
            fix="correct the line, or add the label to @classLabel",
        )
    return name


def _values(dimensions: list[str], stamped: bool, place: str) -> tuple[Floats, list[float | datetime]]:
    """Return the values (T, C) of a line, and their times where it has any."""
    parts, times = [], list[float | datetime]()
    for k, dimension in enumerate(dimensions, 1):
        where = f"a value of dimension {k} in {place}"
        cells, own = dimension.split(","), list[float | datetime]()
        if stamped:
            pairs = STAMPED.findall(dimension)
            if STAMPED.sub("", dimension).replace(",", "").strip():
                raise UserError(f"{where} is no (time,value)", allowed="(time,value),(time,value)", fix="correct it")
            own, cells = [moment(when, f"a time in {place}") for when, _ in pairs], [value for _, value in pairs]
        parts.append([number(cell, where) if cell.strip() not in ("?", "NaN") else np.nan for cell in cells])
        if any(not cell.strip() for cell in cells):
            raise UserError(f"{where} is empty", allowed="a number, or ? where it is missing", fix="correct the line")
        if len(parts[-1]) != len(parts[0]) or (k > 1 and own != times):
            raise UserError(
                f"dimension {k} in {place} has {len(parts[-1])} steps, the first {len(parts[0])}"
                + (", or other times" if stamped else ""),
                allowed="all dimensions of a sequence with the same steps",
                fix="correct the line; ? stands for a missing value",
            )
        times = own
    return np.array(parts, np.float64).T, times

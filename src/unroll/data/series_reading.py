"""What the readers of sequences share: which columns are asked for, numbers, times and labels, and their limits."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Vectors
from unroll.data.series import Floats, Series
from unroll.data.spacing import shown_times
from unroll.errors import UserError, number_of
from unroll.nn.series_config import Task

MAX_VALUES = 2**27
"""Values of all sequences together."""
MAX_SEQUENCES = 2**24
LARGEST = 1e100
"""What a value may be at most: squares of larger ones are infinite."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)


@dataclass(frozen=True)
class Columns:
    """What is asked of a file of sequences."""

    task: Task
    target: str | None = None
    """The column of the label or number; of a forecast that of the values."""
    id: str | None = None
    """The column that names the sequence of a row."""
    time: str | None = None
    """The column of the times, which must rise within a sequence."""
    required: bool = True
    """Whether targets must be there, as they must be for training."""
    channels: tuple[str, ...] | None = None
    """The channels of the training, which must be those of the file."""

    @property
    def labelled(self) -> bool:
        """Whether sequences have targets of their own: those to forecast have none."""
        return self.task != "forecast"

    @property
    def reads_targets(self) -> bool:
        """Whether the targets of sequences are read: those of sequences to predict are not, whatever they hold."""
        return self.labelled and self.required


def number(value: Any, where: str) -> float:
    """Return the number in a cell, NaN where it is empty or null; raises UserError for anything else.

    `where` says where it stands, as in `channel 'x' in line 3 of a.csv`.
    """
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return math.nan
        result = float(text) if NUMBER.fullmatch(text) else math.nan
    elif value is None:
        return math.nan
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
    else:
        result = math.nan
    if not abs(result) <= LARGEST:
        infinite = "" if math.isnan(result) else ", too large"
        raise UserError(
            f"{where} is {str(value)[:40]!r}{infinite}",
            allowed=f"a number of at most {LARGEST:g}, or nothing where it is missing",
            fix="correct it, or leave the cell empty; name a column of labels with --target, of sequences with --id",
        )
    return result


def check_values(values: NDArray[Any], path: Path, where: Any) -> Floats:
    """Return values as float64, NaN where one is missing; raises UserError for an infinite one.

    `where` returns where the value at an index stands.
    """
    result = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):
        wrong = np.abs(result) > LARGEST
    if wrong.any():
        index = tuple(int(place[0]) for place in np.nonzero(wrong))
        raise UserError(
            f"{where(*index)} of {path} is {result[index]}",
            allowed=f"numbers of at most {LARGEST:g}, or NaN where one is missing",
            fix="correct it, or leave it out",
        )
    return result


def check_size(path: Path, steps: int, channels: int) -> None:
    """Raise UserError for more steps of so many channels than are read."""
    if steps * channels > MAX_VALUES:
        raise UserError(
            f"{path} has more than {MAX_VALUES:,} values: {steps:,} steps of {channels:,} channels",
            allowed=f"at most {MAX_VALUES:,}",
            fix="take a part of it",
        )


def check_count(path: Path, sequences: int) -> None:
    """Raise UserError for more sequences than are read."""
    if sequences > MAX_SEQUENCES:
        raise UserError(
            f"{path} has more than {MAX_SEQUENCES:,} sequences", allowed="at most so many", fix="take a part of it"
        )


def moment(value: Any, where: str) -> float | datetime:
    """Return a time: a number, or a date of ISO 8601 in UTC; raises UserError for anything else."""
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    try:
        when = datetime.fromisoformat(f"{text}-01" if MONTH.fullmatch(text) else text)
        return when if when.tzinfo is None else when.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise UserError(
            f"{where} is {str(value)[:40]!r}",
            allowed="a number, or a date as 2026-11-30 or 2026-11-30T12:00:00",
            fix="correct it, or leave --time out if the rows are in order",
        ) from None


def times_of(moments: Sequence[float | datetime], where: Any) -> NDArray[Any]:
    """Return times (N,) as float64 or datetime64[us]; raises UserError where numbers and dates are mixed.

    `where` returns where the time of a row stands.
    """
    dates = [isinstance(when, datetime) for when in moments]
    if any(dates) != all(dates):
        row = dates.index(not dates[0])
        raise UserError(
            f"{where(row)} is a {'date' if dates[row] else 'number'}, the first a {'date' if dates[0] else 'number'}",
            allowed="numbers alone, or dates alone",
            fix="correct it",
        )
    return np.array(moments, "datetime64[us]" if any(dates) else np.float64)


def check_times(times: NDArray[Any], rows: Vectors, where: Any) -> None:
    """Raise UserError where a time does not come after the one before it in its sequence."""
    same = np.ones(max(0, len(times) - 1), np.bool_)
    ends = rows.ends[(rows.ends > 0) & (rows.ends < len(times))]
    same[ends - 1] = False
    wrong = np.flatnonzero(same & ~(times[1:] > times[:-1]))
    if len(wrong):
        row = int(wrong[0]) + 1
        before, time = shown_times(times[row - 1 : row + 1])
        again = before == time
        raise UserError(
            f"{where(row)} is {time}, {'as' if again else 'before'} that of the row before it in its sequence"
            f"{'' if again else f', {before}'}",
            allowed="times that rise within each sequence",
            fix="leave one of the two rows out" if again else "sort the rows by time",
        )


def label(value: Any, where: str) -> str:
    """Return the label in a cell; raises UserError where there is none."""
    if isinstance(value, bool | int | np.bool_ | np.integer):
        return json.dumps(value if isinstance(value, bool | int) else value.item())
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise UserError(
        f"{where} is {str(value)[:40]!r}" if value is not None and value != "" else f"{where} is empty",
        allowed="a label: text, a whole number, true or false",
        fix="label it, or leave the sequence out; for other numbers there is --task regress",
    )


def goal(value: Any, where: str) -> float:
    """Return the number to be predicted in a cell; raises UserError where there is none."""
    try:
        result = number(value, where)
    except UserError as error:
        error.allowed, error.fix = "a number", "correct it, or learn labels with --task classify"
        raise
    if math.isnan(result):
        raise UserError(f"{where} is empty", allowed="a number", fix="fill it in, or leave the sequence out")
    return result


def check_channels(series: Series, columns: Columns) -> Series:
    """Return the sequences with their channels as in training; raises UserError for others, and for none at all."""
    expected, path = columns.channels, series.path
    if not len(series):
        raise UserError(f"{path} has no sequences", allowed="at least one", fix="check that it is the file you mean")
    empty = np.flatnonzero(series.rows.lengths == 0)
    if len(empty):
        raise UserError(
            f"sequence {series.ids[empty[0]]!r} of {path} has no steps", allowed="at least one", fix="leave it out"
        )
    if expected is not None and series.channels != expected:
        raise UserError(
            f"{path} has {_listed(series.channels)}; in training there were {_listed(expected)}",
            allowed="the channels of training, in their order",
            fix="leave others out, and name or add those that are missing",
        )
    return series


def _listed(channels: tuple[str, ...]) -> str:
    """Return the number of channels and, where they have names and not only numbers, these."""
    named = channels != tuple(map(str, range(1, len(channels) + 1)))
    return number_of(len(channels), "channel") + (f": {', '.join(channels)[:200]}" if named else "")

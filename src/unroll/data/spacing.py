"""The spacing of times: whether they are regular, and how they continue."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Vectors
from unroll.errors import UserError

Times = NDArray[Any]
"""float64 or datetime64[us], rising within a series."""


@dataclass(frozen=True)
class Spacing:
    """The step from a time to the next."""

    unit: Literal["number", "microseconds", "months"]
    size: float

    @classmethod
    def of(cls, times: Times) -> "Spacing":
        """Return the step between the first two times: of dates in months where day and time of day are the same."""
        first, second = times[:2]
        if times.dtype.kind != "M":
            return cls("number", float(second - first))
        months = _months(times[:2])
        if months[1] > months[0] and (_within(times[:2])[0] == _within(times[:2])[1] or _last_days(times[:2]).all()):
            return cls("months", int(months[1] - months[0]))
        return cls("microseconds", int((second - first).astype(np.int64)))

    def after(self, times: Times, count: int) -> Times:
        """Return the `count` times that follow the last one."""
        steps = np.arange(1, count + 1)
        if self.unit == "number":
            return np.asarray(times[-1] + steps * self.size)
        if self.unit == "microseconds":
            return np.asarray(times[-1] + (steps * int(self.size)).astype("timedelta64[us]"))
        months = (_months(times[-1:]) + steps * int(self.size)).astype("datetime64[M]")
        if _last_days(times[-2:]).all():
            days = (months + 1).astype("datetime64[D]") - 1
            return np.asarray(days.astype(times.dtype) + (times[-1] - times[-1].astype("datetime64[D]")))
        return np.asarray(months.astype(times.dtype) + _within(times[-1:]))

    def departs(self, times: Times) -> NDArray[np.bool_]:
        """Return for each time after the first whether it is not a step after the one before it, (N - 1,)."""
        if self.unit == "number":
            return np.asarray(np.abs(np.diff(times) - self.size) > 1e-6 * abs(self.size))
        if self.unit == "microseconds":
            return np.asarray(np.diff(times).astype(np.int64) != self.size)
        within = _within(times)
        same = (within[1:] == within[0]) | _last_days(times)[1:]
        return np.asarray((np.diff(_months(times)) != self.size) | ~same)


def check_regular(times: Times, rows: Vectors, where: Callable[[int], str]) -> None:
    """Raise UserError for the first time that is not a step after the one before it in its series.

    `where` returns where the time of a row stands. The step is that between the first two times of all.
    """
    spacing: Spacing | None = None
    for start, end in zip(rows.starts.tolist(), rows.ends.tolist(), strict=True):
        if end - start < 2:
            continue
        spacing = spacing or Spacing.of(times[start:end])
        wrong = np.flatnonzero(spacing.departs(times[start:end]))
        if len(wrong):
            row = start + int(wrong[0]) + 1
            before, time, after = shown_times(np.append(times[row - 1 : row + 1], spacing.after(times[start:row], 1)))
            raise UserError(
                f"{where(row)} is {time}, and one step after {before} is {after}",
                allowed="times at regular steps, the same in all series",
                fix="add a row with an empty value for each time that is missing, or leave --time out",
            )


def shown_times(times: Times) -> Sequence[Any]:
    """Return times as JSON: dates of whole days without their hours, whole numbers without a point."""
    if times.dtype.kind == "M":
        days = times.astype("datetime64[D]")
        return [str(when) for when in (days if (days == times).all() else times.astype("datetime64[s]"))]
    return [int(when) if float(when).is_integer() else float(when) for when in times]


def _months(times: Times) -> NDArray[np.int64]:
    return np.asarray(times.astype("datetime64[M]").astype(np.int64))


def _within(times: Times) -> NDArray[Any]:
    """Return how long after the beginning of its month each date is."""
    return np.asarray(times - times.astype("datetime64[M]").astype(times.dtype))


def _last_days(times: Times) -> NDArray[np.bool_]:
    """Return whether each date lies on the last day of its month."""
    days = times.astype("datetime64[D]")
    return np.asarray((days + 1).astype("datetime64[M]") != days.astype("datetime64[M]"))

"""Regular times: how they continue, and where they stop being regular."""

from typing import Any

import numpy as np
import pytest

from unroll.data.ragged import Vectors
from unroll.data.spacing import Spacing, check_regular
from unroll.errors import UserError


def dates(*days: str) -> Any:
    return np.array(days, "datetime64[us]")


@pytest.mark.parametrize(
    ("times", "following"),
    [
        (dates("2026-01-31", "2026-02-28", "2026-03-31"), dates("2026-04-30", "2026-05-31")),
        (dates("2026-01-15", "2026-04-15"), dates("2026-07-15", "2026-10-15")),
        (dates("2025-12-31", "2026-12-31"), dates("2027-12-31", "2028-12-31")),
        (dates("2026-12-24", "2026-12-31"), dates("2027-01-07", "2027-01-14")),
        (dates("2026-01-01T23:30", "2026-01-02T00:00"), dates("2026-01-02T00:30", "2026-01-02T01:00")),
        (dates("2026-01-01T06:00", "2026-02-01T06:00"), dates("2026-03-01T06:00", "2026-04-01T06:00")),
        (np.array([1700.0, 1701.0]), np.array([1702.0, 1703.0])),
        (np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5])),
    ],
)
def test_times_continue(times: Any, following: Any) -> None:
    spacing = Spacing.of(times)
    whole = np.concatenate([times, following])
    assert not spacing.departs(whole).any()
    after = spacing.after(times, 2)
    assert after.dtype == times.dtype
    np.testing.assert_allclose(after.astype(np.float64), following.astype(np.float64), rtol=1e-9)


@pytest.mark.parametrize(
    "times",
    [
        dates("2026-01-31", "2026-02-28", "2026-03-30"),
        dates("2026-01-15", "2026-02-15", "2026-04-15"),
        dates("2026-12-01", "2026-12-08", "2026-12-16"),
        np.array([1.0, 2.0, 4.0]),
    ],
)
def test_a_gap_is_refused_where_it_is(times: Any) -> None:
    rows = Vectors(np.zeros((5, 1)), np.array([2, 5]))
    with pytest.raises(UserError) as error:
        check_regular(np.concatenate([times[:2], times]), rows, lambda row: f"time {row}")
    assert error.value.what.startswith("time 4 is ") and "one step after" in error.value.what
    assert "T00:00" not in error.value.what and ".0 " not in error.value.what  # as they are written in a file


def test_series_of_another_step_are_refused() -> None:
    rows = Vectors(np.zeros((4, 1)), np.array([2, 4]))
    check_regular(np.array([0.0, 1.0, 7.0, 8.0]), rows, str)
    with pytest.raises(UserError):
        check_regular(np.array([0.0, 1.0, 7.0, 9.0]), rows, str)

"""Series of numbers to forecast, read from a file and as a forecaster reads them."""

from pathlib import Path

import numpy as np

from unroll.data.history import History
from unroll.data.ragged import Vectors
from unroll.data.series import Series
from unroll.data.series_files import read_series
from unroll.data.series_reading import Columns
from unroll.errors import UserError
from unroll.progress import Work


def read_values(file: Path, columns: Columns) -> Work[Series]:
    """Read the series of a file: of a table the column `columns.target`, elsewhere the one channel.

    Raises UserError, also for a series without any value.
    """
    series = yield from read_series(file, columns)
    if (channels := len(series.channels)) != 1:
        raise UserError(
            f"{file} has {channels} channels, and one is forecast",
            allowed="a table, whose column --target names, or an array with one channel",
            fix="write its channels as the columns of a CSV file",
        )
    for id, history in zip(series.ids, histories_of(series.rows), strict=True):
        if not len(history):
            raise UserError(f"series {id!r} of {file} has no values", allowed="at least one", fix="leave it out")
    return series


def histories_of(rows: Vectors) -> list[History]:
    """Return each series of values (N, 1) as a forecaster reads it."""
    return [History.of(np.asarray(rows[k][:, 0], np.float64)) for k in range(len(rows))]

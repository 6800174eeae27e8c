"""Files of sequences: CSV, JSON lines, parquet, npz and ts, read with their sizes checked before memory is taken."""

from pathlib import Path

from unroll.data.series import Series
from unroll.data.series_arrays import read_arrays
from unroll.data.series_reading import Columns
from unroll.data.series_tables import read_parquet, read_rows_of
from unroll.data.series_ts import read_ts
from unroll.data.tables import ENDINGS, is_table
from unroll.errors import UserError
from unroll.files import StrPath, as_path
from unroll.progress import Work


def read_series(file: StrPath, columns: Columns) -> Work[Series]:
    """Read the sequences of a file, by the ending of its name.

    A table (CSV, JSON lines, parquet) has a row for each step, in sequences by the column `columns.id`; without one all
    rows are one sequence to forecast, and to classify or regress each row is a sequence of its own, whose other columns
    in order are its steps. An npz has the arrays X (N, T) or (N, T, C), y (N,) and perhaps lengths (N,); a ts file is
    as sktime and aeon write it. Raises UserError, naming file and line.
    """
    path = as_path(file)
    if is_table(path):
        return (yield from read_rows_of(path, columns))
    readers = {".parquet": read_parquet, ".npz": read_arrays, ".ts": read_ts}
    ending = Path(path).suffix.lower()
    if ending not in readers:
        raise UserError(
            f"{path} has no ending that says how sequences stand in it",
            allowed=", ".join((*ENDINGS, *readers)),
            fix="give its name the right ending",
        )
    return (yield from readers[ending](path, columns))

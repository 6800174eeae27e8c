"""Sequences from the arrays of an npz file: no pickles, and no memory for what a header only claims."""

import hashlib
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from unroll.data.ragged import Vectors
from unroll.data.series import Series
from unroll.data.series_reading import (
    MAX_SEQUENCES,
    MAX_VALUES,
    Columns,
    check_channels,
    check_size,
    check_values,
    goal,
    label,
)
from unroll.data.series_tables import WIDE, trimmed
from unroll.errors import UserError
from unroll.files import unreadable
from unroll.progress import Progress, Work

NUMBERS, LABELS = "fiu", "iubU"
"""Kinds of arrays, as numpy's letters."""
MAX_BYTES = 8 * MAX_VALUES


def read_arrays(path: Path, columns: Columns) -> Work[Series]:
    """Read the sequences of an npz file: X (N, T) or (N, T, C), y (N,) or another target, perhaps lengths (N,).

    Without lengths a sequence ends with its last step that has any value. Raises UserError.
    """
    for name, option in ((columns.id, "--id"), (columns.time, "--time")):
        if name is not None:
            raise UserError(
                f"{option} {name} is given, and {path} is no table", allowed="X, y and lengths", fix="leave it out"
            )
    target = (columns.target or "y") if columns.reads_targets else None
    yield Progress("reading", 0, 1)
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            for name in ("X", target):
                if name is not None and name not in names:
                    raise UserError(
                        f"{path} has no array {name!r}",
                        allowed=f"X, y and perhaps lengths; it has {', '.join(sorted(names))[:200]}",
                        fix="write it with numpy.savez_compressed(file, X=X, y=y)",
                    )
            x = _array(archive, "X", path, NUMBERS)
            y = None if target is None else _array(archive, target, path, LABELS + "f")
            lengths = _array(archive, "lengths", path, "iu") if "lengths" in names else None
    except OSError as error:
        raise unreadable(path, error) from None
    except (zipfile.BadZipFile, zlib.error, tokenize.TokenError, ValueError, EOFError, RuntimeError) as error:
        raise UserError(
            f"{path} is damaged, or no npz file: {error}", allowed="what numpy.savez writes", fix="write it again"
        ) from None
    if x.ndim not in (2, 3):
        raise UserError(f"X in {path} has {x.ndim} dimensions", allowed="(N, T) or (N, T, C)", fix="reshape it")
    x = x[:, :, None] if x.ndim == 2 else x
    check_size(path, x.shape[0] * x.shape[1], max(1, x.shape[2]))
    values = check_values(x, path, lambda n, t, c: f"channel {c + 1} in step {t + 1} of sequence {n + 1}")
    for name, array in ((target, y), ("lengths", lengths)):
        if array is not None and array.shape != (len(x),):
            raise UserError(
                f"{name} in {path} has the shape {array.shape}, X {x.shape}", allowed=f"({len(x)},)", fix="correct it"
            )
    rows = trimmed(values) if lengths is None else _of_lengths(values, lengths, path)
    channels = tuple(str(k + 1) for k in range(x.shape[2])) if x.shape[2] != 1 else WIDE
    ids = tuple(str(k + 1) for k in range(len(x)))
    series = Series(path, rows, channels, ids, np.arange(1, len(x) + 1), sha256=digest)
    places = [f"{target}[{k}] of {path}" for k in range(len(x))]
    cells = [] if y is None else list(zip(y.tolist(), places, strict=True))
    read = label if columns.task == "classify" else goal
    return check_channels(series.with_targets(columns.task, [read(*cell) for cell in cells]), columns)


def _of_lengths(values: NDArray[Any], lengths: NDArray[Any], path: Path) -> Vectors:
    """Return the first steps of each sequence (N, T, C)."""
    wrong = np.flatnonzero((lengths < 1) | (lengths > values.shape[1]))
    if len(wrong):
        raise UserError(
            f"lengths[{wrong[0]}] of {path} is {lengths[wrong[0]]}, and X has {values.shape[1]} steps",
            allowed=f"1 to {values.shape[1]}",
            fix="correct it",
        )
    lengths = lengths.astype(np.int64)
    return Vectors(values[np.arange(values.shape[1]) < lengths[:, None]], np.cumsum(lengths, dtype=np.int64))


def _array(archive: zipfile.ZipFile, name: str, path: Path, kinds: str) -> NDArray[Any]:
    """Return an array of an archive; its header is checked before memory is taken for it."""
    entry = archive.getinfo(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name)
    with archive.open(entry) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        rest = entry.file_size - file.tell()
    if dtype.hasobject or dtype.kind not in kinds:
        what = "holds objects of Python, a pickle" if dtype.hasobject else f"is of type {dtype}"
        raise UserError(
            f"{name} in {path} {what}",
            allowed="numbers" if kinds in (NUMBERS, "iu") else "numbers or text (dtype U)",
            fix=f"convert it before it is saved: {name}.astype({'str' if 'U' in kinds else 'float'})",
        )
    size = prod(shape) * dtype.itemsize
    if size > MAX_BYTES or (len(shape) and shape[0] > MAX_SEQUENCES):
        raise UserError(
            f"{name} in {path} has the shape {shape}: {size:,} bytes",
            allowed=f"at most {MAX_BYTES:,} bytes, and {MAX_SEQUENCES:,} sequences",
            fix="take a part of it",
        )
    if size != rest:
        raise ValueError(f"the header of {name} says {size:,} bytes, and {rest:,} follow")
    with archive.open(entry) as file:
        return np.asarray(npy.read_array(file, allow_pickle=False))

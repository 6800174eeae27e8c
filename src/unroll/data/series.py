"""Sequences of vectors with what is to be learnt of them, and their parts for training and validation."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.labelled import FEW, held_out_rows
from unroll.data.ragged import Vectors
from unroll.data.tables import listed
from unroll.errors import UserError, number_of
from unroll.nn.series_config import Task

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Sequences of a file: vectors in time, and a label or a number for each sequence where one is to be learnt."""

    path: Path
    rows: Vectors
    """The vectors (N, C) of all sequences in float64: finite, or NaN where a value is missing."""
    channels: tuple[str, ...]
    """The names of the C channels."""
    ids: tuple[str, ...]
    """The name of each sequence."""
    lines: NDArray[np.int64]
    """Where each sequence begins: the number of its first line, or of its row where a file has none, from 1."""
    labels: tuple[str, ...] = ()
    """Of each sequence, to be told; empty where nothing of the kind was read."""
    numbers: Floats = field(default_factory=lambda: np.zeros(0))
    """Of each sequence, to be predicted; empty where nothing of the kind was read."""
    times: NDArray[Any] | None = None
    """When each vector was taken (N,), rising within a sequence: float64 or datetime64[us]; None where not given."""
    sha256: str = ""
    """Digest of the file, unpacked, in hexadecimal."""

    def __len__(self) -> int:
        return len(self.rows)

    def with_targets(self, task: Task, targets: Sequence[Any]) -> "Series":
        """Return the sequences with a label or a number for each, or with none at all."""
        if task == "classify":
            return replace(self, labels=tuple(targets))
        return replace(self, numbers=np.array(targets, np.float64))

    def at(self, times: NDArray[Any]) -> "Series":
        """Return the sequences with the times of their vectors (N,)."""
        return replace(self, times=times)

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Series":
        """Return some of the sequences, by their numbers or a mask."""
        numbers = np.arange(len(self))[rows]
        spans = zip(self.rows.starts[numbers].tolist(), self.rows.ends[numbers].tolist(), strict=True)
        times = self.times
        if times is not None:
            times = np.concatenate([times[:0], *(times[start:end] for start, end in spans)])
        return replace(
            self,
            rows=self.rows.select(numbers),
            ids=tuple(self.ids[k] for k in numbers.tolist()),
            lines=self.lines[numbers],
            labels=tuple(self.labels[k] for k in numbers.tolist()) if self.labels else (),
            numbers=self.numbers[numbers] if len(self.numbers) else self.numbers,
            times=times,
        )


@dataclass(frozen=True)
class SeriesParts:
    """Sequences for training and for validation, and what a person should know of them."""

    train: Series
    valid: Series
    remarks: tuple[str, ...]


def series_parts(series: Series, valid: Series | None = None) -> SeriesParts:
    """Return the parts of a training: the sequences of `valid`, or else one in ten held out by a hash of its values.

    So a sequence that is repeated is in one part. One whose label training would lack stays in training. Raises
    UserError for a single label or number, for a label of `valid` that training lacks, and where nothing can be held
    out.
    """
    labels, name = series.labels, series.path
    if labels and len(set(labels)) < 2:
        raise UserError(
            f"all sequences of {name} have the same label: {labels[0]!r}",
            allowed="at least two different labels",
            fix="name another column with --target, or add sequences of other labels",
        )
    keys = [_key(row) for row in map(series.rows.__getitem__, range(len(series)))]
    remarks = [*_remarks(series, keys)]
    if valid is None:
        out = held_out_rows(keys, [{label} for label in labels] or [set()] * len(series), name)
        series, valid = series.select(~out), series.select(out)
        if len(valid) * FEW < len(out):
            remarks.append(
                f"{number_of(len(valid), 'sequence')} held out of {name}, too few to choose weights by: name others "
                "with --valid"
            )
    else:
        for label, line in zip(valid.labels, valid.lines.tolist(), strict=bool(valid.labels)):
            if label not in labels:
                raise UserError(
                    f"the sequence at line {line:,} of {valid.path} has the label {label!r}, which {name} lacks",
                    allowed=f"labels of training: {listed(sorted(set(labels)))}",
                    fix="leave it out, or add sequences of it for training",
                )
        shared = len({*keys} & {_key(valid.rows[k]) for k in range(len(valid))})
        if shared:
            remarks.append(
                f"{number_of(shared, 'sequence')} of {valid.path} also in {name}: figures of validation include them"
            )
    if len(series.numbers) and (series.numbers == series.numbers[0]).all():
        raise UserError(
            f"all sequences of {name} for training have the same target: {series.numbers[0]:g}",
            allowed="numbers that differ",
            fix="name another column with --target, or add sequences with other targets",
        )
    return SeriesParts(series, valid, tuple(remarks))


def _key(values: NDArray[np.floating]) -> str:
    """Return what two sequences share that have the same values."""
    return hashlib.sha256(np.where(np.isnan(values), np.nan, values + 0.0).tobytes()).hexdigest()


def _remarks(series: Series, keys: Sequence[str]) -> Iterator[str]:
    """Yield what is odd about sequences for training."""
    name, values = series.path, series.rows.values
    missing = np.isnan(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a channel without any value
        constant = ~(np.nanmax(values, axis=0) > np.nanmin(values, axis=0))
    if constant.any():
        names = [channel for channel, same in zip(series.channels, constant, strict=True) if same]
        yield f"{number_of(len(names), 'channel')} of {name} constant, and read as 0: {listed(names)}"
    if count := int(missing.sum()):
        share = count / missing.size
        yield (
            f"{number_of(count, 'value')} of {name} missing ({100 * share:.1f} %): each is read as the last one before "
            "it in its sequence, or as the mean"
        )
    if repeated := len(keys) - len({*keys}):
        yield f"{number_of(repeated, 'sequence')} of {name} with the values of an earlier one"

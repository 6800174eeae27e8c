"""Texts and their translations: two files with a pair in each line, and their parts for training and validation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.data.blocks import file_size
from unroll.data.labelled import MAX_EXAMPLES, MAX_TEXT, MAX_TEXTS, REPORT_ROWS, text_number
from unroll.data.lines import line_text, read_lines
from unroll.errors import UserError, number_of
from unroll.files import StrPath, as_path
from unroll.progress import Progress, Work

HELD_OUT = 20
"""One pair in so many is held out."""


@dataclass(frozen=True)
class Pairs:
    """The pairs of two files, without those of which one line is empty."""

    paths: tuple[Path, Path]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    lines: NDArray[np.int64]
    """The line of each pair, from 1."""
    empty: int
    """Number of pairs left out because the source or the target has no characters other than white space."""

    def __len__(self) -> int:
        return len(self.sources)

    def select(self, rows: NDArray[np.bool_]) -> "Pairs":
        """Return the pairs of a mask."""
        numbers = np.flatnonzero(rows).tolist()
        sources, targets = (tuple(texts[k] for k in numbers) for texts in (self.sources, self.targets))
        return replace(self, sources=sources, targets=targets, lines=self.lines[rows])

    @property
    def remark(self) -> str | None:
        """What a person should know of pairs that were left out."""
        if not self.empty:
            return None
        return f"{number_of(self.empty, 'pair')} of {self._names} left out: the source or the target is empty"

    @property
    def _names(self) -> str:
        return f"{self.paths[0]} and {self.paths[1]}"


def read_parallel(source: StrPath, target: StrPath) -> Work[Pairs]:
    """Read the pairs of two files: line n of `target` translates line n of `source`.

    White space around a line is no part of it. Pairs of which one line is empty are left out and counted. Raises
    UserError for files of different length, with both, for one that is too large, and where no pair is left.
    """
    paths = as_path(source), as_path(target)
    sources, targets = (yield from read_side(paths[0])), (yield from read_side(paths[1]))
    if len(sources) != len(targets):
        raise UserError(
            f"{paths[0]} has {number_of(len(sources), 'line')}, and {paths[1]} {len(targets):,}",
            allowed="as many, each the translation of the other's line of that number",
            fix="write each pair on one line of both files; check the last lines first",
        )
    whole = Pairs(paths, sources, targets, np.arange(1, len(sources) + 1), 0)
    full = np.array([bool(source and target) for source, target in zip(sources, targets, strict=True)], np.bool_)
    pairs = replace(whole.select(full), empty=len(full) - int(full.sum()))
    if not len(pairs):
        raise UserError(
            f"{paths[0]} and {paths[1]} have no pair of which neither line is empty",
            allowed="at least one pair",
            fix="check that these are the files you mean",
        )
    return pairs


def read_side(path: Path) -> Work[tuple[str, ...]]:
    """Return the lines of a file without the white space around them; UserError, with the line, for one too large."""
    total, read, size, texts = file_size(path), 0, 0, list[str]()
    for number, line in enumerate(read_lines(path), 1):
        texts.append(line_text(line, path, number).strip())
        size += len(texts[-1])
        if len(texts[-1]) > MAX_TEXT or size > MAX_TEXTS or number > MAX_EXAMPLES:
            raise UserError(
                f"{path} is too large, as line {number:,} shows",
                allowed=f"at most {MAX_EXAMPLES:,} lines with {MAX_TEXTS:,} characters, in one line {MAX_TEXT:,}",
                fix="take a part of it",
            )
        read += len(line)
        if number % REPORT_ROWS == 0:
            yield Progress("reading", min(read, total), total, "bytes")  # a packed file is smaller than its lines
    yield Progress("reading", total, total, "bytes")
    return tuple(texts)


# ---- parts


@dataclass(frozen=True)
class ParallelParts:
    """Pairs for training and for validation, and what is odd about them."""

    train: Pairs
    valid: Pairs
    repeated: int
    """Pairs for training that occurred before."""
    shared: int
    """Pairs for validation whose source is also for training."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know before training."""
        (name, _), (valid, _) = self.train.paths, self.valid.paths
        of_parts = dict.fromkeys((self.train.remark, self.valid.remark))
        repeated = f"{number_of(self.repeated, 'pair')} of {name} occurred before" if self.repeated else None
        shared = (
            f"{number_of(self.shared, 'source')} of {valid} also in {name}: the figures of validation include them"
            if self.shared
            else None
        )
        return tuple(remark for remark in (*of_parts, repeated, shared) if remark)


def parallel_parts(pairs: Pairs, valid: Pairs | None = None) -> ParallelParts:
    """Return the parts of a training: the pairs of `valid`, or else one in twenty held out by the hash of its source.

    A pair is held out where `text_number` of its source divides by twenty; where none does, those of the source with
    the smallest number. Raises UserError where all sources are the same.
    """
    if valid is None:
        held_out = _held_out(pairs.sources)
        if held_out.all():
            raise UserError(
                f"{pairs.paths[0]} has too few pairs to hold any out for validation: {number_of(len(pairs), 'line')}",
                allowed="at least two different sources",
                fix="add pairs, or give others with --valid SRC TGT",
            )
        pairs, valid = pairs.select(~held_out), pairs.select(held_out)
    sources = frozenset(pairs.sources)
    return ParallelParts(
        pairs,
        valid,
        repeated=len(pairs) - len(set(zip(pairs.sources, pairs.targets, strict=True))),
        shared=sum(source in sources for source in valid.sources),
    )


def _held_out(sources: Sequence[str]) -> NDArray[np.bool_]:
    numbers = [text_number(source) for source in sources]
    divisible = np.array([number % HELD_OUT == 0 for number in numbers], np.bool_)
    if divisible.any() and not divisible.all():
        return divisible
    least = min(numbers)
    return np.array([number == least for number in numbers], np.bool_)

"""The numbers behind pictures, for any predictor: what context is worth, which words surprise, and `reliability`.

`unroll plot` calls `measure`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from unroll.artifact.open import Opened
from unroll.data.batches import crops
from unroll.data.encode import TextIds
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError, check_choice, check_positive
from unroll.lm.compare import context
from unroll.lm.evaluate import regrouped
from unroll.lm.intervals import Z95, Counts, Floats, listed
from unroll.lm.reliability import Reliability, reliability, too_short
from unroll.lm.surprisal import beginning
from unroll.lm.units import Unit, score_units
from unroll.predict.predictor import Nats, Predictor
from unroll.predict.protocols import STREAM_WINDOW, Ids
from unroll.progress import Work, renamed
from unroll.state import State

Kind = Literal["reliability", "position", "surprisal"]
KINDS: tuple[Kind, ...] = get_args(Kind)
UnitName = Literal["token", "word"]
UNITS: tuple[UnitName, ...] = get_args(UnitName)

LENGTH = 256
"""Symbols of a crop by default."""
MAX_UNITS = 300
"""Words or symbols that can still be read below their bars."""
CROP_TOKENS = 2**14
"""Symbols of crops that are read side by side."""
READ_TOGETHER = 2**16
"""Symbols between two reports of progress."""


@dataclass(frozen=True)
class PositionLoss:
    """Nats per symbol by the number of symbols read since a fresh state, over crops of a text.

    Where it is smoothed, each of the K figures is the mean over a stretch of positions, else over one.
    """

    length: int
    crops: int
    first: Counts  # (K,) the first position of each stretch, counted from 1
    last: Counts  # (K,)
    nats: Floats  # (K,)
    half: Floats  # (K,) of the 95 % interval: 1.96 standard errors over crops; nan of a single crop

    @property
    def nats_per_token(self) -> float:
        """The mean over all positions: the figure of the protocol crops."""
        return float(np.average(self.nats, weights=self.last - self.first + 1))

    @property
    def smoothed(self) -> bool:
        """Whether neighbouring positions were averaged."""
        return len(self.nats) < self.length

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON, in nats; the interval of a single crop is None."""
        return {
            "length": self.length,
            "crops": self.crops,
            "smoothed": self.smoothed,
            "nats_per_token": self.nats_per_token,
            "first": self.first.tolist(),
            "last": self.last.tolist(),
            "nats": self.nats.tolist(),
            "low": listed(self.nats - self.half),
            "high": listed(self.nats + self.half),
        }


@dataclass(frozen=True)
class Surprisal:
    """The nats of every word or symbol of a text."""

    unit: UnitName
    units: tuple[Unit, ...]

    @property
    def nats(self) -> Floats:
        """The nats of each unit (N,)."""
        return np.array([unit.nats for unit in self.units])

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON, in nats."""
        names = ("start", "end", "text", "tokens", "nats", "unknown")
        return {
            "unit": self.unit,
            "nats": float(self.nats.sum()),
            "units": [{name: getattr(unit, name) for name in names} for unit in self.units],
        }


@dataclass(frozen=True)
class Curve:
    """What a picture shows of one model."""

    model: str
    arch: str
    level: str
    context: int | None
    """Number of symbols that the model can see; None without a limit."""
    numbers: Reliability | PositionLoss | Surprisal

    def figures(self) -> dict[str, Any]:
        """Return the model and its figures as JSON."""
        return {
            "model": self.model,
            "arch": self.arch,
            "level": self.level,
            "context": self.context,
            **self.numbers.figures(),
        }


def measure(
    kind: Kind,
    opened: Opened,
    file: Path,
    *,
    length: int = LENGTH,
    smooth: bool = False,
    unit: UnitName = "word",
) -> Work[Curve]:
    """Read a text file with a model, yielding progress; returns the numbers to draw.

    `length` and `smooth` apply to the kind position, `unit` to surprisal. Raises UserError.
    """
    check_choice("the kind of picture", kind, KINDS)
    match kind:
        case "reliability":
            reliabilities = reliability(opened.predictor, opened.tokenizer, file)
            numbers: Reliability | PositionLoss | Surprisal = yield from renamed(reliabilities, opened.path.name)
        case "position":
            losses = position_loss(opened.predictor, opened.tokenizer, file, length, smooth=smooth)
            numbers = yield from renamed(losses, opened.path.name)
        case "surprisal":
            numbers = surprisal(opened, file, unit)
    model = opened.description["model"]
    return Curve(str(opened.path), model["arch"], opened.tokenizer.level, context(model), numbers)


# ---- what is context worth?


def position_loss(
    predictor: Predictor, tokenizer: Tokenizer, file: Path, length: int = LENGTH, *, smooth: bool = False
) -> Work[PositionLoss]:
    """Read all crops of `length` symbols of a text, each from a fresh state, and average position by position.

    Position t is the symbol after the first t of a crop, which are its whole context. With `smooth`, positions are
    averaged within stretches, eight to the octave. Raises UserError for a text that is shorter than one crop.
    """
    check_positive("length", length, f"the default is {LENGTH}")
    starts = _stretches(length) if smooth else np.arange(length)
    widths = np.diff(np.append(starts, length))
    count, mean, squares = 0, np.zeros(len(starts)), np.zeros(len(starts))
    text = TextIds(file, tokenizer)
    for nats in crop_nats(predictor, text, length):
        losses = np.add.reduceat(nats, starts, axis=1) / widths
        # Chan, Golub & LeVeque (1983): means and squared deviations of two samples as those of both.
        batch_mean = losses.mean(axis=0)
        shift, total = batch_mean - mean, count + len(losses)
        squares += ((losses - batch_mean) ** 2).sum(axis=0) + shift**2 * (count * len(losses) / total)
        mean += shift * (len(losses) / total)
        count = total
        yield text.progress()
    if not count:
        raise too_short(file, f"one crop of {length:,} symbols and the one after it", "or a smaller --length")
    half = Z95 * np.sqrt(squares / (count - 1) / count) if count > 1 else np.full(len(starts), np.nan)
    return PositionLoss(length, count, starts + 1, starts + widths, mean, half)


def crop_nats(predictor: Predictor, blocks: Iterable[Ids], length: int) -> Iterator[Nats]:
    """Yield the nats (B, length) of crops from fresh states that follow one another through a text."""
    pieces = regrouped(blocks, length * max(1, READ_TOGETHER // length))
    # The target of a piece's last symbol is the first of the next piece.
    for piece, following in pairwise(chain(pieces, [np.zeros(0, np.int64)])):
        for inputs, targets in crops(np.append(piece, following[:1]), length, max(1, CROP_TOKENS // length)):
            nats = np.zeros(inputs.shape)
            state: State | None = None
            for first in range(0, length, STREAM_WINDOW):  # a crop of a million symbols is read in windows too
                window = slice(first, first + STREAM_WINDOW)
                nats[:, window], state = predictor.nats(inputs[:, window], targets[:, window], state)
            yield nats


def _stretches(length: int) -> Counts:
    """Return where stretches of positions begin, eight to the octave, of one position each where there are fewer."""
    edges = np.unique((2.0 ** (np.arange(8 * length.bit_length() + 1) / 8)).astype(np.int64)) - 1
    starts = edges[edges < length]
    # The rest at the end is too short for a stretch of its own.
    cut = len(starts) > 1 and length - starts[-1] < starts[-1] - starts[-2]
    return starts[:-1] if cut else starts


# ---- what surprises?


def surprisal(opened: Opened, file: Path, unit: UnitName = "word") -> Surprisal:
    """Return the nats of every word or symbol of a short text, read from the start symbol. Raises UserError."""
    check_choice("the unit", unit, UNITS)
    units = tuple(islice(score_units(opened, file, beginning(opened), unit), MAX_UNITS + 1))
    if len(units) > MAX_UNITS:
        raise UserError(
            f"{file} has more than {MAX_UNITS} {'words' if unit == 'word' else 'symbols'}",
            allowed=f"{MAX_UNITS} at most, which a picture still shows legibly",
            fix="give a shorter text; `unroll score --file` lists any number of them",
        )
    return Surprisal(unit, units)

"""The numbers behind pictures: whether probabilities are right, what context is worth, which words surprise. No torch.

All of it works through the predictor's interface, so that windows, n-grams and recurrent networks are read alike.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import Opened
from unroll.data.batches import crops
from unroll.data.blocks import file_size, read_blocks
from unroll.data.encode import block_ids
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.lm.compare import context
from unroll.lm.evaluate import regrouped
from unroll.lm.intervals import Z95, ratio, wilson
from unroll.lm.surprisal import Unit, beginning, score_units
from unroll.predict.predictor import Nats, Predictor, Window, log_probabilities
from unroll.predict.protocols import STREAM_WINDOW, Ids
from unroll.progress import Progress, Work, renamed
from unroll.state import State, join_rows

Kind = Literal["reliability", "position", "surprisal"]
KINDS: tuple[Kind, ...] = get_args(Kind)
UnitName = Literal["token", "word"]
UNITS: tuple[UnitName, ...] = get_args(UnitName)

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

LENGTH = 256
"""Symbols of a crop, unless said."""
MAX_UNITS = 300
"""Words or symbols that can still be read below their bars."""
EDGES = 10.0 ** (np.arange(-16, 1) / 4)
"""Between bins of predicted probability: four to the decade from 0.0001 to 1, and one for all that lies below."""
TOP_BINS = 15
"""Of equal width, for the most probable symbol: as many as Guo et al. take."""
ROWS, SPAN = 128, 64
"""Stretches of a text that are read side by side, and their length."""
MAX_PROBABILITIES = 2**22
"""Held at a time."""
CROP_TOKENS = 2**14
"""Symbols of crops that are read side by side."""
READ_TOGETHER = 2**16
"""Symbols between two reports of progress."""


@dataclass(frozen=True)
class Reliability:
    """Predicted probabilities of all symbols at all positions against how often those symbols came, in K bins.

    Bin 0 lies below `EDGES[0]`, bin k from `EDGES[k - 1]` up to `EDGES[k]`; figures of an empty bin are nan. The M
    bins of the most probable symbol are of equal width, as Guo et al. (2017) have them.
    """

    positions: int
    vocab_size: int
    predictions: Counts  # (K,) of each bin; positions * vocab_size in all
    hits: Counts  # (K,) how many of them came true
    predicted: Floats  # (K,) the mean predicted probability
    top_predictions: Counts  # (M,) of the most probable symbol alone
    top_hits: Counts  # (M,)
    top_sums: Floats  # (M,) of its probabilities

    @property
    def observed(self) -> Floats:
        """How often what was predicted came (K,)."""
        return ratio(self.hits, self.predictions)

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """The 95 % interval of `observed` (K,), as if predictions were independent (Wilson 1927)."""
        return wilson(self.hits, self.predictions)

    @property
    def accuracy(self) -> float:
        """How often the most probable symbol came."""
        return int(self.top_hits.sum()) / self.positions

    @property
    def confidence(self) -> float:
        """The mean probability of the most probable symbol."""
        return float(self.top_sums.sum()) / self.positions

    @property
    def ece(self) -> float:
        """The expected calibration error of the most probable symbol (Guo et al. 2017, equation 3).

        The sum over bins of their share of the positions times |accuracy - mean confidence| in them.
        """
        return float(np.abs(self.top_hits - self.top_sums).sum()) / self.positions

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON; None where a bin is empty."""
        low, high = self.interval
        return {
            "positions": self.positions,
            "vocab_size": self.vocab_size,
            "ece": self.ece,
            "accuracy": self.accuracy,
            "confidence": self.confidence,
            "edges": [0.0, *EDGES.tolist()],
            "predictions": self.predictions.tolist(),
            "hits": self.hits.tolist(),
            "predicted": _listed(self.predicted),
            "observed": _listed(self.observed),
            "low": _listed(low),
            "high": _listed(high),
        }


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
            "low": _listed(self.nats - self.half),
            "high": _listed(self.nats + self.half),
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
    """Symbols that the model can see; None where there is no limit."""
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
    """Read a text file with a model, yielding progress; returns what there is to draw.

    `length` and `smooth` are of the kind position, `unit` is of surprisal. Raises UserError.
    """
    match kind:
        case "reliability":
            reliabilities = reliability(opened.predictor, opened.tokenizer, file)
            numbers: Reliability | PositionLoss | Surprisal = yield from renamed(reliabilities, opened.path.name)
        case "position":
            losses = position_loss(opened.predictor, opened.tokenizer, file, length, smooth=smooth)
            numbers = yield from renamed(losses, opened.path.name)
        case "surprisal":
            numbers = surprisal(opened, file, unit)
        case _:
            raise UserError(f"the kind of picture is {kind!r}", allowed=", ".join(KINDS), fix="choose one of them")
    model = opened.description["model"]
    return Curve(str(opened.path), model["arch"], opened.tokenizer.level, context(model), numbers)


# ---- are the probabilities right?


def reliability(predictor: Predictor, tokenizer: Tokenizer, file: Path) -> Work[Reliability]:
    """Compare what is predicted with what comes, read as one row with carried state from the start symbol.

    Every symbol of the vocabulary at every position is one prediction. Memory does not grow with the text.
    """
    size, bins = predictor.vocab_size, len(EDGES)
    predictions, hits, sums = np.zeros(bins, np.int64), np.zeros(bins, np.int64), np.zeros(bins)
    top_predictions, top_hits = np.zeros(TOP_BINS, np.int64), np.zeros(TOP_BINS, np.int64)
    top_sums = np.zeros(TOP_BINS)
    text = _Text(file, tokenizer)
    for logits, targets in distributions(predictor, text, tokenizer.start_id):
        p = np.exp(log_probabilities(logits))
        number = np.searchsorted(EDGES[:-1], p, side="right")  # 1 itself is in the last bin
        rows = np.arange(len(p))
        predictions += np.bincount(number.reshape(-1), minlength=bins)
        sums += np.bincount(number.reshape(-1), p.reshape(-1), bins)
        hits += np.bincount(number[rows, targets], minlength=bins)
        top = p.argmax(axis=1)
        most = p[rows, top]
        # Bin m holds (m / M, (m + 1) / M], as in Guo et al.
        number = np.clip(np.ceil(most * TOP_BINS).astype(np.int64) - 1, 0, TOP_BINS - 1)
        top_predictions += np.bincount(number, minlength=TOP_BINS)
        top_hits += np.bincount(number[top == targets], minlength=TOP_BINS)
        top_sums += np.bincount(number, most, TOP_BINS)
        yield text.progress()
    positions = int(top_predictions.sum())
    if not positions:
        raise _too_short(file, "one symbol")
    return Reliability(
        positions, size, predictions, hits, ratio(sums, predictions), top_predictions, top_hits, top_sums
    )


def distributions(predictor: Predictor, blocks: Iterable[Ids], start_id: int) -> Iterator[tuple[Floats, Ids]]:
    """Yield logits (B, V) and the symbols (B,) that came, one pair for each position of a text, in no order.

    The state is carried through the whole text. It is read in two turns: quickly, for the state before every stretch
    of `SPAN` symbols; then symbol by symbol, many stretches side by side.
    """
    rows = max(1, min(ROWS, MAX_PROBABILITIES // predictor.vocab_size))
    state: State | None = None
    before = start_id
    for piece in regrouped(blocks, rows * SPAN):
        symbols = np.concatenate([[before], piece]).astype(np.int64)
        before = int(symbols[-1])
        held: list[tuple[Window, Window, State]] = []
        for first in range(0, len(piece), SPAN):
            inputs, targets = symbols[None, :-1][:, first : first + SPAN], symbols[None, 1:][:, first : first + SPAN]
            if state is None or inputs.shape[1] < SPAN:  # only the first begins without a state, only the last is short
                state = yield from _steps(predictor, inputs, targets, state)
            else:
                held.append((inputs, targets, state))
                _, state = predictor.logits(inputs, state)
        if held:
            inputs, targets = np.concatenate([row[0] for row in held]), np.concatenate([row[1] for row in held])
            yield from _steps(predictor, inputs, targets, join_rows([row[2] for row in held]))


def _steps(
    predictor: Predictor, inputs: Window, targets: Window, state: State | None
) -> Generator[tuple[Floats, Ids], None, State | None]:
    for step in range(inputs.shape[1]):
        logits, state = predictor.logits(inputs[:, step : step + 1], state)
        yield logits, targets[:, step]
    return state


# ---- what is context worth?


def position_loss(
    predictor: Predictor, tokenizer: Tokenizer, file: Path, length: int = LENGTH, *, smooth: bool = False
) -> Work[PositionLoss]:
    """Read all crops of `length` symbols of a text, each from a fresh state, and average position by position.

    Position t is the symbol after the first t of a crop, which are all that is known. With `smooth`, positions are
    averaged within stretches, eight to the octave. Raises UserError for a text that is shorter than one crop.
    """
    if length < 1:
        raise UserError(f"length is {length}", allowed="1 or more", fix=f"the default is {LENGTH}")
    starts = _stretches(length) if smooth else np.arange(length)
    widths = np.diff(np.append(starts, length))
    count, mean, squares = 0, np.zeros(len(starts)), np.zeros(len(starts))
    text = _Text(file, tokenizer)
    for nats in crop_nats(predictor, text, length):
        some = np.add.reduceat(nats, starts, axis=1) / widths
        # Chan, Golub & LeVeque (1983): means and squared deviations of two samples as those of both.
        its = some.mean(axis=0)
        apart, both = its - mean, count + len(some)
        squares += ((some - its) ** 2).sum(axis=0) + apart**2 * (count * len(some) / both)
        mean += apart * (len(some) / both)
        count = both
        yield text.progress()
    if not count:
        raise _too_short(file, f"one crop of {length:,} symbols and the one after it", "or a smaller --length")
    half = Z95 * np.sqrt(squares / (count - 1) / count) if count > 1 else np.full(len(starts), np.nan)
    return PositionLoss(length, count, starts + 1, starts + widths, mean, half)


def crop_nats(predictor: Predictor, blocks: Iterable[Ids], length: int) -> Iterator[Nats]:
    """Yield the nats (B, length) of crops from fresh states that follow one another through a text."""
    held: Ids | None = None
    # A piece ends with the first symbol of the next one, which is the target of its last.
    for piece in regrouped(blocks, length * max(1, READ_TOGETHER // length)):
        if held is not None:
            yield from _crop_nats(predictor, np.append(held, piece[:1]), length)
        held = piece
    if held is not None:
        yield from _crop_nats(predictor, held, length)


def _crop_nats(predictor: Predictor, ids: Ids, length: int) -> Iterator[Nats]:
    for inputs, targets in crops(ids, length, max(1, CROP_TOKENS // length)):
        nats = np.zeros(inputs.shape)
        state: State | None = None
        for first in range(0, length, STREAM_WINDOW):  # a crop of a million symbols is read in windows too
            some = slice(first, first + STREAM_WINDOW)
            nats[:, some], state = predictor.nats(inputs[:, some], targets[:, some], state)
        yield nats


def _stretches(length: int) -> Counts:
    """Return where stretches of positions begin, eight to the octave, of one position each where there are fewer."""
    edges = np.unique((2.0 ** (np.arange(8 * length.bit_length() + 1) / 8)).astype(np.int64)) - 1
    starts = edges[edges < length]
    # What is left at the end is too short to be a stretch of its own.
    cut = len(starts) > 1 and length - starts[-1] < starts[-1] - starts[-2]
    return starts[:-1] if cut else starts


# ---- what surprises?


def surprisal(opened: Opened, file: Path, unit: UnitName = "word") -> Surprisal:
    """Return the nats of every word or symbol of a short text, read from the start symbol. Raises UserError."""
    if unit not in UNITS:
        raise UserError(f"the unit is {unit!r}", allowed=", ".join(UNITS), fix="choose one of them")
    units = tuple(islice(score_units(opened, file, beginning(opened), unit), MAX_UNITS + 1))
    if len(units) > MAX_UNITS:
        raise UserError(
            f"{file} has more than {MAX_UNITS} {'words' if unit == 'word' else 'symbols'}",
            allowed="so many, which can still be read in a picture",
            fix="give a shorter text; `unroll score --file` lists any number of them",
        )
    return Surprisal(unit, units)


# ---- what they share


@dataclass
class _Text:
    """The ids of a text file, block by block, and how far it is read."""

    file: Path
    tokenizer: Tokenizer
    read: int = 0

    def __iter__(self) -> Iterator[Ids]:
        for block in read_blocks([self.file], self.tokenizer.level):
            self.read = block.read
            yield block_ids(block, self.tokenizer)

    def progress(self) -> Progress:
        """Return how far it is read."""
        return Progress("reading", self.read, file_size(self.file), "bytes")


def _listed(values: Floats) -> list[float | None]:
    """Return numbers for JSON, which has no nan."""
    return [None if np.isnan(value) else float(value) for value in values]


def _too_short(file: Path, need: str, otherwise: str = "") -> UserError:
    return UserError(
        f"{file} has too little text for this picture",
        allowed=f"at least {need}",
        fix=" ".join(filter(None, ["give more text", otherwise])),
    )

"""Reliability: predicted probabilities against how often what they predict comes. `curves` calls it."""

import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from unroll.data.blocks import file_size
from unroll.data.encode import TextIds
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.lm.evaluate import regrouped
from unroll.lm.intervals import Counts, Floats, listed, ratio, wilson
from unroll.predict.predictor import Predictor, Window, log_probabilities
from unroll.predict.protocols import Ids
from unroll.progress import Work
from unroll.state import State, join_rows

EDGES = 10.0 ** (np.arange(-16, 1) / 4)
"""Edges between bins of predicted probability: four to the decade from 0.0001 to 1; one bin lies below."""
TOP_BINS = 15
"""Bins of equal width for the most probable symbol: as many as Guo et al. take."""
ROWS, SPAN = 128, 64
"""Stretches of a text that are read side by side, and their length."""
MAX_PROBABILITIES = 2**22
"""Probabilities that are held at a time."""
MOST_PROBABILITIES = 2**28
"""Probabilities that are looked at, about: of a longer text, or a larger vocabulary, a sample of the positions."""


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
    stride: int = 1
    """Every how many stretches of `SPAN` symbols one was looked at."""

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

        The sum over bins of their share of the positions times `|accuracy - mean confidence|` in them.
        """
        return float(np.abs(self.top_hits - self.top_sums).sum()) / self.positions

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON; None where a bin is empty."""
        low, high = self.interval
        return {
            "positions": self.positions,
            "stride": self.stride,
            "vocab_size": self.vocab_size,
            "ece": self.ece,
            "accuracy": self.accuracy,
            "confidence": self.confidence,
            "edges": [0.0, *EDGES.tolist()],
            "predictions": self.predictions.tolist(),
            "hits": self.hits.tolist(),
            "predicted": listed(self.predicted),
            "observed": listed(self.observed),
            "low": listed(low),
            "high": listed(high),
        }


def reliability(predictor: Predictor, tokenizer: Tokenizer, file: Path) -> Work[Reliability]:
    """Compare what is predicted with what comes, in a text read as one row with carried state from the start symbol.

    Every symbol of the vocabulary at every position is one prediction; where these are too many, stretches evenly
    spread over the text are looked at. Memory does not grow with the text.
    """
    size, bins = predictor.vocab_size, len(EDGES)
    predictions, hits, sums = np.zeros(bins, np.int64), np.zeros(bins, np.int64), np.zeros(bins)
    top_predictions, top_hits = np.zeros(TOP_BINS, np.int64), np.zeros(TOP_BINS, np.int64)
    top_sums = np.zeros(TOP_BINS)
    text = TextIds(file, tokenizer)
    blocks = iter(text)
    first = next(blocks, np.zeros(0, np.int64))
    expected = len(first) * file_size(file) / max(1, text.read)  # symbols of the text, if all of it is like its start
    stride = max(1, math.ceil(expected * size / MOST_PROBABILITIES))
    for logits, targets in distributions(predictor, chain([first], blocks), tokenizer.start_id, stride):
        p = np.exp(log_probabilities(logits))
        number = np.searchsorted(EDGES[:-1], p, side="right")  # 1 itself is in the last bin
        rows = np.arange(len(p))
        predictions += np.bincount(number.reshape(-1), minlength=bins)
        sums += np.bincount(number.reshape(-1), p.reshape(-1), bins)
        hits += np.bincount(number[rows, targets], minlength=bins)
        top = p.argmax(axis=1)
        top_p = p[rows, top]
        # Bin m holds (m / M, (m + 1) / M], as in Guo et al.
        number = np.clip(np.ceil(top_p * TOP_BINS).astype(np.int64) - 1, 0, TOP_BINS - 1)
        top_predictions += np.bincount(number, minlength=TOP_BINS)
        top_hits += np.bincount(number[top == targets], minlength=TOP_BINS)
        top_sums += np.bincount(number, top_p, TOP_BINS)
        yield text.progress()
    positions = int(top_predictions.sum())
    if not positions:
        raise too_short(file, "one symbol")
    return Reliability(
        positions, size, predictions, hits, ratio(sums, predictions), top_predictions, top_hits, top_sums, stride
    )


def distributions(
    predictor: Predictor, blocks: Iterable[Ids], start_id: int, stride: int = 1
) -> Iterator[tuple[Floats, Ids]]:
    """Yield logits (B, V) and the symbols (B,) that came, one pair for each position of a text, in no order.

    The state is carried through the whole text. It is read twice: quickly, for the state before every stretch of `SPAN`
    symbols; then symbol by symbol, many stretches side by side, of these the first of every `stride`.
    """
    number = 0
    rows = max(1, min(ROWS, MAX_PROBABILITIES // predictor.vocab_size))
    state: State | None = None
    previous = start_id
    for piece in regrouped(blocks, rows * SPAN):
        symbols = np.concatenate([[previous], piece]).astype(np.int64)
        previous = int(symbols[-1])
        stretches: list[tuple[Window, Window, State]] = []
        for first in range(0, len(piece), SPAN):
            inputs, targets = symbols[None, :-1][:, first : first + SPAN], symbols[None, 1:][:, first : first + SPAN]
            chosen, number = number % stride == 0, number + 1
            if not chosen:
                _, state = predictor.logits(inputs, state)
            elif (
                state is None or inputs.shape[1] < SPAN
            ):  # only the first begins without a state, only the last is short
                state = yield from _steps(predictor, inputs, targets, state)
            else:
                stretches.append((inputs, targets, state))
                _, state = predictor.logits(inputs, state)
        if stretches:
            all_inputs, all_targets, states = zip(*stretches, strict=True)
            yield from _steps(predictor, np.concatenate(all_inputs), np.concatenate(all_targets), join_rows(states))
        elif stride > 1:
            yield np.zeros((0, predictor.vocab_size)), np.zeros(0, np.int64)  # a sign of life


def _steps(
    predictor: Predictor, inputs: Window, targets: Window, state: State | None
) -> Generator[tuple[Floats, Ids], None, State | None]:
    for step in range(inputs.shape[1]):
        logits, state = predictor.logits(inputs[:, step : step + 1], state)
        yield logits, targets[:, step]
    return state


def too_short(file: Path, need: str, otherwise: str = "") -> UserError:
    """Return the error for a text that has too little to measure."""
    return UserError(
        f"{file} has too little text for this picture",
        allowed=f"at least {need}",
        fix=" ".join(filter(None, ["give more text", otherwise])),
    )

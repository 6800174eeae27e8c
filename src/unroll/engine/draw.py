"""Drawing symbols from logits, row by row: the reference that the kernels are held to, symbol for symbol."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """How the next symbol of each row is drawn: numbers, or arrays (B,) with one for each row.

    Raises ValueError for a number out of its range.
    """

    temperature: float | Floats = 1.0
    """0 takes the most probable symbol."""
    top_k: int | NDArray[np.int64] = 0
    """Only the k most probable symbols; 0 is off."""
    top_p: float | Floats = 1.0
    """Only the most probable symbols that together reach p (Holtzman et al. 2020)."""
    min_p: float | Floats = 0.0
    """Only symbols at least `min_p` times as probable as the most probable one."""
    never: int | None = None
    """A symbol that is not drawn."""

    def __post_init__(self) -> None:
        for name, low, high, allowed in _RANGES:
            values = getattr(self, name)
            kinds, types = ("iu", _INTEGERS) if name == "top_k" else ("iuf", _NUMBERS)
            if isinstance(values, np.ndarray):
                right = values.dtype.kind in kinds and bool(((values >= low) & (values <= high)).all())
            else:
                right = isinstance(values, types) and bool(low <= values <= high)
            if not right:
                raise ValueError(f"{name} is {values!r:.200}; allowed: {allowed}")


_INTEGERS = (int, np.integer)
_NUMBERS = (int, float, np.integer, np.floating)
_RANGES: tuple[tuple[str, float, float, str], ...] = (
    ("temperature", 0, sys.float_info.max, "numbers from 0, finite"),
    ("top_k", 0, 2**63 - 1, "whole numbers from 0 (off)"),
    ("top_p", sys.float_info.min * sys.float_info.epsilon, 1, "numbers above 0, up to 1 (off)"),
    ("min_p", 0, 1, "numbers from 0 (off) to 1"),
)


def probabilities(
    logits: Logits, temperature: float, top_k: int, top_p: float, min_p: float, never: int | None
) -> Floats:
    """Return the distribution (V,) that is drawn from: logits without `never`, sharpened, then filtered."""
    logits = np.array(logits, np.float64)
    if never is not None:
        logits[never] = -np.inf
    if temperature == 0:
        certain = np.zeros(len(logits))
        certain[np.argmax(logits)] = 1.0
        return certain
    p = np.exp((logits - logits.max()) / max(temperature, 1e-100))  # below it the quotient may overflow
    p /= p.sum()
    if top_k or top_p < 1:
        order = np.argsort(-p, kind="stable")
        keep = np.ones(len(p), dtype=bool)
        if top_k:
            keep[order[top_k:]] = False
        if top_p < 1:
            before = np.cumsum(p[order]) - p[order]
            keep[order[before >= top_p]] = False
        kept = np.where(keep, p, 0.0)
    else:
        kept = p
    if min_p:
        kept = np.where(p >= min_p * p.max(), kept, 0.0)
    return np.asarray(kept / kept.sum())


def draw(p: Floats, uniform: float) -> int:
    """Return the symbol at `uniform` by the inverse of the cumulative distribution in id order."""
    cumulative = np.cumsum(p)
    chosen = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    # Rounding may leave the last sum a hair below the number drawn: then it is the last symbol that can be drawn.
    return chosen if chosen < len(p) else int(np.flatnonzero(p)[-1])


def draw_rows(logits: Logits, drawing: Drawing, uniforms: Floats) -> NDArray[np.int64]:
    """Draw a symbol for each row of `logits` (B, V) at its number in `uniforms` (B,)."""
    rows = len(logits)
    temperature, top_k, top_p, min_p = (
        np.broadcast_to(values, rows).tolist()
        for values in (drawing.temperature, drawing.top_k, drawing.top_p, drawing.min_p)
    )
    return np.array(
        [
            draw(probabilities(logits[r], temperature[r], top_k[r], top_p[r], min_p[r], drawing.never), uniforms[r])
            for r in range(rows)
        ],
        np.int64,
    )


def nats_of_rows(logits: Logits, chosen: NDArray[np.int64]) -> Floats:
    """Return -ln softmax(logits)[chosen] of each row of `logits` (B, V), in nats."""
    logits = logits.astype(np.float64)
    top = logits.max(axis=1)
    total = np.exp(logits - top[:, None]).sum(axis=1)
    return np.asarray(top + np.log(total) - logits[np.arange(len(logits)), chosen])

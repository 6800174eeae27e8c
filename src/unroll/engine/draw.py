"""Drawing symbols from logits, and the loop that draws, reads and repeats: the reference that the kernel is held to."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.state import State

Logits = NDArray[Any]
Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Halt = NDArray[np.int32]
"""One number (1,): another thread sets it to 1 to end the drawing sooner."""
Step = Callable[[Ids, State | None], tuple[Floats, State]]
"""Reads ids (B, T) from a state; returns the logits (B, V) of what follows the last of them, and the state."""


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

    @cached_property
    def by_row(self) -> "_ByRow":
        """The options as they stand beside logits (B, V), worked out once for all steps."""
        columns = (np.asarray(part) for part in (self.temperature, self.top_k, self.top_p, self.min_p))
        temperature, top_k, top_p, min_p = (part[:, None] if part.ndim else part for part in columns)
        greedy = temperature == 0
        return _ByRow(
            np.where(greedy, 1.0, np.maximum(temperature, 1e-100)),  # below it the quotient may overflow
            greedy if greedy.any() else None,
            top_k,
            top_p,
            bool(top_k.any() or (top_p < 1).any()),
            min_p,
            bool(min_p.any()),
        )


class _ByRow(NamedTuple):
    """Numbers or columns (B, 1), and whether any row needs them."""

    sharpness: Any
    greedy: Any
    top_k: Any
    top_p: Any
    ranked: bool
    min_p: Any
    floored: bool


_INTEGERS = (int, np.integer)
_NUMBERS = (int, float, np.integer, np.floating)
_RANGES: tuple[tuple[str, float, float, str], ...] = (
    ("temperature", 0, sys.float_info.max, "numbers from 0, finite"),
    ("top_k", 0, 2**63 - 1, "whole numbers from 0 (off)"),
    ("top_p", sys.float_info.min * sys.float_info.epsilon, 1, "numbers above 0, up to 1 (off)"),
    ("min_p", 0, 1, "numbers from 0 (off) to 1"),
)


def probabilities(logits: Logits, drawing: Drawing) -> Floats:
    """Return the distributions (B, V) that are drawn from: logits (B, V) without `never`, sharpened, then filtered."""
    by_row = drawing.by_row
    logits = np.array(logits, np.float64)
    if drawing.never is not None:
        logits[:, drawing.never] = -np.inf
    p = logits - logits.max(axis=1, keepdims=True)
    p /= by_row.sharpness
    np.exp(p, out=p)
    p /= p.sum(axis=1, keepdims=True)
    candidates = p
    if by_row.ranked:
        rows = np.arange(len(p))[:, None]
        order = np.argsort(-p, axis=1, kind="stable")
        falling = p[rows, order]
        before = np.cumsum(falling, axis=1) - falling
        among = (by_row.top_k == 0) | (np.arange(p.shape[1]) < by_row.top_k)
        candidates = np.empty_like(p)
        candidates[rows, order] = np.where(among & ((before < by_row.top_p) | (by_row.top_p >= 1)), falling, 0.0)
    if by_row.floored:
        candidates = np.where(p >= by_row.min_p * p.max(axis=1, keepdims=True), candidates, 0.0)
    if by_row.greedy is not None:
        candidates = np.where(by_row.greedy, np.arange(p.shape[1]) == logits.argmax(axis=1)[:, None], candidates)
    return np.asarray(candidates / candidates.sum(axis=1, keepdims=True))


def draw(p: Floats, uniforms: Floats) -> Ids:
    """Return the symbols at `uniforms` (B,) by the inverse of the cumulative distributions `p` (B, V) in id order."""
    cumulative = np.cumsum(p, axis=1)
    drawn = (cumulative <= (uniforms * cumulative[:, -1])[:, None]).sum(axis=1)
    # Rounding may leave the last sum a hair below the number drawn: then it is the last symbol that can be drawn.
    return np.asarray(np.minimum(drawn, p.shape[1] - 1 - np.argmax(p[:, ::-1] > 0, axis=1)))


def nats_of_rows(logits: Logits, chosen: Ids) -> Floats:
    """Return -ln softmax(logits)[chosen] of each row of `logits` (B, V), in nats."""
    logits = logits.astype(np.float64)
    top = logits.max(axis=1)
    total = np.exp(logits - top[:, None]).sum(axis=1)
    return np.asarray(top + np.log(total) - logits[np.arange(len(logits)), chosen])


def generate(
    step: Step, logits: Logits, state: State, drawing: Drawing, uniforms: Floats, halt: Halt | None = None
) -> tuple[Ids, Floats, Floats, State]:
    """Draw a symbol of each row from `logits` (B, V), read it with `step`, and repeat for all of `uniforms` (B, N).

    Returns the ids (B, N), the nats of each under the model itself (B, N), the logits after the last and the state.
    Once `halt` is set no further symbol is drawn; there is at least one.
    """
    ids, nats = np.empty(uniforms.shape, np.int64), np.empty(uniforms.shape)
    count = 0
    while count < uniforms.shape[1] and not (count and halt is not None and halt[0]):
        ids[:, count] = draw(probabilities(logits, drawing), uniforms[:, count])
        nats[:, count] = nats_of_rows(logits, ids[:, count])
        logits, state = step(ids[:, count : count + 1], state)
        count += 1
    return ids[:, :count], nats[:, :count], np.asarray(logits, np.float64), state

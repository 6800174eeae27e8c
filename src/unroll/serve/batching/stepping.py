"""Drawing and reading symbol after symbol with any predictor, for many rows at once."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unroll.engine.draw import Drawing, nats_of_rows
from unroll.predict.predictor import Nats, Predictor, Window
from unroll.state import State

Floats = NDArray[np.float64]
Halt = NDArray[np.int32]
UNHALTED: Halt = np.zeros(1, np.int32)
"""For what nobody ends before its time."""
Generate = Callable[[Floats, State, Drawing, Floats, Halt], tuple[Window, Nats, Floats, State]]
"""What `Network.generate` is."""


def generate_with(predictor: Predictor) -> Generate:
    """Return what draws and reads with a predictor: the engine's own way where it has one, else one for all others."""
    own: Generate | None = getattr(predictor, "generate", None)
    return own or _one_by_one(predictor)


def _one_by_one(predictor: Predictor) -> Generate:
    def generate(
        logits: Floats, state: State, drawing: Drawing, uniforms: Floats, halt: Halt
    ) -> tuple[Window, Nats, Floats, State]:
        ids, nats = np.empty(uniforms.shape, np.int64), np.empty(uniforms.shape)
        for n in range(uniforms.shape[1]):
            if n and halt[0]:
                return ids[:, :n], nats[:, :n], logits, state
            ids[:, n] = draw_all(logits, drawing, uniforms[:, n])
            nats[:, n] = nats_of_rows(logits, ids[:, n])
            logits, state = predictor.logits(ids[:, n : n + 1], state)
        return ids, nats, logits, state

    return generate


def draw_all(logits: Floats, drawing: Drawing, uniforms: Floats) -> NDArray[np.int64]:
    """Draw a symbol for each row of `logits` (B, V): what `draw_rows` draws, all rows at once."""
    rows, size = logits.shape
    logits = logits.astype(np.float64)
    if drawing.never is not None:
        logits[:, drawing.never] = -np.inf
    temperature, top_k, top_p, min_p = (
        np.broadcast_to(values, rows) for values in (drawing.temperature, drawing.top_k, drawing.top_p, drawing.min_p)
    )
    p = np.exp((logits - logits.max(axis=1, keepdims=True)) / np.maximum(temperature, 1e-100)[:, None])
    p /= p.sum(axis=1, keepdims=True)
    kept = p
    if top_k.any() or (top_p < 1).any():
        order = np.argsort(-p, axis=1, kind="stable")
        ranked = np.take_along_axis(p, order, axis=1)
        before = np.cumsum(ranked, axis=1) - ranked
        few = np.where(top_k > 0, top_k, size)[:, None]
        keep = (np.arange(size) < few) & ((before < top_p[:, None]) | (top_p >= 1)[:, None])
        kept = np.zeros_like(p)
        np.put_along_axis(kept, order, np.where(keep, ranked, 0.0), axis=1)
    if min_p.any():
        kept = np.where(p >= (min_p * p.max(axis=1))[:, None], kept, 0.0)
    kept = kept / kept.sum(axis=1, keepdims=True)
    cumulative = np.cumsum(kept, axis=1)
    drawn = (cumulative <= (uniforms * cumulative[:, -1])[:, None]).sum(axis=1)
    last = size - 1 - np.argmax(kept[:, ::-1] > 0, axis=1)  # where rounding leaves the last sum a hair too small
    drawn = np.where(drawn < size, drawn, last)
    return np.asarray(np.where(temperature == 0, np.argmax(logits, axis=1), drawn))

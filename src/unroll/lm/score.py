"""Evaluation by named protocols: `stream` (carried state), `rows` (the same in parallel), `crops` (fresh states)."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.data.batches import crops, rows, stream_windows
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.nn.state import State

Pairs = Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]

STREAM_WINDOW = 1024
MAX_LOGITS = 2**25
"""Held at a time, so that a large vocabulary does not take gigabytes."""


def _nats(model: Model, pairs: Pairs, *, carry: bool, mixed: AbstractContextManager[object]) -> tuple[float, int]:
    """Return the summed nats and the number of symbols of windows (B, T), carrying the state between them or not."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    state: State | None = None
    total, count = 0.0, 0
    with torch.inference_mode(), mixed:
        for inputs, targets in pairs:
            logits, after = model(torch.from_numpy(inputs).to(device), state)
            state = after if carry else None
            total += float(cross_entropy(logits, torch.from_numpy(targets).to(device), reduction="sum"))
            count += targets.size
    model.train(training)
    return total, count


def stream_nats(model: Model, ids: NDArray[np.unsignedinteger], start_id: int) -> float:
    """Return nats per symbol of a whole part, read as one exact row with carried state from the start symbol."""
    total, count = _nats(model, stream_windows(ids, start_id, STREAM_WINDOW), carry=True, mixed=nullcontext())
    return total / count


def rows_nats(
    model: Model,
    ids: NDArray[np.unsignedinteger],
    start_id: int,
    num_rows: int,
    mixed: AbstractContextManager[object] | None = None,
) -> float:
    """Return nats per symbol read as `num_rows` rows side by side: quick, a little worse than `stream`."""
    total, count = 0.0, 0
    window = max(1, min(STREAM_WINDOW // 4, MAX_LOGITS // (num_rows * model.config.vocab_size)))
    for part in rows(ids, start_id, num_rows, window):
        part_total, part_count = _nats(model, part, carry=True, mixed=mixed or nullcontext())
        total, count = total + part_total, count + part_count
    return total / count


def crops_nats(model: Model, ids: NDArray[np.unsignedinteger], size: int = 256) -> float | None:
    """Return nats per symbol of all crops of `size` from fresh states: nanoGPT's protocol, over the whole part.

    None for a part that is shorter than one crop.
    """
    total, count = _nats(model, crops(ids, size), carry=False, mixed=nullcontext())
    return total / count if count else None

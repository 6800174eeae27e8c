"""Several texts written side by side, a few symbols at a time, with units held where that is wanted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import Opened
from unroll.data.tokenizer import Tokenizer
from unroll.engine.draw import Drawing
from unroll.lm.sample import SampleOptions, draw, probabilities, uniforms
from unroll.predict.predictor import log_probabilities
from unroll.serve.studio.reading import Prefixes, expectations, name
from unroll.state import State, select_rows

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
Step = Callable[[Ids, State | None], tuple[Floats, State]]
"""Reads ids (B, T) from a state; returns the logits (B, V) of what comes next, and the state."""

MOST_COLUMNS = 8
MOST_LENGTH = 4000
TOGETHER = 8
"""Symbols of each column between two decisions."""


@dataclass(frozen=True)
class Pin:
    """A unit that is held at a value at every step."""

    layer: int
    signal: str
    unit: int
    value: float


@dataclass(frozen=True)
class Piece:
    """What was written of every column: symbols (B, N) and their nats under the model itself."""

    ids: Ids
    nats: Floats


def written(
    opened: Opened,
    prompt: Ids,
    length: int,
    options: SampleOptions,
    columns: int,
    prefixes: Prefixes,
    pinned: Step | None = None,
) -> Iterator[Piece]:
    """Yield what `columns` streams of one seed write after the prompt (T,), a few symbols at a time.

    Column j is what `unroll sample --count` writes as its sample j. `pinned` steps where units are held; the prompt
    is read with them held too.
    """
    tokenizer = opened.tokenizer
    draws = [uniforms(options.seed, column) for column in range(columns)]
    if pinned is None:
        *_, (_, rows) = expectations(opened, prompt, len(prompt), prefixes)
        found = prefixes.longest(prompt, len(prompt))
        assert found is not None
        state = select_rows(found[1], [0] * columns)
        logits = np.repeat(rows[-1:], columns, axis=0)
        step: Step = opened.predictor.logits
        generate = getattr(opened.predictor, "generate", None)
    else:
        step, generate = pinned, None
        one, state = step(np.concatenate([[tokenizer.start_id], prompt])[None].astype(np.int64), None)
        logits, state = np.repeat(one, columns, axis=0), select_rows(state, [0] * columns)
    drawing = Drawing(options.temperature, options.top_k, options.top_p, options.min_p, tokenizer.unknown_id)
    for first in range(0, length, TOGETHER):
        count = min(TOGETHER, length - first)
        numbers = np.array([list(islice(stream, count)) for stream in draws])
        if generate is not None:
            ids, nats, logits, state = generate(logits, state, drawing, numbers)
        else:
            ids, nats, logits, state = _stepwise(step, logits, state, options, tokenizer, numbers)
        yield Piece(ids, nats)


def _stepwise(
    step: Step, logits: Floats, state: State, options: SampleOptions, tokenizer: Tokenizer, numbers: Floats
) -> tuple[Ids, Floats, Floats, State]:
    """Draw and read, as often as there are `numbers` (B, N); return symbols, nats, logits and state."""
    ids, nats = np.empty(numbers.shape, np.int64), np.empty(numbers.shape)
    for n in range(numbers.shape[1]):
        for row, said in enumerate(logits):
            ids[row, n] = draw(probabilities(said, options, tokenizer.unknown_id), numbers[row, n])
        nats[:, n] = -log_probabilities(logits)[np.arange(len(ids)), ids[:, n]]
        logits, state = step(ids[:, n : n + 1], state)
    return ids, nats, logits, state


def pinned_step(path: Path, pins: Sequence[Pin]) -> Step:
    """Return what reads ids with the network of a model directory while units are held. Needs torch.

    Raises UserError for an n-gram and for units that there are not.
    """
    import torch

    from unroll.artifact.open import load
    from unroll.insight.hold import checked_cell, holding
    from unroll.predict.torch import to_numpy, to_torch

    network = load(path).model.eval()
    cells = [checked_cell(network, pin.layer, pin.unit, pin.signal) for pin in pins]
    device, dtype = network.embedding.weight.device, network.embedding.weight.dtype

    def hold(layer: int, rows: int, steps: int) -> Any:
        places = {}
        for signal in ("c", "h"):
            some = [k for k, cell in enumerate(cells) if (cell.layer, cell.signal) == (layer, signal)]
            if some:
                values = torch.tensor([pins[k].value for k in some], dtype=dtype).repeat_interleave(rows)
                units = torch.tensor([cells[k].unit for k in some]).repeat_interleave(rows)
                places[signal] = (torch.arange(rows).repeat(len(some)), units, values.expand(steps, -1))
        return holding(places)

    @torch.inference_mode()
    def step(ids: Ids, state: State | None) -> tuple[Floats, State]:
        now = None if state is None else to_torch(state, device)
        holds = {layer: hold(layer, *ids.shape) for layer in {cell.layer for cell in cells}}
        logits, after, _ = network.trace(torch.from_numpy(ids), now, holds)
        return np.asarray(logits[:, -1].double().numpy()), to_numpy(after)

    return step


def shown(tokenizer: Tokenizer, piece: Piece) -> list[dict[str, Any]]:
    """Return what was written, column by column, as the page takes it."""
    return [
        {"ids": ids, "symbols": [name(tokenizer, id) for id in ids], "nats": [round(n, 5) for n in nats]}
        for ids, nats in zip(piece.ids.tolist(), piece.nats.tolist(), strict=True)
    ]

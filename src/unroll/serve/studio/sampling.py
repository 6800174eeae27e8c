"""Several texts written side by side, a few symbols at a time, with units clamped on request."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from unroll.artifact.open import Opened
from unroll.data.tokenizer import Tokenizer
from unroll.lm.sample import SampleOptions, read_prompt, uniforms
from unroll.predict.predictor import Predictor
from unroll.serve.studio.reading import Floats, Ids, Prefixes, expectations, name
from unroll.state import select_rows

MOST_COLUMNS = 8
MOST_LENGTH = 4000
TOGETHER = 8
"""Symbols of each column between two decisions."""


def written(
    opened: Opened,
    prompt: Ids,
    length: int,
    options: SampleOptions,
    columns: int,
    prefixes: Prefixes,
    clamped: Predictor | None = None,
) -> Iterator[tuple[Ids, Floats]]:
    """Yield what `columns` streams of one seed write after the prompt (T,): a few ids (B, N) at a time, and their nats.

    Column j is what `unroll sample --count` writes as its sample j. `clamped` predicts instead where units are held;
    it reads the prompt with them held too.
    """
    tokenizer, predictor = opened.tokenizer, clamped or opened.predictor
    streams = [uniforms(options.seed, column) for column in range(columns)]
    if clamped is None:
        *_, (_, rows) = expectations(opened, prompt, len(prompt), prefixes)
        found = prefixes.longest(prompt, len(prompt))
        assert found is not None
        logits, state = rows[-1:], found[1]
    else:
        logits, state = read_prompt(clamped, [tokenizer.start_id, *prompt.tolist()])
    logits, state = np.repeat(logits, columns, axis=0), select_rows(state, [0] * columns)
    drawing = options.drawing(tokenizer.unknown_id)
    for first in range(0, length, TOGETHER):
        numbers = np.array([list(islice(stream, min(TOGETHER, length - first))) for stream in streams])
        ids, nats, logits, state = predictor.generate(logits, state, drawing, numbers)
        yield ids, nats


def clamped_predictor(path: Path, pins: Sequence[dict[str, Any]]) -> Predictor:
    """Return the network of a model directory as a predictor that clamps units at every step. Needs torch.

    `pins` have a layer, a unit, a value and perhaps a signal, by default c. Raises UserError for an n-gram and for
    units outside the network.
    """

    from unroll.artifact.open import load
    from unroll.insight.hold import ClampedPredictor, Held, checked_cell

    network = load(path).model.eval()
    cells = [checked_cell(network, pin["layer"], pin["unit"], pin.get("signal") or "c") for pin in pins]
    return ClampedPredictor(network, [Held(cell, float(pin["value"])) for cell, pin in zip(cells, pins, strict=True)])


def shown(tokenizer: Tokenizer, ids: Ids, nats: Floats) -> list[dict[str, Any]]:
    """Return symbols (B, N) and their nats column by column, as JSON for the page."""
    return [
        {"ids": row, "symbols": [name(tokenizer, id) for id in row], "nats": [round(n, 5) for n in row_nats]}
        for row, row_nats in zip(ids.tolist(), nats.tolist(), strict=True)
    ]

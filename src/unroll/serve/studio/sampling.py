"""Several texts written side by side, a few symbols at a time, with units clamped on request."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from unroll.artifact.open import Opened
from unroll.lm.sample import SampleOptions, read_prompt, uniforms
from unroll.predict.predictor import Predictor
from unroll.serve.batching.stops import BEFORE
from unroll.serve.studio.reading import Ids, Prefixes, expectations, written_text
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
    *,
    spaced: bool = False,
) -> Iterator[list[dict[str, Any]]]:
    """Yield what `columns` streams of one seed write after the prompt (T,), a few symbols at a time, as JSON.

    Column j is what `unroll sample --count` writes as its sample j, and ends as that does with `<end>`, which is shown.
    `clamped` predicts instead where units are held; it reads the prompt with them held too. `spaced`: after a space
    that a symbol would write.
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
    decoders = [tokenizer.decoder_after(prompt[-BEFORE:].tolist(), spaced=spaced) for _ in range(columns)]
    ended = [False] * columns
    for first in range(0, length, TOGETHER):
        numbers = np.array([list(islice(stream, min(TOGETHER, length - first))) for stream in streams])
        ids, nats, logits, state = predictor.generate(logits, state, drawing, numbers)
        pieces = []
        for column, (row, row_nats) in enumerate(zip(ids.tolist(), nats.tolist(), strict=True)):
            count = 0 if ended[column] else len(row)
            if tokenizer.end_id in row[:count]:
                ended[column], count = True, row.index(tokenizer.end_id) + 1
            symbols = [written_text(tokenizer, id, decoders[column]) for id in row[:count]]
            rounded = [round(n, 5) for n in row_nats[:count]]
            pieces.append({"ids": row[:count], "symbols": symbols, "nats": rounded, "ended": ended[column]})
        yield pieces
        if all(ended):
            return


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

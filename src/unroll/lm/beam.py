"""Beam search, written once over the `Predictor`: the most probable continuation instead of a drawn one.

What is maximised is the sum of ln P of the symbols under the model itself; `<unk>` is never among them. Sums of
different lengths are compared as they are, so with texts to stop at, a search prefers short continuations.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import AnyModel, as_opened
from unroll.data.tokenizer import Tokenizer
from unroll.errors import check_positive
from unroll.lm.sample import SampledSymbol, check_stops, encode_prompt, first_stop, read_prompt
from unroll.predict.predictor import Predictor, log_probabilities
from unroll.progress import Progress, Work
from unroll.state import State, select_rows

Ids = NDArray[np.int64]
Nats = NDArray[np.float64]

BLOCK = 64
"""Totals that are bounded together."""


def beam_search(
    model: AnyModel,
    prompt: str = "",
    length: int = 500,
    *,
    beam: int = 8,
    stop: str | Sequence[str] = (),
    replace_unknown: bool = False,
    label: str | Sequence[str] = (),
) -> Work[list[SampledSymbol]]:
    """Search for the most probable `length` symbols after the prompt, or fewer that end with `<end>` or a `stop`.

    Of the beginnings of each length the `beam` most probable are kept: with one the search takes the most probable
    symbol each time, with as many as there are beginnings it is exact. Of equally probable continuations the shorter
    wins, then the one whose ids are smaller from the left. The text ends before the stop. Of a model that labels steer
    it begins with the start state of the `label`, or of several. Raises UserError.
    """
    check_positive("length", length, "ask for one symbol at least")
    check_positive("beam", beam, "keep one beginning at least")
    opened = as_opened(model)
    ids = encode_prompt(opened.tokenizer, prompt, replace_unknown=replace_unknown)
    return search(opened.predictor, opened.tokenizer, ids, length, beam, check_stops(stop), opened.start_state(label))


def search(
    predictor: Predictor, tokenizer: Tokenizer, prompt: Sequence[int], length: int, beam: int,
    stops: Sequence[str] = (), start: State | None = None,
) -> Work[list[SampledSymbol]]:  # fmt: skip
    """Search as `beam_search` does, after the prompt's ids; the beginnings are read side by side."""
    logits, state = read_prompt(predictor, [tokenizer.start_id, *prompt], start)
    ids, nats, totals = np.empty((1, 0), np.int64), np.empty((1, 0)), np.zeros(1)
    best, least = list[SampledSymbol](), np.inf
    for position in range(1, length + 1):
        yield Progress("searching", position, length, "symbols")
        costs = -log_probabilities(logits)
        if tokenizer.unknown_id is not None:
            costs[:, tokenizer.unknown_id] = np.inf
        rows, chosen = cheapest(totals[:, None] + costs, beam)
        ids, nats = np.column_stack([ids[rows], chosen]), np.column_stack([nats[rows], costs[rows, chosen]])
        totals = totals[rows] + nats[:, -1]
        ended = (chosen == tokenizer.end_id) | (position == length)
        for row in range(len(ids) if stops else 0):
            *pieces, _ = texts(tokenizer, prompt, ids[row].tolist())
            ended[row] |= first_stop("".join(pieces), stops) is not None
        for row in np.flatnonzero(ended).tolist():
            if totals[row] < least:
                least, best = totals[row], symbols(tokenizer, prompt, ids[row].tolist(), nats[row].tolist(), stops)
        kept = ~ended & (totals < least)  # a beginning only becomes less probable
        if not kept.any():
            break
        logits, state = predictor.logits(ids[kept, -1:], select_rows(state, rows[kept]))
        ids, nats, totals = ids[kept], nats[kept], totals[kept]
    return best


def cheapest(totals: Nats, count: int, groups: Ids | None = None) -> tuple[Ids, Ids]:
    """Return the rows and columns of the `count` least finite totals (N, V), in their order; of equal ones the first.

    Rows in the order of their ids stay so. With `groups` (N,), which rise, so many of each group.
    """
    if groups is None:
        groups = np.zeros(len(totals), np.int64)
    # The least of each block bounds what is needed, so that only little of it is sorted.
    blocks = np.fmin.reduceat(totals, np.arange(0, totals.shape[1], BLOCK), axis=1)
    some = blocks.shape[1] > count
    bounds = (
        np.partition(blocks, count - 1, axis=1)[:, count - 1 : count] if some else np.full((len(totals), 1), np.inf)
    )
    rows, columns = np.nonzero(totals <= bounds)
    near, of_group = totals[rows, columns], groups[rows]
    order = np.lexsort((near, of_group))
    within = np.arange(len(rows)) - np.searchsorted(of_group, of_group)
    kept = np.sort(order[(within < count) & np.isfinite(near[order])])
    return rows[kept], columns[kept]


def texts(tokenizer: Tokenizer, prompt: Sequence[int], ids: Sequence[int]) -> Iterator[str]:
    """Yield the text that each id completes after the prompt, and what the last leaves unfinished."""
    decoder = tokenizer.stream_decoder()
    for id in prompt:
        decoder.push(id)
    yield from ("" if id == tokenizer.end_id else decoder.push(id) for id in ids)
    yield decoder.flush()


def symbols(
    tokenizer: Tokenizer, prompt: Sequence[int], ids: Sequence[int], nats: Sequence[float], stops: Sequence[str]
) -> list[SampledSymbol]:
    """Return the symbols of a continuation, whose text ends before the first stop."""
    *pieces, rest = texts(tokenizer, prompt, ids)
    pieces[-1] += rest
    room = first_stop("".join(pieces), stops)
    result = []
    for id, piece, cost in zip(ids, pieces, nats, strict=True):
        shown = piece[:room]
        room = None if room is None else room - len(shown)
        result.append(SampledSymbol(id, shown, cost))
    return result

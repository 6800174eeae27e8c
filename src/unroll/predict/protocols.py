"""Nats of ids by named protocols: `stream` (carried state), `rows` (many side by side), `crops` and `lines` (fresh)."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from unroll.data.batches import crops, rows, stream_windows
from unroll.predict.predictor import MAX_LOGITS, Nats, Predictor, Window
from unroll.state import State, select_rows

Ids = NDArray[np.integer]

STREAM_WINDOW = 1024
LINE_TOKENS = 2**12
"""Symbols of lines read side by side, padding included."""


def stream(predictor: Predictor, ids: Ids, before: int, state: State | None = None) -> Iterator[tuple[Nats, State]]:
    """Yield the nats (T,) of each window of `ids`, and the state after it: one exact row with carried state.

    `before` is the symbol read before the first: the start symbol for a fresh state, else the last one read.
    """
    for inputs, targets in stream_windows(ids, before, STREAM_WINDOW):
        nats, state = predictor.nats(inputs, targets, state)
        yield nats[0], state


def stream_nats(predictor: Predictor, ids: Ids, start_id: int) -> float:
    """Return nats per symbol of a whole part, read as one exact row with carried state from the start symbol."""
    return sum(float(nats.sum()) for nats, _ in stream(predictor, ids, start_id)) / len(ids)


def rows_nats(predictor: Predictor, ids: Ids, start_id: int, num_rows: int) -> float:
    """Return nats per symbol read as `num_rows` rows side by side: quick, a little worse than `stream`."""
    total = 0.0
    window = max(1, min(STREAM_WINDOW // 4, MAX_LOGITS // (num_rows * predictor.vocab_size)))
    for part in rows(ids, start_id, num_rows, window):
        state = None
        for inputs, targets in part:
            nats, state = predictor.nats(inputs, targets, state)
            total += float(nats.sum())
    return total / len(ids)


def crops_nats(predictor: Predictor, ids: Ids, size: int = 256) -> float | None:
    """Return nats per symbol of all crops of `size` from fresh states: nanoGPT's protocol, over the whole part.

    None for a part shorter than one crop.
    """
    sums = [(float(nats.sum()), nats.size) for _, nats in crops_of(predictor, ids, size)]
    return sum(total for total, _ in sums) / sum(count for _, count in sums) if sums else None


def crops_of(predictor: Predictor, ids: Ids, size: int = 256) -> Iterator[tuple[Ids, Nats]]:
    """Yield the symbols (N,) that nanoGPT's crops predict, a few crops at a time, with the nats of each."""
    for inputs, targets in crops(ids, size):
        yield targets.reshape(-1), predictor.nats(inputs, targets)[0].reshape(-1)


def lines(
    predictor: Predictor, texts: Iterable[Ids], start_id: int, states: State | None = None
) -> Iterator[list[Nats]]:
    """Yield the nats (T,) of every text, each from a fresh state after the start symbol, a few at a time, in order.

    With `states` each text begins with its row of them instead. Texts of similar length are read side by side. Shorter
    ones are padded at the end, where nothing before can see it; the padding is left out of the result.
    """
    first = 0
    for group in together(texts, 16 * LINE_TOKENS):
        rows = None if states is None else select_rows(states, slice(first, first + len(group)))
        yield _of_similar_length(predictor, group, start_id, rows)
        first += len(group)


def together(texts: Iterable[Ids], size: int, most: int | None = None) -> Iterator[list[Ids]]:
    """Yield the texts in groups of about `size` symbols, with one start symbol for each, and `most` texts at most."""
    group: list[Ids] = []
    count = 0
    for text in texts:
        group.append(text)
        count += len(text) + 1
        if count >= size or len(group) == most:
            yield group
            group, count = [], 0
    if group:
        yield group


def _of_similar_length(predictor: Predictor, texts: list[Ids], start_id: int, states: State | None) -> list[Nats]:
    nats_of_texts: list[Nats] = [np.zeros(0)] * len(texts)
    for batch, targets in padded(texts, start_id):
        symbols, nats = np.insert(targets, 0, start_id, axis=1), np.zeros(targets.shape)
        state = None if states is None else select_rows(states, batch)
        for first in range(0, targets.shape[1], STREAM_WINDOW):  # a line may have a million symbols
            window = symbols[:, first : first + STREAM_WINDOW + 1]
            nats[:, first : first + STREAM_WINDOW], state = predictor.nats(window[:, :-1], window[:, 1:], state)
        for row, number in enumerate(batch):
            nats_of_texts[number] = nats[row, : len(texts[number])]
    return nats_of_texts


def padded(texts: Sequence[Ids], padding: int) -> Iterator[tuple[list[int], Window]]:
    """Yield texts of similar length side by side, the longest first: their numbers, and their ids (B, T), padded.

    Empty ones are left out.
    """
    order = sorted((number for number, ids in enumerate(texts) if len(ids)), key=lambda number: len(texts[number]))
    while order:
        length = len(texts[order[-1]])
        count = max(1, LINE_TOKENS // length)
        batch, order = order[-count:], order[:-count]
        rows = np.full((len(batch), length), padding, np.int64)
        for row, number in zip(rows, batch, strict=True):
            row[: len(texts[number])] = texts[number]
        yield batch, rows

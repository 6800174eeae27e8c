"""Texts read while someone types: what a model expected at each symbol, and what it expects next."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import Opened
from unroll.data.tokenizer import Tokenizer
from unroll.data.utf8 import StreamDecoder
from unroll.errors import UserError
from unroll.lm.surprisal import token_name
from unroll.predict.predictor import log_probabilities, logits_along
from unroll.serve.batching.stops import BEFORE
from unroll.serve.texts import SURROGATES, read, surfaces
from unroll.state import State, parts_of

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST = 20_000
"""Symbols of a text."""
WINDOW = 128
"""Symbols read at a time; the state after each window is kept."""
MOST_BYTES = 2**26
"""Bytes of states that are kept, for each model."""
GUESSES = 5
NEXT = 2000
"""Possible next symbols whose probability is sent."""


@dataclass
class Prefixes:
    """States after beginnings of texts, the most recently used; a recurrent state takes a few kilobytes."""

    kept: OrderedDict[bytes, tuple[State, Floats]] = field(default_factory=OrderedDict)
    size: int = 0
    lock: Lock = field(default_factory=Lock)

    def keep(self, ids: Ids, state: State, logits: Floats) -> None:
        """Keep the state after `ids` (T,) and the logits (V,) of the next symbol."""
        key = ids.tobytes()
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return
            self.kept[key] = (state, logits)
            self.size += self._bytes(key)
            while self.size > MOST_BYTES and len(self.kept) > 1:
                oldest = next(iter(self.kept))
                self.size -= self._bytes(oldest)
                del self.kept[oldest]

    def longest(self, ids: Ids, most: int) -> tuple[int, State, Floats] | None:
        """Return the longest kept beginning of `ids` (T,), of at most `most` symbols: its length, state and logits."""
        data = ids.tobytes()
        with self.lock:
            lengths = sorted({len(key) for key in self.kept if len(key) <= most * ids.itemsize}, reverse=True)
            for length in lengths:
                if (entry := self.kept.get(data[:length])) is not None:
                    self.kept.move_to_end(data[:length])
                    return length // ids.itemsize, *entry
        return None

    def _bytes(self, key: bytes) -> int:
        state, logits = self.kept[key]
        return int(len(key) + logits.nbytes + sum(part.nbytes for part in parts_of(state)))


def expectations(opened: Opened, ids: Ids, since: int, prefixes: Prefixes) -> Iterator[tuple[int, Floats]]:
    """Yield (k, logits (n, V)): what was expected at positions k to k + n - 1, from position `since` on.

    Position len(ids) follows the text.
    """
    begun = prefixes.longest(ids, since)
    if begun is None:
        (logits,), state = logits_along(opened.predictor, np.array([[opened.tokenizer.start_id]], np.int64))
        begun = (0, state, logits[-1])
        prefixes.keep(ids[:0], state, logits[-1])
    place, state, last = begun
    if place == since:
        yield place, last[None]
    while place < len(ids):
        end = min(len(ids), place + WINDOW)
        (logits,), state = logits_along(opened.predictor, ids[None, place:end], state)
        prefixes.keep(ids[:end], state, logits[-1])
        first = max(since, place + 1)
        if first <= end:
            yield first, logits[first - place - 1 :]
        place = end


def as_typed(
    opened: Opened, content: str, since: int, prefixes: Prefixes, guesses: int = GUESSES, at: int | None = None
) -> dict[str, Any]:
    """Return what a model expected at each symbol of a text from number `since` on, and what it expects next.

    The `guesses` are the likeliest symbols at each position, with their probabilities. The next symbol is that after
    `at` characters, by default after all. Raises UserError for a text that is too long.
    """
    tokenizer = opened.tokenizer
    ids, symbols, notes = read_text(opened, content)
    place = len(ids)
    if at is not None and at < len(content):
        begins = tokenizer.encode_offsets(content)[1][:, 0]
        place = int(np.searchsorted(begins, len(content[:at].encode("utf-8", "replace"))))
    since = min(since, place)
    spaced = tokenizer.leaves_space(content[:at], ids[:place].tolist())
    nats, best, final = [], [], None
    for first, logits in expectations(opened, ids, since, prefixes):
        logp = log_probabilities(logits)
        targets = ids[first : first + len(logp)]
        nats.append(-logp[np.arange(len(targets)), targets])
        if len(targets) and guesses:
            best += _best(tokenizer, logp[: len(targets)], guesses)
        if first <= place < first + len(logp):
            final = logp[place - first]
    assert final is not None
    return {
        "count": len(ids),
        "since": since,
        "place": place,
        "symbols": symbols[since:],
        "names": [name(tokenizer, id) for id in ids[since:].tolist()],
        "nats": np.concatenate(nats).tolist(),
        "guesses": best,
        "next": next_of(tokenizer, final, ids[:place], spaced=spaced),
        "unknown": notes,
    }


def read_text(opened: Opened, content: str) -> tuple[Ids, list[str], list[str]]:
    """Return the ids (N,) of a text, the display form of each, and the symbols that the model has never seen."""
    content = SURROGATES.sub("\ufffd", content)
    if not content:
        return np.zeros(0, np.int64), [], []
    text = read(opened, "the text", content, MOST)
    unseen = list(dict.fromkeys(symbol for _, symbol in opened.tokenizer.unknown(content)))
    return np.asarray(text.ids, np.int64), surfaces(opened.tokenizer, text), unseen[:20]


def next_of(tokenizer: Tokenizer, logp: Floats, before: Ids, *, spaced: bool) -> dict[str, Any]:
    """Return the next-symbol distribution, the likeliest first: ids, symbols, nats, the entropy in nats, the rest.

    Where that is not its symbol, also what each would write after the ids `before`, and a space if `spaced`.
    """
    order = np.argsort(-logp, kind="stable")[:NEXT]
    p, last = np.exp(logp), before[-BEFORE:].tolist()
    return {
        "ids": order.tolist(),
        "symbols": [name(tokenizer, id) for id in order.tolist()],
        "written": [written_text(tokenizer, id, tokenizer.decoder_after(last, spaced=spaced)) for id in order.tolist()]
        if tokenizer.level == "word"
        else None,
        "nats": (-logp[order]).tolist(),
        "entropy": float(-(p * np.where(p > 0, logp, 0)).sum()),
        "rest": max(0.0, 1 - float(p[order].sum())) if len(order) < len(logp) else 0.0,
        "never": tokenizer.unknown_id,
    }


def name(tokenizer: Tokenizer, id: int) -> str:
    """Return the display form of a symbol."""
    return SURROGATES.sub("\ufffd", token_name(tokenizer, id))


def written_text(tokenizer: Tokenizer, id: int, decoder: StreamDecoder) -> str:
    """Return what a symbol writes after the text of the decoder; its display form where symbols are no texts."""
    if tokenizer.level == "bpe" and id == tokenizer.start_id:
        return ""  # it begins a text, and has none of its own
    if tokenizer.level != "word" or id == tokenizer.end_id:
        return name(tokenizer, id)
    return decoder.push(id) + decoder.flush()


def _best(tokenizer: Tokenizer, logp: Floats, count: int) -> list[list[list[Any]]]:
    count = min(count, logp.shape[1])
    best = np.argpartition(-logp, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(logp, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best, values = np.take_along_axis(best, order, axis=1), np.exp(np.take_along_axis(values, order, axis=1))
    return [
        [[name(tokenizer, id), round(p, 5)] for id, p in zip(ids, ps, strict=True)]
        for ids, ps in zip(best.tolist(), values.tolist(), strict=True)
    ]


def costs(opened: Opened, content: str, prefixes: Prefixes) -> tuple[NDArray[np.int64], Floats, list[str]]:
    """Return where each symbol of a text begins, in bytes of UTF-8, its nats, and the unseen symbols."""
    ids, _, unseen = read_text(opened, content)
    nats = [
        -log_probabilities(logits)[np.arange(len(targets)), targets]
        for first, logits in expectations(opened, ids, 0, prefixes)
        if len(targets := ids[first : first + len(logits)])
        for logits in (logits[: len(targets)],)
    ]
    spans = opened.tokenizer.encode_offsets(content)[1]
    return spans[:, 0], np.concatenate([np.zeros(0), *nats]), unseen


def compared(first: Opened, second: Opened, content: str, prefixes: tuple[Prefixes, Prefixes]) -> dict[str, Any]:
    """Return the nats of the pieces of a text under two models.

    A piece reaches from one boundary that both models share to the next; with equal vocabularies it is a symbol.
    Raises UserError for an empty text.
    """
    content = SURROGATES.sub("\ufffd", content)
    if not content:
        raise UserError("the text is empty", allowed="at least one character", fix="type or paste a text")
    data = content.encode()
    read_by = [costs(opened, content, kept) for opened, kept in zip((first, second), prefixes, strict=True)]
    (begins_first, _, _), (begins_second, _, _) = read_by
    starts = np.union1d(np.intersect1d(begins_first, begins_second), [0])
    sums = []
    for begins, nats, _ in read_by:
        total = np.zeros(len(starts))
        np.add.at(total, np.searchsorted(starts, begins, side="right") - 1, nats)
        sums.append(total)
    ends = np.append(starts[1:], len(data))
    pieces = [data[a:b].decode(errors="replace") for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    return {
        "pieces": pieces,
        "nats": [total.tolist() for total in sums],
        "chars": len(content),
        "symbols": [len(nats) for _, nats, _ in read_by],
        "unknown": [unseen for _, _, unseen in read_by],
    }

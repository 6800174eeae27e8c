"""What is read to measure a memory: targets spread over a text, each after more or less of its context.

Each context is read separately, before the same targets. One reading of a long stretch would be cheaper, but would
predict other symbols after each context: differences of 0.01 bits would be lost among hard and easy symbols.
"""

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.directory import data_path
from unroll.artifact.open import Opened
from unroll.data.blocks import read_blocks
from unroll.data.corpus import open_corpus
from unroll.data.encode import block_ids
from unroll.errors import UserError, number_of
from unroll.predict.predictor import Nats, Predictor, Window, log_probabilities
from unroll.state import State

Ids = NDArray[np.integer]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Context = Literal["fresh", "unrelated"]
CONTEXTS: tuple[Context, ...] = get_args(Context)

MOST = 100_000
"""Symbols read of a longer text, from its beginning."""
FEWEST, FEWEST_TARGETS = 64, 10
"""Fewest symbols of a text, and fewest targets: then targets half of all away have no context in common."""
LIMIT, HISTORY, TARGETS = 512, 256, 1000
"""Defaults of the largest context, the disturbed history, and the number of targets."""
ROWS, SPAN = 128, 32
"""Histories read side by side, and symbols of them at a time."""
MAX_PROBABILITIES = 2**22
"""Most probabilities in memory at a time."""
LAGS, GRADIENT_ROWS = 128, 64
"""Largest lag of gradients, and the number of targets from which they are taken."""


@dataclass(frozen=True)
class Plan:
    """What is read, the same for all models of one vocabulary: P targets, and what precedes them."""

    ids: Ids
    targets: Counts  # (P,) places in the text, in order
    contexts: Counts  # (K,) increasing
    distances: Counts  # (D,) increasing; the last is the whole history, undisturbed
    context: Context  # what precedes them: nothing, or text from elsewhere
    keys: Floats  # (P, history): symbols are shuffled into the order of these
    others: Window  # (P, history): symbols drawn from the text by frequency

    def rows(self, length: int) -> Window:
        """Return the `length` symbols before each target (P, length)."""
        return np.asarray(self.ids[self.targets[:, None] + np.arange(-length, 0)], np.int64)

    @property
    def symbols(self) -> int:
        """The approximate number of symbols that a model reads."""
        per_target = self.contexts.sum() + (self.context == "unrelated") * self.contexts[-1]
        per_target += len(self.distances) * self.distances[-1] + self.distances.sum()
        return int(len(self.ids) + len(self.targets) * per_target)


@dataclass(frozen=True)
class Gradient:
    """Norms of the gradient of a target's nats by lag, 0 to K, in the geometric mean over targets."""

    norms: Floats  # (K+1,) by the whole state k steps before; for a window, which has none, by its inputs
    signals: dict[str, Floats]  # (K+1,) each, by `layer0/h`, `layer0/c` and so on, and by the inputs, `x`
    half_life: float | None
    """Steps in which the norm halves; None for a window, and if it does not decay."""


# ---- the text and the targets


def texts_of(models: Sequence[Opened], file: Path | None) -> tuple[list[Ids], list[str]]:
    """Return the ids (N,) of the text for each model, and notes; raises UserError if there is no text."""
    notes = []
    if file is not None:
        texts = [first_symbols(file, model) for model in models]
        unknown = {
            model.path: model.tokenizer.count_unknown(ids[:MOST]) for model, ids in zip(models, texts, strict=True)
        }
        notes = [
            f"{path}: symbols of the text that count as <unk>: {count:,}" for path, count in unknown.items() if count
        ]
    else:
        folders = [data_path(model.path) for model in models]
        corpora = [open_corpus(folder) if folder.exists() else None for folder in folders]
        first = corpora[0]
        if first is None or not len(first.valid):
            raise _no_text(f"{text_name(None, str(models[0].path))} is missing")
        for model, corpus in zip(models, corpora, strict=True):
            if corpus is None or (corpus.info.digest, corpus.tokenizer.digest) != (
                first.info.digest,
                model.tokenizer.digest,
            ):
                raise _no_text(f"{model.path} was not trained on the text of {models[0].path}")
        texts = [first.valid] * len(models)
    if max(map(len, texts)) > MOST:
        notes.append(f"only the first {MOST:,} symbols of the text are read")
    return [ids[:MOST] for ids in texts], notes


def text_name(file: Path | None, model: str) -> str:
    """Return the name of the text."""
    return f"the validation part of {model}" if file is None else f"{file}"


def first_symbols(file: Path, opened: Opened) -> Ids:
    """Return the ids of a text file, or of as much of it as shows that it is longer than `MOST`."""
    pieces: list[Ids] = []
    for block in read_blocks([file], opened.tokenizer.level, separator=opened.tokenizer.separator):
        pieces.append(block_ids(block, opened.tokenizer))
        if sum(map(len, pieces)) > MOST:
            break
    return np.concatenate(pieces)


def _no_text(what: str) -> UserError:
    return UserError(what, allowed="models of one text that they still have, or any text file", fix="name it: --file F")


def checked_limit(limit: int | None, count: int, name: str) -> int:
    """Return the largest context for a text of `count` symbols, at most a quarter of it, to leave enough targets."""
    quarter = count // 4
    if count < FEWEST or (limit or 2) > quarter:
        raise UserError(
            f"{name} has {number_of(count, 'symbol')}" + (f", too few for a context of {limit:,}" if limit else ""),
            allowed=f"{max(FEWEST, 4 * (limit or 0)):,} symbols or more: four times the largest context",
            fix="give more text" + (f", or --limit {quarter}" if quarter >= 2 and count >= FEWEST else ""),
        )
    if limit is not None and limit < 2:
        raise UserError(f"limit is {limit}", allowed="2 or more", fix=f"the default is {LIMIT}")
    return min(LIMIT, 2 ** int(math.log2(quarter))) if limit is None else limit


def grid(limit: int, sights: Iterable[int | None]) -> Counts:
    """Return 1, 2, 4, … and the limit, with the length that each model sees if it lies below."""
    powers = {2**k for k in range(limit.bit_length())}
    return np.array(sorted({limit, *(n for n in {*powers, *sights} if n is not None and n <= limit)}))


def plan_of(ids: Ids, limit: int, sights: Iterable[int | None], context: Context, targets: int, seed: int) -> Plan:
    """Choose the targets, one at random in each of P equal stretches that have `limit` symbols before them."""
    random = np.random.default_rng(seed)
    spare = len(ids) - limit
    count = min(targets, spare)
    places = limit + ((np.arange(count) + random.random(count)) * (spare / count)).astype(np.int64)
    history = min(HISTORY, limit)
    sights = [*sights]
    return Plan(
        ids,
        places,
        grid(limit, sights),
        grid(history, sights),
        context,
        random.random((count, history)),
        np.asarray(ids[random.integers(0, len(ids), (count, history))], np.int64),
    )


# ---- what precedes them

NatsWork = Generator[int, None, Nats]
"""Yields numbers of symbols read; returns nats, one row for each target."""


def context_nats(
    predictor: Predictor, rows: Window, targets: Window, contexts: Counts, state: State | None
) -> NatsWork:
    """Return the nats of `targets` (B,) after the last k symbols of `rows` (B, N) for each context k, from a state.

    A fresh state is zero, without a start symbol: within a text that would be a false context.
    """
    nats = np.zeros((len(rows), len(contexts)))
    for column, k in enumerate(contexts):
        nats[:, column] = yield from nats_after(predictor, rows[:, rows.shape[1] - k :], targets, state)
    return nats


def shuffled_nats(predictor: Predictor, rows: Window, targets: Window, distances: Counts, keys: Floats) -> NatsWork:
    """Return the nats of `targets` (B,) after `rows` (B, N) whose symbols beyond each distance are shuffled."""
    nats = np.zeros((len(rows), len(distances)))
    for column, d in enumerate(distances):
        far = rows.shape[1] - d
        order = np.argsort(keys[:, :far], axis=1)
        disturbed = np.concatenate([np.take_along_axis(rows[:, :far], order, axis=1), rows[:, far:]], axis=1)
        nats[:, column] = yield from nats_after(predictor, disturbed, targets)
    return nats


def replaced_nats(predictor: Predictor, rows: Window, targets: Window, distances: Counts, others: Window) -> NatsWork:
    """Return the nats of `targets` (B,) after `rows` (B, N) replaced by `others` (B, N) beyond each distance."""
    nats = np.zeros((len(rows), len(distances)))
    state: State | None = None
    far = 0
    # From the farthest on, so that replaced symbols are read only once.
    for column in reversed(range(len(distances))):
        near = rows.shape[1] - int(distances[column])
        if near > far:
            _, state = yield from after(predictor, others[:, far:near], state)
        far = near
        nats[:, column] = yield from nats_after(predictor, rows[:, near:], targets, state)
    return nats


def nats_after(predictor: Predictor, rows: Window, targets: Window, state: State | None = None) -> NatsWork:
    """Return the nats of `targets` (B,) after `rows` (B, N), read from a state."""
    logits, _ = yield from after(predictor, rows, state)
    return -log_probabilities(logits)[np.arange(len(rows)), targets]


def after(predictor: Predictor, rows: Window, state: State | None) -> Generator[int, None, tuple[Floats, State]]:
    """Read `rows` (B, N) in pieces; return the logits (B, V) of the next symbol, and the state."""
    logits = None
    for first in range(0, rows.shape[1], SPAN):
        piece = np.ascontiguousarray(rows[:, first : first + SPAN])
        logits, state = predictor.logits(piece, state)
        yield piece.size
    assert logits is not None and state is not None
    return logits, state


def rows_together(predictor: Predictor) -> int:
    """Return the number of histories to read side by side."""
    return max(1, min(ROWS, MAX_PROBABILITIES // predictor.vocab_size))


# ---- gradients


def gradient_of(opened: Opened, plan: Plan) -> Gradient:
    """Return the gradients of some of the targets, after the largest context, read from a fresh state."""
    import torch

    from unroll.insight.gradients.measure import halving, lag_norms
    from unroll.insight.trace import network_of

    limit, count = int(plan.contexts[-1]), len(plan.targets)
    places = plan.targets[np.unique(np.linspace(0, count - 1, GRADIENT_ROWS).astype(np.int64))]
    network = network_of(opened)
    ids = torch.from_numpy(plan.ids[places[:, None] + np.arange(-limit, 1)].astype(np.int64))
    by_lag = lag_norms(network, ids.to(network.embedding.weight.device), min(LAGS, limit - 1))
    state = [rows for name, rows in by_lag.rows.items() if name != "x"]
    if not state:
        return Gradient(by_lag.x, {"x": by_lag.x}, None)
    with np.errstate(divide="ignore"):  # the mean is 0 where a row is 0
        norms = np.exp(np.log(np.hypot.reduce(state)).mean(axis=0))
    return Gradient(norms, {name: by_lag.mean(name) for name in by_lag.rows}, halving(norms))

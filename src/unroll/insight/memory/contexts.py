"""What is read to measure a memory: targets all over a text, and before each of them more or less of its context.

Each context is read anew, before the same targets. One reading of a long stretch would be cheaper, but tell other
symbols after each context: differences of a hundredth of a bit would be lost among hard and easy symbols.
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
from unroll.errors import UserError
from unroll.predict.predictor import Nats, Predictor, Window, log_probabilities
from unroll.state import State

Ids = NDArray[np.integer]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Context = Literal["fresh", "unrelated"]
CONTEXTS: tuple[Context, ...] = get_args(Context)

MOST = 100_000
"""Symbols of a text that are read; of a longer one, its beginning."""
FEWEST, FEWEST_TARGETS = 64, 10
"""Symbols of a text, and of its targets: with so many, those half of them away have no context in common."""
LIMIT, HISTORY, TARGETS = 512, 256, 1000
"""Unless said: the largest context, the history that is disturbed, and the targets."""
ROWS, SPAN = 128, 32
"""Histories that are read side by side, and how much of them at a time."""
MAX_PROBABILITIES = 2**22
"""Held at a time."""
LAGS, GRADIENT_ROWS = 128, 64
"""How far back gradients are followed, and from how many of the targets."""


@dataclass(frozen=True)
class Plan:
    """What is read, the same for all models of one vocabulary: P targets, and what is put before them."""

    ids: Ids
    targets: Counts  # (P,) places in the text, in order
    contexts: Counts  # (K,) rising
    distances: Counts  # (D,) rising; the last is the history, of which nothing is disturbed
    context: Context  # what comes before them: nothing, or text from elsewhere
    keys: Floats  # (P, history): symbols are shuffled into the order of theirs
    others: Window  # (P, history): symbols drawn from the text, each as likely as it is frequent

    def rows(self, length: int) -> Window:
        """Return the `length` symbols before each target (P, length)."""
        return np.asarray(self.ids[self.targets[:, None] + np.arange(-length, 0)], np.int64)

    @property
    def symbols(self) -> int:
        """How many symbols a model reads for it, of the order of."""
        each = self.contexts.sum() + (self.context == "unrelated") * self.contexts[-1]
        each += len(self.distances) * self.distances[-1] + self.distances.sum()
        return int(len(self.ids) + len(self.targets) * each)


@dataclass(frozen=True)
class Gradient:
    """Sizes of the gradient of a target's nats by lag, 0 to K, in the geometric mean over targets."""

    norms: Floats  # (K+1,) by the whole state so many steps before; of a window, which has none, by its inputs
    signals: dict[str, Floats]  # (K+1,) each, by `layer0/h`, `layer0/c` and so on, and by the inputs, `x`
    half_life: float | None
    """Steps in which the size halves; None of a window, and where it does not decay."""


# ---- the text and the targets


def texts_of(models: Sequence[Opened], file: Path | None) -> tuple[list[Ids], list[str]]:
    """Return the ids (N,) of the text for each model, and notes; raises UserError where there is none."""
    notes = []
    if file is not None:
        texts = [first_symbols(file, one) for one in models]
        unknown = {one.path: one.tokenizer.count_unknown(ids[:MOST]) for one, ids in zip(models, texts, strict=True)}
        notes = [f"{path}: {count:,} symbols of the text count as <unk>" for path, count in unknown.items() if count]
    else:
        corpora = []
        for one in models:
            folder = data_path(one.path)
            corpora.append(open_corpus(folder) if folder.exists() else None)
        first = corpora[0]
        if first is None or not len(first.valid):
            raise _no_text(f"{text_name(None, str(models[0].path))} is not there")
        for one, corpus in zip(models, corpora, strict=True):
            if corpus is None or (corpus.info.digest, corpus.tokenizer.digest) != (
                first.info.digest,
                one.tokenizer.digest,
            ):
                raise _no_text(f"{one.path} was not trained on the text of {models[0].path}")
        texts = [first.valid] * len(models)
    if max(map(len, texts)) > MOST:
        notes.append(f"of the text, the first {MOST:,} symbols are read")
    return [ids[:MOST] for ids in texts], notes


def text_name(file: Path | None, model: str) -> str:
    """Return what the text is called."""
    return f"the validation part of {model}" if file is None else str(file)


def first_symbols(file: Path, opened: Opened) -> Ids:
    """Return the ids of a text file, no more of them than are needed to know that there are more than `MOST`."""
    found: list[Ids] = []
    for block in read_blocks([file], opened.tokenizer.level):
        found.append(block_ids(block, opened.tokenizer))
        if sum(map(len, found)) > MOST:
            break
    return np.concatenate(found)


def _no_text(what: str) -> UserError:
    return UserError(what, allowed="models of one text that is still beside them, or any text", fix="name it: --file F")


def checked_limit(limit: int | None, count: int, name: str) -> int:
    """Return the largest context for a text of `count` symbols: a fourth of it, so that there are targets enough."""
    most = count // 4
    if count < FEWEST or (limit or 2) > most:
        raise UserError(
            f"{name} has {count:,} symbols" + (f", too few for a context of {limit:,}" if limit else ""),
            allowed=f"{max(FEWEST, 4 * (limit or 0)):,} symbols or more: four times the largest context",
            fix="give more text" + (f", or --limit {most}" if most >= 2 and count >= FEWEST else ""),
        )
    if limit is not None and limit < 2:
        raise UserError(f"limit is {limit}", allowed="2 or more", fix=f"the default is {LIMIT}")
    return min(LIMIT, 2 ** int(math.log2(most))) if limit is None else limit


def grid(limit: int, sights: Iterable[int | None]) -> Counts:
    """Return 1, 2, 4, … and the limit, with the sight of each model that has one below it."""
    powers = {2**k for k in range(limit.bit_length())}
    return np.array(sorted({limit, *(n for n in {*powers, *sights} if n is not None and n <= limit)}))


def plan_of(ids: Ids, limit: int, sights: Iterable[int | None], context: Context, targets: int, seed: int) -> Plan:
    """Choose the targets, one at random in each of P equal stretches that have `limit` symbols before them."""
    random = np.random.default_rng(seed)
    room = len(ids) - limit
    count = min(targets, room)
    places = limit + ((np.arange(count) + random.random(count)) * (room / count)).astype(np.int64)
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


# ---- what is put before them

Reading = Generator[int, None, Nats]
"""Yields how many symbols were read; returns nats, one row for each target."""


def context_nats(predictor: Predictor, rows: Window, targets: Window, contexts: Counts, state: State | None) -> Reading:
    """Return the nats of `targets` (B,) after exactly so many symbols, the last of `rows` (B, N), read from a state.

    A fresh state is zero, and no start symbol is read from it: in the middle of a text that would be a false context.
    """
    found = np.zeros((len(rows), len(contexts)))
    for column, k in enumerate(contexts):
        found[:, column] = yield from nats_after(predictor, rows[:, rows.shape[1] - k :], targets, state)
    return found


def shuffled_nats(predictor: Predictor, rows: Window, targets: Window, distances: Counts, keys: Floats) -> Reading:
    """Return the nats of `targets` (B,) after `rows` (B, N) whose symbols beyond each distance are put in any order."""
    found = np.zeros((len(rows), len(distances)))
    for column, d in enumerate(distances):
        far = rows.shape[1] - d
        order = np.argsort(keys[:, :far], axis=1)
        disturbed = np.concatenate([np.take_along_axis(rows[:, :far], order, axis=1), rows[:, far:]], axis=1)
        found[:, column] = yield from nats_after(predictor, disturbed, targets)
    return found


def replaced_nats(predictor: Predictor, rows: Window, targets: Window, distances: Counts, others: Window) -> Reading:
    """Return the nats of `targets` (B,) after `rows` (B, N) that beyond each distance are `others` (B, N)."""
    found = np.zeros((len(rows), len(distances)))
    state: State | None = None
    far = 0
    # From the farthest on, so that what is replaced is read but once.
    for column in reversed(range(len(distances))):
        near = rows.shape[1] - int(distances[column])
        if near > far:
            _, state = yield from after(predictor, others[:, far:near], state)
        far = near
        found[:, column] = yield from nats_after(predictor, rows[:, near:], targets, state)
    return found


def nats_after(predictor: Predictor, rows: Window, targets: Window, state: State | None = None) -> Reading:
    """Return the nats of `targets` (B,) after `rows` (B, N), read from a state."""
    logits, _ = yield from after(predictor, rows, state)
    return -log_probabilities(logits)[np.arange(len(rows)), targets]


def after(predictor: Predictor, rows: Window, state: State | None) -> Generator[int, None, tuple[Floats, State]]:
    """Read `rows` (B, N) a little at a time; return the logits (B, V) of what follows, and the state."""
    logits = None
    for first in range(0, rows.shape[1], SPAN):
        piece = np.ascontiguousarray(rows[:, first : first + SPAN])
        logits, state = predictor.logits(piece, state)
        yield piece.size
    assert logits is not None and state is not None
    return logits, state


def rows_together(predictor: Predictor) -> int:
    """Return how many histories are read side by side."""
    return max(1, min(ROWS, MAX_PROBABILITIES // predictor.vocab_size))


# ---- and gradients


def gradient_of(opened: Opened, plan: Plan) -> Gradient:
    """Return the gradients of some of the targets, after as many symbols as the largest context, from a fresh state."""
    import torch

    from unroll.insight.gradients.measure import halving, lag_norms
    from unroll.insight.trace import network_of

    limit, count = int(plan.contexts[-1]), len(plan.targets)
    some = plan.targets[np.unique(np.linspace(0, count - 1, GRADIENT_ROWS).astype(np.int64))]
    network = network_of(opened)
    ids = torch.from_numpy(plan.ids[some[:, None] + np.arange(-limit, 1)].astype(np.int64))
    found = lag_norms(network, ids.to(network.embedding.weight.device), min(LAGS, limit - 1))
    state = [rows for name, rows in found.rows.items() if name != "x"]
    if not state:
        return Gradient(found.x, {"x": found.x}, None)
    with np.errstate(divide="ignore"):  # the mean is 0 where one of them is
        norms = np.exp(np.log(np.hypot.reduce(state)).mean(axis=0))
    return Gradient(norms, {name: found.mean(name) for name in found.rows}, halving(norms))

"""Beam search: the most probable translations of several sources, searched side by side; and greedy search.

A translation y of x, its end symbol included, has the score ln P(y | x) / |y|^α: with α = 0 each further symbol makes
it worse, so short ones win; α = 1 is the mean over symbols. (Wu et al. 2016 divide by ((5 + |y|) / 6)^α instead.)
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Ragged
from unroll.engine.translator import TranslatorNetwork, runs
from unroll.lm.beam import cheapest
from unroll.state import select_rows

Ids = NDArray[np.int64]
Nats = NDArray[np.float64]

ALPHA = 1.0


class Hypothesis(NamedTuple):
    """A translation."""

    ids: Ids
    """Its symbols (T,); the last is the end symbol."""
    nats: Nats
    """-ln P of each symbol, given the source and those before it (T,)."""
    score: float
    """ln P / T^α."""


def limit(units: int) -> int:
    """Return how many symbols a translation of so many units has at most, its end symbol included."""
    return 50 + 3 * units


def search(
    network: TranslatorNetwork,
    sources: Ragged,
    end: int,
    never: Collection[int] = (),
    *,
    beam: int = 5,
    n_best: int = 1,
    alpha: float = ALPHA,
) -> list[list[Hypothesis]]:
    """Return up to `n_best` translations of each source, the best first; a source's do not depend on the others.

    `end` is the symbol that ends a translation, and is read first; those in `never` are not written. Of the beginnings
    of each length the `beam` most probable are kept, and those that have ended leave the search. It is over when `beam`
    translations have ended, or when no beginning can become better than the `n_best` best of them. At its `limit` a
    translation is ended. With as many beginnings as there are, the search is exact.
    """
    memory = network.read(sources)
    beams = [_Beam(beam, n_best, alpha, limit(length)) for length in sources.lengths.tolist()]
    state, numbers, ids = memory.start, np.arange(len(sources)), np.full(len(sources), end)
    while len(ids):
        step = network.step(ids, state, memory, numbers)
        costs = nats_of_all(step.logits)
        costs[:, list(never)] = np.inf
        kept, symbols = list[Ids](), list[Ids]()
        for rows, source in runs(numbers):
            chosen, following = beams[source].grow(costs[rows], end)
            kept.append(rows.start + chosen)
            symbols.append(following)
        rows_kept, ids = np.concatenate(kept), np.concatenate(symbols)
        state, numbers = select_rows(step.state, rows_kept), numbers[rows_kept]
    return [one.ended[:n_best] for one in beams]


class _Beam:
    """The beginnings of the translations of one source, and the translations that have ended."""

    def __init__(self, beam: int, n_best: int, alpha: float, most: int) -> None:
        self._beam, self._n_best, self._alpha, self._most = beam, n_best, alpha, most
        self._ids, self._nats = np.empty((1, 0), np.int64), np.empty((1, 0))
        self.ended: list[Hypothesis] = []
        """The best first."""

    def grow(self, costs: Nats, end: int) -> tuple[Ids, Ids]:
        """Continue beginnings by one symbol; return which are continued, and the symbols, both (R,).

        `costs` (R, V) has -ln P of each next symbol, and is changed.
        """
        length = self._ids.shape[1] + 1
        if length == self._most:
            costs[:, np.arange(costs.shape[1]) != end] = np.inf
        rows, symbols = cheapest(self._nats.sum(axis=1)[:, None] + costs, self._beam)
        ids = np.column_stack([self._ids[rows], symbols])
        nats = np.column_stack([self._nats[rows], costs[rows, symbols]])
        scores = -nats.sum(axis=1) / length**self._alpha
        over = symbols == end
        self.ended += [Hypothesis(ids[row], nats[row], float(scores[row])) for row in np.flatnonzero(over)]
        self.ended.sort(key=lambda hypothesis: -hypothesis.score)
        kept = ~over & (len(self.ended) < self._beam)
        if len(self.ended) >= self._n_best:  # ln P only falls, and at most this divides it
            kept &= scores * (length / self._most) ** self._alpha > self.ended[self._n_best - 1].score
        self._ids, self._nats = ids[kept], nats[kept]
        return rows[kept], symbols[kept]


def greedy(
    network: TranslatorNetwork, source: NDArray[np.integer], end: int, never: Collection[int] = ()
) -> Iterator[tuple[int, float]]:
    """Yield the most probable symbol each time and its nats, as they come, up to the end symbol: a beam of one."""
    memory = network.read(Ragged.of([source]))
    state, symbol, first = memory.start, end, np.zeros(1, np.int64)
    for left in reversed(range(limit(len(source)))):
        step = network.step(np.array([symbol]), state, memory, first)
        state, costs = step.state, nats_of_all(step.logits)[0]
        costs[list(never)] = np.inf
        symbol = int(costs.argmin()) if left else end
        yield symbol, float(costs[symbol])
        if symbol == end:
            return


def nats_of_all(logits: NDArray[np.floating]) -> Nats:
    """Return -ln softmax(logits) of each symbol (R, V), in nats; the exponentials are in the type of the logits."""
    top = logits.max(axis=1, keepdims=True)
    total = np.exp(logits - top).sum(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(top + np.log(total) - logits)

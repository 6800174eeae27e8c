"""Beam search: the most probable translations of several sources, searched side by side; and greedy search.

A translation y of x, its end symbol included, has the score ln P(y | x) / |y|^α: with α = 0 each further symbol makes
it worse, so short ones win; α = 1 is the mean over symbols. (Wu et al. 2016 divide by ((5 + |y|) / 6)^α instead.)
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Ragged
from unroll.engine.translator import TranslatorNetwork
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
    memory, ended = network.read(sources), [list[Hypothesis]() for _ in range(len(sources))]
    most = np.array([limit(length) for length in sources.lengths.tolist()], np.int64)
    least = np.full(len(sources), -np.inf)  # the score of the n-th best that has ended
    # The beginnings of all sources, those of one side by side: the numbers of their sources, symbols, nats, and sums.
    numbers, state, symbols = np.arange(len(sources)), memory.start, np.full(len(sources), end)
    ids, nats, totals = np.empty((len(sources), 0), np.int64), np.empty((len(sources), 0)), np.zeros(len(sources))
    while len(symbols):
        step, length = network.step(symbols, state, memory, numbers), ids.shape[1] + 1
        costs = (totals + log_sums(step.logits))[:, None] - step.logits  # -ln P of all beginnings and what follows
        costs[:, list(never)] = np.inf
        costs[np.ix_(most[numbers] == length, np.arange(costs.shape[1]) != end)] = np.inf
        rows, symbols = cheapest(costs, beam, numbers)
        numbers, ids = numbers[rows], np.column_stack([ids[rows], symbols])
        nats = np.column_stack([nats[rows], costs[rows, symbols] - totals[rows]])
        totals = nats.sum(axis=1)
        scores, over = -totals / length**alpha, symbols == end
        for row in np.flatnonzero(over).tolist():
            of_source = ended[numbers[row]]
            of_source.append(Hypothesis(ids[row], nats[row], float(scores[row])))
            of_source.sort(key=lambda hypothesis: -hypothesis.score)
            least[numbers[row]] = of_source[n_best - 1].score if len(of_source) >= n_best else -np.inf
            if len(of_source) >= beam:
                least[numbers[row]] = np.inf  # nothing more is wanted
        # ln P only falls, and at most that length divides it.
        kept = ~over & (scores * (length / most[numbers]) ** alpha > least[numbers])
        state = select_rows(step.state, rows[kept])
        numbers, symbols, ids, nats, totals = (part[kept] for part in (numbers, symbols, ids, nats, totals))
    return [of_source[:n_best] for of_source in ended]


def greedy(
    network: TranslatorNetwork, source: NDArray[np.integer], end: int, never: Collection[int] = ()
) -> Iterator[tuple[int, float]]:
    """Yield the most probable symbol each time and its nats, as they come, up to the end symbol: a beam of one."""
    memory = network.read(Ragged.of([source]))
    state, symbol, first = memory.start, end, np.zeros(1, np.int64)
    for left in reversed(range(limit(len(source)))):
        step = network.step(np.array([symbol]), state, memory, first)
        state, logits = step.state, step.logits[0].astype(np.float64)
        logits[list(never)] = -np.inf
        symbol = int(logits.argmax()) if left else end
        yield symbol, float(log_sums(step.logits)[0] - logits[symbol])
        if symbol == end:
            return


def log_sums(logits: NDArray[np.floating]) -> Nats:
    """Return ln Σ e^logit of each row of logits (R, V): (R,). The exponentials are in the type of the logits."""
    top = logits.max(axis=1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1, dtype=np.float64)))

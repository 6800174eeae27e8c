"""A linear-chain CRF without torch: the best path of each row by Viterbi, and exact probabilities of its tags."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unroll.engine.layers import Lengths, Order
from unroll.engine.reference import Array, Weights

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Scheme = Literal["none", "bio", "bioes"]
"""How tags mark entities: not at all, by `B-X I-X O`, or by these and `E-X S-X`."""

IMPOSSIBLE = -1e30
"""Score of a move that no path may take: finite, so that it has a sum with anything."""


LEAST = 1e-100
"""Below this, products are too small to be exact."""


@dataclass(frozen=True)
class Chain:
    """What the moves of a path score: into its first tag (K,), from tag to tag (K, K), out of its last (K,)."""

    start: Floats
    transitions: Floats
    end: Floats

    @classmethod
    def of(cls, weights: Weights) -> "Chain":
        """Return the moves that were learnt, by the names of `unroll.nn.crf.Crf`."""
        return cls(*(weights[name].astype(np.float64) for name in ("start", "transitions", "end")))

    @classmethod
    def free(cls, tags: int) -> "Chain":
        """Return moves that cost nothing."""
        return cls(np.zeros(tags), np.zeros((tags, tags)), np.zeros(tags))

    def within(self, tags: tuple[str, ...], scheme: Scheme) -> "Chain":
        """Return the moves without those that a scheme rules out."""
        if scheme == "none":
            return self
        goes_on = np.array([tag[:2] in ("I-", "E-") for tag in tags])
        open_after = np.array([tag[:2] in ("B-", "I-") for tag in tags])
        same = np.array([[one[2:] == other[2:] for other in tags] for one in tags])
        # What continues needs an open entity of its own type before it.
        wrong = goes_on & ~(open_after[:, None] & same)
        if scheme == "bioes":  # and an open one must go on
            wrong |= open_after[:, None] & ~(goes_on & same)
        ends_wrong = open_after if scheme == "bioes" else np.zeros(len(tags), np.bool_)
        return Chain(
            np.where(goes_on, IMPOSSIBLE, self.start),
            np.where(wrong, IMPOSSIBLE, self.transitions),
            np.where(ends_wrong, IMPOSSIBLE, self.end),
        )


def best_paths(scores: Array, lengths: Lengths, chain: Chain) -> Ids:
    """Return the tags (N,) of each row's best path, given the `scores` (N, K) of its units, a row after the other."""
    order = Order(lengths, reverse=False)
    moves = np.ascontiguousarray(chain.transitions.T)  # the tag before in the last dimension, along which it is sought
    before = np.zeros(scores.shape, np.int64)
    tags = np.empty(len(scores), np.int64)
    forward = np.zeros((len(lengths), scores.shape[1]))
    for t, places in enumerate(order.places):
        alive = forward[: len(places)]
        if t:
            paths = alive[:, None, :] + moves
            before[places] = paths.argmax(axis=2)
            alive[:] = paths.max(axis=2) + scores[places]
        else:
            alive[:] = chain.start + scores[places]
    last = (forward + chain.end).argmax(axis=1)
    for t in reversed(range(len(order.places))):
        places = order.places[t]
        tags[places] = last[: len(places)]
        last[: len(places)] = before[places, last[: len(places)]]
        # A row that is shorter keeps its last tag until its own last unit is reached.
    return tags


def marginals(scores: Array, lengths: Lengths, chain: Chain) -> Floats:
    """Return the probability (N, K) of each tag of each unit, over all paths of its row (forward-backward).

    Computed by products, scaled step by step so that the greatest is 1, and by logarithms where they come near to what
    numbers of 64 bits hold: a path that is lost has no more than LEAST of the whole.
    """
    order = Order(lengths, reverse=False)
    emissions = np.exp(scores - scores.max(axis=1, keepdims=True))
    start, moves, end = (np.exp(part - part.max()) for part in (chain.start, chain.transitions, chain.end))
    shares, least = np.empty(scores.shape), np.ones(1)
    carried = np.empty((len(lengths), scores.shape[1]))
    for t, places in enumerate(order.places):
        step = (carried[: len(places)] @ moves if t else start) * emissions[places]
        most = step.max(axis=1, keepdims=True)
        least = np.minimum(least, most.min())
        carried[: len(places)] = shares[places] = step / np.maximum(most, LEAST)
    carried = np.tile(end, (len(lengths), 1))
    for places in reversed(order.places):
        alive = carried[: len(places)]
        shares[places] *= alive
        step = (alive * emissions[places]) @ moves.T
        most = step.max(axis=1, keepdims=True)
        least = np.minimum(least, most.min())
        alive[:] = step / np.maximum(most, LEAST)
    total = shares.sum(axis=1, keepdims=True)
    if min(least[0], total.min(initial=1.0)) < LEAST:
        return log_marginals(scores, lengths, chain)
    return np.asarray(shares / total)


def log_marginals(scores: Array, lengths: Lengths, chain: Chain) -> Floats:
    """Return the same by logarithms, whatever the scores."""
    order = Order(lengths, reverse=False)
    forward, logs = np.zeros((len(lengths), scores.shape[1])), np.empty(scores.shape)
    for t, places in enumerate(order.places):
        alive = forward[: len(places)]
        alive[:] = (_log_sum(alive[:, :, None] + chain.transitions) if t else chain.start) + scores[places]
        logs[places] = alive
    backward = np.tile(chain.end, (len(lengths), 1))
    for t in reversed(range(len(order.places))):
        places = order.places[t]
        alive = backward[: len(places)]
        logs[places] += alive
        alive[:] = _log_sum((alive + scores[places])[:, :, None] + chain.transitions.T)
    exponentials = np.exp(logs - logs.max(axis=1, keepdims=True, initial=IMPOSSIBLE))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _log_sum(values: Floats) -> Floats:
    """Return ln Σ exp over the middle of three dimensions."""
    most = values.max(axis=1)
    return np.asarray(most + np.log(np.exp(values - most[:, None]).sum(axis=1)))

"""Whatever predicts the next symbol: the one interface of scoring, evaluation and sampling. Without torch."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unroll.state import State

Window = NDArray[np.int64]
Nats = NDArray[np.float64]

MAX_LOGITS = 2**25
"""Held at a time, so that a large vocabulary does not take gigabytes."""


class Predictor(Protocol):
    """A language model in use: it reads symbols from a state, which it never stores, and tells what comes next.

    `state`, of numpy arrays, is what a call handed back, or None for rows that have read nothing; symbols are ids, B
    rows of T. Networks raise ValueError for arrays whose shapes or types do not fit them or each other, such as a state
    of other rows, and IndexError for an id outside the vocabulary.
    """

    @property
    def vocab_size(self) -> int:
        """The number V of symbols."""

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        """Read `inputs` (B, T); return -ln P(target) after each of them (B, T), in nats, and the state."""

    def logits(self, inputs: Window, state: State | None = None) -> tuple[NDArray[np.float64], State]:
        """Read `inputs` (B, T); return the logits (B, V) of what follows the last of them, and the state."""


class HiddenPredictor(Predictor, Protocol):
    """A network: what is inside it can be had, and predicted from later."""

    def hidden(self, inputs: Window, state: State | None = None) -> tuple[NDArray[Any], State]:
        """Read `inputs` (B, T); return what the last recurrent layer hands on after each (B, T, H), and the state."""

    def nats_after(self, y: NDArray[Any], targets: Window) -> Nats:
        """Return -ln P(target) (B, T), in nats, after the outputs (B, T, H) that `hidden` gave."""

    def logits_after(self, y: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logits (B, T, V) after the outputs (B, T, H) that `hidden` gave."""


def log_probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln softmax of logits (…, V), in nats."""
    top = logits.max(axis=-1, keepdims=True)
    shifted = logits - top
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))

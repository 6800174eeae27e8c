"""The `Predictor` interface: scoring, evaluation and sampling are written once over it. Without torch."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from unroll.engine import draw
from unroll.engine.draw import Drawing, Halt
from unroll.state import State

if TYPE_CHECKING:
    from unroll.engine.network import Precision
    from unroll.nn.model import Model

Window = NDArray[np.int64]
Nats = NDArray[np.float64]
Logits = NDArray[np.float64]
Hidden = NDArray[np.floating]

MAX_LOGITS = 2**25
"""Most logits in memory at a time, so that a large vocabulary does not take gigabytes."""


class Predictor(Protocol):
    """A language model in use: it reads symbols from a state, which it never stores, and predicts what comes next.

    `state`, of numpy arrays, is what a call handed back, or None for rows that have read nothing; symbols are ids, B
    rows of T. Networks raise ValueError for arrays whose shapes or types do not fit them or each other, such as a state
    of other rows, and IndexError for an id outside the vocabulary.

    A class that derives from it writes `vocab_size`, `nats` and `logits`; what else it can do follows from these.
    """

    vocab_size: int
    """The number V of symbols."""

    precision: "Precision" = "float32"
    """The precision of the weights."""

    @property
    def network(self) -> "HiddenPredictor | None":
        """This predictor as a network, whose hidden states can be read; None for all others, such as n-grams."""
        return None

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        """Read `inputs` (B, T); return -ln P(target) after each of them (B, T), in nats, and the state."""

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Logits, State]:
        """Read `inputs` (B, T); return the logits (B, V) of what follows the last of them, and the state."""

    def generate(
        self, logits: Logits, state: State, drawing: Drawing, uniforms: NDArray[np.float64], halt: Halt | None = None
    ) -> tuple[Window, Nats, Logits, State]:
        """Draw a symbol of each row from `logits` (B, V), read it, and repeat for each of `uniforms` (B, N).

        Returns the ids (B, N), the nats of each under the model itself (B, N), the logits after the last and the
        state. A row's result does not depend on the others. Where another thread sets `halt` (1,) to 1 it ends sooner,
        with at least one symbol.
        """
        return draw.generate(self.logits, logits, state, drawing, uniforms, halt)


class HiddenPredictor(Predictor, Protocol):
    """A network: what is inside it can be read, and predicted from later."""

    @property
    def embedding(self) -> Hidden:
        """The vectors of the symbols, (V, E)."""

    @property
    def network(self) -> "HiddenPredictor":
        """This predictor."""
        return self

    @property
    def torch_model(self) -> "Model | None":
        """The torch model that predicts; None for the engine, which keeps no gates and has no gradients."""

    def hidden(self, inputs: Window, state: State | None = None) -> tuple[Hidden, State]:
        """Read `inputs` (B, T); return the last recurrent layer's output after each (B, T, H), and the state."""

    def nats_after(self, y: Hidden, targets: Window) -> Nats:
        """Return -ln P(target) (B, T), in nats, after the outputs (B, T, H) that `hidden` gave."""

    def logits_after(self, y: Hidden) -> Logits:
        """Return the logits (B, T, V) after the outputs (B, T, H) that `hidden` gave."""


def logits_along(predictor: Predictor, inputs: Window, state: State | None = None) -> tuple[Logits, State]:
    """Read `inputs` (B, T), at least one; return the logits (B, T, V) after each of them, and the state."""
    if (network := predictor.network) is not None:
        y, after = network.hidden(inputs, state)
        return network.logits_after(y), after
    columns = []
    for t in range(inputs.shape[1]):
        logits, state = predictor.logits(inputs[:, t : t + 1], state)
        columns.append(logits)
    assert state is not None
    return np.stack(columns, axis=1), state


def log_probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln softmax of logits (…, V), in nats."""
    top = logits.max(axis=-1, keepdims=True)
    shifted = logits - top
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))

"""The architectures, in one table without torch: gates, state, weights, names and defaults; all else reads it here."""

from dataclasses import dataclass, field
from typing import Literal, get_args

Cell = Literal["lstm", "gru", "mingru", "rnn"]
"""Architectures with recurrent layers: `cells.py` has the equation of each."""
RECURRENT: tuple[Cell, ...] = get_args(Cell)
Arch = Literal[Cell, "window"]
Init = Literal["fan_in", "torch"]


@dataclass(frozen=True)
class Architecture:
    """What is known of an architecture apart from its equation."""

    label: str
    article: str
    """The label with its article, for sentences."""
    about: str
    """What it has inside, for whoever asks for a signal that it lacks."""
    colour: str
    """Of its curves on the page; empty for the next that is free."""
    peak_rate: float
    """Peak learning rate up to hidden size 512, for batches of 16 x 64."""
    blocks: tuple[str, ...] = ()
    """The sums that a recurrent layer's weights stack along their first axis, H rows each, in torch's order."""
    reads_state: bool = True
    """Whether those sums read the state too; if not, there are no recurrent weights."""
    signals: dict[str, str] = field(default_factory=lambda: {"h": "output"})
    """What a layer has inside at every step, as its cell names it, with the words for it; of a window its outputs."""
    gates: tuple[str, ...] = ()
    """The signals that a sigmoid keeps between 0 and 1."""
    unbounded: tuple[str, ...] = ()
    """The signals that may leave -1 to 1; the last of them is what the memory is in."""
    state: tuple[str, ...] = ("h",)
    """The signals that a layer's state is made of, in order; a window's state is its last inputs instead."""
    forget: tuple[str, int] | None = None
    """The gate that multiplies what is kept, and 1; or whose complement does, and -1. Its bias starts at `forget_bias`
    times that number."""
    apart: str = ""
    """The block that is given what the input and what the state adds to it separately, to gate the latter."""
    bfloat16_on_cpu: bool = False
    """Whether there are kernels that train it in bfloat16 on a CPU."""
    trial_rates: dict[str, float] = field(default_factory=dict)
    """Peak learning rates that did best in short trials of `longrange`, by the variant's name."""
    trial_init: Init = "fan_in"
    """How its input weights start there."""


ARCHITECTURES: dict[str, Architecture] = {
    "lstm": Architecture(
        label="LSTM",
        article="an LSTM",
        about="has the gates i, f, o and the candidate g",
        colour="--orange",
        peak_rate=1.6e-2,
        blocks=("i", "f", "g", "o"),
        signals={
            "i": "input gate",
            "f": "forget gate",
            "g": "candidate",
            "o": "output gate",
            "c": "cell",
            "h": "output",
        },
        gates=("i", "f", "o"),
        unbounded=("c",),
        state=("h", "c"),
        forget=("f", 1),
        bfloat16_on_cpu=True,
        trial_rates={"": 1e-2},
    ),
    "gru": Architecture(
        label="GRU",
        article="a GRU",
        about="has no memory cell beside h, and the gates r and z",
        colour="--violet",
        peak_rate=8e-3,
        blocks=("r", "z", "n"),
        signals={"r": "reset gate", "z": "update gate", "n": "candidate", "h": "output"},
        gates=("r", "z"),
        apart="n",
        trial_rates={"": 1e-2},
    ),
    "mingru": Architecture(
        label="minGRU",
        article="a minGRU",
        about="has no memory cell beside h, and the gate z, which reads the input alone",
        colour="",
        peak_rate=1.6e-2,
        blocks=("z", "n"),
        reads_state=False,
        signals={"z": "update gate", "n": "candidate", "h": "output"},
        gates=("z",),
        unbounded=("n", "h"),
        forget=("z", -1),
        trial_rates={"": 1e-2},
    ),
    "rnn": Architecture(
        label="RNN",
        article="an RNN",
        about="has no gates and no cell: h is all that it keeps",
        colour="--blue",
        peak_rate=3e-3,
        blocks=("h",),
        trial_rates={"-uniform": 3e-3, "-orthogonal": 1e-3},
        # As large as in the others, input weights saturate it, and it fails 10 symbols away.
        trial_init="torch",
    ),
    "window": Architecture(
        label="window",
        article="a window",
        about="has no state: h is computed from its inputs alone at each symbol",
        colour="--green",
        peak_rate=4e-3,
        state=(),
        trial_rates={"": 3e-3},
    ),
}
DEFAULT: Arch = "lstm"


def layer_shapes(arch: str, inputs: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of a recurrent layer with G blocks: (G·H, I), (G·H, H) and two biases.

    A layer whose sums do not read the state has only the first weight and the first bias.
    """
    rows = len(ARCHITECTURES[arch].blocks) * hidden
    if not ARCHITECTURES[arch].reads_state:
        return {"weight_ih": (rows, inputs), "bias_ih": (rows,)}
    return {"weight_ih": (rows, inputs), "weight_hh": (rows, hidden), "bias_ih": (rows,), "bias_hh": (rows,)}


def owners(signal: str) -> str:
    """Return how to get a signal, for messages: the architectures that have it."""
    labels = [architecture.label for architecture in ARCHITECTURES.values() if signal in architecture.signals]
    return f"only these have {signal}: {', '.join(labels)}" if labels else "choose among them"

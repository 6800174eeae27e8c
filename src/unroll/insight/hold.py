"""Running a network with units clamped: what it then predicts worse, and how much of that any unit would cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.errors import UserError
from unroll.insight.trace import Floats, Ids, parts
from unroll.nn.arch import ARCHITECTURES, RECURRENT, owners
from unroll.nn.cells import LSTMStep, Step
from unroll.nn.model import Model
from unroll.nn.recurrent import Hold
from unroll.predict.predictor import Logits, Nats, Predictor, Window, log_probabilities
from unroll.predict.torch import to_numpy, to_torch
from unroll.progress import Progress, Work
from unroll.state import State, join_rows, select_rows

Mask = NDArray[np.bool_]

SPAN = 256
"""Symbols of a stretch that is read unchanged and with units clamped."""
ROWS = 512
"""Most stretches read side by side, over all clamped cells."""
ENTRIES = 2**23
"""Most numbers of one kind in memory at a time."""
MATCHED = 20
"""Matched units beside a cell."""


@dataclass(frozen=True)
class Cell:
    """A unit of a layer: its memory cell `c`, or its output `h`."""

    layer: int
    signal: str
    unit: int
    direction: str = ""
    """Of a classifier, `forwards` or `backwards`."""

    @property
    def place(self) -> str:
        """Its place as `unroll trace` takes it: `0:17`, or `backwards0:17`."""
        return f"{self.direction}{self.layer}:{self.unit}"

    def __str__(self) -> str:
        return f"{self.place} {self.signal}"


@dataclass(frozen=True)
class Held:
    """A cell and the value at which it is clamped."""

    cell: Cell
    value: float


@dataclass(frozen=True)
class Recorded:
    """Values of units after some symbols of a text, and states of the network before others."""

    values: Floats
    """(n, K) in float32: layer by layer, direction by direction, signal by signal, unit by unit."""
    signals: tuple[str, ...]
    size: int
    """Units H of a layer."""
    states: State
    """States before the predictions of `starts`, one row for each."""
    directions: tuple[str, ...] = ("",)
    first: int = 0
    """Number of the first layer."""

    def cell(self, column: int) -> Cell:
        """Return the cell of a column of the values."""
        rest, unit = divmod(column, self.size)
        rest, signal = divmod(rest, len(self.signals))
        layer, direction = divmod(rest, len(self.directions))
        return Cell(self.first + layer, self.signals[signal], unit, self.directions[direction])

    def column(self, cell: Cell) -> int:
        """Return the column of a cell."""
        layer = (cell.layer - self.first) * len(self.directions) + self.directions.index(cell.direction)
        return (layer * len(self.signals) + self.signals.index(cell.signal)) * self.size + cell.unit

    def shown(self, layer: int) -> Floats:
        """Return how much the outputs of a layer move: the standard deviations of its h (H,)."""
        first = self.column(Cell(layer, "h", 0))
        return np.asarray(self.values[:, first : first + self.size].std(axis=0, dtype=np.float64))


def record(
    network: Model, ids: Ids, start_id: int, places: Ids, starts: Sequence[int] = (), phase: str = "reading"
) -> Work[Recorded]:
    """Read a text (N,) from the start symbol on and keep h and c after the symbols at `places`, in increasing order.

    `starts` are symbols before whose prediction the state is kept: 0, or 2 and above. Yields progress.
    """
    config = network.config
    signals = tuple(name for name in ("c", "h") if name in ARCHITECTURES[config.arch].signals)
    names = [f"layer{k}/{signal}" for k in range(config.num_layers) for signal in signals]
    values = np.empty((len(places), len(names) * config.hidden_size), np.float32)
    fresh = network.fresh_state(1)
    checkpoints: dict[int, State] = {0: fresh} if 0 in starts else {}
    for part in parts(network, ids, start_id):
        count = len(part.arrays["nats"])
        first, last = np.searchsorted(places, [part.first, part.first + count])
        inside = places[first:last] - part.first
        for k, name in enumerate(names):
            values[first:last, k * config.hidden_size : (k + 1) * config.hidden_size] = part.arrays[name][inside]
        for start in starts:
            # The symbol before it is read next, so this is the state after the one before that.
            if 0 <= (place := start - 2 - part.first) < count:
                checkpoints[start] = tuple(
                    tuple(
                        torch.from_numpy(part.arrays[f"layer{k}/{name}"][place : place + 1].copy())
                        for name in ARCHITECTURES[config.arch].state
                    )
                    for k in range(config.num_layers)
                )
        yield Progress(phase, part.first + count, len(ids), "symbols")
    return Recorded(values, signals, config.hidden_size, join_rows([checkpoints[start] for start in starts]))


@dataclass(frozen=True)
class Stretches:
    """Stretches of a text side by side, each from the true state before it."""

    inputs: Tensor
    """(R, L)"""
    targets: Tensor
    """(R, L)"""
    states: State


def stretches(ids: Ids, start_id: int, starts: Sequence[int], length: int, states: State) -> Stretches:
    """Return stretches of `length` symbols from each of `starts` on."""
    read = torch.from_numpy(np.concatenate([[start_id], ids]).astype(np.int64))
    rows = torch.stack([read[start : start + length + 1] for start in starts])
    return Stretches(rows[:, :-1], rows[:, 1:], states)


@dataclass(frozen=True)
class Costs:
    """What stretches cost while a cell is clamped, or unchanged: each (R, L), in nats."""

    nats: Floats
    """-ln P of every symbol."""
    marks: Floats
    """The part of it for the kind of mark, or none; the rest is for the symbol within its kind."""
    divergence: Floats
    """KL(unchanged ‖ clamped) of the predictions."""


def read_held(network: Model, read: Stretches, helds: Sequence[Held], marks: Ids | None = None) -> Work[list[Costs]]:
    """Read stretches unchanged and with each of `helds`; yields progress and returns the costs, in this order.

    A cell is clamped at every step, so that neither the step's output nor the next step sees its own value. `marks`
    (1 or V, V): the kind of each symbol after each symbol. -ln P(s) = -ln P(kind of s) - ln P(s | kind of s).
    """
    rows = len(read.inputs)
    table = torch.zeros(1, network.config.vocab_size) if marks is None else torch.from_numpy(marks)
    together = max(1, ROWS // rows - 1)
    costs: list[Costs] = []
    for first in range(0, max(1, len(helds)), together):
        batch = _read_together(network, read, helds[first : first + together], table)
        costs += batch if first == 0 else batch[1:]
        done = min(len(helds), first + together)
        yield Progress("clamping cells", done, len(helds), "cells")
    return costs


@torch.inference_mode()
def _read_together(network: Model, read: Stretches, helds: Sequence[Held], marks: Tensor) -> list[Costs]:
    """Read stretches unchanged, and below them once more for each clamped cell."""
    config = network.config
    rows, length = read.inputs.shape
    copies = 1 + len(helds)
    state = select_rows(read.states, torch.arange(rows).repeat(copies))
    inputs, targets = read.inputs.repeat(copies, 1), read.targets.repeat(copies, 1)
    inside = 6 * config.hidden_size * config.num_layers
    window = max(1, ENTRIES // (len(inputs) * max(inside, config.vocab_size)))
    own = [(held, torch.arange(rows) + (1 + k) * rows) for k, held in enumerate(helds)]
    holds = holds_of(own, window, network.embedding.weight.dtype)
    nats, kinds, divergence = (torch.empty(len(inputs), length, dtype=torch.float64) for _ in range(3))
    for first in range(0, length, window):
        piece = slice(first, first + window)
        logits, state, _ = network.trace(inputs[:, piece], state, holds)
        logp = torch.log_softmax(logits.double(), dim=-1)
        nats[:, piece] = -logp.gather(2, targets[:, piece, None])[:, :, 0]
        mark = marks[inputs[:, piece]] if len(marks) > 1 else marks.expand(*logp.shape)
        same_kind = mark == mark.gather(2, targets[:, piece, None])  # the symbols of the target's kind
        kinds[:, piece] = -logp.masked_fill(~same_kind, -torch.inf).logsumexp(-1)
        free = logp[:rows].repeat(copies, 1, 1)
        divergence[:, piece] = (free.exp() * (free - logp)).sum(-1)
    measures = [values.view(copies, rows, length).numpy() for values in (nats, kinds, divergence)]
    return [Costs(*(values[k] for values in measures)) for k in range(copies)]


def holds_of(helds: Sequence[tuple[Held, Tensor]], steps: int, dtype: torch.dtype) -> dict[int, Hold]:
    """Return what holds units, by layer: each in the rows (n,) that stand beside it, for so many steps."""
    holds: dict[int, Hold] = {}
    for layer in {held.cell.layer for held, _ in helds}:
        places = {}
        for signal in ("c", "h"):
            pairs = [pair for pair in helds if (pair[0].cell.layer, pair[0].cell.signal) == (layer, signal)]
            if pairs:
                counts = torch.tensor([len(rows) for _, rows in pairs])
                units = torch.tensor([held.cell.unit for held, _ in pairs]).repeat_interleave(counts)
                values = torch.tensor([held.value for held, _ in pairs], dtype=dtype).repeat_interleave(counts)
                places[signal] = (torch.cat([rows for _, rows in pairs]), units, values.expand(steps, -1))
        holds[layer] = holding(places)
    return holds


def holding(places: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> Hold:
    """Return what clamps units of a layer, by signal: rows (n,), units (n,), and values (T, n) for each step."""

    def hold(t: int, step: Step) -> Step:
        if "c" in places:
            rows, units, values = places["c"]
            assert isinstance(step, LSTMStep)
            c = step.c.index_put((rows, units), values[t])
            step = step._replace(c=c, h=step.o * torch.tanh(c))
        if "h" in places:
            rows, units, values = places["h"]
            step = step._replace(h=step.h.index_put((rows, units), values[t]))
        return step

    return hold


def matched(moves: Floats, unit: int, among: Mask, count: int = MATCHED) -> list[int]:
    """Return the units of `among` (H,) whose h moves most nearly as much as that of `unit`, the nearest first."""
    order = np.argsort(np.abs(np.log(moves + 1e-12) - np.log(moves[unit] + 1e-12)), kind="stable")
    return [int(k) for k in order if among[k] and k != unit][:count]


def checked_cell(network: Model, layer: int, unit: int, signal: str | None) -> Cell:
    """Return a cell of a network, `c` where it has one unless `signal` is given; raises UserError if there is none."""
    config = network.config
    own = [name for name in ("c", "h") if name in ARCHITECTURES[config.arch].signals]
    if config.arch == "window":
        raise UserError(
            "a window has no cells: it forgets symbols once they leave it",
            allowed=f"recurrent networks: {', '.join(RECURRENT)}",
            fix=f"name a model that was trained with --arch {RECURRENT[0]}",
        )
    if not (0 <= layer < config.num_layers and 0 <= unit < config.hidden_size):
        raise UserError(
            f"there is no cell {layer}:{unit}",
            allowed=f"L:K with L from 0 to {config.num_layers - 1} and K from 0 to {config.hidden_size - 1}",
            fix="for example: --cell 0:17",
        )
    if signal is not None and signal not in own:
        raise UserError(
            f"{ARCHITECTURES[config.arch].article} has no signal {signal}",
            allowed=", ".join(own),
            fix=owners(signal),
        )
    return Cell(layer, signal or own[0], unit)


class ClampedPredictor(Predictor):
    """A network as a predictor that reads with units held at every step, in every row."""

    def __init__(self, network: Model, helds: Sequence[Held]) -> None:
        self._network = network
        self._helds = helds
        self.vocab_size = network.config.vocab_size

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        """Read `inputs` (B, T); return -ln P(target) after each of them (B, T), in nats, and the state."""
        logits, after = self._read(inputs, state)
        logp = log_probabilities(logits.double().numpy())
        return -np.take_along_axis(logp, targets[..., None], axis=2)[..., 0], after

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Logits, State]:
        """Read `inputs` (B, T); return the logits (B, V) of what follows the last of them, and the state."""
        logits, after = self._read(inputs, state)
        return np.asarray(logits[:, -1].double().numpy()), after

    @torch.inference_mode()
    def _read(self, inputs: Window, state: State | None) -> tuple[Tensor, State]:
        weight = self._network.embedding.weight
        rows, steps = inputs.shape
        holds = holds_of([(held, torch.arange(rows)) for held in self._helds], steps, weight.dtype)
        before = None if state is None else to_torch(state, weight.device)
        logits, after, _ = self._network.trace(torch.from_numpy(inputs), before, holds)
        return logits, to_numpy(after)

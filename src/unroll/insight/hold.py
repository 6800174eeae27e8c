"""Running a network with a unit held: what it then predicts worse, and how much of that any unit would do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.errors import UserError
from unroll.insight.trace import parts
from unroll.lm.sample import Stepper
from unroll.nn.arch import ARCHITECTURES, RECURRENT, owners
from unroll.nn.cells import LSTMStep, Step
from unroll.nn.model import Model
from unroll.nn.recurrent import Hold
from unroll.predict.torch import to_numpy, to_torch
from unroll.progress import Progress, Work
from unroll.state import State, join_rows, select_rows

Ids = NDArray[np.integer]
Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]

SPAN = 256
"""Symbols of a stretch that is read with a unit held, and then without."""
ROWS = 512
"""Stretches, of all that is held, that are read side by side."""
ENTRIES = 2**23
"""Numbers of one kind that are in memory while they are."""
MATCHED = 20


@dataclass(frozen=True)
class Cell:
    """A unit of a layer: its memory cell `c`, or its output `h`."""

    layer: int
    signal: str
    unit: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.unit} {self.signal}"


@dataclass(frozen=True)
class Held:
    """A cell and the value at which it is held."""

    cell: Cell
    value: float


@dataclass(frozen=True)
class Recorded:
    """What units did after some symbols of a text, and where the network stood at some places."""

    values: Floats
    """(n, K) in float32: layer by layer, signal by signal, unit by unit."""
    signals: tuple[str, ...]
    size: int
    """Units H of a layer."""
    states: State
    """Before the predictions of the symbols that were asked for, one row for each."""

    def cell(self, column: int) -> Cell:
        """Return what a column of the values is of."""
        layer, rest = divmod(column, len(self.signals) * self.size)
        return Cell(layer, self.signals[rest // self.size], rest % self.size)

    def column(self, cell: Cell) -> int:
        """Return the column of a cell."""
        return (cell.layer * len(self.signals) + self.signals.index(cell.signal)) * self.size + cell.unit

    def shown(self, layer: int) -> Floats:
        """Return how much what a layer shows moves: the standard deviations of its h (H,)."""
        first = self.column(Cell(layer, "h", 0))
        return np.asarray(self.values[:, first : first + self.size].std(axis=0, dtype=np.float64))


def record(
    network: Model, ids: Ids, start_id: int, places: Ids, starts: Sequence[int] = (), phase: str = "reading"
) -> Work[Recorded]:
    """Read a text (N,) from the start symbol on and keep h and c after the symbols at `places`, which rise.

    `starts` are symbols before whose prediction the state is kept: 0, or 2 and more. Yields progress.
    """
    config = network.config
    signals = tuple(name for name in ("c", "h") if name in ARCHITECTURES[config.arch].signals)
    names = [f"layer{k}/{signal}" for k in range(config.num_layers) for signal in signals]
    values = np.empty((len(places), len(names) * config.hidden_size), np.float32)
    fresh = network.fresh_state(1)
    kept: dict[int, State] = {0: fresh} if 0 in starts else {}
    for part in parts(network, ids, start_id):
        count = len(part.arrays["nats"])
        first, last = np.searchsorted(places, [part.first, part.first + count])
        some = places[first:last] - part.first
        for k, name in enumerate(names):
            values[first:last, k * config.hidden_size : (k + 1) * config.hidden_size] = part.arrays[name][some]
        for start in starts:
            # The symbol before it is read next, so this is the state after the one before that.
            if 0 <= (place := start - 2 - part.first) < count:
                kept[start] = tuple(
                    tuple(
                        torch.from_numpy(part.arrays[f"layer{k}/{name}"][place : place + 1].copy())
                        for name in ARCHITECTURES[config.arch].state
                    )
                    for k in range(config.num_layers)
                )
        yield Progress(phase, part.first + count, len(ids), "symbols")
    return Recorded(values, signals, config.hidden_size, join_rows([kept[start] for start in starts]))


@dataclass(frozen=True)
class Stretches:
    """Pieces of a text side by side, each from the true state before it."""

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
class Reading:
    """What stretches cost while a cell is held, or none: each (R, L), in nats."""

    nats: Floats
    """-ln P of every symbol."""
    marks: Floats
    """Of that, for what kind of mark it is, or none; what is left is for which symbol of that kind it is."""
    divergence: Floats
    """KL(as it is ‖ held), of the predictions."""


def read_held(network: Model, read: Stretches, helds: Sequence[Held], marks: Ids | None = None) -> Work[list[Reading]]:
    """Read stretches as they are and with each of `helds`; yields progress and returns the readings, in this order.

    A cell is held at every step, so that neither the step's output nor the next step sees its own value. `marks`
    (1 or V, V): the kind of each symbol after each symbol. -ln P(s) = -ln P(kind of s) - ln P(s | kind of s).
    """
    rows = len(read.inputs)
    table = torch.zeros(1, network.config.vocab_size) if marks is None else torch.from_numpy(marks)
    together = max(1, ROWS // rows - 1)
    found: list[Reading] = []
    for first in range(0, max(1, len(helds)), together):
        made = _read_together(network, read, helds[first : first + together], table)
        found += made if first == 0 else made[1:]
        done = min(len(helds), first + together)
        yield Progress("clamping cells", done, len(helds), "cells")
    return found


@torch.inference_mode()
def _read_together(network: Model, read: Stretches, helds: Sequence[Held], marks: Tensor) -> list[Reading]:
    """Read stretches as they are, and below them once more for each that is held."""
    config = network.config
    rows, length = read.inputs.shape
    copies = 1 + len(helds)
    state = select_rows(read.states, torch.arange(rows).repeat(copies))
    inputs, targets = read.inputs.repeat(copies, 1), read.targets.repeat(copies, 1)
    inside = 6 * config.hidden_size * config.num_layers
    window = max(1, ENTRIES // (len(inputs) * max(inside, config.vocab_size)))
    holds = holds_of(helds, rows, window, network.embedding.weight.dtype)
    nats, kinds, divergence = (torch.empty(len(inputs), length, dtype=torch.float64) for _ in range(3))
    for first in range(0, length, window):
        piece = slice(first, first + window)
        logits, state, _ = network.trace(inputs[:, piece], state, holds)
        logp = torch.log_softmax(logits.double(), dim=-1)
        nats[:, piece] = -logp.gather(2, targets[:, piece, None])[:, :, 0]
        mark = marks[inputs[:, piece]] if len(marks) > 1 else marks.expand(*logp.shape)
        its = mark == mark.gather(2, targets[:, piece, None])  # the symbols of the target's kind
        kinds[:, piece] = -logp.masked_fill(~its, -torch.inf).logsumexp(-1)
        free = logp[:rows].repeat(copies, 1, 1)
        divergence[:, piece] = (free.exp() * (free - logp)).sum(-1)
    parted = [values.view(copies, rows, length).numpy() for values in (nats, kinds, divergence)]
    return [Reading(*(values[k] for values in parted)) for k in range(copies)]


def holds_of(helds: Sequence[Held], rows: int, steps: int, dtype: torch.dtype) -> dict[int, Hold]:
    """Return what holds, by layer: `rows` rows that are left alone, and then `rows` for each of `helds`."""
    made: dict[int, Hold] = {}
    for layer in {held.cell.layer for held in helds}:
        which = {
            signal: [k for k, held in enumerate(helds) if (held.cell.layer, held.cell.signal) == (layer, signal)]
            for signal in ("c", "h")
        }
        made[layer] = holding(
            {
                signal: (
                    torch.cat([torch.arange(rows) + (1 + k) * rows for k in some]),
                    torch.tensor([helds[k].cell.unit for k in some]).repeat_interleave(rows),
                    torch.tensor([helds[k].value for k in some], dtype=dtype).repeat_interleave(rows).expand(steps, -1),
                )
                for signal, some in which.items()
                if some
            }
        )
    return made


def holding(places: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> Hold:
    """Return what holds units of a layer, by signal: rows (n,), units (n,), and values (T, n) for each step."""

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
    """Return the units of `among` (H,) whose h moves as much as that of `unit`, the nearest first."""
    order = np.argsort(np.abs(np.log(moves + 1e-12) - np.log(moves[unit] + 1e-12)), kind="stable")
    return [int(k) for k in order if among[k] and k != unit][:count]


def checked_cell(network: Model, layer: int, unit: int, signal: str | None) -> Cell:
    """Return a cell of a network, `c` where it has one unless `signal` is given; raises UserError for what is none."""
    config = network.config
    own = [name for name in ("c", "h") if name in ARCHITECTURES[config.arch].signals]
    if config.arch == "window":
        raise UserError(
            "a window has no cells: it forgets what it has read once it has passed",
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


def held_stepper(network: Model, held: Held | None) -> Stepper:
    """Return what reads ids one row at a time and tells what comes next while a cell is held."""
    dtype, device = network.embedding.weight.dtype, network.embedding.weight.device

    @torch.inference_mode()
    def step(ids: Sequence[int], state: State | None) -> tuple[NDArray[np.float64], State]:
        now = None if state is None else to_torch(state, device)
        holds: dict[int, Hold] = {}
        if held is not None:
            cell = held.cell
            value = torch.full((len(ids), 1), held.value, dtype=dtype)
            holds = {cell.layer: holding({cell.signal: (torch.tensor([0]), torch.tensor([cell.unit]), value)})}
        logits, after, _ = network.trace(torch.tensor([list(ids)]), now, holds)
        return np.asarray(logits[0, -1].double().numpy()), to_numpy(after)

    return step

"""States, gates, logits and surprisal of a model at every step of a text: exact, streamed, by name."""

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.artifact.checkpoint import load_model
from unroll.artifact.open import Opened, open_model
from unroll.data.blocks import read_blocks
from unroll.data.encode import block_ids
from unroll.errors import UserError, WrongKind
from unroll.files import StrPath
from unroll.insight.arrays import ArrayFiles
from unroll.nn.arch import ARCHITECTURES, owners
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.progress import Progress, Work, result
from unroll.state import State, join_rows, select_rows

Ids = NDArray[np.integer]
Floats = NDArray[np.floating]

CLOSED, OPEN = 0.1, 0.9
"""A gate below the first or above the second is saturated."""
ROWS, SPAN = 64, 64
"""Stretches of a text traced side by side, and their length."""
MOST_LOGITS = 2**30
"""Most bytes of logits that are kept by default."""


@dataclass(frozen=True)
class Part:
    """The trace of a text from symbol `first` on: arrays (T, H) by name, `logits` (T, V) and `nats` (T,)."""

    first: int
    arrays: dict[str, Floats]


@dataclass(frozen=True)
class GateUse:
    """The use of a gate, as shares of all units and steps."""

    name: str
    mean: float
    closed: float
    """Below 0.1."""
    open: float
    """Above 0.9."""


@dataclass(frozen=True)
class LayerUse:
    """The use of a layer over a text."""

    name: str
    """As its arrays have it: `layer0`, of a classifier `forwards0`."""
    gates: tuple[GateUse, ...]
    time_constants: Floats | None
    """Symbols after which each unit has faded to 1/e (H,): -1 / mean ln f; inf if never, None without a forget gate."""
    largest: Floats
    """The largest `|h|` of each unit (H,)."""

    @property
    def layer(self) -> int:
        """Its number."""
        return int(self.name.lstrip(ascii_lowercase))

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON; an endless time constant is None."""
        constants = self.time_constants
        return {
            "name": self.name,
            "layer": self.layer,
            "gates": [{"name": g.name, "mean": g.mean, "closed": g.closed, "open": g.open} for g in self.gates],
            "time_constants": None if constants is None else [None if math.isinf(t) else float(t) for t in constants],
        }


@dataclass(frozen=True)
class Traced:
    """The trace of a text: its ids, the arrays kept, and the use of gates."""

    ids: Ids
    names: tuple[str, ...]
    arrays: dict[str, Floats]
    """Arrays by name; empty if they went to a file."""
    layers: tuple[LayerUse, ...]
    nats: float
    """Nats of the whole text."""


def trace(
    model: StrPath,
    text: str,
    *,
    layers: Sequence[int] | None = None,
    signals: Sequence[str] | None = None,
    out: StrPath | None = None,
) -> Traced:
    """Trace a text through a model: `layer0/c` (T, H) and so on, `logits` (T, V), `nats` (T,) and `ids` (T,).

    Row t is the network after symbol t of the text; the start symbol is read before it and not recorded. With `out`
    the arrays go to that .npz file in constant memory, else they are returned. Raises UserError.
    """
    opened, target = open_model(Path(model), needs="network"), None if out is None else Path(out)
    return result(trace_ids(opened, opened.tokenizer.encode(text), layers=layers, signals=signals, out=target))


def ids_of_file(opened: Opened, file: Path) -> Ids:
    """Return the ids of a text file, plain or gzip."""
    blocks = read_blocks([file], opened.tokenizer.level, separator=opened.tokenizer.separator)
    return np.concatenate([np.zeros(0, np.uint8), *(block_ids(block, opened.tokenizer) for block in blocks)])


def trace_ids(
    opened: Opened,
    ids: Ids,
    *,
    layers: Sequence[int] | None = None,
    signals: Sequence[str] | None = None,
    out: Path | None = None,
    keep: bool = True,
) -> Work[Traced]:
    """Do what `trace` does with the ids (T,) of a text, yielding progress; returns the result.

    Without `keep`, arrays that go to no file are dropped, so that memory does not grow with the text.
    """
    network = network_of(opened)
    if not len(ids):
        raise UserError("there is nothing to trace", allowed="a text of at least one symbol", fix="give a text")
    names = chosen_names(network, layers, signals, len(ids))
    config = network.config
    use = Use(config.arch, config.hidden_size, [f"layer{k}" for k in range(config.num_layers)])
    recorded: dict[str, list[Floats]] = {name: [] for name in names}
    nats = 0.0
    wide = {"logits": (network.config.vocab_size,), "nats": ()}
    sizes = {name: (len(ids), *wide.get(name, (network.config.hidden_size,))) for name in names}
    with ArrayFiles(out, sizes, {"ids": ids}) as files:
        for part in parts(network, ids, opened.tokenizer.start_id):
            use.add(part.arrays)
            nats += float(part.arrays["nats"].sum())
            for name in names:
                if out is not None:
                    files.append(name, part.arrays[name])
                elif keep:
                    recorded[name].append(part.arrays[name])
            yield Progress("tracing", part.first + len(part.arrays["nats"]), len(ids), "symbols")
        files.finish()
    arrays = {name: np.concatenate(pieces) for name, pieces in recorded.items() if pieces}
    return Traced(ids, names, arrays, use.layers(), nats)


def network_of(opened: Opened) -> Model:
    """Return the network of an opened model, in evaluation mode; raises UserError where there is none (an n-gram).

    Where it was opened as a predictor, its weights are loaded again: the engine keeps no gates and has no gradients.
    """
    if (network := opened.predictor.network) is None:
        raise WrongKind(
            opened.path,
            "ngram",
            "it has no states and no gates",
            allowed=f"a network: {', '.join(ARCHITECTURES)}",
            fix="name a model made by `unroll train`",
        )
    model = network.torch_model
    if model is not None:
        return model.eval()
    assert isinstance(opened.config, ModelConfig)
    return load_model(opened.path, opened.config)


def in_float64(network: Model) -> Model:
    """Return a copy of a network in float64 whose weights need no gradients."""
    return deepcopy(network).double().requires_grad_(False)


def untrained(network: Model, seed: int = 0) -> Model:
    """Return a network of the same shape with the weights that training starts from, by this seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Model(network.config).eval()


def chosen_names(
    network: Model, layers: Sequence[int] | None, signals: Sequence[str] | None, steps: int
) -> tuple[str, ...]:
    """Return the names of the requested arrays; raises UserError for layers and signals that do not exist."""
    config = network.config
    own = ARCHITECTURES[config.arch].signals
    if absent_layers := [k for k in layers or () if not 0 <= k < config.num_layers]:
        raise UserError(
            f"there is no layer {absent_layers[0]}",
            allowed="0" if config.num_layers == 1 else f"0 to {config.num_layers - 1}",
            fix="layers are counted from 0",
        )
    if absent_signals := [name for name in signals or () if name not in (*own, "logits", "nats")]:
        raise UserError(
            f"{ARCHITECTURES[config.arch].article} has no signal {absent_signals[0]}",
            allowed=", ".join((*own, "logits", "nats")),
            fix=owners(absent_signals[0]),
        )
    requested = signals or (*own, "nats", *(["logits"] if 4 * steps * config.vocab_size <= MOST_LOGITS else []))
    inside = [f"layer{k}/{name}" for k in layers or range(config.num_layers) for name in requested if name in own]
    return (*inside, *(name for name in ("logits", "nats") if name in requested))


def parts(network: Model, ids: Ids, start_id: int) -> Iterator[Part]:
    """Yield the trace of `ids` (T,), in order, `ROWS` * `SPAN` symbols at a time.

    The text is read twice: by the fused kernel, for the state before every stretch of `SPAN` symbols; then by the
    equation of the cell, step by step, many stretches side by side.
    """
    device = network.embedding.weight.device
    with torch.inference_mode():
        begin = torch.tensor([[start_id]], device=device)
        before, state, _ = network.trace(begin)
        last = before[0]  # (1, V), which give the surprisal of the next symbol
        for first in range(0, len(ids), ROWS * SPAN):
            piece = torch.from_numpy(ids[first : first + ROWS * SPAN].astype(np.int64)).to(device)
            # Whole stretches side by side, then the shorter rest.
            whole = len(piece) // SPAN
            states_before: list[State] = []
            for k in range(whole):
                states_before.append(state)
                state = network.hidden(piece[None, k * SPAN : (k + 1) * SPAN], state)[1]
            traces: list[tuple[torch.Tensor, list[dict[str, torch.Tensor]]]] = []
            if whole:
                logits, after, inside = network.trace(piece[: whole * SPAN].view(whole, SPAN), join_rows(states_before))
                traces.append((logits, inside))
                state = select_rows(after, torch.tensor([whole - 1], device=device))
            if len(piece) % SPAN:
                logits, state, inside = network.trace(piece[None, whole * SPAN :], state)
                traces.append((logits, inside))
            logits = torch.cat([logits.reshape(-1, logits.shape[-1]) for logits, _ in traces])  # (T, V)
            arrays = {
                f"layer{k}/{name}": torch.cat([inside[k][name].flatten(0, 1) for _, inside in traces]).cpu().numpy()
                for k in range(network.config.num_layers)
                for name in ARCHITECTURES[network.config.arch].signals
            }
            guesses = torch.log_softmax(torch.cat([last, logits[:-1]]).double(), dim=-1)
            arrays["nats"] = -guesses.gather(1, piece[:, None])[:, 0].cpu().numpy()
            arrays["logits"] = logits.cpu().numpy()
            last = logits[-1:]
            yield Part(first, arrays)


class Use:
    """Sums over the steps of a text of the use of gates and states."""

    def __init__(self, arch: str, hidden_size: int, names: Sequence[str]) -> None:
        """Begin with the layers of these names."""
        self.gates, self.forget = ARCHITECTURES[arch].gates, ARCHITECTURES[arch].forget
        self.steps = 0
        self.sums = {(name, gate): np.zeros(3) for name in names for gate in self.gates}
        self.logs = {name: np.zeros(hidden_size) for name in names}
        self.largest = {name: np.zeros(hidden_size) for name in names}

    def add(self, arrays: dict[str, Floats]) -> None:
        """Add the steps (T, H) of all signals, by their names, such as `layer0/c`."""
        self.steps += len(arrays[f"{next(iter(self.largest))}/h"])
        for (name, gate), sums in self.sums.items():
            values = arrays[f"{name}/{gate}"]
            sums += [
                values.mean(axis=1).sum(),
                (values < CLOSED).mean(axis=1).sum(),
                (values > OPEN).mean(axis=1).sum(),
            ]
        for name, largest in self.largest.items():
            np.maximum(largest, np.abs(arrays[f"{name}/h"]).max(axis=0), out=largest)
            if self.forget is not None:
                gate, sign = self.forget
                f = arrays[f"{name}/{gate}"].astype(np.float64)
                f = f if sign > 0 else 1 - f
                self.logs[name] += np.log(np.maximum(f, np.finfo(np.float64).tiny)).sum(axis=0)

    def layers(self) -> tuple[LayerUse, ...]:
        """Return the use of every layer."""
        uses = []
        for name, largest in self.largest.items():
            gates = tuple(GateUse(gate, *(self.sums[name, gate] / self.steps).tolist()) for gate in self.gates)
            constants = None
            if self.forget is not None:
                decay = -self.logs[name] / self.steps
                constants = np.divide(1.0, decay, out=np.full(len(decay), np.inf), where=decay > 0)
            uses.append(LayerUse(name, gates, constants, largest))
        return tuple(uses)

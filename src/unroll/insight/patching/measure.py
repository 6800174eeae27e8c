"""Where a network keeps something: the state of one text put into another, whole or in parts, and its effect."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.artifact.open import Opened, open_model
from unroll.errors import UserError
from unroll.files import StrPath
from unroll.insight.attribution.measure import read_text, symbol_id
from unroll.insight.attribution.scores import Floats, Ids
from unroll.insight.patching.alignment import patch_points, same_end
from unroll.insight.trace import in_float64, network_of
from unroll.lm.surprisal import token_name
from unroll.nn.arch import ARCHITECTURES, RECURRENT, owners
from unroll.nn.model import Model
from unroll.progress import Progress, Work, result
from unroll.state import State, join_rows, select_rows

Masks = NDArray[np.bool_]
"""(R, L, S, H): which units of h and c of each layer a row takes from the other text."""

HELD = 2**24
"""Most numbers of one kind in rows side by side."""


@dataclass(frozen=True)
class Choice:
    """Two candidates for the next symbol: D = log p(target) - log p(against), in nats, above 0 if the target wins."""

    network: Model
    target: int
    against: int

    def __call__(self, y: Tensor) -> Floats:
        """Return D (R,) after the outputs (R, H) of the recurrent layers."""
        logits = self.network.logits(y)
        return np.asarray((logits[:, self.target] - logits[:, self.against]).numpy())


@dataclass(frozen=True)
class Effect:
    """The effect of patching a part of the state."""

    name: str
    """`state`, `h`, `layer0`, `layer0/c`, `chosen`, or a unit as 0:17."""
    value: float
    """D after patching."""
    effect: float
    """D after patching - D of the first text."""
    recovery: float | None
    """effect / (D of the second text - D of the first); None if these are equal."""
    flips: bool
    """True if the other symbol is now the more probable one."""


@dataclass(frozen=True)
class Patched:
    """D with the state of the second text put into the first: by parts, units, sets of units and places."""

    symbols: tuple[str, ...]
    """Symbols of the first text."""
    at: tuple[int, int]
    """Number of symbols of each text before the point of patching."""
    target: str
    against: str
    first: float
    """D of the first text."""
    second: float
    """D of the second text."""
    parts: dict[str, float]
    """D by part: the whole `state`; in recurrent models each signal and layer; the requested part as `chosen`."""
    units: Ids
    """(U, 2) layers and units, those that move D most towards the second text first; none for a window."""
    unit_values: Floats
    """(U,) D with this unit alone patched."""
    set_values: Floats
    """(U,) D with this unit and all before it patched."""
    positions: Ids
    """(P,) numbers of symbols of the first text read before patching."""
    curves: dict[str, Floats]
    """D (P,) of patching at each position, by part."""
    notes: tuple[str, ...]

    def effect(self, name: str, value: float) -> Effect:
        """Return a D relative to those of the two texts."""
        effect, whole = value - self.first, self.second - self.first
        return Effect(name, value, effect, effect / whole if whole else None, (value > 0) != (self.first > 0))

    def ranked(self) -> Iterator[Effect]:
        """Yield the effect of each unit alone, the strongest first."""
        for (layer, unit), value in zip(self.units.tolist(), self.unit_values.tolist(), strict=True):
            yield self.effect(f"{layer}:{unit}", value)

    @property
    def main_parts(self) -> list[str]:
        """The parts to show: of many, those of a single layer's signal are left out."""
        return [name for name in self.parts if "/" not in name or len(self.parts) < 5]

    @property
    def smallest(self) -> int | None:
        """The smallest number of units, the strongest first, that together turn the decision; None if none do."""
        turned = np.flatnonzero((self.set_values > 0) != (self.first > 0))
        return int(turned[0]) + 1 if len(turned) and (self.second > 0) != (self.first > 0) else None

    def figures(self, top: int | None = None) -> dict[str, Any]:
        """Return the figures as JSON, with the `top` strongest units."""
        units, size = [asdict(effect) for effect in self.ranked()], self.smallest
        smallest = None
        if size is not None:
            set_effect = asdict(self.effect("", float(self.set_values[size - 1])))
            smallest = set_effect | {"name": "set", "units": [unit["name"] for unit in units[:size]]}
        return {
            "target": self.target,
            "against": self.against,
            "at": list(self.at),
            "first": self.first,
            "second": self.second,
            "parts": [asdict(self.effect(*part)) for part in self.parts.items()],
            "units": units[:top],
            "smallest_set": smallest,
            "positions": self.positions.tolist(),
            "symbols": [self.symbols[position - 1] if position else "" for position in self.positions.tolist()],
            "curves": {name: values.tolist() for name, values in self.curves.items()},
            "notes": list(self.notes),
        }


def patch(
    model: StrPath,
    first: str,
    second: str,
    *,
    target: str,
    against: str,
    at: int | None = None,
    after: str | None = None,
    layers: Sequence[int] = (),
    signals: Sequence[str] = (),
    units: Sequence[tuple[int, int]] = (),
) -> Patched:
    """Read both texts to a point, replace the first's state by the second's, read on, and compare two next symbols.

    The point is after `at` symbols of both, or the end of the word `after` in each, or else where the rest of the texts
    is the same. `units` (layer, unit), `layers` and `signals` (h, c) choose what is patched as one part; layers and
    signals also choose what of each unit is patched for the ranking. In float64. Raises UserError.
    """
    opened = open_model(Path(model), needs="network")
    work = patching(
        opened, first, second, target=target, against=against, at=at, after=after, layers=layers, signals=signals,
        units=units,
    )  # fmt: skip
    return result(work)


def patching(
    opened: Opened,
    first: str,
    second: str,
    *,
    target: str,
    against: str,
    at: int | None = None,
    after: str | None = None,
    layers: Sequence[int] = (),
    signals: Sequence[str] = (),
    units: Sequence[tuple[int, int]] = (),
) -> Work[Patched]:
    """Do what `patch` does, yielding progress; returns the result."""
    network = in_float64(network_of(opened))
    _check_parts(network, layers, signals, units)
    choice = Choice(network, symbol_id(opened, target, "target"), symbol_id(opened, against, "against"))
    if choice.target == choice.against:
        raise UserError("the target is set against itself", allowed="two symbols", fix="name another one")
    (ours, notes), (theirs, more_notes) = (read_text(opened, text) for text in (first, second))
    notes += [note for note in more_notes if note not in notes]
    places = patch_points(opened.tokenizer, (first, second), (ours, theirs), at, after)
    if (ours[places[0] :] != theirs[places[1] :]).any():
        notes.append("the texts differ after the point: the whole state may not recover everything")
    start = opened.tokenizer.start_id
    first_value, second_value = (own_value(choice, start, ids) for ids in (ours, theirs))
    if (first_value > 0) == (second_value > 0):
        notes.append("both texts prefer the same symbol: there is no decision to turn")

    parts = part_masks(network)
    if layers or signals or units:
        parts["chosen"] = chosen_mask(network, layers, signals, units)
    names, masks = list(parts), np.stack(list(parts.values()))
    own_state, patch_state = (
        state_after(network, start, ids[:place]) for ids, place in zip((ours, theirs), places, strict=True)
    )
    rest = ours[places[0] :]
    values = yield from patched_values(choice, own_state, patch_state, masks, rest)
    ranked, unit_values, set_values = np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0)
    if network.config.arch != "window":
        ranked, unit_masks = masks_of_units(network, layers, signals)
        unit_values = yield from patched_values(choice, own_state, patch_state, unit_masks, rest)
        order = np.argsort(-(unit_values - first_value) * np.sign(second_value - first_value), kind="stable")
        ranked, unit_values, unit_masks = ranked[order], unit_values[order], unit_masks[order]
        sets = np.logical_or.accumulate(unit_masks)  # the first, the first two, and so on
        set_values = yield from patched_values(choice, own_state, patch_state, sets, rest)
    # The curve begins at the earlier of the point and the common rest of the texts.
    first_place = min(places[0], len(ours) - same_end(ours, theirs))
    positions, curves = yield from by_position(choice, start, ours, theirs, first_place, masks)
    return Patched(
        tuple(token_name(opened.tokenizer, id) for id in ours.tolist()),
        places,
        token_name(opened.tokenizer, choice.target),
        token_name(opened.tokenizer, choice.against),
        first_value,
        second_value,
        dict(zip(names, values.tolist(), strict=True)),
        ranked,
        unit_values,
        set_values,
        positions,
        dict(zip(names, curves.T, strict=True)),
        tuple(notes),
    )


# ---- patching: read, replace, read on


@torch.no_grad()
def state_after(network: Model, start_id: int, ids: Ids) -> State:
    """Return the state (one row) after the start symbol and the ids."""
    return network.hidden(torch.tensor([[start_id, *ids.tolist()]]))[1]


@torch.no_grad()
def own_value(choice: Choice, start_id: int, ids: Ids) -> float:
    """Return D of an unchanged text."""
    return float(choice(choice.network.hidden(torch.tensor([[start_id, *ids.tolist()]]))[0][:, -1])[0])


def replaced(ours: State, theirs: State, masks: Masks) -> State:
    """Return a row of state for each mask: `theirs` where it is True, else `ours`, each one row."""
    taken_units = torch.from_numpy(masks)
    return tuple(
        tuple(torch.where(taken_units[:, k, s], new, old) for s, (old, new) in enumerate(zip(*layers, strict=True)))
        for k, layers in enumerate(zip(ours, theirs, strict=True))
    )


@torch.no_grad()
def patched_values(choice: Choice, ours: State, theirs: State, masks: Masks, rest: Ids) -> Work[Floats]:
    """Return D (R,) after reading `rest` from `ours` with the parts of each mask from `theirs`, yielding progress."""
    network = choice.network
    size = max(1, HELD // (len(rest) * network.config.hidden_size))
    ids, values = torch.from_numpy(rest)[None], []
    for first in range(0, len(masks), size):
        state = replaced(ours, theirs, masks[first : first + size])
        y, _ = network.hidden(ids.expand(len(state[0][0]), -1), state)
        values.append(choice(y[:, -1]))
        yield Progress("patching", min(len(masks), first + size), len(masks), "parts")
    return np.concatenate(values)


@torch.no_grad()
def by_position(
    choice: Choice, start_id: int, ours: Ids, theirs: Ids, first: int, masks: Masks
) -> Work[tuple[Ids, Floats]]:
    """Return positions (P,) of `ours` from `first` on and D (P, R) of patching there, yielding progress.

    The texts are aligned at their ends. Everything is read once: rows join as they are patched and are read together.
    """
    network, shift = choice.network, len(theirs) - len(ours)
    a, b = state_after(network, start_id, ours[:first]), state_after(network, start_id, theirs[: first + shift])
    rows, y = select_rows(a, torch.zeros(0, dtype=torch.long)), torch.zeros(0)
    for place in range(first, len(ours)):
        rows = join_rows([rows, replaced(a, b, masks)])
        symbol, other = torch.from_numpy(ours[place : place + 1]), torch.from_numpy(theirs[place + shift :][:1])
        y, rows = network.hidden(symbol.expand(len(rows[0][0]), 1), rows, engine="stepwise")
        a, b = network.hidden(symbol[None], a)[1], network.hidden(other[None], b)[1]
        yield Progress("by position", place + 1 - first, len(ours) - first, "positions")
    return np.arange(first, len(ours)), choice(y[:, -1]).reshape(-1, len(masks))


# ---- parts of a state


def state_signals(network: Model) -> tuple[str, ...]:
    """Return the names of a layer's parts of state, in its order; none for a window."""
    return ARCHITECTURES[network.config.arch].state


def nothing(network: Model) -> Masks:
    """Return the mask (L, S, H) that takes nothing; for a window, whose state is one piece, (1, 1, 1, 1)."""
    config, signals = network.config, state_signals(network)
    shape = (config.num_layers, len(signals), config.hidden_size) if signals else (1, 1, 1, 1)
    return np.zeros(shape, bool)


def part_masks(network: Model) -> dict[str, Masks]:
    """Return masks (L, S, H) by name: the whole state, each signal, each layer, each signal of each layer."""
    signals, layers = state_signals(network), range(network.config.num_layers)
    masks = {"state": ~nothing(network)}
    if not signals:
        return masks
    if len(layers) > 1:
        masks |= {name: chosen_mask(network, signals=[name]) for name in signals if len(signals) > 1}
        masks |= {f"layer{k}": chosen_mask(network, [k]) for k in layers}
    if len(signals) > 1:
        masks |= {f"layer{k}/{name}": chosen_mask(network, [k], [name]) for k in layers for name in signals}
    return masks


def chosen_mask(
    network: Model,
    layers: Sequence[int] = (),
    signals: Sequence[str] = (),
    units: Sequence[tuple[int, int]] = (),
) -> Masks:
    """Return the mask (L, S, H) of these units, or of all in these layers, in these signals; none given means all."""
    mask, names = nothing(network), state_signals(network)
    which = [names.index(name) for name in signals or names]
    for layer, unit in units:
        mask[layer, which, unit] = True
    for layer in () if units else layers or range(len(mask)):
        mask[layer, which] = True
    return mask


def masks_of_units(network: Model, layers: Sequence[int], signals: Sequence[str]) -> tuple[Ids, Masks]:
    """Return all units (U, 2) of the layers and a mask (U, L, S, H) for each."""
    size = network.config.hidden_size
    units = [(layer, unit) for layer in layers or range(network.config.num_layers) for unit in range(size)]
    return np.array(units, np.int64), np.stack([chosen_mask(network, (), signals, [unit]) for unit in units])


def _check_parts(
    network: Model, layers: Sequence[int], signals: Sequence[str], units: Sequence[tuple[int, int]]
) -> None:
    config, names = network.config, state_signals(network)
    if not names and (layers or signals or units):
        raise UserError(
            f"the state of a window is its last {config.window - 1} inputs: it has no layers, signals or units",
            allowed="the whole state",
            fix=f"leave out --layer, --signal and --units, or take a recurrent network: {', '.join(RECURRENT)}",
        )
    if wrong := [name for name in signals if name not in names]:
        raise UserError(
            f"the state of this model has no {wrong[0]}",
            allowed=", ".join(names),
            fix=owners("c") if wrong[0] == "c" else "gates are computed again at every step",
        )
    last, size = config.num_layers - 1, config.hidden_size
    if wrong_layers := [k for k in layers if not 0 <= k <= last]:
        raise UserError(f"there is no layer {wrong_layers[0]}", allowed=f"0 to {last}", fix="layers are counted from 0")
    if wrong_units := [f"{k}:{u}" for k, u in units if not (0 <= k <= last and 0 <= u < size)]:
        raise UserError(
            f"there is no unit {wrong_units[0]}",
            allowed=f"L:K with L from 0 to {last} and K from 0 to {size - 1}",
            fix="for example: --units 0:17,0:42",
        )
    if layers and units:
        raise UserError("both layers and units are given", allowed="one of them", fix="units name their layers")

"""Where is it kept: the state of one text put into another in mid-sentence, whole or in parts, and what that turns."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.artifact.open import Opened, open_model
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.files import StrPath
from unroll.insight.attribution.measure import in_double, read_text, symbol_id
from unroll.lm.surprisal import token_name
from unroll.nn.arch import ARCHITECTURES, RECURRENT
from unroll.nn.model import Model
from unroll.progress import Progress, Work, result
from unroll.state import State, join_rows, select_rows

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
Masks = NDArray[np.bool_]
"""(R, L, S, H): which parts of the state of each layer, its units of h and c, a row takes from the other text."""

HELD = 2**24
"""Numbers of one kind that rows side by side may hold."""


@dataclass(frozen=True)
class Choice:
    """Two symbols that may come next: D = log p(target) - log p(against), in nats, above 0 where the target wins."""

    network: Model
    target: int
    against: int

    def __call__(self, y: Tensor) -> Floats:
        """Return D (R,) after the outputs (R, H) of the recurrent layers."""
        logits = self.network.logits(y)
        return np.asarray((logits[:, self.target] - logits[:, self.against]).numpy())


@dataclass(frozen=True)
class Effect:
    """What patching a part of the state did."""

    name: str
    """`state`, `h`, `layer0`, `layer0/c`, `chosen`, or a unit as 0:17."""
    value: float
    """D after it."""
    effect: float
    """D after it - D of the first text."""
    recovery: float | None
    """effect / (D of the second text - D of the first); None where these are equal."""
    flips: bool
    """Whether the other symbol is the more probable one now."""


@dataclass(frozen=True)
class Patched:
    """D when the state of the second text is put into the first: by parts, units, sets of units and places."""

    symbols: tuple[str, ...]
    """Of the first text."""
    at: tuple[int, int]
    """After so many symbols of each text the state was taken and put."""
    target: str
    against: str
    first: float
    """D of the first text as it is."""
    second: float
    parts: dict[str, float]
    """D by part: the whole `state`; of recurrent models each signal and layer; what was asked for as `chosen`."""
    units: Ids
    """(U, 2) layers and units, those first that move D most towards the second text's; none of a window."""
    unit_values: Floats
    """(U,) D with this unit alone patched."""
    set_values: Floats
    """(U,) D with this unit and all before it patched."""
    positions: Ids
    """(P,) symbols of the first text that are read before patching."""
    curves: dict[str, Floats]
    """D (P,) of patching there, by part."""
    notes: tuple[str, ...]

    def effect(self, name: str, value: float) -> Effect:
        """Return what a D says beside those of the two texts."""
        effect, whole = value - self.first, self.second - self.first
        return Effect(name, value, effect, effect / whole if whole else None, (value > 0) != (self.first > 0))

    def ranked(self) -> Iterator[Effect]:
        """Yield what each unit does alone, the strongest first."""
        for (layer, unit), value in zip(self.units.tolist(), self.unit_values.tolist(), strict=True):
            yield self.effect(f"{layer}:{unit}", value)

    @property
    def main_parts(self) -> list[str]:
        """The parts to show where not all have room: signals of single layers are left out of many."""
        return [name for name in self.parts if "/" not in name or len(self.parts) < 5]

    @property
    def smallest(self) -> int | None:
        """The least number of units, the strongest first, that together turn the decision; None where none do."""
        turned = np.flatnonzero((self.set_values > 0) != (self.first > 0))
        return int(turned[0]) + 1 if len(turned) and (self.second > 0) != (self.first > 0) else None

    def figures(self, top: int | None = None) -> dict[str, Any]:
        """Return the figures as JSON, with the `top` strongest units."""
        units, size = [asdict(effect) for effect in self.ranked()], self.smallest
        smallest = None
        if size is not None:
            joined = asdict(self.effect("", float(self.set_values[size - 1])))
            smallest = joined | {"name": "set", "units": [unit["name"] for unit in units[:size]]}
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
    """Read both texts to a point, put the second's state into the first's, read on; see who of two symbols comes next.

    The point is `at` so many symbols of both, or the end of the word `after` in each, or else where the texts have
    become the same. `units` (layer, unit), `layers` and `signals` (h, c) choose what is patched as one part; layers
    and signals also what of a unit is patched when all are ranked. In float64. Raises UserError.
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
    network = in_double(opened)
    _check_parts(network, layers, signals, units)
    choice = Choice(network, symbol_id(opened, target, "target"), symbol_id(opened, against, "against"))
    if choice.target == choice.against:
        raise UserError("the target is set against itself", allowed="two symbols", fix="name another one")
    (ours, notes), (theirs, more) = (read_text(opened, text) for text in (first, second))
    notes += [note for note in more if note not in notes]
    places = _places(opened.tokenizer, (first, second), (ours, theirs), at, after)
    if (ours[places[0] :] != theirs[places[1] :]).any():
        notes.append("the texts go on differently after the point: the whole state need not recover all")
    start = opened.tokenizer.start_id
    value, other = (own_value(choice, start, ids) for ids in (ours, theirs))
    if (value > 0) == (other > 0):
        notes.append("both texts prefer the same symbol: there is no decision to turn")

    parts = part_masks(network)
    if layers or signals or units:
        parts["chosen"] = chosen_mask(network, layers, signals, units)
    names, masks = list(parts), np.stack(list(parts.values()))
    before, given = (
        state_after(network, start, ids[:place]) for ids, place in zip((ours, theirs), places, strict=True)
    )
    rest = ours[places[0] :]
    values = yield from patched_values(choice, before, given, masks, rest)
    which, unit_values, set_values = np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0)
    if network.config.arch != "window":
        which, unit_masks = masks_of_units(network, layers, signals)
        unit_values = yield from patched_values(choice, before, given, unit_masks, rest)
        order = np.argsort(-(unit_values - value) * np.sign(other - value), kind="stable")
        which, unit_values, unit_masks = which[order], unit_values[order], unit_masks[order]
        sets = np.logical_or.accumulate(unit_masks)  # the first, the first two, and so on
        set_values = yield from patched_values(choice, before, given, sets, rest)
    # Earlier too, if it was not asked for where the texts have become the same.
    first_place = min(places[0], len(ours) - same_end(ours, theirs))
    positions, found = yield from by_position(choice, start, ours, theirs, first_place, masks)
    return Patched(
        tuple(token_name(opened.tokenizer, id) for id in ours.tolist()),
        places,
        token_name(opened.tokenizer, choice.target),
        token_name(opened.tokenizer, choice.against),
        value,
        other,
        dict(zip(names, values.tolist(), strict=True)),
        which,
        unit_values,
        set_values,
        positions,
        dict(zip(names, found.T, strict=True)),
        tuple(notes),
    )


# ---- patching: run on, replace, run on


@torch.no_grad()
def state_after(network: Model, start_id: int, ids: Ids) -> State:
    """Return the state (one row) after the start symbol and the ids."""
    return network.hidden(torch.tensor([[start_id, *ids.tolist()]]))[1]


@torch.no_grad()
def own_value(choice: Choice, start_id: int, ids: Ids) -> float:
    """Return D of a text as it is."""
    return float(choice(choice.network.hidden(torch.tensor([[start_id, *ids.tolist()]]))[0][:, -1])[0])


def replaced(ours: State, theirs: State, masks: Masks) -> State:
    """Return a row of state for each mask: `theirs` where it is True, else `ours`, each one row."""
    which = torch.from_numpy(masks)
    return tuple(
        tuple(torch.where(which[:, k, s], new, old) for s, (old, new) in enumerate(zip(*layers, strict=True)))
        for k, layers in enumerate(zip(ours, theirs, strict=True))
    )


@torch.no_grad()
def patched_values(choice: Choice, ours: State, theirs: State, masks: Masks, rest: Ids) -> Work[Floats]:
    """Return D (R,) after reading `rest` from `ours` with the parts of each mask from `theirs`, yielding progress."""
    network = choice.network
    size = max(1, HELD // (len(rest) * network.config.hidden_size))
    ids, found = torch.from_numpy(rest)[None], []
    for first in range(0, len(masks), size):
        state = replaced(ours, theirs, masks[first : first + size])
        y, _ = network.hidden(ids.expand(len(state[0][0]), -1), state)
        found.append(choice(y[:, -1]))
        yield Progress("patching", min(len(masks), first + size), len(masks), "parts")
    return np.concatenate(found)


@torch.no_grad()
def by_position(
    choice: Choice, start_id: int, ours: Ids, theirs: Ids, first: int, masks: Masks
) -> Work[tuple[Ids, Floats]]:
    """Return positions (P,) of `ours` from `first` on and D (P, R) of patching there, yielding progress.

    The texts are aligned at their ends. All is read once: rows join as they are patched and are read on together.
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
    """Return the names of a layer's parts of state, in its order; none of a window."""
    return ARCHITECTURES[network.config.arch].state


def nothing(network: Model) -> Masks:
    """Return the mask (L, S, H) that takes nothing; of a window, whose state is one piece, (1, 1, 1, 1)."""
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
    """Return the mask (L, S, H) of these units, or of all in these layers, in these signals; none named means all."""
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
            fix="choose among them; gates are computed again at every step",
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


# ---- where the texts meet


def same_end(ours: Ids, theirs: Ids) -> int:
    """Return how many symbols at their ends the texts share."""
    most = min(len(ours), len(theirs))
    differ = np.flatnonzero(ours[len(ours) - most :][::-1] != theirs[len(theirs) - most :][::-1])
    return int(differ[0]) if len(differ) else most


def _places(
    tokenizer: Tokenizer, texts: tuple[str, str], ids: tuple[Ids, Ids], at: int | None, after: str | None
) -> tuple[int, int]:
    """Return after how many symbols of each text the state is patched; raises UserError where they do not fit."""
    lengths = len(ids[0]), len(ids[1])
    if at is not None and after is not None:
        raise UserError("both a number of symbols and a word are given", allowed="one of them", fix="leave one out")
    if np.array_equal(*ids):
        raise UserError("both texts are the same", allowed="texts that differ", fix="change the name in one of them")
    if after is not None:
        places = _end_of(tokenizer, texts[0], after, "first"), _end_of(tokenizer, texts[1], after, "second")
    elif at is not None:
        most = min(lengths) - 1
        if not 1 <= at <= most:
            raise UserError(
                f"a point after {at} symbols of texts of {lengths[0]} and {lengths[1]}",
                allowed=f"1 to {most}: one symbol or more follow it" if most else "texts of two symbols or more",
                fix="or leave it out: the point is then where the texts have become the same",
            )
        places = at, at
    else:
        same = same_end(*ids)
        places = lengths[0] - same, lengths[1] - same
    left = lengths[0] - places[0], lengths[1] - places[1]
    if left[0] != left[1]:
        raise UserError(
            f"the texts do not align: {left[0]} and {left[1]} symbols come after the point",
            allowed="texts that go on alike, with as many symbols after it",
            fix="change one of them, or leave out --at and --after",
        )
    if not left[0]:
        raise UserError(
            "nothing is read after the point",
            allowed="one symbol at least that comes after it: a prediction is made of what is read then",
            fix="let both texts end with the same words, before the target",
        )
    return places


def _end_of(tokenizer: Tokenizer, text: str, word: str, which: str) -> int:
    """Return how many symbols of a text there are up to the end of a word that stands in it once."""
    found = [match.end() for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text)]
    if len(found) != 1:
        raise UserError(
            f"{word!r} stands in the {which} text {len(found)} times",
            allowed="a word that stands in both texts once",
            fix="give the number of symbols instead: --at N",
        )
    ends = tokenizer.encode_offsets(text)[1][:, 1]
    return int(np.searchsorted(ends, len(text[: found[0]].encode()), side="right"))


# ---- picture


def picture(found: Patched, title: str, ending: str) -> bytes:
    """Return D by the place of patching and, of recurrent models, by the number of units, as bytes of PNG or SVG."""
    import warnings

    from matplotlib import style
    from matplotlib.figure import Figure

    from unroll.insight.plots import COLOURS, DPI, FORMATS, GREY, MARKERS, STYLE, shown

    symbols = [shown(found.symbols[place - 1]) if place else "" for place in found.positions.tolist()]
    upright = max(map(len, symbols)) <= 2
    units = len(found.set_values)
    data = BytesIO()
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        width = max(4.5, min(16.0, 1.5 + (0.2 if upright else 0.5) * len(symbols)))
        figure = Figure(figsize=(width + (4.5 if units else 0.5), 4.8), layout="constrained")
        panels = figure.subplots(
            1, 2 if units else 1, sharey=True, squeeze=False, width_ratios=[width, 4.5][: 1 + bool(units)]
        )[0]
        for axes in panels:
            for name, value, dash in (("first text", found.first, "--"), ("second text", found.second, ":")):
                axes.axhline(value, color=GREY, ls=dash, lw=1.2, label=name if axes is panels[0] else None)
            axes.axhline(0, color=GREY, lw=0.8)
        for number, name in enumerate(found.main_parts):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
            panels[0].plot(found.curves[name], color=colour, marker=marker, ms=5, lw=1.6, label=name)
        turned: dict[str, Any] = {} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        panels[0].set_xticks(range(len(symbols)), symbols, **turned)
        panels[0].set_xlabel("patched after this symbol")
        panels[0].set_ylabel(f"log p({shown(found.target)}) − log p({shown(found.against)}), nats")
        if units:
            panels[1].plot(np.arange(1, units + 1), found.set_values, color=COLOURS[3], marker=MARKERS[3], ms=4, lw=1.6)
            ticks = [2**k for k in range(units.bit_length())]
            panels[1].set_xscale("log", base=2)
            panels[1].set_xticks(ticks, [str(tick) for tick in ticks])
            panels[1].set_xlabel(f"units patched together after {found.at[0]} symbols, the strongest first")
        figure.legend(loc="outside upper left", ncols=5, title=title, title_fontsize=12, alignment="left")
        figure.savefig(data, format=ending[1:], dpi=DPI, metadata=FORMATS[ending])
    return data.getvalue()

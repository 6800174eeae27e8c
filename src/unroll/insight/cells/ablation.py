"""What holding a cell changes: what the network then predicts worse, beside cells that move as much; its samples."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import Opened, open_model
from unroll.errors import UserError
from unroll.files import StrPath
from unroll.insight.cells.properties import read_text
from unroll.insight.cells.search import interval
from unroll.insight.hold import (
    SPAN,
    Cell,
    Held,
    Reading,
    Recorded,
    Stretches,
    checked_cell,
    held_stepper,
    matched,
    read_held,
    record,
    stretches,
)
from unroll.insight.trace import Floats, Ids, network_of
from unroll.lm.sample import SampleOptions, encode_prompt, generate
from unroll.nn.model import Model
from unroll.progress import Progress, Work, result

Mask = NDArray[np.bool_]

CAUSAL = 10.0
"""How many times as much as matched cells' a causal cell's holding costs the property's marks."""
APART = 2.0
"""And how many times as much as all else, both beside the matched cells'."""
LEAST_NATS = 1e-9
"""What holding matched cells costs at least, so that there is a ratio where they do nothing at all."""
DRAWS = 1000
MOST = 2**14
"""Symbols of a text on which a cell is held."""
LEAST = 64
FEW = 8
"""Stretches, at least, for an interval."""
CLASSES = {"Lu": "capitals", "Lt": "capitals", "L": "letters", "N": "digits", "P": "punctuation", "S": "signs"}
"""Of symbols, by the Unicode category of their first character."""
WORST = 10
"""Symbols that are told."""


@dataclass(frozen=True)
class Ablation:
    """What holding a cell at its mean costs, in nats per symbol, beside units of its layer that move as much."""

    cost: float
    """Added to telling whether a mark of the property comes next, and of which kind: where it rises or falls."""
    interval: tuple[float, float]
    """95 %, over stretches drawn anew."""
    matched: int
    """Units."""
    matched_mean: float
    """What holding them costs, up or down, on average."""
    matched_largest: float
    elsewhere: float
    """Added to all else: which symbol of its kind it is."""
    elsewhere_ratio: float
    """To what matched cells add there, up or down, on average."""

    @property
    def ratio(self) -> float:
        """Of the cost to the matched cells'."""
        return self.cost / max(self.matched_mean, LEAST_NATS)

    @property
    def causal(self) -> bool:
        """Whether it harms the property, and the property above all."""
        return (
            self.interval[0] > 0
            and self.cost > self.matched_largest
            and self.ratio >= CAUSAL
            and self.ratio >= APART * self.elsewhere_ratio
        )

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "cost": self.cost,
            "interval": list(self.interval),
            "matched": self.matched,
            "matched_mean": self.matched_mean,
            "matched_largest": self.matched_largest,
            "elsewhere": self.elsewhere,
            "elsewhere_ratio": self.elsewhere_ratio,
        }


def held_beside(
    network: Model, read: Stretches, cells: Sequence[Cell], recorded: Recorded, idle: Mask, marks: Ids
) -> Work[dict[Cell, Ablation]]:
    """Hold each of the cells at its mean, and `MATCHED` of the `idle` units (layers, H) that move as much as it does.

    Yields progress and returns what each costs, in telling the kinds of `marks` and in all else.
    """
    beside = {
        cell: [
            Cell(cell.layer, cell.signal, unit)
            for unit in matched(recorded.shown(cell.layer), cell.unit, idle[cell.layer])
        ]
        for cell in cells
    }
    every = list(dict.fromkeys([*cells, *(one for some in beside.values() for one in some)]))
    helds = [Held(cell, float(recorded.values[:, recorded.column(cell)].mean(dtype=np.float64))) for cell in every]
    free, *held = yield from read_held(network, read, helds, marks)
    on_marks = {cell: one.marks - free.marks for cell, one in zip(every, held, strict=True)}
    elsewhere = {
        cell: float((one.nats - free.nats).mean() - on_marks[cell].mean())
        for cell, one in zip(every, held, strict=True)
    }
    found = {}
    for cell in cells:
        others = np.array([on_marks[one].mean() for one in beside[cell]] or [0.0])
        around = float(np.mean([abs(elsewhere[one]) for one in beside[cell]] or [0.0]))
        found[cell] = Ablation(
            cost=float(on_marks[cell].mean()),
            interval=over_stretches(on_marks[cell]),
            matched=len(beside[cell]),
            matched_mean=float(np.abs(others).mean()),
            matched_largest=float(others.max()),
            elsewhere=elsewhere[cell],
            elsewhere_ratio=abs(elsewhere[cell]) / max(around, LEAST_NATS),
        )
    return found


def over_stretches(costs: Floats) -> tuple[float, float]:
    """Return the 95 % interval of the mean of costs (R, L) over stretches drawn anew."""
    means = costs.mean(axis=1)
    drawn = np.random.default_rng(0).integers(0, len(means), (DRAWS, len(means)))
    return interval(means[drawn].mean(axis=1))


# ---- one cell, by hand


@dataclass(frozen=True)
class Change:
    """What symbols cost as the network is and with the cell held, in nats each."""

    name: str
    count: int
    nats: float
    held: float

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {"name": self.name, "count": self.count, "nats": self.nats, "held": self.held}


@dataclass(frozen=True)
class Ablated:
    """What changes when one cell is held."""

    model: str
    file: str
    cell: Cell
    value: float
    """At which it is held."""
    mean: float
    """Of the cell on the text."""
    deviation: float
    symbols: int
    """That were read."""
    nats: float
    """Per symbol, as the network is."""
    held: float
    """Per symbol, with the cell held."""
    interval: tuple[float, float] | None
    """95 % of held - nats, over stretches drawn anew; None of a text of a few stretches."""
    divergence: float
    """KL(as it is ‖ held) of the predictions, in nats per symbol."""
    classes: tuple[Change, ...]
    worst: tuple[Change, ...]
    """The symbols to which most nats are added in all, those first."""
    matched: int
    """Units of the layer whose h moves as much, held as many deviations from their means."""
    matched_mean: float
    """What they add per symbol, up or down, on average."""
    matched_largest: float
    prompt: str | None
    samples: tuple[str, str] | None
    """What the network writes after the prompt as it is and with the cell held, from the same random numbers."""
    notes: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """Of the added nats to those that matched cells add."""
        return (self.held - self.nats) / max(self.matched_mean, LEAST_NATS)

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "model": self.model,
            "file": self.file,
            "layer": self.cell.layer,
            "unit": self.cell.unit,
            "signal": self.cell.signal,
            "value": self.value,
            "mean": self.mean,
            "deviation": self.deviation,
            "symbols": self.symbols,
            "nats": self.nats,
            "held_nats": self.held,
            "interval": None if self.interval is None else list(self.interval),
            "divergence": self.divergence,
            "classes": [change.figures() for change in self.classes],
            "worst": [change.figures() for change in self.worst],
            "matched": {
                "units": self.matched,
                "mean": self.matched_mean,
                "largest": self.matched_largest,
                "ratio": self.ratio if self.matched else None,
            },
            "prompt": self.prompt,
            "samples": None if self.samples is None else {"as_is": self.samples[0], "held": self.samples[1]},
            "notes": list(self.notes),
        }


def ablate(
    model: StrPath,
    layer: int,
    unit: int,
    *,
    signal: str | None = None,
    value: float | None = None,
    file: StrPath | None = None,
    prompt: str | None = None,
    length: int = 300,
    seed: int = 0,
) -> Ablated:
    """Hold a cell of a model at a value, by default its mean, and compare what the model makes of a text.

    The text is a file, or else the validation part of the model's own. `signal`: `c`, where there is one, or `h`.
    With a `prompt` samples are taken as well. Raises UserError.
    """
    text = None if file is None else Path(file)
    opened = open_model(Path(model), needs="network")
    return result(hold(opened, layer, unit, text, signal=signal, value=value, prompt=prompt, length=length, seed=seed))


def hold(
    opened: Opened,
    layer: int,
    unit: int,
    file: Path | None,
    *,
    signal: str | None = None,
    value: float | None = None,
    prompt: str | None = None,
    length: int = 300,
    seed: int = 0,
) -> Work[Ablated]:
    """Do what `ablate` does, yielding progress; returns the result."""
    network, tokenizer, notes = network_of(opened), opened.tokenizer, list[str]()
    cell = checked_cell(network, layer, unit, signal)
    prompt_ids = None if prompt is None else encode_prompt(tokenizer, prompt)
    options = SampleOptions(seed=seed)
    text = read_text(opened, file)
    if len(text.ids) > MOST:
        notes.append(f"of {len(text.ids):,} symbols the first {MOST:,} are read")
    ids = text.ids[:MOST]
    if len(ids) < LEAST:
        raise UserError(
            f"{text.name} has {len(ids)} symbols", allowed=f"{LEAST} or more", fix="name a longer text: --file F"
        )
    span = len(ids) // -(-len(ids) // SPAN)
    starts = list(range(0, len(ids) - span + 1, span))
    recorded = yield from record(network, ids, tokenizer.start_id, np.arange(len(ids)), starts)
    helds, mean, deviation = held_alike(recorded, cell, value)
    read = stretches(ids, tokenizer.start_id, starts, span, recorded.states)
    free, held, *others = yield from read_held(network, read, helds)
    added = np.array([(one.nats - free.nats).mean() for one in others] or [0.0])
    targets = read.targets.numpy().ravel()
    samples = None
    if prompt_ids is not None:
        yield Progress("writing", 0, 1)
        as_is, with_held = (
            "".join(one.text for one in generate(held_stepper(network, what), tokenizer, prompt_ids, length, options))
            for what in (None, helds[0])
        )
        samples = (as_is, with_held)
    return Ablated(
        model=str(opened.path),
        file=text.name,
        cell=cell,
        value=helds[0].value,
        mean=mean,
        deviation=deviation,
        symbols=len(targets),
        nats=float(free.nats.mean()),
        held=float(held.nats.mean()),
        interval=over_stretches(held.nats - free.nats) if len(starts) >= FEW else None,
        divergence=float(held.divergence.mean()),
        classes=changes(np.array([kind_of(piece) for piece in tokenizer.pieces]), targets, free, held),
        worst=changes(np.array([tokenizer.symbol(k) for k in range(tokenizer.vocab_size)]), targets, free, held)[
            :WORST
        ],
        matched=len(others),
        matched_mean=float(np.abs(added).mean()),
        matched_largest=float(added.max()),
        prompt=prompt,
        samples=samples,
        notes=tuple(notes),
    )


def held_alike(recorded: Recorded, cell: Cell, value: float | None) -> tuple[list[Held], float, float]:
    """Return a cell held at a value, then matched cells as many deviations from their means; its mean, its deviation.

    Without a value all are held at their means.
    """
    beside = matched(recorded.shown(cell.layer), cell.unit, np.ones(recorded.size, np.bool_))
    cells = [cell, *(replace(cell, unit=unit) for unit in beside)]
    its = recorded.values[:, [recorded.column(one) for one in cells]]
    means, deviations = its.mean(axis=0, dtype=np.float64), its.std(axis=0, dtype=np.float64)
    away = 0.0 if value is None else (value - means[0]) / max(deviations[0], LEAST_NATS)
    values = means + away * deviations
    values[0] = means[0] if value is None else value  # exactly, also where the cell never moves
    helds = [Held(one, float(at)) for one, at in zip(cells, values, strict=True)]
    return helds, float(means[0]), float(deviations[0])


def changes(names: NDArray[np.str_], targets: Ids, free: Reading, held: Reading) -> tuple[Change, ...]:
    """Return what symbols of each name (V,) cost, those first to which most nats are added in all."""
    kinds, which = np.unique(names[targets], return_inverse=True)
    counts = np.bincount(which)
    before, after = (np.bincount(which, one.nats.ravel()) for one in (free, held))
    order = np.argsort(before - after, kind="stable")
    return tuple(
        Change(str(kinds[k]), int(counts[k]), float(before[k] / counts[k]), float(after[k] / counts[k])) for k in order
    )


def kind_of(piece: bytes) -> str:
    """Return the class of a symbol, of its first character."""
    first = piece.decode("utf-8", "replace")[:1]
    if first.isspace():
        return "line ends" if first in "\r\n" else "blanks"
    category = unicodedata.category(first) if first else "C"
    return CLASSES.get(category, CLASSES.get(category[0], "others"))

"""What clamping a cell changes: what the network predicts worse, relative to matched cells; and its samples."""

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import Opened, open_model
from unroll.errors import UserError
from unroll.files import StrPath, as_path
from unroll.insight.cells.properties import read_text
from unroll.insight.cells.search import interval
from unroll.insight.hold import (
    SPAN,
    Cell,
    ClampedPredictor,
    Costs,
    Held,
    Mask,
    Recorded,
    Stretches,
    checked_cell,
    matched,
    read_held,
    record,
    stretches,
)
from unroll.insight.trace import Floats, Ids, network_of
from unroll.lm.sample import SampleOptions, encode_prompt, generate
from unroll.nn.model import Model
from unroll.progress import Progress, Work, result

CAUSAL = 10.0
"""Least ratio of what clamping a causal cell costs the property's marks to what matched cells cost."""
APART = 2.0
"""Least ratio of that cost to the cost elsewhere, both relative to matched cells."""
LEAST_NATS = 1e-9
"""Floor of the cost of matched cells, so that a ratio exists where they do nothing at all."""
DRAWS = 1000
MOST = 2**14
"""Symbols of a text on which a cell is clamped."""
LEAST = 64
FEW = 8
"""Fewest stretches for an interval."""
CLASSES = {"Lu": "capitals", "Lt": "capitals", "L": "letters", "N": "digits", "P": "punctuation", "S": "signs"}
"""Classes of symbols by the Unicode category of their first character."""
WORST = 10
"""Symbols to list."""


@dataclass(frozen=True)
class Ablation:
    """What clamping a cell at its mean costs, in nats per symbol, relative to matched units of its layer."""

    cost: float
    """Added to predicting whether a mark of the property comes next, and of which kind: one that rises or falls."""
    interval: tuple[float, float]
    """95 % interval over resampled stretches."""
    matched: int
    """Number of matched units."""
    matched_mean: float
    """Mean size of what clamping them costs."""
    matched_largest: float
    elsewhere: float
    """Added to everything else: which symbol of its kind comes."""
    elsewhere_ratio: float
    """Its size relative to the mean size for matched cells."""

    @property
    def ratio(self) -> float:
        """The cost relative to that of matched cells."""
        return self.cost / max(self.matched_mean, LEAST_NATS)

    @property
    def causal(self) -> bool:
        """Whether clamping harms the property, and the property above all."""
        return (
            self.interval[0] > 0
            and self.cost > self.matched_largest
            and self.ratio >= CAUSAL
            and self.ratio >= APART * self.elsewhere_ratio
        )


def held_beside(
    network: Model, read: Stretches, cells: Sequence[Cell], recorded: Recorded, idle: Mask, marks: Ids
) -> Work[dict[Cell, Ablation]]:
    """Clamp each of the cells at its mean, and `MATCHED` of the `idle` units (layers, H) that move as much as it does.

    Yields progress and returns what each costs, in predicting the kinds of `marks` and in everything else.
    """
    matched_cells = {
        cell: [
            Cell(cell.layer, cell.signal, unit)
            for unit in matched(recorded.shown(cell.layer), cell.unit, idle[cell.layer])
        ]
        for cell in cells
    }
    all_cells = list(
        dict.fromkeys([*cells, *(other for cells_beside in matched_cells.values() for other in cells_beside)])
    )
    clamps = [Held(cell, float(recorded.values[:, recorded.column(cell)].mean(dtype=np.float64))) for cell in all_cells]
    free, *clamped = yield from read_held(network, read, clamps, marks)
    on_marks = {cell: other.marks - free.marks for cell, other in zip(all_cells, clamped, strict=True)}
    elsewhere = {
        cell: float((other.nats - free.nats).mean() - on_marks[cell].mean())
        for cell, other in zip(all_cells, clamped, strict=True)
    }
    ablations = {}
    for cell in cells:
        matched_costs = np.array([on_marks[other].mean() for other in matched_cells[cell]] or [0.0])
        matched_elsewhere = float(np.mean([abs(elsewhere[other]) for other in matched_cells[cell]] or [0.0]))
        ablations[cell] = Ablation(
            cost=float(on_marks[cell].mean()),
            interval=over_stretches(on_marks[cell]),
            matched=len(matched_cells[cell]),
            matched_mean=float(np.abs(matched_costs).mean()),
            matched_largest=float(matched_costs.max()),
            elsewhere=elsewhere[cell],
            elsewhere_ratio=abs(elsewhere[cell]) / max(matched_elsewhere, LEAST_NATS),
        )
    return ablations


def over_stretches(costs: Floats) -> tuple[float, float]:
    """Return the 95 % interval of the mean of costs (R, L) over resampled stretches."""
    means = costs.mean(axis=1)
    resamples = np.random.default_rng(0).integers(0, len(means), (DRAWS, len(means)))
    return interval(means[resamples].mean(axis=1))


# ---- one chosen cell


@dataclass(frozen=True)
class Change:
    """What symbols cost in the unchanged network and with the cell clamped, in nats each."""

    name: str
    count: int
    nats: float
    held: float


@dataclass(frozen=True)
class Ablated:
    """What changes when one cell is clamped."""

    model: str
    file: str
    cell: Cell
    value: float
    """At which the cell is clamped."""
    mean: float
    """Mean of the cell on the text."""
    deviation: float
    symbols: int
    """Symbols read."""
    nats: float
    """Per symbol, of the unchanged network."""
    held: float
    """Per symbol, with the cell clamped."""
    interval: tuple[float, float] | None
    """95 % interval of held - nats over resampled stretches; None for a text of few stretches."""
    divergence: float
    """KL(unchanged ‖ clamped) of the predictions, in nats per symbol."""
    classes: tuple[Change, ...]
    worst: tuple[Change, ...]
    """The symbols to which most nats are added in total, the worst first."""
    matched: int
    """Units of the layer whose h moves as much, clamped as many deviations from their means."""
    matched_mean: float
    """Mean size of what they add per symbol."""
    matched_largest: float
    prompt: str | None
    samples: tuple[str, str] | None
    """Samples after the prompt, unchanged and with the cell clamped, from the same random numbers."""
    notes: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """The added nats relative to those of matched cells."""
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
            "classes": [asdict(change) for change in self.classes],
            "worst": [asdict(change) for change in self.worst],
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
    """Clamp a cell of a model at a value, by default its mean, and compare the model's predictions on a text.

    The text is a file, or else the model's own validation part. `signal`: `c`, where there is one, or `h`.
    With a `prompt` samples are taken as well. Raises UserError.
    """
    text = as_path(file)
    opened = open_model(Path(model), needs="network")
    return result(
        ablating(opened, layer, unit, text, signal=signal, value=value, prompt=prompt, length=length, seed=seed)
    )


def ablating(
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
        notes.append(f"only the first {MOST:,} of {len(text.ids):,} symbols are read")
    ids = text.ids[:MOST]
    if len(ids) < LEAST:
        raise UserError(
            f"{text.name} has {len(ids)} symbols", allowed=f"{LEAST} or more", fix="name a longer text: --file F"
        )
    span = len(ids) // -(-len(ids) // SPAN)
    starts = list(range(0, len(ids) - span + 1, span))
    recorded = yield from record(network, ids, tokenizer.start_id, np.arange(len(ids)), starts)
    clamps, mean, deviation = held_alike(recorded, cell, value)
    pieces = stretches(ids, tokenizer.start_id, starts, span, recorded.states)
    free, clamped, *matched_costs = yield from read_held(network, pieces, clamps)
    added = np.array([(costs.nats - free.nats).mean() for costs in matched_costs] or [0.0])
    targets = pieces.targets.numpy().ravel()
    samples = None
    if prompt_ids is not None:
        yield Progress("sampling", 0, 1)
        spaced = tokenizer.leaves_space(prompt or "", prompt_ids)
        as_is, as_clamped = (
            "".join(
                symbol.text for symbol in generate(predictor, tokenizer, prompt_ids, length, options, spaced=spaced)
            )
            for predictor in (ClampedPredictor(network, []), ClampedPredictor(network, clamps[:1]))
        )
        samples = (as_is, as_clamped)
    return Ablated(
        model=str(opened.path),
        file=text.name,
        cell=cell,
        value=clamps[0].value,
        mean=mean,
        deviation=deviation,
        symbols=len(targets),
        nats=float(free.nats.mean()),
        held=float(clamped.nats.mean()),
        interval=over_stretches(clamped.nats - free.nats) if len(starts) >= FEW else None,
        divergence=float(clamped.divergence.mean()),
        classes=changes(np.array([kind_of(piece) for piece in tokenizer.pieces]), targets, free, clamped),
        worst=changes(np.array([tokenizer.symbol(k) for k in range(tokenizer.vocab_size)]), targets, free, clamped)[
            :WORST
        ],
        matched=len(matched_costs),
        matched_mean=float(np.abs(added).mean()),
        matched_largest=float(added.max()),
        prompt=prompt,
        samples=samples,
        notes=tuple(notes),
    )


def held_alike(recorded: Recorded, cell: Cell, value: float | None) -> tuple[list[Held], float, float]:
    """Return a cell clamped at a value, then matched cells as many deviations from their means; its mean and deviation.

    Without a value all are clamped at their means.
    """
    units = matched(recorded.shown(cell.layer), cell.unit, np.ones(recorded.size, np.bool_))
    cells = [cell, *(replace(cell, unit=unit) for unit in units)]
    columns = recorded.values[:, [recorded.column(column_cell) for column_cell in cells]]
    means, deviations = columns.mean(axis=0, dtype=np.float64), columns.std(axis=0, dtype=np.float64)
    distance = 0.0 if value is None else (value - means[0]) / max(deviations[0], LEAST_NATS)
    values = means + distance * deviations
    values[0] = means[0] if value is None else value  # exactly, also where the cell never moves
    clamps = [Held(held_cell, float(clamp_value)) for held_cell, clamp_value in zip(cells, values, strict=True)]
    return clamps, float(means[0]), float(deviations[0])


def changes(names: NDArray[np.str_], targets: Ids, free: Costs, clamped: Costs) -> tuple[Change, ...]:
    """Return what symbols of each name (V,) cost, those to which most nats are added first."""
    kinds, name_of = np.unique(names[targets], return_inverse=True)
    counts = np.bincount(name_of)
    before, after = (np.bincount(name_of, costs.nats.ravel()) for costs in (free, clamped))
    order = np.argsort(before - after, kind="stable")
    return tuple(
        Change(str(kinds[k]), int(counts[k]), float(before[k] / counts[k]), float(after[k] / counts[k])) for k in order
    )


def kind_of(piece: bytes) -> str:
    """Return the class of a symbol by its first character."""
    first = piece.decode("utf-8", "replace")[:1]
    if first.isspace():
        return "line ends" if first in "\r\n" else "blanks"
    category = unicodedata.category(first) if first else "C"
    return CLASSES.get(category, CLASSES.get(category[0], "others"))

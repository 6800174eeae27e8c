"""Which cell tracks this: every unit against a property of the text, with what a finding must pass before it counts."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from unroll.artifact.open import Opened, open_model
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError, install
from unroll.files import StrPath
from unroll.insight.cells import probe
from unroll.insight.cells.ablation import Ablation, held_beside
from unroll.insight.cells.properties import Ids, Labels, Text, label, marks, read_text
from unroll.insight.cells.search import Searched, Spectra, interval, resampled, score, search, spectra
from unroll.insight.hold import SPAN, Cell, Recorded, Stretches, record, stretches
from unroll.insight.trace import network_of
from unroll.nn.model import Model
from unroll.progress import Progress, Work, result
from unroll.state import select_rows

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]
Verdict = Literal["causal", "tracks", "leans", "none"]

MOST = 2**17
"""Symbols of a text that are read."""
LEAST = 1000
KEPT = 2**26
"""Values of units that are in memory; of a longer text every second symbol is taken, or every third and so on."""
STRETCHES = 32
"""Of the second half, in which cells are held."""
ALPHA = 0.01
VERDICTS: dict[Verdict, str] = {
    "leans": "its score in both halves of the text is above what the best of all units reaches in both halves in 99 % "
    "of all circular shifts of the labels (p <= 0.01)",
    "tracks": "leans, and scores above every unit of an untrained network, and in the second half above what the last "
    "8 characters tell: the 95 % interval of the gain lies above 0",
    "causal": "tracks, and held at its mean it makes the network predict the property's marks worse: by 10 times as "
    "much as matched cells do, by more than any of them, with a 95 % interval above 0; and beside theirs it harms the "
    "marks at least twice as much as all else",
    "none": "none of these",
}


@dataclass(frozen=True)
class Finding:
    """A unit and what it has to do with the property."""

    cell: Cell
    rises: bool
    """Whether it is high where the property holds, or its number is large; else low."""
    score: float
    """In the second half, with the sign of the first: AUROC, or correlation."""
    fit_score: float
    """In the first half."""
    interval: tuple[float, float]
    """95 % of the score."""
    p_value: float
    null: float
    """What must be passed in both halves: the 99th percentile of the best of all units over all shifts."""
    untrained: float
    """What the best unit of an untrained network reaches in both halves."""
    gain: float | None
    """Over what the last 8 characters tell; None without scikit-learn."""
    gain_interval: tuple[float, float] | None
    ablation: Ablation | None
    """None where the cell does not track the property, or no symbols mark it."""

    @property
    def weaker(self) -> float:
        """What it reaches in both halves."""
        return min(self.fit_score, self.score)

    @property
    def verdict(self) -> Verdict:
        """What the finding is worth, by the thresholds of VERDICTS."""
        if self.p_value > ALPHA:
            return "none"
        if self.weaker <= self.untrained or self.gain_interval is None or self.gain_interval[0] <= 0:
            return "leans"
        return "causal" if self.ablation and self.ablation.causal else "tracks"

    def figures(self, metric: str) -> dict[str, Any]:
        """Return the finding as JSON."""
        held = self.ablation
        return {
            "layer": self.cell.layer,
            "unit": self.cell.unit,
            "signal": self.cell.signal,
            "score": self.score,
            "metric": metric,
            "interval": list(self.interval),
            "rises": self.rises,
            "fit_score": self.fit_score,
            "null": self.null,
            "p_value": self.p_value,
            "untrained": self.untrained,
            "gain": self.gain,
            "gain_interval": None if self.gain_interval is None else list(self.gain_interval),
            "ablation_ratio": None if held is None else held.ratio,
            "ablation": None if held is None else held.figures(),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Probe:
    """What all units tell together, and a few of them, by a linear probe: fitted on one half, scored on the other."""

    score: float
    interval: tuple[float, float]
    untrained: float
    """The same probe on an untrained network."""
    small: tuple[tuple[tuple[Cell, ...], float], ...]

    def figures(self, metric: str) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "score": self.score,
            "metric": metric,
            "interval": list(self.interval),
            "untrained": self.untrained,
            "small": [
                {
                    "cells": [{"layer": one.layer, "unit": one.unit, "signal": one.signal} for one in cells],
                    "score": its,
                }
                for cells, its in self.small
            ],
        }


@dataclass(frozen=True)
class Sample:
    """What the best cell does over a stretch of the second half."""

    cell: Cell
    symbols: tuple[str, ...]
    values: Floats
    """Of the cell, after each symbol (L,)."""
    labels: Floats
    """(L,)"""


@dataclass(frozen=True)
class Tracking:
    """Who tracks a property, and who seems to."""

    model: str
    file: str
    labels: Labels
    symbols: int
    """That were read."""
    searched: int
    """Signals of units."""
    recent: float | None
    """What the last 8 characters tell, as a score."""
    marks: tuple[str, ...] | None
    """The symbols at which the property changes, the most frequent first."""
    findings: tuple[Finding, ...]
    """One for each of the units that go best with the property, by the better of its signals."""
    probe: Probe | None
    sample: Sample | None
    notes: tuple[str, ...]

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        metric = self.labels.metric
        return {
            "model": self.model,
            "file": self.file,
            "property": self.labels.name,
            "symbols": self.symbols,
            "searched": self.searched,
            "mean_label": float(self.labels.values.mean()),
            "last_8_characters": self.recent,
            "marks": None if self.marks is None else list(self.marks),
            "findings": [finding.figures(metric) for finding in self.findings],
            "probe": None if self.probe is None else self.probe.figures(metric),
            "thresholds": dict(VERDICTS),
            "notes": list(self.notes),
        }


def cells(model: StrPath, file: StrPath | None = None, *, property: str = "quotes", top: int = 10) -> Tracking:
    """Find the units of a model that track a property of a text, by default its own validation part.

    `property`: a name of `properties.PROPERTIES`, `re:PATTERN`, or a table `FILE.tsv`. Raises UserError.
    """
    opened = open_model(Path(model), needs="network")
    text = read_text(opened, None if file is None else Path(file))
    return result(track(opened, text, label(text, property), top=top))


@dataclass(frozen=True)
class Read:
    """A text as a network has read it: what its units did, and those of an untrained one; for any number of labels."""

    opened: Opened
    network: Model
    text: Text
    """What was read."""
    places: Ids
    """The symbols (n,) after which units are compared."""
    starts: tuple[int, ...]
    """The stretches of the second half, in which cells can be held; none of a window, which keeps nothing."""
    span: int
    """Their length."""
    trained: Recorded
    bare: Recorded
    notes: tuple[str, ...]

    @cached_property
    def recent(self) -> Ids:
        """The last 8 characters after each symbol (N, 8)."""
        return probe.recent(self.text)

    @cached_property
    def _spectra(self) -> dict[bool, tuple[Spectra, Spectra]]:
        return {}

    def search(self, values: Floats, *, binary: bool) -> tuple[Searched, float]:
        """Measure all units against labels (n,); also return the best of an untrained network in both halves."""
        if binary not in self._spectra:
            self._spectra[binary] = (
                spectra(self.trained.values, binary=binary),
                spectra(self.bare.values, binary=binary),
            )
        found, untrained = (search(its, values) for its in self._spectra[binary])
        return found, float(untrained.weaker.max())

    def stretches(self, changes: Mask) -> tuple[list[int], Stretches]:
        """Return where the stretches begin in which a property changes (N,) most often, and they themselves."""
        often = [-int(changes[start : start + self.span].sum()) for start in self.starts]
        chosen = np.sort(np.argsort(often, kind="stable")[:STRETCHES])
        starts = [self.starts[k] for k in chosen]
        states = select_rows(self.trained.states, torch.from_numpy(chosen))
        return starts, stretches(self.text.ids, self.opened.tokenizer.start_id, starts, self.span, states)


def track(opened: Opened, text: Text, labels: Labels, *, top: int = 10) -> Work[Tracking]:
    """Do what `cells` does with the labels of a text, yielding progress; returns the result."""
    if top < 1:
        raise UserError(f"--top is {top}", allowed="1 or more", fix="for example --top 10")
    places = sampled(min(MOST, len(text.ids)), network_of(opened))
    check(labels, labels.values[places], text.name)  # before it takes time
    read = yield from reading(opened, text)
    return (yield from judge(read, labels, top=top))


def reading(opened: Opened, text: Text) -> Work[Read]:
    """Read a text with a network and with an untrained one; yields progress and returns what units did."""
    network, start_id, notes = network_of(opened), opened.tokenizer.start_id, list[str]()
    if len(text.ids) > MOST:
        notes.append(f"of {len(text.ids):,} symbols the first {MOST:,} are read")
        content = text.content[: int(text.ends[MOST - 1]) + 1]
        text = replace(text, content=content, ids=text.ids[:MOST], ends=text.ends[:MOST])
    ids = text.ids
    places = sampled(len(ids), network)
    starts, span = list[int](), 0
    if network.config.arch != "window":
        first = int(places[len(places) // 2])
        span = max(16, min(SPAN, (len(ids) - first) // STRETCHES))
        starts = list(range(first, len(ids) - span + 1, span))
    trained = yield from record(network, ids, start_id, places, starts)
    bare = yield from record(untrained(network), ids, start_id, places, phase="reading, untrained")
    return Read(opened, network, text, places, tuple(starts), span, trained, bare, tuple(notes))


def judge(read: Read, labels: Labels, *, top: int = 10, probing: bool = True) -> Work[Tracking]:
    """Tell which units track a property of a text that was read; yields progress and returns the result.

    Without `probing` there is no probe of all units, and the last 8 characters are asked only where a unit leans: for
    those who ask for many properties. Raises UserError.
    """
    network, tokenizer, trained, notes = read.network, read.opened.tokenizer, read.trained, list(read.notes)
    ids, places = read.text.ids, read.places
    labels = replace(labels, values=labels.values[: len(ids)])
    half, binary, values = len(places) // 2, labels.binary, labels.values[places]
    check(labels, values, read.text.name)
    yield Progress("searching", 0, 1)
    found, best_untrained = read.search(values, binary=binary)
    recent: Recent | None = None
    if not probe.installed():
        notes.append(f"gain and probe need scikit-learn, and without a gain cells only lean. {install('insight')}")
    elif probing or found.p_value(float(found.weaker.max())) <= ALPHA:
        yield Progress("asking the last 8 characters", 0, 1)
        told = probe.told_by_recent(read.recent, labels, int(places[half]), places[half:])
        recent = told_of(told, values[half:], binary=binary)
    findings = [
        finding(trained, found, column, values, best_untrained, recent, binary=binary)
        for column in best_columns(found.weaker, trained, top)
    ]
    its_marks = marks(labels, ids, network.config.vocab_size)
    starts, pieces = read.stretches(labels.changes) if read.starts else ([], None)
    if tracking := [one.cell for one in findings if one.verdict == "tracks"]:
        if pieces is None:
            notes.append("a window's units are not held: there is nothing that they keep")
        elif its_marks is None:
            notes.append("no symbols stand for the changes of this property: no cell was held, so that none is causal")
        else:
            idle = idle_units(found, trained)
            ablations = yield from held_beside(network, pieces, tracking, trained, idle, its_marks.kinds)
            findings = [replace(one, ablation=ablations.get(one.cell)) for one in findings]
    linear: Probe | None = None
    if probing and probe.installed():
        yield Progress("probing", 0, 1)
        linear = probed(trained, read.bare, labels, values)
    return Tracking(
        model=str(read.opened.path),
        file=read.text.name,
        labels=labels,
        symbols=len(ids),
        searched=trained.values.shape[1],
        recent=None if recent is None else recent.score,
        marks=None if its_marks is None else tuple(tokenizer.symbol(int(k)) for k in its_marks.symbols),
        findings=tuple(findings),
        probe=linear,
        sample=sample_of(network, tokenizer, labels, findings[0].cell, starts, pieces) if pieces else None,
        notes=tuple(notes),
    )


def sampled(symbols: int, network: Model) -> Ids:
    """Return the symbols (n,) after which units are compared, an even number; raises UserError where there are few."""
    if symbols < LEAST:
        raise UserError(
            f"the text has {symbols:,} symbols",
            allowed=f"{LEAST:,} or more: cells are chosen on one half of it and measured on the other",
            fix="name a longer text: --file F",
        )
    columns = 2 * network.config.num_layers * network.config.hidden_size
    places = np.arange(0, symbols, 1 + symbols * columns // KEPT)
    return places[: len(places) // 2 * 2]


def check(labels: Labels, values: Floats, name: str) -> None:
    """Raise UserError for labels that are all the same in one of the halves."""
    for part, its in zip(("first", "second"), np.split(values, 2), strict=True):
        if its.min() == its.max():
            counts = f"{int(its.sum()):,} of {len(its):,} symbols" if labels.binary else f"always {its[0]:g}"
            raise UserError(
                f"{labels.name} does not vary in the {part} half of {name}: {labels.what}: {counts}",
                allowed="a property that holds at some symbols of each half and not at others",
                fix="name another property, or another text with --file",
            )


def untrained(network: Model) -> Model:
    """Return a network of the same shape as training starts it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Model(network.config).eval()


def best_columns(scores: Floats, recorded: Recorded, top: int) -> list[int]:
    """Return the column of each of the best units, by the better of its signals, the best first."""
    chosen: dict[tuple[int, int], int] = {}
    for column in np.argsort(-scores, kind="stable").tolist():
        cell = recorded.cell(column)
        chosen.setdefault((cell.layer, cell.unit), column)
        if len(chosen) == top:
            break
    return list(chosen.values())


@dataclass(frozen=True)
class Recent:
    """What the last 8 characters tell of the second half."""

    score: float
    drawn: Floats
    """Over blocks drawn anew."""


def told_of(told: Floats, labels: Floats, *, binary: bool) -> Recent:
    """Return what guesses (n,) for labels are worth."""
    return Recent(score(told, labels, binary=binary), resampled(told, labels, binary=binary))


def finding(
    recorded: Recorded,
    found: Searched,
    column: int,
    labels: Floats,
    best_untrained: float,
    recent: Recent | None,
    *,
    binary: bool,
) -> Finding:
    """Return what is known of a unit before it is held."""
    half, chance = len(labels) // 2, 0.5 if binary else 0.0
    sign = 1.0 if found.fit[column] >= 0 else -1.0
    its, wanted = sign * recorded.values[half:, column], labels[half:]
    scores = resampled(its, wanted, binary=binary)
    reached = score(its, wanted, binary=binary)
    return Finding(
        cell=recorded.cell(column),
        rises=sign > 0,
        score=reached,
        fit_score=chance + abs(float(found.fit[column])),
        interval=interval(scores),
        p_value=found.p_value(float(found.weaker[column])),
        null=chance + found.quantile(ALPHA),
        untrained=chance + best_untrained,
        gain=None if recent is None else reached - recent.score,
        gain_interval=None if recent is None else interval(scores - recent.drawn),
        ablation=None,
    )


def idle_units(found: Searched, recorded: Recorded) -> Mask:
    """Return the units (layers, H) that have little to do with the property: the lower half of them, by |score|."""
    size, signals = recorded.size, len(recorded.signals)
    of_units = np.abs(found.fit).reshape(-1, signals, size).max(axis=1)
    return np.asarray(of_units <= np.median(of_units, axis=1, keepdims=True))


def probed(trained: Recorded, bare: Recorded, labels: Labels, values: Floats) -> Probe:
    """Return what linear probes tell of labels (n,)."""
    half, binary = len(values) // 2, labels.binary
    guesses = probe.told_by_units(trained.values, labels, values)
    small = []
    for columns in probe.small_sets(trained.values, values):
        told = probe.told_by_units(trained.values[:, columns], labels, values)
        small.append((tuple(map(trained.cell, columns)), score(told, values[half:], binary=binary)))
    return Probe(
        score(guesses, values[half:], binary=binary),
        interval(resampled(guesses, values[half:], binary=binary)),
        score(probe.told_by_units(bare.values, labels, values), values[half:], binary=binary),
        tuple(small),
    )


def sample_of(
    network: Model, tokenizer: Tokenizer, labels: Labels, cell: Cell, starts: list[int], read: Stretches
) -> Sample:
    """Return what a cell does over the stretch in which the property changes most often."""
    length = read.inputs.shape[1]
    row = int(np.argmax([labels.changes[start : start + length].sum() for start in starts]))
    with torch.inference_mode():
        _, _, inside = network.trace(read.inputs[row : row + 1], select_rows(read.states, torch.tensor([row])))
    values = inside[cell.layer][cell.signal][0, :, cell.unit].double().numpy()
    symbols = tuple(tokenizer.decode([int(k)]) for k in read.inputs[row])
    return Sample(cell, symbols, values, labels.values[starts[row] - 1 :][:length])

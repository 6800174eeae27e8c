"""Which cell tracks a property of a text: every unit against its labels, and the tests that a finding must pass."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from unroll.artifact.open import Opened, open_model
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError, install, number_of
from unroll.files import StrPath, as_path
from unroll.insight.cells import probe
from unroll.insight.cells.ablation import held_beside
from unroll.insight.cells.findings import ALPHA, Finding, Probe, Sample, Tracking
from unroll.insight.cells.properties import Ids, Labels, Text, label, marks, read_text
from unroll.insight.cells.search import Searched, Spectra, interval, resampled, score, search, spectra
from unroll.insight.hold import SPAN, Cell, Mask, Recorded, Stretches, record, stretches
from unroll.insight.trace import Floats, network_of, untrained
from unroll.nn.model import Model
from unroll.progress import Progress, Work, result
from unroll.state import select_rows

MOST = 2**17
"""Symbols read of a longer text."""
LEAST = 1000
KEPT = 2**26
"""Values of units kept in memory; of a longer text, every second symbol is taken, or every third and so on."""
STRETCHES = 32
"""Stretches of the second half in which cells are clamped."""


def cells(model: StrPath, file: StrPath | None = None, *, property: str = "quotes", top: int = 10) -> Tracking:
    """Find the units of a model that track a property of a text, by default its own validation part.

    `property`: a name of `properties.PROPERTIES`, `re:PATTERN`, or a table `FILE.tsv`. Raises UserError.
    """
    opened = open_model(Path(model), needs="network")
    text = read_text(opened, as_path(file))
    return result(track(opened, text, label(text, property), top=top))


@dataclass(frozen=True)
class Read:
    """A text read by a network and by an untrained one, with the values of all units: for any number of properties."""

    opened: Opened
    network: Model
    text: Text
    """The part read."""
    places: Ids
    """The symbols (n,) after which units are compared."""
    starts: tuple[int, ...]
    """Starts of the stretches of the second half in which cells can be clamped; none for a window."""
    span: int
    """Length of these stretches."""
    trained: Recorded
    bare: Recorded
    notes: tuple[str, ...]
    _spectra: dict[bool, tuple[Spectra, Spectra]] = field(default_factory=dict)

    @cached_property
    def recent(self) -> Ids:
        """The last 8 characters after each symbol (N, 8)."""
        return probe.recent(self.text)

    def search(self, values: Floats, *, binary: bool) -> tuple[Searched, float]:
        """Measure all units against labels (n,); also return the best score of an untrained network in both halves."""
        if binary not in self._spectra:
            self._spectra[binary] = (
                spectra(self.trained.values, binary=binary),
                spectra(self.bare.values, binary=binary),
            )
        searched, untrained = (search(transformed, values) for transformed in self._spectra[binary])
        return searched, float(untrained.weaker.max())

    def stretches(self, changes: Mask) -> tuple[list[int], Stretches]:
        """Return the stretches in which a property changes (N,) most often, after their starts."""
        changes_within = [int(changes[start : start + self.span].sum()) for start in self.starts]
        chosen = np.sort(np.argsort(np.negative(changes_within), kind="stable")[:STRETCHES])
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
        notes.append(f"only the first {MOST:,} of {len(text.ids):,} symbols are read")
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
    untrained_values = yield from record(
        untrained(network), ids, start_id, places, phase="reading with an untrained network"
    )
    return Read(opened, network, text, places, tuple(starts), span, trained, untrained_values, tuple(notes))


def judge(read: Read, labels: Labels, *, top: int = 10, probing: bool = True) -> Work[Tracking]:
    """Find the units that track a property of a text that was read; yields progress and returns the result.

    Without `probing` there is no probe of all units, and the last 8 characters are asked only where a unit is
    suggestive, which is faster for many properties. Raises UserError.
    """
    network, tokenizer, trained, notes = read.network, read.opened.tokenizer, read.trained, list(read.notes)
    ids, places = read.text.ids, read.places
    labels = replace(labels, values=labels.values[: len(ids)])
    half, binary, values = len(places) // 2, labels.binary, labels.values[places]
    check(labels, values, read.text.name)
    yield Progress("searching", 0, 1)
    searched, best_untrained = read.search(values, binary=binary)
    recent: Recent | None = None
    if not probe.installed():
        notes.append(f"gain and probe need scikit-learn; no cell is more than suggestive. {install('insight')}")
    elif probing or searched.p_value(float(searched.weaker.max())) <= ALPHA:
        yield Progress("scoring the last 8 characters", 0, 1)
        guesses = probe.guesses_by_recent(read.recent, labels, int(places[half]), places[half:])
        recent = Recent(score(guesses, values[half:], binary=binary), resampled(guesses, values[half:], binary=binary))
    findings = [
        finding_of(trained, searched, column, values, best_untrained, recent, binary=binary)
        for column in best_columns(searched.weaker, trained, top)
    ]
    property_marks = marks(labels, ids, network.config.vocab_size)
    starts, changing = read.stretches(labels.changes) if read.starts else ([], None)
    if tracking := [finding.cell for finding in findings if finding.verdict == "tracks"]:
        if changing is None:
            notes.append("the units of a window keep nothing and are not clamped")
        elif property_marks is None:
            notes.append("no symbols mark the changes of this property: no cell was clamped, so none is causal")
        else:
            idle = idle_units(searched, trained)
            ablations = yield from held_beside(network, changing, tracking, trained, idle, property_marks.kinds)
            findings = [replace(finding, ablation=ablations.get(finding.cell)) for finding in findings]
    linear: Probe | None = None
    if probing and probe.installed():
        yield Progress("fitting a linear probe", 0, 1)
        linear = probed(trained, read.bare, labels, values)
    return Tracking(
        model=str(read.opened.path),
        file=read.text.name,
        labels=labels,
        symbols=len(ids),
        searched=trained.values.shape[1],
        recent=None if recent is None else recent.score,
        marks=None if property_marks is None else tuple(tokenizer.symbol(int(k)) for k in property_marks.symbols),
        findings=tuple(findings),
        probe=linear,
        sample=sample_of(network, tokenizer, labels, findings[0].cell, starts, changing) if changing else None,
        notes=tuple(notes),
    )


def sampled(symbols: int, network: Model) -> Ids:
    """Return the symbols (n,) after which units are compared, an even number; raises UserError for a short text."""
    if symbols < LEAST:
        raise UserError(
            f"the text has {number_of(symbols, 'symbol')}",
            allowed=f"{LEAST:,} or more: cells are chosen on one half and measured on the other",
            fix="name a longer text: --file F",
        )
    columns = 2 * network.config.num_layers * network.config.hidden_size
    places = np.arange(0, symbols, 1 + symbols * columns // KEPT)
    return places[: len(places) // 2 * 2]


def check(labels: Labels, values: Floats, name: str, noun: str = "symbols") -> None:
    """Raise UserError for labels, one for each of these `noun`, that do not vary in one of the halves."""
    for half, half_labels in zip(("first", "second"), np.split(values, 2), strict=True):
        if half_labels.min() == half_labels.max():
            counts = (
                f"{int(half_labels.sum()):,} of {len(half_labels):,} {noun}"
                if labels.binary
                else f"always {half_labels[0]:g}"
            )
            raise UserError(
                f"{labels.name} does not vary in the {half} half of {name}: {labels.what}: {counts}",
                allowed=f"a property that some {noun} of each half have and others have not",
                fix="name another property, or another --file",
            )


def best_columns(scores: Floats, recorded: Recorded, top: int) -> list[int]:
    """Return the column of each of the best units, by the better of its signals, the best first."""
    columns: dict[str, int] = {}
    for column in np.argsort(-scores, kind="stable").tolist():
        cell = recorded.cell(column)
        columns.setdefault(cell.place, column)
        if len(columns) == top:
            break
    return list(columns.values())


@dataclass(frozen=True)
class Recent:
    """How well the last 8 characters predict the second half."""

    score: float
    resamples: Floats
    """Scores over resampled blocks."""


def finding_of(
    recorded: Recorded,
    searched: Searched,
    column: int,
    labels: Floats,
    best_untrained: float,
    recent: Recent | None,
    *,
    binary: bool,
) -> Finding:
    """Return the finding of a unit before it is clamped."""
    half, chance = len(labels) // 2, 0.5 if binary else 0.0
    sign = 1.0 if searched.fit[column] >= 0 else -1.0
    unit_values, labels_test = sign * recorded.values[half:, column], labels[half:]
    scores_resampled = resampled(unit_values, labels_test, binary=binary)
    score_test = score(unit_values, labels_test, binary=binary)
    return Finding(
        cell=recorded.cell(column),
        rises=sign > 0,
        score=score_test,
        fit_score=chance + abs(float(searched.fit[column])),
        interval=interval(scores_resampled),
        p_value=searched.p_value(float(searched.weaker[column])),
        null=chance + searched.quantile(ALPHA),
        untrained=chance + best_untrained,
        gain=None if recent is None else score_test - recent.score,
        gain_interval=None if recent is None else interval(scores_resampled - recent.resamples),
        ablation=None,
    )


def idle_units(searched: Searched, recorded: Recorded) -> Mask:
    """Return the units (layers, H) that relate least to the property: the lower half of a layer, by |score|."""
    size, signals = recorded.size, len(recorded.signals)
    unit_scores = np.abs(searched.fit).reshape(-1, signals, size).max(axis=1)
    return np.asarray(unit_scores <= np.median(unit_scores, axis=1, keepdims=True))


def probed(trained: Recorded, bare: Recorded, labels: Labels, values: Floats) -> Probe:
    """Return how well linear probes predict labels (n,)."""
    half, binary = len(values) // 2, labels.binary
    guesses = probe.guesses_by_units(trained.values, labels, values)
    small = []
    for columns in probe.small_sets(trained.values, values):
        small_guesses = probe.guesses_by_units(trained.values[:, columns], labels, values)
        small.append((tuple(map(trained.cell, columns)), score(small_guesses, values[half:], binary=binary)))
    return Probe(
        score(guesses, values[half:], binary=binary),
        interval(resampled(guesses, values[half:], binary=binary)),
        score(probe.guesses_by_units(bare.values, labels, values), values[half:], binary=binary),
        tuple(small),
    )


def sample_of(
    network: Model, tokenizer: Tokenizer, labels: Labels, cell: Cell, starts: list[int], read: Stretches
) -> Sample:
    """Return a cell over the stretch in which the property changes most often."""
    length = read.inputs.shape[1]
    row = int(np.argmax([labels.changes[start : start + length].sum() for start in starts]))
    with torch.inference_mode():
        _, _, inside = network.trace(read.inputs[row : row + 1], select_rows(read.states, torch.tensor([row])))
    values = inside[cell.layer][cell.signal][0, :, cell.unit].double().numpy()
    symbols = tuple(tokenizer.decode([int(k)]) for k in read.inputs[row])
    return Sample(cell, symbols, values, labels.values[starts[row] - 1 :][:length])

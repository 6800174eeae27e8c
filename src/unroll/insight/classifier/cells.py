"""Which units of a classifier follow a property of its texts, unit by unit, or separate a label from all others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.artifact.classifier import AnyClassifier, OpenClassifier, as_classifier, label_ids
from unroll.data.reader import Reading
from unroll.errors import UserError, check_positive, did_you_mean, install, number_of
from unroll.files import StrPath, as_path
from unroll.insight.cells import probe
from unroll.insight.cells.findings import VERDICTS, Sample, Tracking
from unroll.insight.cells.measure import KEPT, LEAST, Recent, best_columns, check, finding_of, probed
from unroll.insight.cells.properties import PROPERTIES, Labels, Text, label
from unroll.insight.cells.search import resampled, score, search, spectra
from unroll.insight.classifier.network import network_of, recorder, units_of, untrained
from unroll.insight.classifier.texts import texts_of
from unroll.insight.hold import Recorded
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.encoder import Classifier
from unroll.nn.encoder_config import ClassifierConfig
from unroll.progress import Progress, Work, result
from unroll.tasks.classify.evaluate import marks_of

Floats = NDArray[np.floating]

LABEL = "label:"
MOST = 2**16
"""Units read of more texts."""
LEAST_TEXTS = 250
"""Fewer have too few shifts for a p-value of 0.01."""
AROUND = 8
"""Characters on either side of a unit that a claim must outdo: one direction has read those, the other these."""
APART = "\0" * AROUND
"""Stands between texts, so that the characters around a unit are those of its own text."""
STRETCH = 180
"""Units of the stretch that is drawn."""


@dataclass(frozen=True)
class ClassifierTracking(Tracking):
    """Units of a classifier against a property of its texts."""

    texts: int
    """Texts read."""
    of_label: bool
    """Whether it is the label of a text that the pooled vector is compared with."""

    @property
    def outdone(self) -> str:
        """What a unit that tracks the property must outdo."""
        return "guessing" if self.of_label else f"the {AROUND} characters on either side"

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        figures = super().figures() | {"texts": self.texts, "around": self.recent}
        last = super().outdone
        figures["thresholds"] = {
            verdict: rule.replace(last, self.outdone) for verdict, rule in VERDICTS.items() if verdict != "causal"
        }
        for finding, written in zip(self.findings, figures["findings"], strict=True):
            written["direction"] = finding.cell.direction
        foreign = ("last_8_characters", "marks", *(["symbols"] if self.of_label else []))
        return {name: figure for name, figure in figures.items() if name not in foreign}


def classifier_cells(
    model: AnyClassifier, file: StrPath | None = None, *, property: str, top: int = 10
) -> ClassifierTracking:
    """Find the units of a classifier that track a property of texts, by default of those held out of its training.

    `property`: a name of `properties.PROPERTIES` or `re:PATTERN`, of each word or character, which the states after it
    are compared with; or `label:NAME` of a whole text, which its pooled vector is compared with. `file` has a text in
    each line, or is a table with the columns of training. Texts are put in a random order. Raises UserError.
    """
    opened = as_classifier(model)
    return result(track_classifier(opened, as_path(file), property, top=top))


def track_classifier(
    opened: OpenClassifier, file: Path | None, asked: str, *, top: int = 10
) -> Work[ClassifierTracking]:
    """Do what `classifier_cells` does, yielding progress; returns the result."""
    check_positive("--top", top, "for example --top 10")
    if asked.startswith(LABEL):
        name = asked.removeprefix(LABEL)
        label_ids(opened.info, [name])
        (tracking,) = yield from track_labels(opened, file, [name], top=top)
        return tracking
    if asked not in PROPERTIES and not asked.startswith("re:"):
        raise UserError(
            f"there is no property {asked!r} of a classifier's texts",
            allowed=f"{', '.join(PROPERTIES)}, re:PATTERN, label:NAME",
            fix=did_you_mean(asked, PROPERTIES, f"for example --property {LABEL}{opened.info.labels[0]}"),
        )
    texts, _, name = yield from texts_of(opened, file, labels=False)
    reading, notes = opened.reader.read(texts), []
    most = min(MOST, KEPT // columns(opened.info.config))
    count = int(np.searchsorted(reading.units.ends, most, side="right"))
    if count < len(texts):
        notes.append(f"only {count:,} of {len(texts):,} texts are read")
        texts, reading = texts[:count], reading.select(np.arange(count))
    if len(reading.units.values) < LEAST:
        raise UserError(
            f"only {number_of(len(reading.units.values), 'unit')} in the texts of {name}",
            allowed=f"{LEAST:,} or more: cells are chosen on one half and measured on the other",
            fix="name more texts: --file F",
        )
    labels, content = labels_of(opened, texts, reading, asked)
    check(labels, labels.values[: len(labels.values) // 2 * 2], name, "units")
    trained = yield from record_units(network_of(opened), reading, "reading")
    bare = yield from record_units(untrained(opened.info.config), reading, "reading with an untrained network")
    recent: Recent | None = None
    if probe.installed():
        yield Progress("scoring the characters around", 0, 1)
        half, values = len(labels.values) // 2, labels.values
        guesses = probe.guesses_by_recent(probe.recent(content, AROUND), labels, half, np.arange(half, 2 * half))
        truth = values[half : 2 * half]
        recent = Recent(score(guesses, truth, binary=labels.binary), resampled(guesses, truth, binary=labels.binary))
    else:
        notes.append(f"gain and probe need scikit-learn; no cell is more than suggestive. {install('insight')}")
    tracking = judged(opened, name, labels, trained, bare, recent, top=top, texts=len(texts), of_label=False)
    pieces = [piece for text in texts for piece in opened.reader.pieces(text)]
    return replace(tracking, notes=tuple(notes), sample=sample_of(tracking, trained, labels, pieces))


def track_labels(
    opened: OpenClassifier, file: Path | None, names: Sequence[str], *, top: int = 10
) -> Work[list[ClassifierTracking]]:
    """Find the units of the pooled vector that separate texts of each of these labels from all others.

    Of several labels, those without texts in one of the halves are left out, and there are no linear probes. Yields
    progress; returns the result.
    """
    texts, rows, name = yield from texts_of(opened, file, labels=True)
    if len(texts) < LEAST_TEXTS:
        raise UserError(
            f"only {number_of(len(texts), 'text')} of {name}",
            allowed=f"{LEAST_TEXTS} or more: units are chosen on one half and measured on the other",
            fix="name more texts: --file F",
        )
    marks, reading = marks_of(opened, rows), opened.reader.read(texts)
    trained = yield from record_pooled(network_of(opened), reading, "reading")
    bare = yield from record_pooled(untrained(opened.info.config), reading, "reading with an untrained network")
    ids, trackings = label_ids(opened.info, names), []
    half = len(texts) // 2
    for number, (id, wanted) in enumerate(zip(ids, names, strict=True)):
        yield Progress("searching", number, len(names), "labels")
        labels = Labels(LABEL + wanted, f"in texts of the label {wanted}", marks[:, id].astype(np.float64))
        if len(names) == 1:
            check(labels, labels.values[: 2 * half], name, "texts")
        elif any(part.min() == part.max() for part in np.split(labels.values[: 2 * half], 2)):
            continue
        guessing = Recent(0.5, np.full(1, 0.5))
        trackings.append(
            judged(
                opened,
                name,
                labels,
                trained,
                bare,
                guessing,
                top=top,
                texts=len(texts),
                of_label=True,
                probing=len(names) == 1,
            )
        )
    return trackings


def judged(
    opened: OpenClassifier,
    name: str,
    labels: Labels,
    trained: Recorded,
    bare: Recorded,
    recent: Recent | None,
    *,
    top: int,
    texts: int,
    of_label: bool,
    probing: bool = True,
) -> ClassifierTracking:
    """Search the units that track labels (n,), and judge the best by the statistics of language models."""
    even = len(labels.values) // 2 * 2
    values, binary = labels.values[:even], labels.binary
    trained, bare = (replace(recorded, values=recorded.values[:even]) for recorded in (trained, bare))
    searched = search(spectra(trained.values, binary=binary), values)
    best_untrained = float(search(spectra(bare.values, binary=binary), values).weaker.max())
    findings = tuple(
        finding_of(trained, searched, column, values, best_untrained, recent, binary=binary)
        for column in best_columns(searched.weaker, trained, top)
    )
    return ClassifierTracking(
        model=str(opened.path),
        file=name,
        labels=labels,
        symbols=len(labels.values),
        searched=trained.values.shape[1],
        recent=None if recent is None else recent.score,
        marks=None,
        findings=findings,
        probe=probed(trained, bare, labels, values) if probing and probe.installed() else None,
        sample=pooled_sample(findings[0].cell, trained, values) if of_label else None,
        notes=(),
        texts=texts,
        of_label=of_label,
    )


# ---- texts and their units


def columns(config: ClassifierConfig) -> int:
    """Return the number of values that are kept of a unit."""
    signals = len({"c", "h"} & ARCHITECTURES[config.arch].signals.keys())
    return config.num_layers * config.output_size * signals


def labels_of(opened: OpenClassifier, texts: Sequence[str], reading: Reading, asked: str) -> tuple[Labels, Text]:
    """Return a property of all units, text by text, and the texts as one, with room between them."""
    pieces, ends, place, labels = [], [], 0, None
    for number, text in enumerate(texts):
        own = np.maximum(opened.reader.spans(text)[:, 1] - 1, 0)
        content = text or " "  # the start symbol of an empty text stands for something
        labels = label(Text("a text", content, reading.units[number], own), asked)
        pieces.append(labels.values)
        ends.append(place + len(APART) + own)
        place += len(APART) + len(content)
    assert labels is not None
    whole = Text("texts", APART + APART.join(text or " " for text in texts), reading.units.values, np.concatenate(ends))
    return replace(labels, values=np.concatenate(pieces)), whole


@torch.inference_mode()
def record_units(network: Classifier, reading: Reading, phase: str) -> Work[Recorded]:
    """Read texts and keep c and h at each of their units; yields progress."""
    config, units = network.config, reading.units
    signals = tuple(name for name in ("c", "h") if name in ARCHITECTURES[config.arch].signals)
    layers = [f"{way}{k}" for k in range(config.num_layers) for way in config.directions]
    names, size = [f"{layer}/{signal}" for layer in layers for signal in signals], config.hidden_size
    values = np.empty((len(units.values), len(names) * size), np.float32)
    done = 0
    for rows, texts in reading.batches():
        batch, inside = units_of(texts), dict[str, Tensor]()
        network.encode(batch, recorder(config.arch, batch, signals, inside))
        places = np.concatenate([np.arange(units.starts[row], units.ends[row]) for row in rows])
        read = torch.arange(int(batch.lengths.max())) < batch.lengths[:, None]  # (B, T)
        for k, name in enumerate(names):
            values[places, k * size : (k + 1) * size] = inside[name].transpose(0, 1)[read].numpy()
        done += len(rows)
        yield Progress(phase, done, len(reading), "texts")
    return Recorded(values, signals, size, (), config.directions)


@torch.inference_mode()
def record_pooled(network: Classifier, reading: Reading, phase: str) -> Work[Recorded]:
    """Read texts and keep the pooled vector of each, its parts as signals; yields progress."""
    config = network.config
    values = np.empty((len(reading), config.pooled_size), np.float32)
    done = 0
    for rows, texts in reading.batches():
        batch = units_of(texts)
        values[rows] = network.pooled(*network.encode(batch), batch.lengths).numpy()
        done += len(rows)
        yield Progress(phase, done, len(reading), "texts")
    parts = values.reshape(len(values), len(config.poolings), len(config.directions), config.hidden_size)
    by_direction = np.ascontiguousarray(parts.transpose(0, 2, 1, 3)).reshape(len(values), -1)
    return Recorded(by_direction, config.poolings, config.hidden_size, (), config.directions, config.num_layers - 1)


# ---- what is drawn


def sample_of(tracking: ClassifierTracking, recorded: Recorded, labels: Labels, pieces: list[str]) -> Sample:
    """Return the best unit over the stretch of the second half in which the property changes most often."""
    half, cell = len(labels.values) // 2, tracking.findings[0].cell
    changes = np.concatenate([[0], np.cumsum(labels.changes)])
    length = min(STRETCH, len(labels.values) - half)
    starts = np.arange(half, len(labels.values) - length + 1)
    start = int(starts[np.argmax(changes[starts + length] - changes[starts])])
    stretch = slice(start, start + length)
    values = recorded.values[stretch, recorded.column(cell)].astype(np.float64)
    return Sample(cell, tuple(pieces[stretch]), values, labels.values[stretch])


def pooled_sample(cell: Any, recorded: Recorded, values: Floats) -> Sample:
    """Return the best unit of the pooled vector over the texts of the second half."""
    half = len(values) // 2
    return Sample(cell, (), recorded.values[half:, recorded.column(cell)].astype(np.float64), values[half:])

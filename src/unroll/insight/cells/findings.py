"""What the search for cells reports: findings with their verdicts, linear probes, and a sample of the best cell."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unroll.insight.cells.ablation import Ablation
from unroll.insight.cells.properties import Labels
from unroll.insight.hold import Cell

Floats = NDArray[np.floating]
Verdict = Literal["causal", "tracks", "leans", "none"]

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

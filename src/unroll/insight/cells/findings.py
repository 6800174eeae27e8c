"""What the search for cells reports: findings with their verdicts, linear probes, and a sample of the best cell."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from unroll.insight.cells.ablation import Ablation
from unroll.insight.cells.properties import Labels
from unroll.insight.hold import Cell
from unroll.insight.trace import Floats

Verdict = Literal["causal", "tracks", "leans", "none"]

ALPHA = 0.01
VERDICTS: dict[Verdict, str] = {
    "leans": "suggestive: in both halves of the text its score is above that of the best of all units in 99 % of all "
    "circular shifts of the labels (p <= 0.01)",
    "tracks": "suggestive, and it scores above every unit of an untrained network and, in the second half, above the "
    "last 8 characters: the 95 % interval of the gain lies above 0",
    "causal": "tracks, and clamped at its mean it makes the network predict the property's marks worse: 10 times as "
    "much as matched cells do, more than any of them, with a 95 % interval above 0; relative to theirs it harms the "
    "marks at least twice as much as everything else",
    "none": "none of these",
}


@dataclass(frozen=True)
class Finding:
    """A unit and how it relates to the property."""

    cell: Cell
    rises: bool
    """True if the unit is high where the property holds or its number is large, False if it is low there."""
    score: float
    """AUROC or correlation in the second half, with the sign of the first."""
    fit_score: float
    """The same in the first half."""
    interval: tuple[float, float]
    """95 % interval of the score."""
    p_value: float
    null: float
    """Threshold for both halves: the 99th percentile of the best of all units over all shifts."""
    untrained: float
    """Score of the best unit of an untrained network in both halves."""
    gain: float | None
    """The score less that of the last 8 characters; None without scikit-learn."""
    gain_interval: tuple[float, float] | None
    ablation: Ablation | None
    """None where the cell does not track the property, or no symbols mark it."""

    @property
    def weaker(self) -> float:
        """The score in the weaker half."""
        return min(self.fit_score, self.score)

    @property
    def verdict(self) -> Verdict:
        """The verdict in JSON, by the thresholds of VERDICTS."""
        if self.p_value > ALPHA:
            return "none"
        if self.weaker <= self.untrained or self.gain_interval is None or self.gain_interval[0] <= 0:
            return "leans"
        return "causal" if self.ablation and self.ablation.causal else "tracks"

    @property
    def word(self) -> str:
        """The verdict for people, who read `suggestive` for what JSON calls `leans`."""
        return "suggestive" if self.verdict == "leans" else self.verdict

    def figures(self, metric: str) -> dict[str, Any]:
        """Return the finding as JSON."""
        ablation = self.ablation
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
            "ablation_ratio": None if ablation is None else ablation.ratio,
            "ablation": None if ablation is None else asdict(ablation),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Probe:
    """Linear probes of all units together and of a few: fitted on the first half, scored on the second."""

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
                    "cells": [{"layer": cell.layer, "unit": cell.unit, "signal": cell.signal} for cell in cells],
                    "score": score,
                }
                for cells, score in self.small
            ],
        }


@dataclass(frozen=True)
class Sample:
    """The best cell over a stretch of the second half."""

    cell: Cell
    symbols: tuple[str, ...]
    values: Floats
    """The cell after each symbol (L,)."""
    labels: Floats
    """(L,)"""


@dataclass(frozen=True)
class Tracking:
    """Units against a property of a text, with the evidence for each."""

    model: str
    file: str
    labels: Labels
    symbols: int
    """Symbols read."""
    searched: int
    """Signals of units searched."""
    recent: float | None
    """Score of the last 8 characters alone."""
    marks: tuple[str, ...] | None
    """The symbols at which the property changes, the most frequent first."""
    findings: tuple[Finding, ...]
    """The units that fit the property best, the best first, each by the better of its signals."""
    probe: Probe | None
    sample: Sample | None
    notes: tuple[str, ...]

    @property
    def outdone(self) -> str:
        """What a unit that tracks the property must outdo."""
        return "the last 8 characters"

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

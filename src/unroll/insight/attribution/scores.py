"""What an attribution reports: scores in nats for symbols, how far methods agree, what they miss; without torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unroll.errors import UserError, check_choice
from unroll.insight.plots import shown

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
Method = Literal["gradient", "integrated", "leave-out"]
METHODS: tuple[Method, ...] = get_args(Method)
NAMES = {"gradient": "gradient × input", "integrated": "integrated gradients", "leave-out": "leave-one-out"}

STEPS = 64
"""Points on the path from the baseline at which integrated gradients take the gradient."""
LONGEST = 1000
"""Most symbols of a text, and most of these points."""
TOLERANCE = 0.01
"""Share of F(text) - F(baseline): integrated gradients that miss it by more, and by 0.001 nats, get a note."""


@dataclass(frozen=True)
class Attribution:
    """A score in nats for each symbol of a text: its effect on the prediction after `at` symbols."""

    method: Method
    ids: Ids
    """(T,)"""
    symbols: tuple[str, ...]
    at: int
    target: str
    against: str | None
    value: float
    """F of the text: log p(target), or log p(target) - log p(against)."""
    baseline: float
    """F of the text of which nothing is known: `origin`."""
    scores: Floats
    """(T,), zero from symbol `at` on."""
    leave_out: Floats
    """(T,) F(text) - F(text with this symbol's embedding zero)."""
    agreement: float | None
    """Spearman's rank correlation of scores and leave-one-out over the symbols read, -1 to 1."""
    steps: int | None
    """Points of integrated gradients."""
    notes: tuple[str, ...]
    origin: ClassVar[str] = "all embeddings zero"

    @property
    def residual(self) -> float | None:
        """How far integrated gradients are from complete: Σ scores - (F(text) - F(baseline)); else None."""
        if self.method != "integrated":
            return None
        return float(self.scores.sum() - (self.value - self.baseline))

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        rows = zip(self.symbols, self.scores.tolist(), self.leave_out.tolist(), strict=True)
        return {
            "method": self.method,
            "target": self.target,
            "against": self.against,
            "at": self.at,
            "value": self.value,
            "baseline": self.baseline,
            "sum": float(self.scores.sum()),
            "residual": self.residual,
            "agreement": self.agreement,
            "steps": self.steps,
            "symbols": [{"symbol": symbol, "score": score, "leave_out": left_out} for symbol, score, left_out in rows],
            "notes": list(self.notes),
        }


def check_method(method: Method, steps: int) -> None:
    """Raise UserError for a method that does not exist, and for too few or too many steps."""
    check_choice("the method", method, METHODS)
    if not 1 <= steps <= LONGEST:
        raise UserError(f"{steps} steps", allowed=f"1 to {LONGEST:,}", fix=f"leave it out: the default is {STEPS}")


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Return Spearman's correlation of two rows of numbers; ties share ranks; None where all are equal.

    Differences below 1e-12 are rounding, as of symbols that a window cannot see.
    """
    a, b = (_ranks(values.round(12)) - (len(values) + 1) / 2 for values in (first, second))
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else None


def _ranks(values: Floats) -> Floats:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[group])


def missed_by(method: Method, scores: Floats, change: float) -> Iterator[str]:
    """Yield a note if integrated gradients are not complete."""
    missed = float(scores.sum()) - change
    if method == "integrated" and abs(missed) > max(1e-3, TOLERANCE * abs(change)):
        yield (
            f"integrated gradients miss F(text) - F(baseline) = {change:.4f} by {missed:.4f}, more than "
            f"{TOLERANCE:.0%}: take more steps"
        )


def formula(attribution: Attribution) -> str:
    """Return the attributed quantity as a formula: log p(she) − log p(he)."""
    log_p = f"log p({shown(attribution.target)})"
    return log_p if attribution.against is None else f"{log_p} − log p({shown(attribution.against)})"

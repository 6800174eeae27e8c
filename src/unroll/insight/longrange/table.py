"""What is planned on long-range tasks, and what came of it: accuracy by distance, over seeds, with intervals."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from unroll.insight.longrange.tasks import TOLERANCE, Task, VectorTask
from unroll.lm.intervals import wilson
from unroll.nn.arch import ARCHITECTURES

Interval = tuple[float, float]

RATES = {
    name + variant: rate
    for name, architecture in reversed(ARCHITECTURES.items())
    for variant, rate in architecture.trial_rates.items()
}
"""Peak learning rates that did best in short trials with pronouns at the distances 7, 10 and 20."""
ARCHS = tuple(RATES)
"""An RNN's recurrent weights start uniform in ±1/√H, as in torch.nn, or orthogonal, as all others' here."""
TUNED_RATES = (1e-3, 3e-3, 1e-2)
"""Those of which one is chosen where that is asked for."""
TUNING_SEED = 1000
"""On which it is chosen, and nothing else is done."""
WINDOW = 10
"""Symbols that the window sees."""
HIDDEN_SIZE = 64
"""Of the LSTM; the others are as wide as its number of parameters lets them be."""
ROWS = 32
"""Sequences of a training step."""
STEPS = 1000
SOLVED, SOLVED_ERROR = 0.95, 0.01
"""A task is solved with so many decisions right, or with a smaller mean squared error."""

STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Quantiles 0.975 of Student's t with 1, 2, 3 … degrees of freedom."""
MOST_SEEDS = len(STUDENT) + 1


class Training(NamedTuple):
    """One network that is to be trained."""

    seed: int
    arch: str
    distances: tuple[int, ...]
    learning_rate: float | None
    """None for the one that was chosen."""


@dataclass(frozen=True)
class Plan:
    """What is to be trained and tested."""

    task: Task | VectorTask
    archs: tuple[str, ...]
    distances: tuple[int, ...]
    seeds: int
    steps: int
    mixed: bool
    """Whether a network learns all distances up to the largest at once, or there is one for each."""
    tuned: bool
    """Whether learning rates are chosen by validation."""
    hidden_size: int = HIDDEN_SIZE

    def trainings(self) -> Iterator[Training]:
        """Yield every training, all of one seed first; those that choose a rate just before the first that needs it."""
        for seed in range(self.seeds):
            for arch in self.archs:
                for distances in [self.distances] if self.mixed else [(distance,) for distance in self.distances]:
                    if self.tuned and seed == 0:
                        yield from (Training(TUNING_SEED, arch, distances, rate) for rate in TUNED_RATES)
                    yield Training(seed, arch, distances, None if self.tuned else RATES[arch])


@dataclass(frozen=True)
class Score:
    """What a network got right at a distance."""

    distance: int
    right: int
    decisions: int
    error: float | None = None
    """Of sums, the mean squared error."""


@dataclass(frozen=True)
class Trial:
    """A network that was trained and tested."""

    seed: int
    arch: str
    network: nn.Module
    parameters: int
    learning_rate: float
    scores: tuple[Score, ...]
    solved_at: int | None
    """The step of the first validation at the largest distance that found the task solved."""


@dataclass(frozen=True)
class Result:
    """An architecture at a distance, over all seeds."""

    arch: str
    distance: int
    parameters: int
    learning_rate: float
    accuracies: tuple[float, ...]
    """Of each seed."""
    right: int
    decisions: int
    errors: tuple[float, ...]
    """Of sums, the mean squared error of each seed."""
    solved_at: tuple[int | None, ...]

    @property
    def accuracy(self) -> float:
        """The share of decisions that are right, of all seeds together."""
        return self.right / self.decisions

    @property
    def over_seeds(self) -> Interval | None:
        """The 95 % interval of the mean over seeds (Student 1908), None with one of them."""
        return student(self.accuracies)

    @property
    def over_decisions(self) -> Interval:
        """The 95 % interval as if all seeds were one network (Wilson 1927)."""
        low, high = wilson(np.array([self.right]), np.array([self.decisions]))
        return float(low[0]), float(high[0])

    @property
    def interval(self) -> Interval:
        """The least that holds both intervals: five seeds that agree by chance make none of zero length."""
        low, high = self.over_decisions
        seeds = self.over_seeds or (low, high)
        return max(0.0, min(low, seeds[0])), min(1.0, max(high, seeds[1]))

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        between = student(self.errors)
        return {
            "arch": self.arch,
            "distance": self.distance,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "seeds": len(self.accuracies),
            "accuracies": list(self.accuracies),
            "over_seeds": None if self.over_seeds is None else list(self.over_seeds),
            "over_decisions": list(self.over_decisions),
            "decisions": self.decisions,
            "mean_squared_error": sum(self.errors) / len(self.errors) if self.errors else None,
            "mean_squared_error_interval": None if between is None else [max(0.0, between[0]), between[1]],
            "solved_at": list(self.solved_at),
            "parameters": self.parameters,
            "learning_rate": self.learning_rate,
        }


@dataclass(frozen=True)
class LongRange:
    """A table: architectures by distances."""

    plan: Plan
    results: tuple[Result, ...]
    finished: bool

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        plan = self.plan
        symbols = isinstance(plan.task, Task)
        return {
            "task": plan.task.name,
            "about": plan.task.about,
            "chance": plan.task.chance,
            "window": WINDOW,
            "steps": plan.steps,
            "batch_size": ROWS,
            "mixed": plan.mixed,
            "tuned": plan.tuned,
            "finished": self.finished,
            "results": [result.figures() for result in self.results],
            "notes": [
                "interval: 95 %, the least that holds Student's over seeds and Wilson's over all decisions",
                "accuracy: decisions in which the right candidate is the most probable of all candidates"
                if symbols
                else f"accuracy: sums that are at most {TOLERANCE} off",
                "trained on all distances up to the largest, their logarithm evenly distributed"
                if plan.mixed
                else "each distance has a network of its own, trained on that distance alone",
                "learning rates: "
                + (
                    f"of {', '.join(f'{rate:g}' for rate in TUNED_RATES)} the best by validation, on a seed of its own"
                    if plan.tuned
                    else "those that did best in short trials with pronouns at the distances 7, 10 and 20"
                ),
                "solved_at: the step at which "
                + (f"{SOLVED:.0%} of decisions were right" if symbols else f"the error was below {SOLVED_ERROR}")
                + ", in validation at the largest distance trained on",
            ],
        }


def table(plan: Plan, found: Iterable[Trial]) -> LongRange:
    """Put trials together by architecture and distance, in the order of the plan; what has none is left out."""
    found = list(found)
    results = []
    for arch in plan.archs:
        for distance in plan.distances:
            those = [(t, s) for t in found if t.arch == arch for s in t.scores if s.distance == distance]
            if not those:
                continue
            results.append(
                Result(
                    arch,
                    distance,
                    those[0][0].parameters,
                    those[0][0].learning_rate,
                    tuple(score.right / score.decisions for _, score in those),
                    sum(score.right for _, score in those),
                    sum(score.decisions for _, score in those),
                    tuple(score.error for _, score in those if score.error is not None),
                    tuple(trial.solved_at for trial, _ in those),
                )
            )
    return LongRange(
        plan, tuple(results), len(found) == sum(training.seed != TUNING_SEED for training in plan.trainings())
    )


def named(arch: str) -> str:
    """Return what an architecture is called in tables and pictures."""
    name, _, variant = arch.partition("-")
    if name == "window":
        return f"window of {WINDOW}"
    return ", ".join(filter(None, (ARCHITECTURES[name].label, variant)))


def student(values: Sequence[float]) -> Interval | None:
    """Return the 95 % interval of the mean of independent values (Student 1908), None of fewer than two."""
    if len(values) < 2:
        return None
    mean, half = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half *= STUDENT[len(values) - 2]
    return mean - half, mean + half

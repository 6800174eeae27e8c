"""Plans of long-range tasks and their results: accuracy by distance, over seeds, with intervals."""

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
"""Recurrent weights of an RNN start uniform in ±1/√H, as in torch.nn, or orthogonal, as in all others here."""
TUNED_RATES = (1e-3, 3e-3, 1e-2)
"""Learning rates to choose from when tuning."""
TUNING_SEED = 1000
"""The seed on which it is chosen, used for nothing else."""
WINDOW = 10
"""Symbols that the window sees."""
HIDDEN_SIZE = 64
"""Width of the LSTM; the others are as wide as its number of parameters allows."""
ROWS = 32
"""Sequences of a training step."""
STEPS = 1000
SOLVED, SOLVED_ERROR = 0.95, 0.01
"""A task is solved at this share of right decisions, or below this mean squared error."""

STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Quantiles 0.975 of Student's t with 1, 2, 3 … degrees of freedom."""
MOST_SEEDS = len(STUDENT) + 1


class Training(NamedTuple):
    """A network to train."""

    seed: int
    arch: str
    distances: tuple[int, ...]
    learning_rate: float | None
    """None for the chosen one."""


@dataclass(frozen=True)
class Plan:
    """Trainings and tests to do."""

    task: Task | VectorTask
    archs: tuple[str, ...]
    distances: tuple[int, ...]
    seeds: int
    steps: int
    mixed: bool
    """True if one network learns all distances up to the largest, False if there is one for each."""
    tuned: bool
    """Whether learning rates are chosen by validation."""
    hidden_size: int = HIDDEN_SIZE

    def trainings(self) -> Iterator[Training]:
        """Yield every training, seed by seed; those that choose a rate come just before the first that needs it."""
        for seed in range(self.seeds):
            for arch in self.archs:
                for distances in [self.distances] if self.mixed else [(distance,) for distance in self.distances]:
                    if self.tuned and seed == 0:
                        yield from (Training(TUNING_SEED, arch, distances, rate) for rate in TUNED_RATES)
                    yield Training(seed, arch, distances, None if self.tuned else RATES[arch])


@dataclass(frozen=True)
class Score:
    """The score of a network at a distance."""

    distance: int
    right: int
    decisions: int
    error: float | None = None
    """For sums, the mean squared error."""


@dataclass(frozen=True)
class Trial:
    """A trained and tested network."""

    seed: int
    arch: str
    network: nn.Module
    parameters: int
    learning_rate: float
    scores: tuple[Score, ...]
    solved_at: int | None
    """The step of the first validation, at the largest distance, that found the task solved."""


@dataclass(frozen=True)
class Result:
    """An architecture at a distance, over all seeds."""

    arch: str
    distance: int
    parameters: int
    learning_rate: float
    accuracies: tuple[float, ...]
    """Accuracy of each seed."""
    right: int
    decisions: int
    errors: tuple[float, ...]
    """For sums, the mean squared error of each seed."""
    solved_at: tuple[int | None, ...]

    @property
    def accuracy(self) -> float:
        """The share of right decisions over all seeds."""
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
        """The smallest interval that contains both: five seeds that agree by chance give none of length zero."""
        low, high = self.over_decisions
        seeds = self.over_seeds or (low, high)
        return max(0.0, min(low, seeds[0])), min(1.0, max(high, seeds[1]))

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        error_interval = student(self.errors)
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
            "mean_squared_error_interval": None
            if error_interval is None
            else [max(0.0, error_interval[0]), error_interval[1]],
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
                "interval: 95 %, the smallest that contains Student's over seeds and Wilson's over all decisions",
                "accuracy: decisions in which the right candidate is the most probable of all candidates"
                if symbols
                else f"accuracy: sums off by at most {TOLERANCE}",
                "trained on all distances up to the largest, their logarithms evenly distributed"
                if plan.mixed
                else "each distance has its own network, trained on that distance alone",
                "learning rates: "
                + (
                    f"the best of {', '.join(f'{rate:g}' for rate in TUNED_RATES)} by validation, on a separate seed"
                    if plan.tuned
                    else "those that did best in short trials with pronouns at the distances 7, 10 and 20"
                ),
                "solved_at: the step at which "
                + (f"{SOLVED:.0%} of decisions were right" if symbols else f"the error was below {SOLVED_ERROR}")
                + ", in validation at the largest distance trained on",
            ],
        }


def table(plan: Plan, trials: Iterable[Trial]) -> LongRange:
    """Group trials by architecture and distance, in the order of the plan; those without trials are left out."""
    trials = list(trials)
    results = []
    for arch in plan.archs:
        for distance in plan.distances:
            scores_of = [(t, s) for t in trials if t.arch == arch for s in t.scores if s.distance == distance]
            if not scores_of:
                continue
            results.append(
                Result(
                    arch,
                    distance,
                    scores_of[0][0].parameters,
                    scores_of[0][0].learning_rate,
                    tuple(score.right / score.decisions for _, score in scores_of),
                    sum(score.right for _, score in scores_of),
                    sum(score.decisions for _, score in scores_of),
                    tuple(score.error for _, score in scores_of if score.error is not None),
                    tuple(trial.solved_at for trial, _ in scores_of),
                )
            )
    return LongRange(
        plan, tuple(results), len(trials) == sum(training.seed != TUNING_SEED for training in plan.trainings())
    )


def named(arch: str) -> str:
    """Return the name of an architecture in tables and pictures."""
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

"""The recipe of a model of sequences: every setting, chosen from the sequences and the budget. Without torch."""

from dataclasses import dataclass
from typing import Any

from unroll.errors import UserError
from unroll.nn.series_config import Answer, SeriesConfig
from unroll.settings import from_mapping
from unroll.training.config import LoopConfig, OptimConfig
from unroll.training.recipe import Overrides


@dataclass(frozen=True)
class SeriesTraining(LoopConfig):
    """How a model of sequences is trained."""

    batch_size: int = 16
    """Sequences of similar length that are read side by side."""
    label_smoothing: float = 0.0
    """Share of a target that is spread evenly over all labels (Szegedy et al. 2016)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing is {self.label_smoothing}", allowed="0 up to, not including, 1")


TABLES: dict[str, type] = {"model": SeriesConfig, "optim": OptimConfig, "training": SeriesTraining}


@dataclass(frozen=True)
class SeriesRecipe:
    """Every setting, resolved: enough to repeat a run."""

    model: SeriesConfig
    optim: OptimConfig
    training: SeriesTraining


@dataclass(frozen=True)
class Sizes:
    """What a recipe depends on."""

    task: Answer
    channels: int
    outputs: int
    examples: int
    """Of the training part."""
    missing: bool
    """Whether values are missing."""


# What follows was tuned by measurement; docs/lab-notes.md names data and failed attempts.

MOST_EPOCHS = 60
"""Rounds over the sequences after which more train little but the memory of them."""
MOST_STEPS = 20_000
"""The same of many sequences."""


def steps_enough(steps_per_epoch: int) -> int:
    """Return the most steps that a budget is spent on."""
    return max(1, min(MOST_EPOCHS * steps_per_epoch, max(MOST_STEPS, steps_per_epoch)))


def choose(sizes: Sizes, steps: int, overrides: Overrides, threads: int = 1) -> SeriesRecipe:
    """Choose every setting that the user left open, for a run of `steps`: a function of its arguments alone."""
    model: dict[str, Any] = {
        "hidden_size": 64,
        "pooling": "last,mean,max",
        "forget_bias": 0.0,
        "input_dropout": 0.2,
        "noise": 0.1,
        "dropout": 0.3,
        "task": sizes.task,
        "channels": sizes.channels,
        "outputs": sizes.outputs,
        "marks": sizes.missing,
    }
    for name in ("task", "channels", "outputs"):
        if overrides["model"].get(name, model[name]) != model[name]:
            raise UserError(
                f"{name} is {overrides['model'][name]} in the recipe's [model]",
                allowed=f"{model[name]}, as these sequences have it",
                fix="leave it out",
            )
    fixed = overrides["training"].get("batch_size", 16)
    batch_size = max(1, min(fixed, sizes.examples))
    # About once in an epoch, and at least ten times.
    every = max(1, min(steps // 10, -(-sizes.examples // batch_size)))
    optim = {"learning_rate": 4e-3, "warmup_steps": max(1, steps // 10), "weight_decay": 0.01, "averaging": 0.99}
    training = {
        "batch_size": batch_size,
        "steps": steps,
        "label_smoothing": 0.1 if sizes.task == "classify" else 0.0,
        "threads": threads,
        "valid_every": every,
        "save_every": every,
    }
    return SeriesRecipe(
        from_mapping(SeriesConfig, model | overrides["model"], "the recipe's [model]"),
        from_mapping(OptimConfig, optim | overrides["optim"], "the recipe's [optim]"),
        from_mapping(SeriesTraining, training | overrides["training"], "the recipe's [training]"),
    )

"""The recipe of a classifier: every setting, chosen from the examples and the budget. Without torch."""

from dataclasses import dataclass
from typing import Any, Literal

from unroll.data.blocks import Level
from unroll.data.words import Boundaries
from unroll.errors import UserError
from unroll.nn.encoder_config import ClassifierConfig
from unroll.settings import from_mapping
from unroll.training.config import LoopConfig, OptimConfig
from unroll.training.recipe import Overrides


@dataclass(frozen=True)
class TextsConfig:
    """How texts are read."""

    level: Level = "word"
    """What a unit is."""
    words: Boundaries = "unicode"
    """Where words end."""
    lowercase: bool = False
    """Whether words are looked up in lower case; their characters keep their case."""
    min_count: int = 1
    """Words that occur less often in training are unknown."""
    max_units: int = 5000
    """The most units that are read of a text; what follows is left out, and reported."""

    def __post_init__(self) -> None:
        for name in ("min_count", "max_units"):
            if not 1 <= getattr(self, name) <= 2**20:
                raise UserError(f"{name} is {getattr(self, name)}", allowed=f"1 to {2**20:,}")


@dataclass(frozen=True)
class ClassifyTraining(LoopConfig):
    """How a classifier is trained."""

    batch_size: int = 32
    """Texts of similar length that are read side by side."""
    label_smoothing: float = 0.0
    """Share of a target that is spread evenly over all labels (Szegedy et al. 2016)."""
    class_weights: Literal["none", "balanced"] = "none"
    """Whether examples weigh more the rarer their label is: `balanced` gives all labels the same sum."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing is {self.label_smoothing}", allowed="0 up to, not including, 1")


TABLES: dict[str, type] = {
    "data": TextsConfig,
    "model": ClassifierConfig,
    "optim": OptimConfig,
    "training": ClassifyTraining,
}


@dataclass(frozen=True)
class ClassifierRecipe:
    """Every setting, resolved: enough to repeat a run."""

    data: TextsConfig
    model: ClassifierConfig
    optim: OptimConfig
    training: ClassifyTraining


@dataclass(frozen=True)
class Sizes:
    """What a recipe depends on."""

    vocab_size: int
    chars: int
    labels: int
    examples: int
    units: int
    """Of the training part."""
    multi_label: bool


WORDS_FROM = 3.0
"""Words that a text has on average from which its units are words; below, as with names, they are characters."""


def level_for(texts: tuple[str, ...]) -> Level:
    """Choose what a unit is, by the words of an average text."""
    words = sum(len(text.split()) for text in texts)
    return "word" if words >= WORDS_FROM * len(texts) else "char"


# What follows was tuned by measurement; docs/lab-notes.md names texts and failed attempts.

UNITS: dict[str, float] = {"word": 1.0e6, "char": 1.5e6}
"""Units that are read in training, repeats included, after which more train little but the memory of the examples."""
MOST_EPOCHS = 30
"""Rounds over the examples after which the same holds for few of them."""


def steps_enough(level: Level, units: int, steps_per_epoch: int) -> int:
    """Return the most steps that a budget is spent on, for a training part of `units`."""
    epochs = UNITS.get(level, UNITS["char"]) / max(1, units)
    return max(1, round(min(MOST_EPOCHS, epochs) * steps_per_epoch))


def settings_for(level: Level) -> dict[str, dict[str, Any]]:
    """Return what is chosen by the level."""
    if level == "word":
        return {
            "model": {
                "embedding_size": 100,
                "char_embedding_size": 16,
                "char_hidden_size": 24,
                "pooling": "last,mean,max",
                "forget_bias": 0.0,
                "embedding_dropout": 0.15,
                "input_dropout": 0.4,
                "dropout": 0.5,
                "perturbation": 1.0,
            },
            "optim": {"learning_rate": 4e-3},
            "training": {"batch_size": 32},
        }
    return {
        "model": {
            "embedding_size": 32,
            "pooling": "last,mean,max",
            "forget_bias": 0.0,
            "input_dropout": 0.1,
            "dropout": 0.3,
            "perturbation": 0.3,
        },
        "optim": {"learning_rate": 4e-3},
        "training": {"batch_size": 64},
    }


def choose(
    data: TextsConfig, sizes: Sizes, steps: int, overrides: Overrides, threads: int = 1, *, pretrained: bool = False
) -> ClassifierRecipe:
    """Choose every setting that the user left open, for a run of `steps`: a function of its arguments alone."""
    chosen = settings_for(data.level)
    model = chosen["model"] | {"labels": sizes.labels, "multi_label": sizes.multi_label, "vocab_size": sizes.vocab_size}
    if overrides["model"].get("char_hidden_size") and not sizes.chars:
        raise UserError(
            f"char_hidden_size is given, and units at level {data.level} are no words",
            allowed="0, or level word",
            fix="leave it out, or add --set level=word",
        )
    read_by_characters = sizes.chars and overrides["model"].get("char_hidden_size") != 0
    model |= {"chars": sizes.chars} if read_by_characters else {"char_hidden_size": 0}
    batch_size = min(overrides["training"].get("batch_size", chosen["training"]["batch_size"]), sizes.examples)
    # About once in an epoch, and at least ten times.
    every = max(1, min(steps // 10, sizes.examples // batch_size))
    optim = {"warmup_steps": max(1, steps // 10), "weight_decay": 0.01, "averaging": 0.99} | chosen["optim"]
    if pretrained:
        # What was learnt from much text is changed less, and later, the deeper it lies. Its layers are larger than
        # those chosen here: twice as many steps are worth more than a perturbation.
        optim |= {"layer_decay": 0.7, "thaw_steps": max(1, steps // 15)}
        model["perturbation"] = 0.0
    training = {
        "batch_size": batch_size,
        "steps": steps,
        "label_smoothing": 0.1,
        "threads": threads,
        "valid_every": every,
        "save_every": every,
    }
    return ClassifierRecipe(
        data=data,
        model=from_mapping(ClassifierConfig, model | overrides["model"], "the recipe's [model]"),
        optim=from_mapping(OptimConfig, optim | overrides["optim"], "the recipe's [optim]"),
        training=from_mapping(ClassifyTraining, training | overrides["training"], "the recipe's [training]"),
    )

"""The recipe of a tagger: every setting, chosen from the sentences and the budget. Without torch."""

from dataclasses import dataclass
from typing import Any

from unroll.errors import UserError
from unroll.nn.tagger_config import TaggerConfig
from unroll.settings import from_mapping
from unroll.training.config import LoopConfig, OptimConfig
from unroll.training.recipe import Overrides


@dataclass(frozen=True)
class TokensConfig:
    """How tokens are read."""

    lowercase: bool = True
    """Whether tokens are looked up in lower case; their characters keep their case."""
    min_count: int = 1
    """Tokens that occur less often in training are unknown."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_count <= 2**20:
            raise UserError(f"min_count is {self.min_count}", allowed=f"1 to {2**20:,}")


@dataclass(frozen=True)
class TagTraining(LoopConfig):
    """How a tagger is trained."""

    batch_size: int = 32
    """Sentences of similar length that are read side by side."""
    label_smoothing: float = 0.0
    """Share of a target that is spread evenly over all tags (Szegedy et al. 2016); none with a CRF."""
    unknown: float = 0.25
    """A token that occurs c times in training is read as unknown with the probability u / (u + c), its characters as
    they are (Kiperwasser & Goldberg 2016); 0 never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing is {self.label_smoothing}", allowed="0 up to, not including, 1")
        if not 0 <= self.unknown < 1e6:
            raise UserError(f"unknown is {self.unknown}", allowed="0 or more")


TABLES: dict[str, type] = {
    "data": TokensConfig,
    "model": TaggerConfig,
    "optim": OptimConfig,
    "training": TagTraining,
}


@dataclass(frozen=True)
class TaggerRecipe:
    """Every setting, resolved: enough to repeat a run."""

    data: TokensConfig
    model: TaggerConfig
    optim: OptimConfig
    training: TagTraining


@dataclass(frozen=True)
class Sizes:
    """What a recipe depends on."""

    vocab_size: int
    chars: int
    tags: int
    sentences: int
    """Of the training part."""
    context_size: int = 0


# What follows was tuned by measurement; docs/lab-notes.md has texts and failed attempts.

MOST_EPOCHS = 20
"""Rounds over the sentences after which more train little but the memory of them."""
MODEL: dict[str, Any] = {
    "embedding_size": 100,
    "char_embedding_size": 25,
    "char_hidden_size": 50,
    "hidden_size": 200,
    "forget_bias": 0.0,
    "input_dropout": 0.4,
    "dropout": 0.5,
}
OPTIM: dict[str, Any] = {"learning_rate": 4e-3, "weight_decay": 0.01, "averaging": 0.99}
SMOOTHING = 0.1


def steps_enough(steps_per_epoch: int) -> int:
    """Return the most steps that a budget is spent on."""
    return MOST_EPOCHS * steps_per_epoch


def choose(data: TokensConfig, sizes: Sizes, steps: int, overrides: Overrides, threads: int = 1) -> TaggerRecipe:
    """Choose every setting that the user left open, for a run of `steps`: a function of its arguments alone."""
    fixed, chars = overrides["model"], sizes.chars if overrides["model"].get("char_hidden_size") != 0 else 0
    own = {"vocab_size": sizes.vocab_size, "chars": chars, "tags": sizes.tags, "context_size": sizes.context_size}
    for name, size in own.items():
        if fixed.get(name, size) != size:
            what = f"{name} is {fixed[name]}, and these sentences make it {size}"
            raise UserError(what, allowed=f"{size}", fix="leave it out")
    crf = fixed.get("crf", False)
    if crf and overrides["training"].get("label_smoothing"):
        raise UserError(
            "label_smoothing is given, and a CRF scores whole paths of tags",
            allowed="label_smoothing=0 with a CRF",
            fix="leave one of them out",
        )
    batch_size = min(overrides["training"].get("batch_size", TagTraining.batch_size), sizes.sentences)
    # About once in an epoch, and at least ten times.
    every = max(1, min(steps // 10, sizes.sentences // batch_size))
    training = {
        "batch_size": batch_size,
        "steps": steps,
        "label_smoothing": 0.0 if crf else SMOOTHING,
        "threads": threads,
        "valid_every": every,
        "save_every": every,
    }
    optim = OPTIM | {"warmup_steps": max(1, steps // 10)}
    return TaggerRecipe(
        data=data,
        model=from_mapping(TaggerConfig, MODEL | own | fixed, "the recipe's [model]"),
        optim=from_mapping(OptimConfig, optim | overrides["optim"], "the recipe's [optim]"),
        training=from_mapping(TagTraining, training | overrides["training"], "the recipe's [training]"),
    )

"""The recipe of a translator: every setting, chosen from the pairs and the budget. Without torch."""

from dataclasses import dataclass
from typing import Any, Literal

from unroll.data.words import Boundaries
from unroll.errors import UserError
from unroll.nn.translator_config import TranslatorConfig
from unroll.settings import from_mapping
from unroll.training.config import LoopConfig, OptimConfig
from unroll.training.recipe import Overrides

TranslationLevel = Literal["bpe", "word", "char"]


@dataclass(frozen=True)
class PairsConfig:
    """How sources and targets are read."""

    level: TranslationLevel = "bpe"
    """What a unit is."""
    shared: bool = True
    """Whether both languages have one vocabulary, and a unit one vector wherever it stands."""
    pieces: int = 0
    """Most byte-pair pieces of a vocabulary; 0 chooses by the number of words."""
    words: Boundaries = "unicode"
    """Where words end."""
    min_count: int = 2
    """Words or characters that occur less often in training are unknown."""
    max_units: int = 250
    """The most units that are read of a source or a target; what follows is left out, and reported."""

    def __post_init__(self) -> None:
        for name, least in (("pieces", 0), ("min_count", 1), ("max_units", 1)):
            if not least <= getattr(self, name) <= 2**20:
                raise UserError(f"{name} is {getattr(self, name)}", allowed=f"{least} to {2**20:,}")


@dataclass(frozen=True)
class TranslateTraining(LoopConfig):
    """How a translator is trained."""

    batch_size: int = 64
    """Pairs of similar length that are read side by side."""
    label_smoothing: float = 0.1
    """Share of a target symbol that is spread evenly over all symbols (Szegedy et al. 2016)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing is {self.label_smoothing}", allowed="0 up to, not including, 1")


TABLES: dict[str, type] = {
    "data": PairsConfig,
    "model": TranslatorConfig,
    "optim": OptimConfig,
    "training": TranslateTraining,
}


@dataclass(frozen=True)
class TranslatorRecipe:
    """Every setting, resolved: enough to repeat a run."""

    data: PairsConfig
    model: TranslatorConfig
    optim: OptimConfig
    training: TranslateTraining


@dataclass(frozen=True)
class Sizes:
    """What a recipe depends on."""

    vocab_size: int
    source_size: int
    """0 where both languages share their units."""
    pairs: int


# What follows was tuned by measurement; docs/lab-notes.md names failed attempts.

WORDS_PER_PIECE = 180
"""Words of both languages for each byte-pair piece: with fewer, rare pieces are seen too rarely to be learnt."""
MOST_EPOCHS = 25
"""Rounds over the pairs after which more teach little but the memory of the pairs."""


def pieces_for(words: int) -> int:
    """Return the most byte-pair pieces of a vocabulary that is learnt from so many words."""
    return min(16_000, max(1000, words // WORDS_PER_PIECE // 500 * 500))


def choose(
    data: PairsConfig, sizes: Sizes, steps: int, overrides: Overrides, threads: int = 1, *, fast: bool = False
) -> TranslatorRecipe:
    """Choose every setting that the user left open, for a run of `steps`: a function of its arguments alone.

    `fast`: whether this processor multiplies in bfloat16 faster.
    """
    model = {
        "vocab_size": sizes.vocab_size,
        "source_size": sizes.source_size,
        "embedding_size": 192,
        "encoder_size": 224,
        "hidden_size": 320,
        "input_dropout": 0.2,
        "dropout": 0.3,
    }
    batch_size = min(overrides["training"].get("batch_size", 64), sizes.pairs)
    # About once in an epoch, and at least ten times.
    every = max(1, min(steps // 10, sizes.pairs // batch_size))
    optim = {"learning_rate": 1e-2, "warmup_steps": max(1, min(200, steps // 10)), "weight_decay": 0.01,
             "averaging": 0.999 if steps > 1000 else 0.99}  # fmt: skip
    training: dict[str, Any] = {
        "batch_size": batch_size,
        "steps": steps,
        "threads": threads,
        "valid_every": every,
        "save_every": every,
        "precision": "bfloat16" if fast and overrides["model"].get("arch", "lstm") == "lstm" else "float32",
    }
    return TranslatorRecipe(
        data=data,
        model=from_mapping(TranslatorConfig, model | overrides["model"], "the recipe's [model]"),
        optim=from_mapping(OptimConfig, optim | overrides["optim"], "the recipe's [optim]"),
        training=from_mapping(TranslateTraining, training | overrides["training"], "the recipe's [training]"),
    )

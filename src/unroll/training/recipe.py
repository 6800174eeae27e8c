"""The recipe: every setting of a training, chosen from the text and the budget, written and read back. No torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from unroll.data.corpus import DataConfig
from unroll.errors import UserError
from unroll.files import Folder, write_into
from unroll.nn.arch import ARCHITECTURES, DEFAULT, RECURRENT
from unroll.nn.config import ModelConfig, parameter_count
from unroll.settings import from_mapping, parse_value, read_toml, to_mapping, toml_of, unknown_key
from unroll.threads import threads_up_to
from unroll.training.config import OptimConfig, TrainConfig

Tables = Mapping[str, type]
"""The tables of a recipe, by their names."""

TABLES: Tables = {"data": DataConfig, "model": ModelConfig, "optim": OptimConfig, "training": TrainConfig}

Overrides = dict[str, dict[str, Any]]
"""Keys that a user fixed, by table; the rest is chosen."""


@dataclass(frozen=True)
class Recipe:
    """Every setting, resolved: enough to repeat a run."""

    data: DataConfig
    model: ModelConfig
    optim: OptimConfig
    training: TrainConfig


def write_recipe(folder: Path | Folder, recipe: Any, about: Mapping[str, Any]) -> None:
    """Write recipe.toml; `about` (versions, digests) is for people and is not read back into the recipe."""
    tables = {"about": dict(about)} | {field.name: to_mapping(getattr(recipe, field.name)) for field in fields(recipe)}
    write_into(folder, "recipe.toml", toml_of(tables))


R = TypeVar("R")


def read_recipe(path: Path) -> Recipe:
    """Read a complete recipe back, as written by `write_recipe`."""
    return read_recipe_of(Recipe, TABLES, path)


def read_recipe_of(kind: type[R], tables: Tables, path: Path) -> R:
    """Read a recipe with the `tables` of its kind back."""
    overrides = read_overrides(path, tables)
    return kind(**{name: from_mapping(cls, overrides[name], f"[{name}] of {path}") for name, cls in tables.items()})


def read_about(path: Path) -> dict[str, Any]:
    """Read the part of a recipe that is for people: versions, digests, the device."""
    about = read_toml(path).get("about", {})
    return about if isinstance(about, dict) else {}


def read_overrides(path: Path, known: Tables = TABLES) -> Overrides:
    """Read a recipe file that fixes some keys; raises UserError for unknown tables and keys."""
    tables = read_toml(path)
    overrides: Overrides = {name: {} for name in known}
    for name, table in tables.items():
        if name == "about":
            continue
        if name not in known:
            raise unknown_key(name, list(known), f"{path}")
        if not isinstance(table, dict):
            raise UserError(f"{name} in {path} is not a table", allowed=f"[{name}] with keys below it")
        hints = get_type_hints(known[name])
        for key, value in table.items():
            if key not in hints:
                raise unknown_key(key, list(hints), f"[{name}] of {path}")
            overrides[name][key] = value
    return overrides


def check_overrides(overrides: Overrides, known: Tables = TABLES) -> None:
    """Raise UserError for a value of the wrong type or out of its range."""
    for name, cls in known.items():
        # Only the sizes of what is read have no default.
        sizes = {key: 1 for key in ("vocab_size", "channels") if name == "model" and key in get_type_hints(cls)}
        from_mapping(cls, sizes | overrides[name], f"the recipe's [{name}]")


def set_override(overrides: Overrides, key: str, text: str, known: Tables = TABLES) -> None:
    """Apply one `--set KEY=VALUE`; the key may name its table (`model.hidden_size`) or not."""
    table, _, name = key.rpartition(".")
    tables = [home for home, cls in known.items() if name in get_type_hints(cls) and table in ("", home)]
    if not tables:
        raise unknown_key(key, recipe_keys(known), "--set")
    overrides[tables[0]][name] = parse_value(text, get_type_hints(known[tables[0]])[name], f"{key} in --set")


def recipe_keys(known: Tables = TABLES) -> list[str]:
    """Return the keys of all tables, sorted."""
    return sorted({field.name for table in known.values() for field in fields(table)})


# What follows was tuned by measurement; benchmarks/README.md and docs/lab-notes.md name texts and failed attempts.

HIDDEN_SIZES = (64, 96, 128, 192, 256, 384, 512)


def shapes(level: str) -> tuple[tuple[int, int], ...]:
    """Return the hidden sizes and numbers of layers that a budget chooses from, small to large.

    Characters gain more from a second layer than from a wider first one (Karpathy et al. 2015, and measured here).
    """
    return (*((size, 1) for size in HIDDEN_SIZES), (384, 2) if level in ("char", "byte") else (640, 1))


TOKENS_PER_PARAMETER = 6.0
"""Symbols that a model should read for each of its weights, repeats included, before a larger one pays."""


def reads_enough(tokens: float, config: ModelConfig) -> bool:
    """Tell whether a model of this size, its vocabulary aside, reads enough with a budget of `tokens` symbols."""
    return tokens >= TOKENS_PER_PARAMETER * parameter_count(replace(config, vocab_size=1))


def weights_per_step(config: ModelConfig) -> int:
    """Return the number of weights that every step uses in full, so its cost: all but the embedding."""
    return parameter_count(config) - config.vocab_size * config.embedding_size * (not config.tie_weights)


def choose(
    *,
    level: str,
    vocab_size: int,
    train_tokens: int,
    hidden_size: int,
    num_layers: int = 1,
    steps: int,
    final_tokens: int | None,
    tuned: bool,
    overrides: Overrides,
    data: DataConfig,
    filled: float = 1.0,
) -> Recipe:
    """Choose every setting that the user left open, for a text of `train_tokens` and a run of `steps` of this shape.

    Of each window the share `filled` is read.
    A function of its arguments alone: the same text, flags and seed give the same recipe.
    """
    check_overrides(overrides)
    fixed_model, fixed_optim, fixed_training = overrides["model"], overrides["optim"], overrides["training"]
    arch = fixed_model.get("arch", DEFAULT)
    if fixed_model.get("vocab_size", vocab_size) != vocab_size:
        raise UserError(
            f"vocab_size is {fixed_model['vocab_size']} in the recipe's [model]",
            allowed=f"{vocab_size}, the symbols of this text",
            fix="leave it out",
        )
    check_cutoffs(fixed_model.get("adaptive_softmax", ""), vocab_size, level)
    batch_size = fixed_training.get("batch_size", 16)
    seq_len = fixed_training.get("seq_len", 64)
    batch_size, seq_len = fit_batch(train_tokens, batch_size, seq_len, fixed_training)
    epochs = steps * batch_size * seq_len * filled / train_tokens

    # Without a forget bias a network learns faster at first (docs/lab-notes.md), and still learns to keep.
    model: dict[str, Any] = {"vocab_size": vocab_size, "hidden_size": hidden_size, "arch": arch, "forget_bias": 0.0}
    if fixed_model.get("num_layers", num_layers) > 1:
        model |= {"num_layers": num_layers, "skip": "sum"}
    if level in ("word", "bpe"):
        # The output layer is most of a large-vocabulary model: share it with the embedding.
        tied = vocab_size > 2000 and not fixed_model.get("adaptive_softmax")
        model |= {"tie_weights": tied, "embedding_size": min(256, hidden_size)}
    model["dropout"] = dropout_for(epochs)
    if arch in RECURRENT and ARCHITECTURES[arch].reads_state and epochs >= WEIGHT_DROP_FROM:
        model["weight_drop"] = 0.2
    size = fixed_model.get("hidden_size", hidden_size)
    # A trained model is tuned at a quarter of the rate that a random one starts with.
    rate = ARCHITECTURES[arch].peak_rate * min(1.0, (512 / size) ** 0.8) * (0.25 if tuned else 1)
    rate *= 0.625 if fixed_model.get("num_layers", num_layers) > 1 else 1
    optim: dict[str, Any] = {
        "learning_rate": float(f"{rate:.2g}"),
        "warmup_steps": min(100, max(1, steps // 10)),
        "weight_decay": 0.08,
    }
    every = max(10, round_up(steps // 10, 10)) if steps < 20_000 else round_up(steps // 20, 10)
    training: dict[str, Any] = {
        "steps": steps,
        "batch_size": batch_size,
        "seq_len": seq_len,
        "threads": threads_up_to(4),
        "reset_probability": 0.01,
        "valid_every": every,
        "save_every": min(every, 500),
    }
    if final_tokens is not None:
        training["final_tokens"] = final_tokens
    return Recipe(
        data=data,
        model=from_mapping(ModelConfig, model | fixed_model, "the recipe's [model]"),
        optim=from_mapping(OptimConfig, optim | fixed_optim, "the recipe's [optim]"),
        training=from_mapping(TrainConfig, training | fixed_training, "the recipe's [training]"),
    )


def check_cutoffs(cutoffs: str, vocab_size: int, level: str) -> None:
    """Raise UserError for an adaptive softmax that does not fit the vocabulary."""
    if cutoffs and level in ("char", "byte"):
        raise UserError(
            f"adaptive_softmax with level {level}, whose symbols are not ordered by frequency",
            allowed="words, or pieces",
            fix="leave it out",
        )
    if cutoffs and int(cutoffs.split(",")[-1]) >= vocab_size:
        raise UserError(
            f"adaptive_softmax is '{cutoffs}', and the vocabulary has {vocab_size:,} symbols",
            allowed=f"cut-offs below {vocab_size:,}",
            fix="leave out larger cut-offs",
        )


def round_up(number: int, unit: int) -> int:
    """Round up to a multiple of `unit`, at least one."""
    return max(1, math.ceil(number / unit)) * unit


WEIGHT_DROP_FROM = 30.0
"""Epochs from which dropping recurrent weights (Merity et al. 2018) gains more than it costs."""


def dropout_for(epochs: float) -> float:
    """Choose the dropout by the number of epochs: none for one, at most a half."""
    return round(min(0.5, max(0.0, 0.09 * math.log2(max(1.0, epochs)))), 2)


def fit_batch(train_tokens: int, batch_size: int, seq_len: int, fixed: Mapping[str, Any]) -> tuple[int, int]:
    """Shrink streams and windows that the user left open until a text holds at least one window per stream.

    Raises UserError for a text shorter than one window of what the user fixed.
    """
    while batch_size * seq_len > train_tokens and "batch_size" not in fixed and batch_size > 1:
        batch_size //= 2
    while batch_size * seq_len > train_tokens and "seq_len" not in fixed and seq_len > 8:
        seq_len //= 2
    if batch_size * seq_len > train_tokens:
        raise UserError(
            f"the training part has {train_tokens} symbols, shorter than one window of {batch_size} x {seq_len}",
            allowed="a longer text",
            fix="add text, or make the window smaller: --set seq_len=N --set batch_size=N",
        )
    return batch_size, seq_len


def size_for_tokens(tokens: float, overrides: Overrides, vocab_size: int) -> int:
    """Choose the hidden size for a run of `tokens` symbols without any clock, up to 384."""
    if "hidden_size" in overrides["model"]:
        return int(overrides["model"]["hidden_size"])
    fits = [
        size
        for size in HIDDEN_SIZES
        if size <= 384
        and reads_enough(
            tokens,
            from_mapping(
                ModelConfig, overrides["model"] | {"vocab_size": vocab_size, "hidden_size": size}, "the recipe"
            ),
        )
    ]
    return max(fits, default=HIDDEN_SIZES[0])

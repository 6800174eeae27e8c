"""Recipes: a pure choice, what the user fixed wins, mistakes are named, and reading gives back what was written."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny import ARCHS
from unroll.data.corpus import DataConfig
from unroll.errors import UserError
from unroll.nn.config import ModelConfig, parameter_count
from unroll.training.config import OptimConfig, TrainConfig
from unroll.training.recipe import (
    HIDDEN_SIZES,
    TABLES,
    Overrides,
    Recipe,
    choose,
    dropout_for,
    fit_batch,
    read_overrides,
    read_recipe,
    set_override,
    shapes,
    size_for_tokens,
    write_recipe,
)


def nothing() -> Overrides:
    return {name: {} for name in TABLES}


def chosen(overrides: Overrides | None = None, **rest: Any) -> Recipe:
    arguments: dict[str, Any] = {
        "level": "char", "vocab_size": 65, "train_tokens": 1_000_000, "hidden_size": 384, "steps": 4000,
        "final_tokens": None, "tuned": False, "overrides": overrides or nothing(), "data": DataConfig(),
    }  # fmt: skip
    return choose(**(arguments | rest))


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
@pytest.mark.parametrize("arch", ARCHS)
def test_the_choice_is_a_function_of_its_arguments(level: str, arch: str) -> None:
    overrides = nothing() | {"model": {"arch": arch}}
    request: dict[str, Any] = {"level": level, "vocab_size": 3000, "train_tokens": 123_456, "steps": 777}
    first = chosen(overrides, **request)
    assert all(chosen(overrides, **request) == first for _ in range(3))
    assert overrides == nothing() | {"model": {"arch": arch}}, "the choice leaves its arguments alone"
    assert first.model.arch == arch and first.model.vocab_size == 3000 and first.training.steps == 777


FIXED: dict[str, dict[str, Any]] = {
    "data": {},
    "model": {"arch": "gru", "embedding_size": 17, "hidden_size": 33, "num_layers": 3, "window": 9, "layers_before": 1,
              "layers_after": 2, "skip": "sum", "tie_weights": True, "forget_bias": 0.5, "init": "torch",
              "dropout": 0.11, "input_dropout": 0.12, "embedding_dropout": 0.13, "weight_drop": 0.14,
              "variational": True},
    "optim": {"learning_rate": 0.007, "warmup_steps": 3, "schedule": "cosine", "weight_decay": 0.01, "beta1": 0.8,
              "beta2": 0.9, "grad_clip": 0.3, "averaging": 0.9, "plateau_factor": 0.6, "layer_decay": 0.5,
              "thaw_steps": 2},
    "training": {"steps": 17, "batch_size": 5, "seq_len": 23, "reset_probability": 0.2, "precision": "bfloat16",
                 "threads": 3, "wait_policy": "passive", "seed": 4, "log_every": 2, "valid_every": 3, "valid_rows": 4,
                 "valid_tokens": 5, "final_tokens": 6, "save_every": 7, "sample_length": 8, "sample_prompt": "x",
                 "sample_temperature": 0.9, "extended_at": "4,9"},
}  # fmt: skip


@pytest.mark.parametrize("table", ["model", "optim", "training"])
def test_what_the_user_fixed_wins(table: str) -> None:
    names = {field.name for field in fields(TABLES[table])}
    assert set(FIXED[table]) >= names - {"vocab_size", "adaptive_softmax"}, "every key is tried"
    recipe = chosen(FIXED, final_tokens=99)
    for key, value in FIXED[table].items():
        assert getattr(getattr(recipe, table), key) == value
    for key, value in FIXED[table].items():
        alone = chosen(nothing() | {table: {key: value}}, tuned=True)
        assert getattr(getattr(alone, table), key) == value


def test_an_adaptive_softmax_wins_and_is_not_tied() -> None:
    request: dict[str, Any] = {"level": "word", "vocab_size": 5000}
    model = chosen(nothing() | {"model": {"adaptive_softmax": "500,2000"}}, **request).model
    assert (model.adaptive_softmax, model.tie_weights) == ("500,2000", False)
    assert chosen(**request).model.tie_weights


def test_the_vocabulary_is_the_texts() -> None:
    assert chosen(nothing() | {"model": {"vocab_size": 65}}).model.vocab_size == 65
    with pytest.raises(UserError, match="vocab_size"):
        chosen(nothing() | {"model": {"vocab_size": 64}})


def test_the_data_is_passed_on() -> None:
    data = DataConfig(level="word", split="80/10/10", min_count=3)
    assert chosen(data=data).data == data


def test_a_trained_model_is_tuned_gently() -> None:
    assert chosen(tuned=True).optim.learning_rate < 0.5 * chosen().optim.learning_rate


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [("model", "arch", "transformer"), ("model", "hidden_size", 0), ("model", "hidden_size", -4),
     ("model", "hidden_size", "big"), ("model", "dropout", 1.0), ("optim", "learning_rate", 0.0),
     ("training", "batch_size", 0), ("training", "batch_size", -2), ("training", "seq_len", 0),
     ("training", "seq_len", "long"), ("training", "threads", 0), ("training", "sample_temperature", -1.0),
     ("model", "num_layers", 10**9)],
    ids=str,
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(table: str, key: str, value: object) -> None:
    with pytest.raises(UserError) as refusal:
        chosen(nothing() | {table: {key: value}})
    assert key in str(refusal.value) or key == "num_layers"


def test_keys_that_nobody_reads_name_the_nearest(tmp_path: Path) -> None:
    for key in ("hiden_size", "model.hiden_size"):
        with pytest.raises(UserError) as refusal:
            set_override(nothing(), key, "64")
        assert "hiden_size" in refusal.value.what and "hidden_size" in refusal.value.fix
    with pytest.raises(UserError):
        set_override(nothing(), "optim.hidden_size", "64")
    file = tmp_path / "recipe.toml"
    for text, invalid, near in (
        ("[model]\nhiden_size = 64\n", "hiden_size", "hidden_size"),
        ("[optim]\nlearning_rat = 1.0\n", "learning_rat", "learning_rate"),
        ("[modle]\nhidden_size = 64\n", "modle", "model"),
    ):
        file.write_text(text)
        with pytest.raises(UserError) as refusal:
            read_overrides(file)
        assert invalid in refusal.value.what and near in refusal.value.fix and str(file) in refusal.value.what
    for text in ("model = 3\n", "[model\n", "\xff"):
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError):
            read_overrides(file)
    with pytest.raises(UserError):
        read_overrides(tmp_path / "none.toml")


def test_wrong_types_in_a_recipe_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    for text in ("[model]\nhidden_size = 'big'\n", "[model]\narch = 'transformer'\n", "[training]\nsteps = 1.5\n",
                 "[training]\nbatch_size = true\n", "[optim]\nlearning_rate = [1]\n"):  # fmt: skip
        file.write_text(text)
        with pytest.raises(UserError) as refusal:
            chosen(read_overrides(file))
        assert text.split()[1] in str(refusal.value)


def test_set_reads_values_by_type() -> None:
    overrides = nothing()
    for key, text, table, value in (
        ("hidden_size", "64", "model", 64), ("tie_weights", "true", "model", True),
        ("model.arch", "gru", "model", "gru"),
        ("learning_rate", "1", "optim", 1.0), ("optim.schedule", "cosine", "optim", "cosine"),
        ("sample_prompt", "Once upon", "training", "Once upon"), ("training.seed", "7", "training", 7),
        ("split", "80/20", "data", "80/20"),
    ):  # fmt: skip
        set_override(overrides, key, text)
        assert overrides[table][key.split(".")[-1]] == value
        assert type(overrides[table][key.split(".")[-1]]) is type(value)
    for key, text in (("hidden_size", "1.5"), ("hidden_size", "true"), ("arch", "transformer"), ("tie_weights", "1"),
                      ("learning_rate", "fast")):  # fmt: skip
        with pytest.raises(UserError) as refusal:
            set_override(overrides, key, text)
        assert key in refusal.value.what and refusal.value.allowed


def test_a_recipe_comes_back_as_it_was_written(tmp_path: Path) -> None:
    recipes = [
        chosen(),
        chosen(FIXED),
        replace(chosen(), data=DataConfig(level="word", split="80/10/10", min_count=3, vocab_size=99, documents=True)),
        chosen(nothing() | {"training": {"sample_prompt": 'a "quoted"\n\tprompt é😀 \\'}}),
    ]
    for recipe in recipes:
        write_recipe(tmp_path, recipe, {"unroll": "0", "files": ["a b.txt"]})
        assert read_recipe(tmp_path / "recipe.toml") == recipe
        overrides = read_overrides(tmp_path / "recipe.toml")
        repeat = chosen(overrides, data=recipe.data)
        assert repeat == recipe, "a complete recipe leaves nothing to be chosen"


OPTIMS = st.builds(
    OptimConfig,
    learning_rate=st.floats(1e-300, 1e300),
    weight_decay=st.floats(0, 1),
    averaging=st.floats(0, 1, exclude_max=True),
)


@given(OPTIMS, st.text(st.characters(codec="utf-8"), max_size=20))
@settings(max_examples=50, deadline=None)
def test_every_number_and_text_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, optim: OptimConfig, prompt: str
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    recipe = replace(chosen(), optim=optim, training=TrainConfig(sample_prompt=prompt))
    write_recipe(path.parent, recipe, {})
    assert read_recipe(path) == recipe


def test_an_incomplete_recipe_is_refused(tmp_path: Path) -> None:
    write_recipe(tmp_path, chosen(), {})
    text = (tmp_path / "recipe.toml").read_text()
    (tmp_path / "recipe.toml").write_text(
        "".join(line for line in text.splitlines(True) if "vocab_size = 65" not in line)
    )
    with pytest.raises(UserError, match="vocab_size"):
        read_recipe(tmp_path / "recipe.toml")


# ---- portions of a text


@given(st.integers(1, 5000), st.sampled_from([{}, {"batch_size": 4}, {"seq_len": 16}, {"batch_size": 3, "seq_len": 9}]))
def test_windows_shrink_until_the_text_holds_one_for_each_stream(train_tokens: int, fixed: dict[str, int]) -> None:
    request = {"batch_size": 16, "seq_len": 64} | fixed
    try:
        batch_size, seq_len = fit_batch(train_tokens, request["batch_size"], request["seq_len"], fixed)
    except UserError as error:
        assert str(train_tokens) in error.what and error.fix
        least = fixed.get("batch_size", 1) * fixed.get("seq_len", 8)
        assert train_tokens < least
    else:
        assert batch_size * seq_len <= train_tokens
        assert {"batch_size": batch_size, "seq_len": seq_len} | fixed == {"batch_size": batch_size, "seq_len": seq_len}
        if train_tokens >= 16 * 64 and not fixed:
            assert (batch_size, seq_len) == (16, 64)


def test_dropout_grows_with_the_times_a_text_is_read() -> None:
    report = [dropout_for(epochs) for epochs in (0.01, 1, 2, 4, 16, 64, 1e6)]
    assert report == sorted(report) and report[0] == report[1] == 0 and report[-1] <= 0.5
    short, long = chosen(train_tokens=10_000), chosen(train_tokens=10**9)
    assert short.model.dropout > long.model.dropout == 0


def test_recurrent_weights_are_dropped_where_a_text_is_read_often() -> None:
    often, seldom = chosen(train_tokens=100_000), chosen(train_tokens=1_000_000)
    assert often.model.weight_drop > seldom.model.weight_drop == 0
    for arch in ("window", "mingru"):
        assert chosen(nothing() | {"model": {"arch": arch}}, train_tokens=100_000).model.weight_drop == 0
    assert chosen(nothing() | {"model": {"weight_drop": 0.0}}, train_tokens=100_000).model.weight_drop == 0


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_shapes_grow_and_layers_are_joined(level: str) -> None:
    models = [chosen(hidden_size=size, num_layers=layers).model for size, layers in shapes(level)]
    counts = [parameter_count(model) for model in models]
    assert counts == sorted(counts)
    for model in models:
        assert model.skip == ("sum" if model.num_layers > 1 else "none")
    deep = chosen(num_layers=2)
    assert deep.optim.learning_rate < chosen().optim.learning_rate
    # A user who fixes the layers gets the rate of so many.
    assert chosen(nothing() | {"model": {"num_layers": 2}}).optim == deep.optim
    assert chosen(nothing() | {"model": {"num_layers": 1}}, num_layers=2).optim == chosen().optim


def test_the_size_grows_with_the_budget_and_is_the_users_when_fixed() -> None:
    sizes = [size_for_tokens(tokens, nothing(), 65) for tokens in (1, 1e4, 1e5, 1e6, 1e7, 1e9)]
    assert sizes == sorted(sizes) and set(sizes) <= set(HIDDEN_SIZES) and sizes[0] == min(HIDDEN_SIZES)
    assert size_for_tokens(1, nothing() | {"model": {"hidden_size": 1000}}, 65) == 1000


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_the_rate_is_a_number_for_every_size(hidden_size: int, vocab_size: int, num_layers: int) -> None:
    recipe = chosen(nothing() | {"model": {"num_layers": num_layers}}, hidden_size=hidden_size, vocab_size=vocab_size)
    assert 0 < recipe.optim.learning_rate < 0.1
    assert parameter_count(recipe.model) > 0 and isinstance(recipe.model, ModelConfig)


@pytest.mark.parametrize(("module", "loaded"), [("recipe", False), ("report", False), ("loop", True)])
def test_a_recipe_is_read_without_torch(module: str, loaded: bool) -> None:
    """That the check can fail is seen on a step, which needs it."""
    code = f"import sys, unroll.training.{module}; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == f"{loaded}\n"
    )

"""Labels are named plainly or with their column, a wrong one is refused with the nearest, and tables are checked."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tiny import model_config
from unroll.artifact.steering import Column, Steering, count_of, read_starts, read_steering, shapes_of
from unroll.errors import UserError
from unroll.nn.arch import RECURRENT
from unroll.nn.config import parameter_count
from unroll.nn.steering import SteeredModel
from unroll.state import parts_of

STEERING = Steering(
    ("name",),
    (Column("language", ("italian", "greek", "any=thing"), (5, 2, 1)), Column("style", ("old", "greek"), (4, 4))),
)


def test_a_label_is_named_plainly_or_with_its_column() -> None:
    assert STEERING.ids([]).tolist() == [-1, -1]
    assert STEERING.ids(["italian"]).tolist() == [0, -1]
    assert STEERING.ids(["old", "language=greek"]).tolist() == [1, 0]
    assert STEERING.ids(["any=thing", "style=greek"]).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["greek"], "'greek' is a label of 2 columns.*language=greek, style=greek"),
        (["Italien"], "no label 'Italien'.*did you mean 'italian'"),
        (["lang=italian"], "no label 'lang=italian'.*did you mean"),
        (["language=old"], "no label 'language=old'"),
        ([""], "no label ''.*choose one of them"),
        (["italian", "language=greek"], "two labels of the column 'language'"),
    ],
)
def test_another_label_is_refused(labels: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        STEERING.ids(labels)
    assert caught.value.allowed and caught.value.fix
    assert re.search(message, str(caught.value), re.DOTALL)


@pytest.mark.parametrize("arch", RECURRENT)
def test_the_tables_are_those_of_the_model(arch: str, tmp_path: Path) -> None:
    config = model_config(arch)
    model = SteeredModel(config, [3, 2])
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    starts = {name: array.shape for name, array in weights.items() if name.startswith("start.")}
    assert starts == shapes_of(config, STEERING)
    assert sum(array.size for array in weights.values()) == parameter_count(config) + count_of(config, STEERING)
    for name in starts:
        weights[name] = np.random.default_rng(len(name)).random(starts[name], np.float32)
    save_file(weights, tmp_path / "weights.safetensors")
    read = read_starts(tmp_path / "weights.safetensors", config, STEERING)
    (first, *_), (fresh, *_) = (parts_of(read.state(np.array([ids]))) for ids in ([1, 0], [-1, -1]))
    np.testing.assert_allclose(first[0], weights["start.0.0.h"][1] + weights["start.1.0.h"][0], rtol=1e-6)
    assert not fresh.any() and first.dtype == np.float32
    del weights["start.1.0.h"]
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"start\.1\.0\.h is missing"):
        read_starts(tmp_path / "weights.safetensors", config, STEERING)


def test_what_model_json_says_comes_back_and_what_is_damaged_is_refused() -> None:
    whole = json.loads(json.dumps(STEERING.to_json()))
    assert read_steering({"steering": whole}, "model.json") == STEERING
    assert read_steering({}, "model.json") is None
    damage: list[dict[str, Any]] = [
        {"columns": 3}, {"columns": [1]}, {"columns": [{"name": "a", "labels": ["x", "x"], "counts": [1, 1]}]},
        {"columns": [{"name": "a", "labels": ["x", "y"], "counts": [1]}]}, {"text_columns": [1]},
        {"columns": [{"name": "a", "labels": ["x", "y"], "counts": [1, 0]}]},
    ]  # fmt: skip
    for part in damage:
        with pytest.raises(UserError, match=r"model\.json"):
            read_steering({"steering": whole | part}, "model.json")

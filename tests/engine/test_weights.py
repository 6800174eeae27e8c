"""What a model directory holds is checked before it is used: a hostile or damaged file is refused, never a crash."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from engine.networks import MODELS, config, weights_of
from laws.cases import Case, randomised
from unroll.engine.weights import read_weights, shapes
from unroll.errors import UserError
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model

SHAPE = config("gru", 2)


def saved(changes: dict[str, Any] | None = None, leave: str = "") -> bytes:
    weights = weights_of(randomised(Model(SHAPE))) | (changes or {})
    return save({name: weight for name, weight in weights.items() if name != leave}, metadata={"info": "{}"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
def test_the_names_and_shapes_are_torchs(case: Case) -> None:
    expected = {name: tuple(weight.shape) for name, weight in Model(case.config).named_parameters()}
    assert shapes(case.config) == expected


def test_weights_come_back(file: Path) -> None:
    file.write_bytes(saved())
    weights = read_weights(file, SHAPE)
    assert set(weights) == set(shapes(SHAPE))
    for name, weight in weights_of(randomised(Model(SHAPE))).items():
        assert (weights[name] == weight).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"\x80\x04\x95garbage", "damaged"),
        (saved()[:-3], "damaged|smaller"),
        (saved()[:200], "smaller|damaged"),
        (struct.pack("<Q", 2**63) + b"{}", "damaged"),
        (struct.pack("<Q", 2**40) + b"{}" + bytes(10_000), "damaged"),
        (saved(leave="head.bias") + bytes(4000), "missing|damaged"),
        (saved({"head.bias": np.zeros(9, np.float32)}), r"head.bias is \(9,\)"),
        (saved({"head.bias": np.zeros(7, np.float64)}), "F64"),
        (saved({"head.weight": np.full((7, 8), np.nan, np.float32)}), "not numbers"),
        (saved({"recurrent.layers.0.bias_hh": np.full(24, np.inf, np.float32)}), "not numbers"),
    ],
)
def test_what_does_not_fit_is_refused(content: bytes, message: str, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_weights(file, SHAPE)


def test_a_missing_file(file: Path) -> None:
    with pytest.raises(UserError, match=r"no weights\.safetensors"):
        read_weights(file, SHAPE)


def test_a_huge_claim_allocates_nothing(file: Path) -> None:
    file.write_bytes(saved())
    huge = ModelConfig(vocab_size=2**20, hidden_size=1024, arch="lstm")
    with pytest.raises(UserError, match="smaller than the model"):
        read_weights(file, huge)
    header = {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(20_000))
    with pytest.raises(UserError, match="missing"):
        read_weights(file, SHAPE)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_refused_or_harmless(data: st.DataObject, file: Path) -> None:
    content = bytearray(saved())
    for _ in range(data.draw(st.integers(1, 8))):
        # Most of the file is numbers: aim at the header as often.
        limit = data.draw(st.sampled_from([8, 600, len(content)]))
        place = data.draw(st.integers(0, limit - 1))
        content[place] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content))
    try:
        weights = read_weights(file, SHAPE)
    except UserError:
        return
    assert {name: weight.shape for name, weight in weights.items()} == shapes(SHAPE)
    assert all(np.isfinite(weight).all() for weight in weights.values())

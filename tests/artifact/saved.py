"""A small model directory that tests write, change and expect to be refused."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny import TOKENIZER, model_config, random_model
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS, save_description
from unroll.artifact.open import load
from unroll.data.tokenizer import CharTokenizer
from unroll.errors import UserError
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model

CONFIG = model_config("lstm")


def save_model(path: Path, config: ModelConfig = CONFIG, tokenizer: CharTokenizer = TOKENIZER) -> Model:
    """Write what a model directory needs to be loaded."""
    path.mkdir(exist_ok=True)
    model = random_model(config, torch.float32)
    tokenizer.save(path / "tokenizer.json")
    save_description(path, config, tokenizer)
    save_tensors(path / WEIGHTS, dict(model.named_parameters()), {"step": 7})
    return model


def refused(path: Path, message: str = "") -> UserError:
    """Check that loading is refused with a word about `says`."""
    with pytest.raises(UserError) as refusal:
        load(path)
    assert message in str(refusal.value), str(refusal.value)
    return refusal.value


def change(path: Path, **values: Any) -> None:
    """Change entries of model.json; `model` entries are merged."""
    description = json.loads((path / "model.json").read_text())
    if "model" in values and isinstance(values["model"], dict):
        values["model"] = description["model"] | values["model"]
    (path / "model.json").write_text(json.dumps(description | values))


def damage(content: bytes, chance: random.Random) -> bytes:
    """Flip a few bits or bytes, cut, double, or blank a stretch."""
    kind = chance.randrange(5)
    if kind == 0 or not content:
        return content[: chance.randrange(len(content) + 1)]
    damaged = bytearray(content)
    # Headers are small and weights are large: half of the damage goes to the first bytes.
    reach = len(content) if chance.random() < 0.5 else min(len(content), 400)
    if kind == 1:
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(reach)] ^= 1 << chance.randrange(8)
    elif kind == 2:
        damaged[chance.randrange(reach)] = chance.randrange(256)
    elif kind == 3:
        start = chance.randrange(reach)
        damaged[start : start + chance.randint(1, 64)] = b""
    else:
        start = chance.randrange(reach)
        damaged[start : start + 32] = chance.choice([b"\0", b"9", b"\xff", b'"', b"{"]) * 32
    return bytes(damaged)

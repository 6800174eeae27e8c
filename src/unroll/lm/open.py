"""A model directory opened for use: what predicts, its vocabulary, and what model.json says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unroll.data.tokenizer import Tokenizer
from unroll.lm.predict import Predictor


@dataclass(frozen=True)
class Opened:
    """A model in use."""

    path: Path
    predictor: Predictor
    tokenizer: Tokenizer
    description: dict[str, Any]
    """What model.json says."""


def open_model(path: Path, device: str = "cpu") -> Opened:
    """Open a model directory; runs no code from it. Raises UserError when it is foreign or damaged."""
    from unroll.lm.checkpoint import load
    from unroll.lm.torch_predictor import TorchPredictor

    loaded = load(path, device)
    return Opened(path, TorchPredictor(loaded.model), loaded.tokenizer, loaded.description)

"""A model directory opened for use: what predicts, its vocabulary, and what model.json says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unroll.data.tokenizer import Tokenizer
from unroll.lm.directory import read_config, read_description, read_tokenizer
from unroll.lm.ngram import NgramConfig
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
    description = read_description(path)
    config = read_config(description, str(path / "model.json"))
    if isinstance(config, NgramConfig):
        from unroll.lm.ngram_directory import load_ngram

        tokenizer = read_tokenizer(path, description)
        return Opened(path, load_ngram(path, config), tokenizer, description)
    from unroll.lm.checkpoint import load
    from unroll.lm.torch_predictor import TorchPredictor

    loaded = load(path, device)
    return Opened(path, TorchPredictor(loaded.model), loaded.tokenizer, loaded.description)

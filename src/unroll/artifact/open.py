"""A model directory opened for use: what predicts, its vocabulary, and what model.json says."""

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from unroll.artifact.directory import WEIGHTS, read_config, read_description, read_tokenizer, read_weights_info
from unroll.artifact.snapshot import pinned
from unroll.data.tokenizer import Tokenizer
from unroll.engine.network import Precision, load_network
from unroll.files import StrPath
from unroll.predict.ngram import NgramConfig
from unroll.predict.predictor import Predictor

if TYPE_CHECKING:
    from unroll.artifact.checkpoint import Loaded

AnyModel: TypeAlias = "StrPath | Loaded | Opened"
"""A model as a caller may name it: its directory, or what was loaded or opened from one."""


@dataclass(frozen=True)
class Opened:
    """A model in use."""

    path: Path
    predictor: Predictor
    tokenizer: Tokenizer
    description: dict[str, Any]
    """What model.json says."""


def open_model(path: StrPath, precision: Precision = "float32", *, device: str = "cpu") -> Opened:
    """Open a model directory for any number of calls: on a CPU with the engine, which needs no torch, else with torch.

    `precision` is that of the engine's weights. Runs no code from the directory. All files are of one directory,
    whatever its name leads to meanwhile. Raises UserError when it is foreign or damaged.
    """
    path = Path(path)
    with pinned(path) as here:
        return replace(_opened(here, device, precision), path=path)


def as_opened(model: AnyModel) -> Opened:
    """Return a model opened, whatever it is named by. Raises UserError."""
    if isinstance(model, Opened):
        return model
    if isinstance(model, str | PathLike):
        return open_model(model)
    from unroll.predict.torch import TorchPredictor

    return Opened(model.path, TorchPredictor(model.model), model.tokenizer, model.description)


def _opened(path: Path, device: str, precision: Precision) -> Opened:
    description = read_description(path)
    config = read_config(description, str(path / "model.json"))
    if isinstance(config, NgramConfig):
        from unroll.artifact.ngram import load_ngram

        tokenizer = read_tokenizer(path, description)
        return Opened(path, load_ngram(path, config), tokenizer, description)
    if device == "cpu":
        tokenizer = read_tokenizer(path, description)
        read_weights_info(path)
        return Opened(path, load_network(path / WEIGHTS, config, precision=precision), tokenizer, description)
    from unroll.artifact.checkpoint import load
    from unroll.nn.precision import multiply_exactly
    from unroll.predict.torch import TorchPredictor

    multiply_exactly()  # also where others look into the model
    loaded = load(path, device)
    return Opened(path, TorchPredictor(loaded.model), loaded.tokenizer, loaded.description)

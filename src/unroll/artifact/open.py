"""A model directory opened for use: what predicts, its vocabulary, and what model.json says."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from unroll.artifact.classifier import OpenClassifier, open_classifier
from unroll.artifact.directory import (
    CLASSIFIER,
    WEIGHTS,
    check_trained,
    read_config,
    read_description,
    read_kind,
    read_tokenizer,
    read_weights_info,
)
from unroll.artifact.snapshot import pinned
from unroll.artifact.steering import Starts, read_starts, read_steering
from unroll.data.tokenizer import Tokenizer
from unroll.engine.network import Precision, load_network
from unroll.errors import UserError
from unroll.files import StrPath
from unroll.nn.config import ModelConfig
from unroll.predict.ngram import NgramConfig
from unroll.predict.predictor import Predictor
from unroll.state import State

if TYPE_CHECKING:
    from unroll.nn.model import Model

Needs = Literal["predictor", "network"]
"""What a model is opened for: whatever predicts fastest, or the network in torch, with its gates and gradients."""

AnyModel: TypeAlias = "StrPath | Opened"
"""A model as a caller may name it: its directory, or what was opened from one."""


@dataclass(frozen=True)
class Opened:
    """A model in use."""

    path: Path
    predictor: Predictor
    tokenizer: Tokenizer
    description: dict[str, Any]
    """Content of model.json."""
    weights_info: dict[str, Any] = field(default_factory=dict)
    """`step`, `tokens_seen`, `valid_nats` (read as rows) and `averaged` of a network's weights."""
    starts: Starts | None = None
    """The start states of the labels of a model that labels steer."""

    @property
    def config(self) -> ModelConfig | NgramConfig:
        """The shape of the model."""
        return read_config(self.description, str(self.path / "model.json"))

    @property
    def model(self) -> "Model":
        """The network in torch; raises UserError where the model was opened without torch."""
        network = self.predictor.network
        if network is None or (model := network.torch_model) is None:
            raise UserError(
                f"{self.path} was opened without torch", allowed="a network in torch", fix="open it with unroll.load"
            )
        return model

    def start_state(self, labels: str | Sequence[str] = ()) -> State | None:
        """Return the state of one row that begins with these labels; None, the fresh state, where none is named.

        A label is `LABEL` or `COLUMN=LABEL`. Raises UserError for one that the model does not have.
        """
        labels = (labels,) if isinstance(labels, str) else labels
        if not labels:
            return None
        if self.starts is None:
            raise UserError(
                f"{self.path} has no labels, and {labels[0]!r} is named",
                allowed="a model trained with `unroll train FILE --text COL --label COL`",
                fix="leave the label out",
            )
        return self.starts.state(self.starts.steering.ids(labels)[None])


def open_model(
    path: StrPath, precision: Precision = "float32", *, device: str = "cpu", needs: Needs = "predictor"
) -> Opened:
    """Open a model directory: on a CPU with the engine, which needs no torch; elsewhere, or for its network, in torch.

    `precision` is that of the engine's weights. An n-gram has no network: it is opened as a predictor all the same.
    Runs no code from the directory. All files are of one directory, whatever its name leads to meanwhile. Raises
    UserError when it is foreign or damaged.
    """
    path = Path(path)
    with pinned(path) as here:
        return replace(_opened(here, device, precision, needs), path=path)


def open_any(path: StrPath, precision: Precision = "float32") -> Opened | OpenClassifier:
    """Open a model directory of whatever kind, without torch. Raises UserError when it is foreign or damaged."""
    if read_kind(Path(path))["kind"] == CLASSIFIER:
        return open_classifier(path, precision)
    return open_model(path, precision)


def as_opened(model: AnyModel) -> Opened:
    """Return a model opened, whatever it is named by. Raises UserError."""
    return model if isinstance(model, Opened) else open_model(model)


def load(path: StrPath, device: str = "cpu") -> Opened:
    """Open a model directory with torch; raises UserError for an n-gram too."""
    opened = open_model(path, device=device, needs="network")
    check_trained(opened.path, opened.description)
    return opened


def _opened(path: Path, device: str, precision: Precision, needs: Needs) -> Opened:
    description = read_description(path)
    config = read_config(description, str(path / "model.json"))
    tokenizer = read_tokenizer(path, description)
    if isinstance(config, NgramConfig):
        from unroll.artifact.ngram import load_ngram

        return Opened(path, load_ngram(path, config), tokenizer, description)
    info, steering = read_weights_info(path), read_steering(description, str(path / "model.json"))
    starts = None if steering is None else read_starts(path / WEIGHTS, config, steering)
    if device == "cpu" and needs == "predictor":
        network = load_network(path / WEIGHTS, config, precision=precision)
        return Opened(path, network, tokenizer, description, info, starts)
    from unroll.artifact.checkpoint import load_model
    from unroll.nn.precision import multiply_exactly
    from unroll.predict.torch import TorchPredictor

    if needs == "predictor":
        multiply_exactly()  # also where others look into the model
    return Opened(path, TorchPredictor(load_model(path, config, device)), tokenizer, description, info, starts)

"""The tensors of a model directory: saved atomically, loaded into models, checked before anything is allocated."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save
from torch import Tensor

from unroll.artifact.directory import (
    DATA,
    METRICS,
    SAMPLES,
    STATE,
    WEIGHTS,
    EventLog,
    check_trained,
    damaged,
    locked,
    read_description,
    read_events,
    read_info,
    read_tokenizer,
    read_weights_info,
    save_description,
)
from unroll.artifact.snapshot import pinned
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.files import StrPath, write_atomically
from unroll.nn.model import Model, ModelConfig, parameter_count
from unroll.settings import from_mapping

__all__ = [
    "DATA",
    "METRICS",
    "SAMPLES",
    "STATE",
    "WEIGHTS",
    "EventLog",
    "Loaded",
    "copy_weights",
    "damaged",
    "fitting",
    "load",
    "load_tensors",
    "locked",
    "packed",
    "read_description",
    "read_events",
    "read_info",
    "save_description",
    "save_tensors",
]


@dataclass(frozen=True)
class Loaded:
    """A model directory in memory."""

    path: Path
    model: Model
    tokenizer: Tokenizer
    description: dict[str, Any]
    """What model.json says."""
    weights_info: dict[str, Any]
    """What the weights say of themselves: `step`, `tokens_seen`, `valid_nats` (of rows), `averaged`."""


def packed(tensors: dict[str, Tensor], info: dict[str, Any]) -> bytes:
    """Return tensors, and what there is to say about them, as the content of a safetensors file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(tensors, metadata={"info": json.dumps(info, sort_keys=True)})


def save_tensors(file: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write tensors and what there is to say about them as one safetensors file, atomically."""
    write_atomically(file, packed(tensors, info))


def load_tensors(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file; raises UserError when it is missing or damaged."""
    read_info(file)
    try:
        try:
            os.fsencode(file).decode()
        except UnicodeDecodeError:  # safetensors opens such names for numpy, not for torch
            return load_bytes(file.read_bytes())
        return load_file(file)
    except (SafetensorError, ValueError, OSError) as error:
        raise damaged(file, str(error)) from None


def load(path: StrPath, device: torch.device | str = "cpu") -> Loaded:
    """Load a model directory for use, in evaluation mode; runs no code from it.

    Raises UserError for a missing, foreign or damaged directory and for an n-gram; sizes are checked before anything
    is allocated. All files are of one directory, whatever its name leads to meanwhile.
    """
    path = Path(path)
    with pinned(path) as here:
        return replace(_loaded(here, device), path=path)


def _loaded(path: Path, device: torch.device | str) -> Loaded:
    check_trained(path)
    description = read_description(path)
    config = from_mapping(ModelConfig, description["model"], f"{path / 'model.json'}")
    tokenizer = read_tokenizer(path, description)
    file = path / WEIGHTS
    info = read_weights_info(path)
    if file.stat().st_size < 4 * parameter_count(config):
        raise UserError(
            f"{file} is smaller than the model that model.json describes",
            allowed=f"{parameter_count(config):,} weights",
            fix="restore it, or train again",
        )
    tensors = load_tensors(file)
    model = Model(config)
    copy_weights(model, tensors, file)
    return Loaded(path, model.to(device).eval(), tokenizer, description, info)


def fitting(tensors: dict[str, Tensor], name: str, like: Tensor, file: Path) -> Tensor:
    """Return the tensor called `name`; raises UserError where it is missing or is not shaped like `like`."""
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != like.shape or tensor.dtype != like.dtype:
        found = "missing" if tensor is None else f"{tuple(tensor.shape)} {tensor.dtype}"
        raise UserError(
            f"{file}: {name} is {found}",
            allowed=f"{tuple(like.shape)} {like.dtype}",
            fix="restore the directory from one source",
        )
    return tensor


def copy_weights(model: Model, tensors: dict[str, Tensor], file: Path, prefix: str = "") -> None:
    """Copy tensors into the model's own memory; raises UserError where names, shapes or values do not fit."""
    for name, weight in model.named_parameters():
        tensor = fitting(tensors, prefix + name, weight, file)
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(
                f"{file}: {prefix + name} holds values that are not numbers", fix="restore it, or train again"
            )
        with torch.no_grad():
            weight.copy_(tensor)

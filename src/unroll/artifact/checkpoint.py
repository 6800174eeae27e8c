"""The tensors of a model directory: saved atomically, loaded into models, checked before anything is allocated."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save
from torch import Tensor, nn

from unroll.artifact.directory import WEIGHTS, damaged, read_info
from unroll.errors import UserError
from unroll.files import write_atomically
from unroll.nn.config import ModelConfig, parameter_count
from unroll.nn.model import Model


def packed(tensors: dict[str, Tensor], info: dict[str, Any]) -> bytes:
    """Return tensors and their info as the content of a safetensors file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(tensors, metadata={"info": json.dumps(info, sort_keys=True)})


def save_tensors(file: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write tensors and their info as one safetensors file, atomically."""
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


def load_model(path: Path, config: ModelConfig, device: torch.device | str = "cpu") -> Model:
    """Return a network with the weights of a model directory, in evaluation mode.

    Raises UserError for weights that are missing, damaged or not as described; sizes are checked before anything is
    allocated.
    """
    file = path / WEIGHTS
    if file.stat().st_size < 4 * parameter_count(config):
        raise UserError(
            f"{file} is smaller than the model that model.json describes",
            allowed=f"{parameter_count(config):,} weights",
            fix="restore it, or train again",
        )
    tensors = load_tensors(file)
    model = Model(config)
    copy_weights(model, tensors, file)
    return model.to(device).eval()


def fitting(tensors: dict[str, Tensor], name: str, like: Tensor, file: Path) -> Tensor:
    """Return the tensor called `name`; raises UserError where it is missing or differs in shape or type from `like`."""
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != like.shape or tensor.dtype != like.dtype:
        actual = "missing" if tensor is None else f"{tuple(tensor.shape)} {tensor.dtype}"
        raise UserError(
            f"{file}: {name} is {actual}",
            allowed=f"{tuple(like.shape)} {like.dtype}",
            fix="restore the directory from one source",
        )
    return tensor


def copy_weights(model: nn.Module, tensors: dict[str, Tensor], file: Path, prefix: str = "") -> None:
    """Copy tensors into the model's own memory; raises UserError for missing, misshapen or non-finite ones."""
    for name, weight in model.named_parameters():
        tensor = fitting(tensors, prefix + name, weight, file)
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(
                f"{file}: {prefix + name} has values that are NaN or infinite", fix="restore it, or train again"
            )
        with torch.no_grad():
            weight.copy_(tensor)

"""What a training refuses before it begins: a device, recipe keys, inputs and parts that do not do."""

import math
from pathlib import Path

import torch

from unroll.data.corpus import Corpus
from unroll.errors import UserError, number_of
from unroll.nn import native
from unroll.training.calibrate import has_tf32
from unroll.training.config import TrainConfig
from unroll.training.many import processes, torchrun
from unroll.training.recipe import Overrides, check_overrides


def choose_device(name: str) -> torch.device:
    """Return the device called auto, cpu, cuda or mps; raises UserError for one that is not there.

    Also where UNROLL_KERNEL demands kernels that are not there: before anything is written.
    """
    native.instructions(torch.float32)
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if available[device]))
    if name not in available:
        raise UserError(f"unknown device '{name}'", allowed="auto, cpu, cuda, mps")
    if not available[name]:
        raise UserError(
            f"no {name} device on this machine",
            allowed=", ".join(device for device in available if available[device]),
            fix="use --device auto",
        )
    return torch.device(name)


def check_request(overrides: Overrides, device: torch.device) -> None:
    """Raise UserError for recipe keys that are out of range, or that this device or these processes do not support."""
    check_overrides(overrides)
    if overrides["training"].get("precision") == "tf32" and not has_tf32(device):
        raise UserError(
            f"precision tf32 needs an NVIDIA GPU (Ampere or newer); this device is {device.type}",
            allowed="float32, bfloat16",
            fix="leave precision out",
        )
    processes.check_shares(overrides["training"].get("batch_size", TrainConfig().batch_size))


def check_alone(what: str) -> None:
    """Raise UserError where torchrun started several processes, for `what` trains in one."""
    if torchrun.several() or processes.size() > 1:
        raise UserError(
            f"{what} trains in one process, and torchrun started several",
            allowed="one process",
            fix="run the command without torchrun",
        )


def refuse_model(path: Path) -> None:
    """Raise UserError where a model is given in place of a text."""
    if (path / "model.json").is_file():
        raise UserError(
            f"{path} is a model, not a text",
            allowed="text files, or a folder made by `unroll data prepare`",
            fix=f"continue its training with --resume {path}, or tune it to a text: --from {path} FILE",
        )


def nothing_held_back() -> UserError:
    """Return the error for a text without a validation part."""
    return UserError(
        "no part of the text is held back for validation",
        allowed="a text, or a prepared folder, that is split into training and validation",
        fix="give a --split such as 90/10, or a text with --valid",
    )


FEWEST_VALID = 20
"""Symbols of a validation part that can tell which weights are better."""


def too_few_held_back(corpus: Corpus, valid: Path | None) -> UserError:
    """Return the error for a validation part that is too short to choose weights by."""
    count = sum(part.tokens for part in corpus.info.parts.values())
    percent = math.ceil(100 * (FEWEST_VALID + 1) / count)  # parts are rounded down
    split = f"hold back more with --split {100 - percent}/{percent}, or " if percent <= 50 and valid is None else ""
    return UserError(
        f"the validation part has {number_of(len(corpus.valid), 'symbol')}, too few to tell which weights are best",
        allowed=f"a validation part of {FEWEST_VALID} symbols or more",
        fix=f"{split}give a longer text{' with --valid' if valid is not None else ''}",
    )

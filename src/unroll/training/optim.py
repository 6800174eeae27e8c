"""How weights move: AdamW, its learning-rate schedule, and the running average of the weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from unroll.errors import UserError


@dataclass(frozen=True)
class OptimConfig:
    """AdamW (Loshchilov & Hutter 2019) with warm-up and decay, clipping and averaging."""

    learning_rate: float = 1e-2
    """The peak."""
    warmup_steps: int = 100
    schedule: Literal["linear", "cosine", "constant", "plateau"] = "linear"
    """From the peak to zero at the last step; `constant` stays, best with averaging; `plateau` stays until a validation
    brings no new best, and is then cut."""
    plateau_factor: float = 0.25
    """What `plateau` multiplies the rate with at every cut."""
    weight_decay: float = 0.05
    """On matrices; biases are left alone."""
    beta1: float = 0.9
    beta2: float = 0.99
    grad_clip: float = 1.0
    """The largest norm of all gradients together; 0 clips nothing."""
    averaging: float = 0.0
    """Decay of the running average of the weights, which is then what is validated and kept; 0 is off."""

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UserError(f"learning_rate is {self.learning_rate}", allowed="above 0")
        for name in ("warmup_steps", "weight_decay", "grad_clip"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} is {getattr(self, name)}", allowed="0 or more")
        if not 0 < self.plateau_factor < 1:
            raise UserError(
                f"plateau_factor is {self.plateau_factor}", allowed="between 0 and 1", fix="write for example 0.25"
            )
        for name in ("beta1", "beta2", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}", allowed="0 up to, not including, 1")


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Return AdamW over the model's weights, with weight decay on the matrices alone."""
    weights = list(model.parameters())
    groups = [
        {"params": [w for w in weights if w.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)


def learning_rate_at(step: int, steps: int, config: OptimConfig, cuts: int = 0) -> float:
    """Return the rate of step `step` (from 0) of `steps`: linear warm-up, then the schedule.

    `cuts` is how many validations have brought no new best, which only `plateau` heeds.
    """
    warmup = min(config.warmup_steps, steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if config.schedule == "linear":
        return config.learning_rate * (1 - done)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if config.schedule == "plateau":
        return config.learning_rate * config.plateau_factor**cuts
    return config.learning_rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def update_average(average: Sequence[Tensor], weights: Sequence[Tensor], step: int, decay: float) -> None:
    """Move the running average towards the weights after step `step` (from 0), in place.

    The decay starts small, min(decay, (1 + t) / (10 + t)), so that the random start is soon forgotten.
    """
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average), [w.detach() for w in weights], 1 - decay)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's tensors by the name of their weight, `exp_avg/head.weight`, ready to be saved."""
    return {
        f"{kind}/{name}": value
        for name, weight in model.named_parameters()
        for kind, value in optimizer.state.get(weight, {}).items()
    }


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, copied into memory of torch's own (its alignment decides rounding)."""
    for name, weight in model.named_parameters():
        kept = {
            kind: tensors[f"{kind}/{name}"] for kind in ("step", "exp_avg", "exp_avg_sq") if f"{kind}/{name}" in tensors
        }
        if kept:
            optimizer.state[weight] = {kind: value.to(weight.device, copy=True) for kind, value in kept.items()}

"""How weights move: AdamW, its learning-rate schedule, and the running average of the weights."""

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from unroll.training.config import OptimConfig


def make_optimizer(
    model: nn.Module, config: OptimConfig, depths: Mapping[str, int] = MappingProxyType({})
) -> torch.optim.AdamW:
    """Return AdamW over the model's weights, with weight decay on the matrices alone.

    `depths` are those of `Learner.depths`; they matter where deeper layers have rates of their own.
    """
    if config.layer_decay == 1 and not config.thaw_steps:
        depths = {}
    groups: list[dict[str, Any]] = []
    for depth in sorted({0, *depths.values()}):
        weights = [w for name, w in model.named_parameters() if depths.get(name, 0) == depth]
        own = {"scale": config.layer_decay**depth, "first_step": depth * config.thaw_steps}
        groups.append({"params": [w for w in weights if w.dim() >= 2], "weight_decay": config.weight_decay} | own)
        groups.append({"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0} | own)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)


def learning_rate_at(
    step: int, steps: int, config: OptimConfig, cuts: int = 0, extensions: tuple[int, ...] = ()
) -> float:
    """Return the rate of step `step` (from 0) of `steps`: linear warm-up, then the schedule.

    `cuts` is the number of validations without a new best, which only `plateau` uses. At each step of `extensions` a
    schedule that falls to zero begins anew, warm-up included; the others are not interrupted.
    """
    part = bisect(extensions, step) if config.schedule in ("linear", "cosine") else 0
    begin, end = (0, *extensions)[part], (*extensions, steps)[part]
    warmup = min(config.warmup_steps, (end - begin) // 2)
    if step - begin < warmup:
        return config.learning_rate * (step - begin + 1) / warmup
    done = (step - begin - warmup) / max(1, end - begin - warmup)
    if config.schedule == "linear":
        return config.learning_rate * (1 - done)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if config.schedule == "plateau":
        return config.learning_rate * config.plateau_factor**cuts
    return config.learning_rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group its share of the `rate` of a step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def thaw(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Let the layers that are due at a step learn; gradients of the others are not computed."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.requires_grad_(step >= group["first_step"])


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
    """Restore the tensors of `optimizer_tensors`, copied into torch's own memory (alignment decides rounding)."""
    for name, weight in model.named_parameters():
        moments = {
            kind: tensors[f"{kind}/{name}"] for kind in ("step", "exp_avg", "exp_avg_sq") if f"{kind}/{name}" in tensors
        }
        if moments:
            optimizer.state[weight] = {kind: value.to(weight.device, copy=True) for kind, value in moments.items()}

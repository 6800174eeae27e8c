"""The loss: the cross-entropy of every time step, in nats."""

import torch.nn.functional as F
from torch import Tensor

from unroll.nn import native


def cross_entropy(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Return -ln P(target) for logits (B, T, V) and targets (B, T), in nats, computed in float32 or better.

    `reduction` is `mean`, `sum`, or `none`, which gives (B, T).
    """
    # The model computes time-major; in that order flattening copies nothing.
    flat = logits.transpose(0, 1).reshape(-1, logits.shape[-1])
    if reduction == "mean" and flat.requires_grad and native.has(flat):
        return native.cross_entropy(flat, targets.transpose(0, 1).reshape(-1))
    flat = flat if flat.dtype.itemsize >= 4 else flat.float()
    nats = F.cross_entropy(flat, targets.transpose(0, 1).reshape(-1), reduction=reduction)
    return nats.view(targets.shape[1], targets.shape[0]).transpose(0, 1) if reduction == "none" else nats

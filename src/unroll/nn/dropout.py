"""The ways of dropping: outputs, the same outputs at every time step, whole symbols, recurrent weights."""

import torch.nn.functional as F
from torch import Tensor


def drop(x: Tensor, p: float, *, variational: bool, training: bool) -> Tensor:
    """Drop entries of `x` (T, B, D) with probability `p`, scaling the rest by 1/(1-p).

    Variational dropout (Gal & Ghahramani 2016) draws one mask per row and keeps it over all T steps.
    """
    if not training or p == 0.0:
        return x
    if not variational:
        return F.dropout(x, p)
    return x * F.dropout(x.new_ones(1, *x.shape[1:]), p)


def drop_symbols(weight: Tensor, p: float, *, training: bool) -> Tensor:
    """Drop whole rows of an embedding (V, E) for this window (Gal & Ghahramani 2016; Merity et al. 2017)."""
    if not training or p == 0.0:
        return weight
    return weight * F.dropout(weight.new_ones(weight.shape[0], 1), p)


def drop_weights(weight: Tensor, p: float, *, training: bool) -> Tensor:
    """Drop entries of a recurrent weight for this window (DropConnect; Merity et al. 2017, section 2).

    The result is an argument of the layer, so no module is patched and nothing can go stale.
    """
    return F.dropout(weight, p) if training and p > 0.0 else weight

"""The ways of dropping: outputs, the same outputs at every time step, whole symbols, recurrent weights."""

import torch
import torch.nn.functional as F
from torch import Tensor


def drop(x: Tensor, p: float, *, variational: bool, training: bool) -> Tensor:
    """Drop entries of `x` (T, B, D) with probability `p`, scaling the rest by 1/(1-p).

    Variational dropout (Gal & Ghahramani 2016) draws one mask per row and keeps it over all T steps.
    """
    if not training or p == 0.0:
        return x
    if not variational:
        return _dropout(x, p)
    return x * _dropout(x.new_ones(1, *x.shape[1:]), p)


def drop_symbols(x: Tensor, ids: Tensor, symbols: int, p: float, *, training: bool) -> Tensor:
    """Drop the embeddings `x` (T, B, E) of some symbols wherever they stand in this window, ids (T, B) of `symbols`.

    The same as dropping rows of the embedding (Gal & Ghahramani 2016; Merity et al. 2017) at the price of the window.
    """
    if not training or p == 0.0:
        return x
    return x * _dropout(x.new_ones(symbols), p)[ids].unsqueeze(-1)


def drop_weights(weight: Tensor, p: float, *, training: bool) -> Tensor:
    """Drop entries of a recurrent weight for this window (DropConnect; Merity et al. 2017, section 2).

    The result is an argument of the layer, so no module is patched and nothing can go stale.
    """
    return _dropout(weight, p) if training and p > 0.0 else weight


def _dropout(x: Tensor, p: float) -> Tensor:
    """Return `x` with entries dropped with probability `p`, the rest scaled by 1/(1-p).

    On a CPU torch draws one number an entry; here one number of 64 bits decides four entries, which takes a quarter
    of the time, at a probability rounded to 1/65536.
    """
    if x.device.type != "cpu" or p == 1.0:
        return F.dropout(x, p)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    lanes = bits.view(torch.int16)[: x.numel()].view(x.shape)  # uniform over -32768 … 32767
    return x * (lanes >= round(p * 65536) - 32768).to(x.dtype).mul_(1 / (1 - p))

"""The LSTM's recurrence in bfloat16 on our own kernel (lstm.cpp), where the processor and the installation have it."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unroll.nn.cells import CellWeights
from unroll.nn.state import LayerState

LIBRARY = Path(__file__).with_name("liblstm.so")
ROWS = 16
"""Rows of a tile: buffers that are read by tiles have as many to spare."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernel, or None where it was not built or the processor lacks its instructions (AMX)."""
    if not LIBRARY.exists():
        return None
    loaded = ctypes.CDLL(str(LIBRARY))
    if not loaded.unroll_lstm_supported():
        return None
    sizes, pointers = [ctypes.c_int64] * 3, [ctypes.c_void_p]
    loaded.unroll_lstm_forward.argtypes = [*sizes, *pointers * 6, ctypes.c_int]
    loaded.unroll_lstm_backward.argtypes = [*sizes, *pointers * 8, ctypes.c_int]
    loaded.unroll_lstm_forward.restype = loaded.unroll_lstm_backward.restype = None
    return loaded


def fits(x: Tensor, hidden_size: int) -> bool:
    """Tell whether the kernel can run an LSTM layer over `x`: on the CPU, in bfloat16, of whole tiles."""
    return (
        x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and hidden_size % 32 == 0
        and library() is not None
    )


def run_lstm(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    """Run an LSTM layer over `x` (T, B, I): one large product for the inputs, then the steps in the kernel.

    `y` (T, B, H) is bfloat16, the state float32. Within autocast only, see `fits`.
    """
    z = F.linear(x, w.weight_ih, w.bias_ih + w.bias_hh)  # (T, B, 4H)
    y, h, c = _Recurrence.apply(z, *state, w.weight_hh)  # type: ignore[no-untyped-call]
    return y, (h, c)


class _Recurrence(torch.autograd.Function):
    """The steps of an LSTM whose input products `z` (T, B, 4H) are given; the equations are in lstm.cpp."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, h0: Tensor, c0: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps, rows, wide = z.shape
        hidden = wide // 4
        z, weight_hh = z.contiguous(), weight_hh.detach().float().contiguous()
        # All states one after the other, from the one before the first step: what backward needs, without a copy.
        h = torch.empty((steps + 1) * rows + ROWS, hidden, dtype=torch.bfloat16)
        c = torch.empty(steps + 1, rows, hidden)
        h[:rows], c[0] = h0, c0
        gates, packed = torch.empty_like(z), torch.empty(wide, hidden, dtype=torch.bfloat16)
        kernel = library()
        assert kernel is not None and z.dtype == torch.bfloat16 and weight_hh.shape == (wide, hidden)
        pointers = (tensor.data_ptr() for tensor in (z, weight_hh, h, c, gates, packed))
        kernel.unroll_lstm_forward(steps, rows, hidden, *pointers, torch.get_num_threads())
        ctx.save_for_backward(weight_hh, h, c, gates)
        y = h[: (steps + 1) * rows].view(steps + 1, rows, hidden)[1:]
        return y, y[-1].float(), c[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weight_hh, h, c, gates = ctx.saved_tensors
        steps, rows, wide = gates.shape
        hidden = wide // 4
        dy = grads[0].to(torch.bfloat16).contiguous()
        dh, dc = (torch.zeros(-(-rows // ROWS) * ROWS, hidden) for _ in range(2))
        dh[:rows], dc[:rows] = grads[1], grads[2]
        dz = torch.empty(steps * rows + ROWS, wide, dtype=torch.bfloat16)
        packed = torch.empty(wide, hidden, dtype=torch.bfloat16)
        kernel = library()
        assert kernel is not None
        pointers = (tensor.data_ptr() for tensor in (weight_hh, c, gates, dy, dz, dh, dc, packed))
        kernel.unroll_lstm_backward(steps, rows, hidden, *pointers, torch.get_num_threads())
        dz = dz[: steps * rows]
        d_weight = (dz.t() @ h[: steps * rows]).float()
        return dz.view(steps, rows, wide), dh[:rows], dc[:rows], d_weight

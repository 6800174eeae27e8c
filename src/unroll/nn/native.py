"""Our own kernels for training in bfloat16 (folder kernel), where the processor and the installation have them."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unroll.nn.cells import CellWeights
from unroll.state import LayerState

LIBRARY = Path(__file__).with_name("libkernel.so")
FLOATS = (torch.float32, torch.bfloat16, torch.float64, torch.float16)
ROWS = 16
"""Rows of a tile: buffers read by tiles have as many to spare."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernels, or None where they were not built or the processor lacks the instructions (AMX)."""
    if not LIBRARY.exists():
        return None
    loaded = ctypes.CDLL(str(LIBRARY))
    if not loaded.unroll_supported():
        return None
    sizes, pointers = [ctypes.c_int64] * 3, [ctypes.c_void_p]
    loaded.unroll_lstm_forward.argtypes = [*sizes, *pointers * 6, ctypes.c_int]
    loaded.unroll_lstm_backward.argtypes = [*sizes, *pointers * 8, ctypes.c_int]
    loaded.unroll_cross_entropy.argtypes = [*sizes[:2], *pointers * 2, ctypes.c_float, *pointers * 2, ctypes.c_int]
    for function in (loaded.unroll_lstm_forward, loaded.unroll_lstm_backward, loaded.unroll_cross_entropy):
        function.restype = None
    return loaded


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of -ln P(target) for bfloat16 logits (N, V) on the CPU and targets (N,).

    Raises ValueError for tensors of another shape, type or device, IndexError for a target outside the vocabulary.
    """
    return _CrossEntropy.apply(logits, targets)  # type: ignore[no-untyped-call,no-any-return]


def has(x: Tensor) -> bool:
    """Return True if kernels can work on `x` as it is: bfloat16 on a CPU that has them."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and library() is not None


def fits(x: Tensor, hidden_size: int) -> bool:
    """Return True if the kernel can run an LSTM layer over `x`: on the CPU, autocast to bfloat16, whole tiles."""
    return (
        x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and hidden_size % 32 == 0
        and library() is not None
    )


def run_lstm(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    """Run an LSTM layer over `x` (T, B, I): one large product for the inputs, then the steps in the kernel.

    `y` (T, B, H) is bfloat16, the state float32. Within autocast only, see `fits`. Raises ValueError for tensors of
    another shape, type or device.
    """
    z = F.linear(x, w.weight_ih, w.bias_ih + w.bias_hh)  # (T, B, 4H)
    y, h, c = _Recurrence.apply(z, *state, w.weight_hh)  # type: ignore[no-untyped-call]
    return y, (h, c)


def _kernels() -> ctypes.CDLL:
    kernels = library()
    if kernels is None:
        raise RuntimeError("no native kernels: they were not built, or the processor lacks the instructions")
    return kernels


def _check(tensor: Any, name: str, dtypes: tuple[torch.dtype, ...], shape: tuple[int | str, ...]) -> None:
    """Raise ValueError unless a tensor lies on the CPU, dense, in the type and shape; letters stand for any size."""
    description = "no tensor"
    if isinstance(tensor, Tensor):
        sizes = tuple(tensor.shape)
        right = tensor.device.type == "cpu" and tensor.layout == torch.strided and tensor.dtype in dtypes
        if (
            right
            and len(sizes) == len(shape)
            and all(isinstance(n, str) or n == m for n, m in zip(shape, sizes, strict=True))
        ):
            return
        description = f"{tensor.dtype} of shape {sizes} on {tensor.device}"
    types, allowed = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes), ", ".join(map(str, shape))
    raise ValueError(f"{name} is {description}; allowed: {types} of shape ({allowed}) on the CPU")


class _Recurrence(torch.autograd.Function):
    """The steps of an LSTM whose input products `z` (T, B, 4H) are given; the equations are in lstm.cpp."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, h0: Tensor, c0: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _check(z, "z", (torch.bfloat16,), ("T", "B", "4H"))
        steps, rows, wide = z.shape
        hidden = wide // 4
        if not (steps and rows and hidden) or wide % 128:
            raise ValueError(f"z is of shape {tuple(z.shape)}; allowed: at least a step and a row, H a multiple of 32")
        for part, name in ((h0, "h"), (c0, "c")):
            _check(part, name, FLOATS, (rows, hidden))
        _check(weight_hh, "weight_hh", FLOATS, (wide, hidden))
        kernel = _kernels()
        z, weight_hh = z.contiguous(), weight_hh.detach().float().contiguous()
        # All states one after the other, from the one before the first step: what backward needs, without a copy.
        h = torch.empty((steps + 1) * rows + ROWS, hidden, dtype=torch.bfloat16)
        c = torch.empty(steps + 1, rows, hidden)
        h[:rows], c[0] = h0, c0
        gates, packed = torch.empty_like(z), torch.empty(wide, hidden, dtype=torch.bfloat16)
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
        _check(grads[0], "the gradient of y", FLOATS, (steps, rows, hidden))
        for gradient in grads[1:]:
            _check(gradient, "the gradient of the state", FLOATS, (rows, hidden))
        kernel = _kernels()
        dy = grads[0].to(torch.bfloat16).contiguous()
        dh, dc = (torch.zeros(-(-rows // ROWS) * ROWS, hidden) for _ in range(2))
        dh[:rows], dc[:rows] = grads[1], grads[2]
        dz = torch.empty(steps * rows + ROWS, wide, dtype=torch.bfloat16)
        packed = torch.empty(wide, hidden, dtype=torch.bfloat16)
        pointers = (tensor.data_ptr() for tensor in (weight_hh, c, gates, dy, dz, dh, dc, packed))
        kernel.unroll_lstm_backward(steps, rows, hidden, *pointers, torch.get_num_threads())
        dz = dz[: steps * rows]
        d_weight = (dz.t() @ h[: steps * rows]).float()
        return dz.view(steps, rows, wide), dh[:rows], dc[:rows], d_weight


class _CrossEntropy(torch.autograd.Function):
    """The loss with its gradient, which is cheap once the row is in the cache; see loss.cpp."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        _check(logits, "logits", (torch.bfloat16,), ("N", "V"))
        rows, symbols = logits.shape
        _check(targets, "targets", (torch.int64,), (rows,))
        if not rows or not symbols:
            raise ValueError(f"logits are of shape {(rows, symbols)}; allowed: at least a row and a symbol")
        kernel = _kernels()
        logits, targets = logits.contiguous(), targets.contiguous()
        if int(targets.min()) < 0 or int(targets.max()) >= symbols:
            raise IndexError(f"targets from {int(targets.min())} to {int(targets.max())} for {symbols} symbols")
        nats, gradient = torch.empty(rows), torch.empty_like(logits)
        kernel.unroll_cross_entropy(
            rows,
            symbols,
            logits.data_ptr(),
            targets.data_ptr(),
            1 / rows,
            nats.data_ptr(),
            gradient.data_ptr(),
            torch.get_num_threads(),
        )
        ctx.save_for_backward(gradient)
        return nats.mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient if grads[0].item() == 1.0 else gradient * grads[0], None

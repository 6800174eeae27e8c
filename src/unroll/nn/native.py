"""Our own kernels for training (folder kernel), where the processor and the installation have them."""

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unroll.errors import UserError
from unroll.kernels import load
from unroll.nn.cells import CellWeights
from unroll.state import LayerState

LIBRARY = Path(__file__).with_name("libkernel.so")
VARIABLE = "UNROLL_KERNEL"
FLOATS = (torch.float32, torch.bfloat16, torch.float64, torch.float16)
ROWS = 16
"""Rows of a tile: buffers read by tiles have as many to spare."""
UNITS = 16
"""Hidden sizes are a multiple of it: vectors are whole on every processor."""
FASTER = (torch.bfloat16,)
"""Types of numbers in which our kernels beat torch's; the others are used where UNROLL_KERNEL demands them."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernels; None where they were not built, or, with a warning, were built from other sources."""
    loaded = load(LIBRARY, "unroll_kernel_sources", "torch's kernels train")
    if loaded is None:
        return None
    integer, size, pointers = ctypes.c_int, ctypes.c_int64, [ctypes.c_void_p]
    loaded.unroll_kernel_name.argtypes, loaded.unroll_kernel_name.restype = [integer], ctypes.c_char_p
    loaded.unroll_kernel_has.argtypes, loaded.unroll_kernel_has.restype = [integer, integer], integer
    loaded.unroll_lstm_forward.argtypes = [integer, integer, size, size, size, *pointers * 6, integer]
    loaded.unroll_lstm_backward.argtypes = [integer, integer, size, size, size, *pointers * 8, integer]
    loss: list[Any] = [*pointers * 2, ctypes.c_float, *pointers * 2]
    loaded.unroll_cross_entropy.argtypes = [integer, size, size, *loss, integer]
    for function in (loaded.unroll_lstm_forward, loaded.unroll_lstm_backward, loaded.unroll_cross_entropy):
        function.restype = None
    return loaded


@cache
def instruction_sets() -> dict[str, int]:
    """Return the instruction sets that this machine runs, best first, by the numbers that the kernels give them."""
    kernels, numbers, number = library(), dict[str, int](), 0
    while kernels is not None and (name := kernels.unroll_kernel_name(number)) != b"":
        if name is not None:
            numbers[name.decode()] = number
        number += 1
    return numbers


def instructions(dtype: torch.dtype) -> str | None:
    """Return the instruction set whose kernels train in `dtype`, float32 or bfloat16, or None for torch's.

    It is the best that this machine runs, where it beats torch's; the environment variable UNROLL_KERNEL demands one of
    `instruction_sets()`, or `torch`. Raises UserError where that names anything else.
    """
    return _instructions(dtype, os.environ.get(VARIABLE, ""))


@cache
def _instructions(dtype: torch.dtype, chosen: str) -> str | None:
    numbers = instruction_sets()
    if chosen and chosen not in (*numbers, "torch"):
        raise UserError(
            f"the environment variable {VARIABLE} is {chosen!r}",
            allowed=f"on this machine {', '.join([*numbers, 'torch'])}",
            fix="choose one of them, or unset the variable to use the best",
        )
    name, kernels = chosen or next(iter(numbers), "torch"), library()
    if kernels is None or name == "torch" or dtype not in ((torch.float32, torch.bfloat16) if chosen else FASTER):
        return None
    return name if kernels.unroll_kernel_has(numbers[name], dtype == torch.bfloat16) else None


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of -ln P(target) for bfloat16 logits (N, V) on the CPU and targets (N,).

    Raises ValueError for tensors of another shape, type or device, IndexError for a target outside the vocabulary.
    """
    return _CrossEntropy.apply(logits, targets)  # type: ignore[no-untyped-call,no-any-return]


def has(x: Tensor) -> bool:
    """Return True if kernels can take the loss of logits as they are: bfloat16, on a CPU that has them."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and instructions(x.dtype) is not None


def fits(x: Tensor, hidden_size: int) -> bool:
    """Return True if a kernel can run an LSTM layer over `x`: on the CPU, in float32 or autocast to bfloat16."""
    if x.device.type != "cpu" or hidden_size % UNITS:
        return False
    return instructions(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype) is not None


def run_lstm(x: Tensor, state: LayerState, w: CellWeights) -> tuple[Tensor, LayerState]:
    """Run an LSTM layer over `x` (T, B, I): one large product for the inputs, then the steps in the kernel.

    `y` (T, B, H) is of the type of the products, bfloat16 within autocast, the state float32; see `fits`. Raises
    ValueError for tensors of another shape, type or device.
    """
    z = F.linear(x, w.weight_ih, w.bias_ih + w.bias_hh)  # (T, B, 4H)
    y, h, c = _Recurrence.apply(z, *state, w.weight_hh)  # type: ignore[no-untyped-call]
    return y, (h, c)


def _kernels(dtype: torch.dtype) -> tuple[ctypes.CDLL, int]:
    """Return the kernels, and the number of the instruction set for numbers of this type."""
    kernels, name = library(), instructions(dtype)
    if kernels is None or name is None:
        raise RuntimeError(
            f"no native kernels for {dtype}: they were not built, or the processor lacks the instructions"
        )
    return kernels, instruction_sets()[name]


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
    """The steps of an LSTM whose input products `z` (T, B, 4H) are given; the equations are in lstm.h."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, h0: Tensor, c0: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _check(z, "z", (torch.bfloat16, torch.float32), ("T", "B", "4H"))
        steps, rows, wide = z.shape
        hidden = wide // 4
        if not (steps and rows and hidden) or wide % (4 * UNITS):
            raise ValueError(
                f"z is of shape {tuple(z.shape)}; allowed: at least a step and a row, H a multiple of {UNITS}"
            )
        for part, name in ((h0, "h"), (c0, "c")):
            _check(part, name, FLOATS, (rows, hidden))
        _check(weight_hh, "weight_hh", FLOATS, (wide, hidden))
        kernel, number = _kernels(z.dtype)
        z, weight_hh = z.contiguous(), weight_hh.detach().float().contiguous()
        # All states one after the other, from the one before the first step: what backward needs, without a copy.
        h = torch.empty((steps + 1) * rows + ROWS, hidden, dtype=z.dtype)
        c = torch.empty(steps + 1, rows, hidden)
        h[:rows], c[0] = h0, c0
        gates, scratch = torch.empty_like(z), _scratch(rows, hidden)
        pointers = (tensor.data_ptr() for tensor in (z, weight_hh, h, c, gates, scratch))
        kernel.unroll_lstm_forward(
            number, z.dtype == torch.bfloat16, steps, rows, hidden, *pointers, torch.get_num_threads()
        )
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
        kernel, number = _kernels(gates.dtype)
        dy = grads[0].to(gates.dtype).contiguous()
        dh, dc = (torch.zeros(-(-rows // ROWS) * ROWS, hidden) for _ in range(2))
        dh[:rows], dc[:rows] = grads[1], grads[2]
        dz, scratch = torch.empty(steps * rows + ROWS, wide, dtype=gates.dtype), _scratch(rows, hidden)
        pointers = (tensor.data_ptr() for tensor in (weight_hh, c, gates, dy, dz, dh, dc, scratch))
        kernel.unroll_lstm_backward(
            number, gates.dtype == torch.bfloat16, steps, rows, hidden, *pointers, torch.get_num_threads()
        )
        dz = dz[: steps * rows]
        d_weight = (dz.t() @ h[: steps * rows]).float()
        return dz.view(steps, rows, wide), dh[:rows], dc[:rows], d_weight


def _scratch(rows: int, hidden: int) -> Tensor:
    """Return memory for the packed weights and rows of a layer, as kernels.h has it."""
    return torch.empty(4 * hidden, hidden + 4 * rows)


class _CrossEntropy(torch.autograd.Function):
    """The loss with its gradient, which is cheap once the row is in the cache; see loss.h."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        _check(logits, "logits", (torch.bfloat16,), ("N", "V"))
        rows, symbols = logits.shape
        _check(targets, "targets", (torch.int64,), (rows,))
        if not rows or not symbols:
            raise ValueError(f"logits are of shape {(rows, symbols)}; allowed: at least a row and a symbol")
        kernel, number = _kernels(logits.dtype)
        logits, targets = logits.contiguous(), targets.contiguous()
        if int(targets.min()) < 0 or int(targets.max()) >= symbols:
            raise IndexError(f"targets from {int(targets.min())} to {int(targets.max())} for {symbols} symbols")
        nats, gradient = torch.empty(rows), torch.empty_like(logits)
        kernel.unroll_cross_entropy(
            number,
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

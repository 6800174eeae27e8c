"""The cells against their equations, written out number by number with Python's own arithmetic."""

import math
from collections.abc import Callable

import pytest
import torch

from laws.laws import close
from unroll.nn.arch import ARCHITECTURES, RECURRENT, Cell
from unroll.nn.cells import (
    STEPS,
    CellWeights,
    GRUStep,
    LSTMStep,
    MinGRUStep,
    RNNStep,
    gru_step,
    lstm_step,
    mingru_step,
    rnn_step,
    state_after,
)

ROWS, IN, H = 3, 4, 5
Numbers = list[list[float]]


def weights(gates: int, *, reads_state: bool = True) -> CellWeights:
    random, of_state = torch.Generator().manual_seed(1), gates * H * reads_state
    shapes = [(gates * H, IN), (of_state, H), (gates * H,), (of_state,)]
    return CellWeights(*(torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes))


def inputs(*sizes: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    return [torch.randn(ROWS, size, generator=random, dtype=torch.float64) for size in sizes]


def affine(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, gate: int) -> Numbers:
    """Return gate `gate` of W x + b for every row, with the gates stacked along W's first axis."""
    w, b = weight.tolist(), bias.tolist()
    units = range(gate * H, (gate + 1) * H)
    return [[sum(a * v for a, v in zip(w[k], row, strict=True)) + b[k] for k in units] for row in x.tolist()]


def each(function: Callable[..., float], *parts: Numbers) -> Numbers:
    return [[function(*values) for values in zip(*rows, strict=True)] for rows in zip(*parts, strict=True)]


def sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def same(actual: torch.Tensor, expected: Numbers) -> None:
    close(actual, torch.tensor(expected, dtype=torch.float64), 1e-12)


def test_rnn() -> None:
    w = weights(1)
    x, h = inputs(IN, H)
    step = rnn_step(x, (h,), w)
    from_x, from_h = affine(x, w.weight_ih, w.bias_ih, 0), affine(h, w.weight_hh, w.bias_hh, 0)
    same(step.h, each(lambda a, b: math.tanh(a + b), from_x, from_h))


def test_gru() -> None:
    w = weights(3)
    x, h = inputs(IN, H)
    step = gru_step(x, (h,), w)
    from_x = [affine(x, w.weight_ih, w.bias_ih, gate) for gate in range(3)]
    from_h = [affine(h, w.weight_hh, w.bias_hh, gate) for gate in range(3)]
    r = each(lambda a, b: sigmoid(a + b), from_x[0], from_h[0])
    z = each(lambda a, b: sigmoid(a + b), from_x[1], from_h[1])
    n = each(lambda a, b, r: math.tanh(a + r * b), from_x[2], from_h[2], r)
    for actual, expected in ((step.r, r), (step.z, z), (step.n, n)):
        same(actual, expected)
    same(step.h, each(lambda z, n, h: (1 - z) * n + z * h, z, n, h.tolist()))


def test_mingru() -> None:
    w = weights(2, reads_state=False)
    x, h = inputs(IN, H)
    step = mingru_step(x, (h,), w)
    z = each(sigmoid, affine(x, w.weight_ih, w.bias_ih, 0))
    n = affine(x, w.weight_ih, w.bias_ih, 1)
    same(step.z, z)
    same(step.n, n)
    same(step.h, each(lambda z, n, h: (1 - z) * h + z * n, z, n, h.tolist()))


def test_lstm() -> None:
    w = weights(4)
    x, h, c = inputs(IN, H, H)
    step = lstm_step(x, (h, c), w)
    from_x = [affine(x, w.weight_ih, w.bias_ih, gate) for gate in range(4)]
    from_h = [affine(h, w.weight_hh, w.bias_hh, gate) for gate in range(4)]
    i, f, o = (each(lambda a, b: sigmoid(a + b), from_x[gate], from_h[gate]) for gate in (0, 1, 3))
    g = each(lambda a, b: math.tanh(a + b), from_x[2], from_h[2])
    for actual, expected in ((step.i, i), (step.f, f), (step.g, g), (step.o, o)):
        same(actual, expected)
    cell = each(lambda f, c, i, g: f * c + i * g, f, c.tolist(), i, g)
    same(step.c, cell)
    same(step.h, each(lambda o, c: o * math.tanh(c), o, cell))


def test_state_after() -> None:
    a, b, c, d, e, f = torch.arange(6.0).unbind()
    assert state_after(RNNStep(h=a)) == (a,)
    assert state_after(GRUStep(r=a, z=b, n=c, h=d)) == (d,)
    assert state_after(MinGRUStep(z=a, n=b, h=c)) == (c,)
    assert state_after(LSTMStep(i=a, f=b, g=c, o=d, c=e, h=f)) == (f, e)


@pytest.mark.parametrize("arch", RECURRENT)
def test_a_saturated_cell_stays_finite(arch: Cell) -> None:
    table = ARCHITECTURES[arch]
    w = CellWeights(*(1e4 * part for part in weights(len(table.blocks), reads_state=table.reads_state)))
    x, *state = inputs(IN, *[H] * len(ARCHITECTURES[arch].state))
    step = STEPS[arch](x, tuple(state), w)
    assert all(part.isfinite().all() for part in step)

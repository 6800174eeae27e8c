"""The recurrent cells, each stated once as the equation of one step that returns its gates by name.

Weights are laid out as torch's: gates stacked along the first axis, in the order given with each cell.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unroll.nn.arch import Cell
from unroll.state import LayerState


class CellWeights(NamedTuple):
    """The weights of one recurrent layer with G blocks: (G·H, I), (G·H, H), (G·H,), (G·H,).

    The second and the last are empty, (0, H) and (0,), where the blocks do not read the state.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


class RNNStep(NamedTuple):
    """One step of an Elman network: the new hidden state, (B, H)."""

    h: Tensor


class GRUStep(NamedTuple):
    """One step of a GRU: reset gate, update gate, candidate and the new hidden state, each (B, H)."""

    r: Tensor
    z: Tensor
    n: Tensor
    h: Tensor


class MinGRUStep(NamedTuple):
    """One step of a minGRU: update gate, candidate and the new hidden state, each (B, H)."""

    z: Tensor
    n: Tensor
    h: Tensor


class LSTMStep(NamedTuple):
    """One step of an LSTM: input, forget, cell and output gates, the memory cell and the hidden state, each (B, H)."""

    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    c: Tensor
    h: Tensor


def rnn_step(x: Tensor, state: LayerState, w: CellWeights) -> RNNStep:
    """Step an Elman network (Elman 1990): `h = tanh(W x + b + W_h h₋₁ + b_h)`. `x` is (B, I)."""
    (h,) = state
    return RNNStep(h=torch.tanh(F.linear(x, w.weight_ih, w.bias_ih) + F.linear(h, w.weight_hh, w.bias_hh)))


def gru_step(x: Tensor, state: LayerState, w: CellWeights) -> GRUStep:
    """Step a GRU (Cho et al. 2014, in the form of cuDNN, reset after the product). `x` is (B, I); gates r, z, n."""
    (h,) = state
    x_r, x_z, x_n = F.linear(x, w.weight_ih, w.bias_ih).chunk(3, dim=-1)
    h_r, h_z, h_n = F.linear(h, w.weight_hh, w.bias_hh).chunk(3, dim=-1)
    r = torch.sigmoid(x_r + h_r)
    z = torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return GRUStep(r=r, z=z, n=n, h=(1 - z) * n + z * h)


def mingru_step(x: Tensor, state: LayerState, w: CellWeights) -> MinGRUStep:
    """Step a minGRU (Feng et al. 2024): `h = (1 - z) h₋₁ + z n`. `x` is (B, I); z and n read it alone."""
    (h,) = state
    z, n = F.linear(x, w.weight_ih, w.bias_ih).chunk(2, dim=-1)
    z = torch.sigmoid(z)
    return MinGRUStep(z=z, n=n, h=(1 - z) * h + z * n)


def lstm_step(x: Tensor, state: LayerState, w: CellWeights) -> LSTMStep:
    """Step an LSTM (Hochreiter & Schmidhuber 1997, forget gate of Gers et al. 2000). `x` is (B, I); gates i, f, g, o.

    c = f · c₋₁ + i · g and h = o · tanh(c): what is kept, plus what is written; then what is shown of it.
    """
    h, c = state
    gates = F.linear(x, w.weight_ih, w.bias_ih) + F.linear(h, w.weight_hh, w.bias_hh)
    i, f, g, o = gates.chunk(4, dim=-1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    c = f * c + i * g
    return LSTMStep(i=i, f=f, g=g, o=o, c=c, h=o * torch.tanh(c))


Step = RNNStep | GRUStep | MinGRUStep | LSTMStep

STEPS: dict[Cell, Callable[[Tensor, LayerState, CellWeights], Step]] = {
    "rnn": rnn_step,
    "gru": gru_step,
    "mingru": mingru_step,
    "lstm": lstm_step,
}


def state_after(step: Step) -> LayerState:
    """Return the state that a step leaves behind: `(h, c)` of an LSTM, `(h,)` of the others."""
    return (step.h, step.c) if isinstance(step, LSTMStep) else (step.h,)

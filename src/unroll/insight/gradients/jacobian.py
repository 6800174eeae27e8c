"""One step of a network as a function of the state it is given: gradients back through steps, Jacobians, growth."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unroll.lm.intervals import Z95
from unroll.nn.model import Model
from unroll.nn.window import Window
from unroll.progress import Progress, Work
from unroll.state import State, like, parts_of, select_rows

StepFunction = Callable[[Tensor, State], tuple[Tensor, State]]
"""Reads one vector for each row, (B, I), from a state; returns the outputs (B, H) and the state that it hands on."""

PLACES, FOLLOWED = 8, 16
"""Places of a text where the step's Jacobian is computed, and stretches back through which a gradient is followed."""
MOST_VALUES = 1536
"""Of a state, whose Jacobian's eigenvalues are still a matter of seconds."""


@dataclass(frozen=True)
class Spread:
    """A figure at several places of a text."""

    mean: float
    least: float
    largest: float

    def figures(self) -> dict[str, float]:
        """Return the figures as JSON."""
        return {"mean": self.mean, "least": self.least, "largest": self.largest}


@dataclass(frozen=True)
class StepFigures:
    """What one step does to a small change of the whole state, all layers together."""

    radius: Spread
    """The largest |eigenvalue| of the Jacobian."""
    stretch: Spread
    """Its largest singular value: how much a step can stretch a change at most."""
    places: int


def step_of(network: Model) -> StepFunction:
    """Return the step of a network in evaluation mode, from an embedding to what its output layers are given."""
    assert not network.training

    def step(x: Tensor, state: State) -> tuple[Tensor, State]:
        for layer in network.before:
            x = F.gelu(layer(x))
        if isinstance(network.recurrent, Window):
            y, after = network.recurrent(x[None], state)
        else:
            y, after = network.recurrent(x[None], state, engine="stepwise")
        return y[0], after

    return step


def norms_by_lag(
    step: StepFunction, loss: Callable[[Tensor], Tensor], x: Tensor, state: State
) -> tuple[list[Tensor], Tensor]:
    """Read `x` (T, B, I); return norms of the gradient of the loss after it, by lag: of the state, and of the inputs.

    `loss` takes the last outputs (B, H) to (B,). The first are (B, T+1), one for each part of the state in order; the
    second are (B, T). Lag k of the state is the derivative by the value that is handed on k steps before the end, all
    other values then handed on held fixed, as if the rest of the text were read from a state passed in: everything
    later depends on it, and nothing else of its own step. At lag 0, where nothing is handed on any more, it is by the
    value as the layers above it and the output use it (of a cell c, through the h that it is shown as). Lag k of the
    inputs is by the vector read k steps before the last. Back-propagation through time, with only the states kept:

        dL/ds_{t-1} = (ds_t/ds_{t-1})ᵀ dL/ds_t      (Werbos 1990; Pascanu et al. 2013, equations 3 to 5)
    """
    before = _states(step, x, state)
    leaves, y, after = _stepped(step, x[-1], before[-1])
    losses = loss(y).sum()  # of rows that do not depend on each other
    now = torch.autograd.grad(losses, after, retain_graph=True, materialize_grads=True)
    *back, by_input = torch.autograd.grad(losses, leaves, materialize_grads=True)
    of_state = [[_norms(part) for part in parts] for parts in (now, back)]
    of_inputs = [_norms(by_input)]
    for x_t, given in zip(reversed(x[:-1]), reversed(before[:-1]), strict=True):
        *back, by_input = _pulled(step, x_t, given, back)
        of_state.append([_norms(part) for part in back])
        of_inputs.append(_norms(by_input))
    return [torch.stack(lags, dim=1) for lags in zip(*of_state, strict=True)], torch.stack(of_inputs, dim=1)


def step_jacobian(step: StepFunction, x: Tensor, state: State) -> Tensor:
    """Return ds_{t+1}/ds_t (D, D) at one place: `x` (1, I), a state of one row, its D values one after another."""
    parts = parts_of(state)
    sizes = [part.numel() for part in parts]
    size = sum(sizes)
    # D rows side by side, of which row i is asked for the gradient of the i-th value that the step hands on.
    leaves = [part.detach().expand(size, -1).clone().requires_grad_() for part in parts]
    wanted = torch.split(torch.eye(size, dtype=x.dtype, device=x.device), sizes, dim=1)
    with torch.enable_grad():
        after = parts_of(step(x.expand(size, -1), like(state, leaves))[1])
        return torch.cat(torch.autograd.grad(after, leaves, wanted, materialize_grads=True), dim=1)


def spectral_radius(jacobian: Tensor, layer_sizes: Sequence[int]) -> float:
    """Return the largest |eigenvalue| of a step's Jacobian (D, D), whose layers have these numbers of values.

    What a layer hands on depends on no layer above it: the matrix is block-triangular, and its eigenvalues are those of
    the blocks of single layers.
    """
    radius, first = 0.0, 0
    for size in layer_sizes:
        block = jacobian[first : first + size, first : first + size]
        radius = max(radius, float(torch.linalg.eigvals(block).abs().max()))
        first += size
    return radius


def growth(step: StepFunction, x: Tensor, state: State) -> Tensor:
    """Return how a gradient grows on its way back through `x` (T, B, I): ln of its factor at every step back (T, B).

    It starts in a random direction, soon turns into the one that grows most, and is brought back to length 1 after
    every step. The mean over many steps is the largest Lyapunov exponent, which is the same forwards and backwards
    (Benettin et al. 1980; of recurrent networks, Engelken et al. 2020 and Vogt et al. 2020).
    """
    random = torch.Generator().manual_seed(0)
    back = [torch.randn(part.shape, generator=random, dtype=part.dtype).to(part.device) for part in parts_of(state)]
    rates: list[Tensor] = []
    for x_t, given in zip(reversed(x), reversed(_states(step, x, state)), strict=True):
        back, _ = _to_length_one(back)
        *back, _ = _pulled(step, x_t, given, back)
        rates.append(_to_length_one(back)[1].log())
    return torch.stack(rates)


def _states(step: StepFunction, x: Tensor, state: State) -> list[State]:
    """Return the states before each of the T steps that read `x` (T, B, I)."""
    before = [state]
    with torch.no_grad():
        for x_t in x[:-1]:
            before.append(step(x_t, before[-1])[1])
    return before


def _stepped(step: StepFunction, x: Tensor, state: State) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """Take one step from new leaves, the parts of the state and last the input; return them, outputs, parts after."""
    leaves = [part.detach().clone().requires_grad_() for part in (*parts_of(state), x)]
    with torch.enable_grad():
        y, after = step(leaves[-1], like(state, leaves[:-1]))
    return leaves, y, parts_of(after)


def _pulled(step: StepFunction, x: Tensor, state: State, back: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return Jᵀ · back: gradients by the parts of the state before a step, and last by its input, from those after."""
    leaves, _, after = _stepped(step, x, state)
    return torch.autograd.grad(after, leaves, list(back), materialize_grads=True)


def step_figures(network: Model, inputs: Tensor, name: str) -> Work[StepFigures | None]:
    """Return what the last step does of some rows of `inputs` (B, T), each read from a fresh state.

    None of a state with so many values that eigenvalues would take minutes; `name` is for the progress.
    """
    layers = [sum(part.shape[1] for part in layer) for layer in network.fresh_state(1)]
    if sum(layers) > MOST_VALUES:
        return None
    step, chosen = step_of(network), _spaced(inputs, PLACES)
    with torch.no_grad():
        state = network.hidden(chosen[:, :-1])[1]
    radii: list[float] = []
    most: list[float] = []
    for k in range(len(chosen)):
        yield Progress(f"Jacobians of {name}", k, len(chosen), "places")
        row = torch.tensor([k], device=inputs.device)
        jacobian = step_jacobian(step, network.embedding(chosen[row, -1]), select_rows(state, row))
        radii.append(spectral_radius(jacobian, layers))
        most.append(float(torch.linalg.svdvals(jacobian)[0]))
    return StepFigures(_spread(radii), _spread(most), len(chosen))


def long_run(network: Model, inputs: Tensor) -> tuple[float, float] | None:
    """Return the mean growth of a gradient back through rows of `inputs` (B, T), ln of its factor at each step.

    And half of the 95 % interval over rows, inf of a single one. None where nothing of it is left before the end.
    """
    some = _spaced(inputs, FOLLOWED)
    rates = growth(step_of(network), network.embedding(some.transpose(0, 1)), network.fresh_state(len(some)))
    # The first third has turned it into the direction that grows most.
    each = rates[len(rates) // 3 :].mean(dim=0)
    if not bool(torch.isfinite(each).all()):
        return None
    half = Z95 * float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else math.inf
    return float(each.mean()), half


def _spaced(rows: Tensor, count: int) -> Tensor:
    """Return at most so many rows, evenly spaced."""
    places = np.unique(np.linspace(0, len(rows) - 1, count).round().astype(np.int64))
    return rows.index_select(0, torch.from_numpy(places).to(rows.device))


def _spread(values: Sequence[float]) -> Spread:
    return Spread(sum(values) / len(values), min(values), max(values))


def _to_length_one(back: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Return what is shaped like a state, row by row of length 1, and the lengths (B,) that it had."""
    lengths = _norms(torch.cat([part.flatten(1) for part in back], dim=1))
    scale = lengths.clamp_min(torch.finfo(lengths.dtype).tiny)
    return [part / scale.view(-1, *[1] * (part.dim() - 1)) for part in back], lengths


def _norms(rows: Tensor) -> Tensor:
    """Return the Euclidean norm of each row, (B, …) to (B,), also where its square would be too small for a float."""
    rows = rows.flatten(1)
    if not rows.shape[1]:  # the state of a window of one symbol
        return rows.new_zeros(len(rows))
    largest, floats = rows.abs().amax(dim=1), torch.finfo(rows.dtype)
    inside: Tensor = torch.linalg.vector_norm(rows / largest.clamp(floats.tiny, floats.max)[:, None], dim=1)
    return largest * inside

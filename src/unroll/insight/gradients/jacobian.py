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
"""Places of a text at which the Jacobian is computed, and stretches through which a gradient is followed back."""
MOST_VALUES = 1536
"""Largest state for which the eigenvalues of the Jacobian take only seconds."""


@dataclass(frozen=True)
class Spread:
    """A figure at several places of a text."""

    mean: float
    least: float
    largest: float


@dataclass(frozen=True)
class StepFigures:
    """The effect of one step on a small change of the whole state, all layers together."""

    radius: Spread
    """The largest `|eigenvalue|` of the Jacobian."""
    stretch: Spread
    """Its largest singular value: the most that a step can stretch a change."""
    places: int


def step_of(network: Model) -> StepFunction:
    """Return the step of a network in evaluation mode, from an embedding to the input of its output layers."""
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
    second are (B, T). Lag k of the state is the derivative by the value handed on k steps before the end, with all
    other values handed on then fixed, as if the rest of the text were read from a state passed in: everything later
    depends on it, and nothing else of its own step. At lag 0, where nothing more is handed on, it is by the value as
    the layers above and the output use it (for a cell c, through its h). Lag k of the inputs is by the vector read k
    steps before the last. Back-propagation through time, with only the states kept:

        dL/ds_{t-1} = (ds_t/ds_{t-1})ᵀ dL/ds_t      (Werbos 1990; Pascanu et al. 2013, equations 3 to 5)
    """
    before = states_before(step, x, state)
    leaves, y, after = stepped(step, x[-1], before[-1])
    losses = loss(y).sum()  # rows do not depend on each other
    current = torch.autograd.grad(losses, after, retain_graph=True, materialize_grads=True)
    *back, by_input = torch.autograd.grad(losses, leaves, materialize_grads=True)
    of_state = [[_norms(part) for part in parts] for parts in (current, back)]
    of_inputs = [_norms(by_input)]
    for x_t, state_before in zip(reversed(x[:-1]), reversed(before[:-1]), strict=True):
        *back, by_input = pulled(step, x_t, state_before, back)
        of_state.append([_norms(part) for part in back])
        of_inputs.append(_norms(by_input))
    return [torch.stack(lags, dim=1) for lags in zip(*of_state, strict=True)], torch.stack(of_inputs, dim=1)


def step_jacobian(step: StepFunction, x: Tensor, state: State) -> Tensor:
    """Return ds_{t+1}/ds_t (D, D) at one place, from `x` (1, I) and a state of one row with D values in a row."""
    parts = parts_of(state)
    sizes = [part.numel() for part in parts]
    size = sum(sizes)
    # D rows side by side: row i gives the gradient of the i-th value that the step hands on.
    leaves = [part.detach().expand(size, -1).clone().requires_grad_() for part in parts]
    unit_vectors = torch.split(torch.eye(size, dtype=x.dtype, device=x.device), sizes, dim=1)
    with torch.enable_grad():
        after = parts_of(step(x.expand(size, -1), like(state, leaves))[1])
        return torch.cat(torch.autograd.grad(after, leaves, unit_vectors, materialize_grads=True), dim=1)


def spectral_radius(jacobian: Tensor, layer_sizes: Sequence[int]) -> float:
    """Return the largest `|eigenvalue|` of a step's Jacobian (D, D), whose layers have these numbers of values.

    What a layer hands on depends on no layer above it: the matrix is block-triangular, and its eigenvalues are those of
    the blocks of the layers.
    """
    radius, first = 0.0, 0
    for size in layer_sizes:
        block = jacobian[first : first + size, first : first + size]
        radius = max(radius, float(torch.linalg.eigvals(block).abs().max()))
        first += size
    return radius


def growth(step: StepFunction, x: Tensor, state: State) -> Tensor:
    """Return how a gradient grows on its way back through `x` (T, B, I): ln of its factor at every step back (T, B).

    It starts in a random direction, soon turns into the one that grows fastest, and is scaled back to length 1 after
    every step. The mean over many steps is the largest Lyapunov exponent, which is the same forwards and backwards
    (Benettin et al. 1980; of recurrent networks, Engelken et al. 2020 and Vogt et al. 2020).
    """
    random = torch.Generator().manual_seed(0)
    back = [torch.randn(part.shape, generator=random, dtype=part.dtype).to(part.device) for part in parts_of(state)]
    rates: list[Tensor] = []
    for x_t, state_before in zip(reversed(x), reversed(states_before(step, x, state)), strict=True):
        back, _ = _to_length_one(back)
        *back, _ = pulled(step, x_t, state_before, back)
        rates.append(_to_length_one(back)[1].log())
    return torch.stack(rates)


def states_before(step: StepFunction, x: Tensor, state: State) -> list[State]:
    """Return the states before each of the T steps that read `x` (T, B, I)."""
    before = [state]
    with torch.no_grad():
        for x_t in x[:-1]:
            before.append(step(x_t, before[-1])[1])
    return before


def stepped(step: StepFunction, x: Tensor, state: State) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """Take one step from new leaves, the parts of the state and then the input; return leaves, outputs, parts after."""
    leaves = [part.detach().clone().requires_grad_() for part in (*parts_of(state), x)]
    with torch.enable_grad():
        y, after = step(leaves[-1], like(state, leaves[:-1]))
    return leaves, y, parts_of(after)


def pulled(step: StepFunction, x: Tensor, state: State, back: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return Jᵀ · back: gradients by the parts of the state before a step, then by its input, from those after."""
    leaves, _, after = stepped(step, x, state)
    return torch.autograd.grad(after, leaves, list(back), materialize_grads=True)


def step_figures(network: Model, inputs: Tensor, name: str) -> Work[StepFigures | None]:
    """Return the figures of the last step of some rows of `inputs` (B, T), each read from a fresh state.

    None if the state has so many values that eigenvalues would take minutes; `name` is for the progress.
    """
    layers = [sum(part.shape[1] for part in layer) for layer in network.fresh_state(1)]
    if sum(layers) > MOST_VALUES:
        return None
    step, rows = step_of(network), _spaced(inputs, PLACES)
    with torch.no_grad():
        state = network.hidden(rows[:, :-1])[1]
    radii: list[float] = []
    stretches: list[float] = []
    for k in range(len(rows)):
        yield Progress(f"Jacobians of {name}", k, len(rows), "places")
        row = torch.tensor([k], device=inputs.device)
        jacobian = step_jacobian(step, network.embedding(rows[row, -1]), select_rows(state, row))
        radii.append(spectral_radius(jacobian, layers))
        stretches.append(float(torch.linalg.svdvals(jacobian)[0]))
    return StepFigures(_spread(radii), _spread(stretches), len(rows))


def long_run(network: Model, inputs: Tensor) -> tuple[float, float] | None:
    """Return the mean growth of a gradient back through rows of `inputs` (B, T), as ln of its factor at each step.

    Also half of its 95 % interval over rows, inf for a single row. None where the gradient becomes 0 before the end.
    """
    rows = _spaced(inputs, FOLLOWED)
    rates = growth(step_of(network), network.embedding(rows.transpose(0, 1)), network.fresh_state(len(rows)))
    # The first third turns it into the direction that grows fastest.
    row_rates = rates[len(rates) // 3 :].mean(dim=0)
    if not bool(torch.isfinite(row_rates).all()):
        return None
    half = Z95 * float(row_rates.std()) / math.sqrt(len(row_rates)) if len(row_rates) > 1 else math.inf
    return float(row_rates.mean()), half


def _spaced(rows: Tensor, count: int) -> Tensor:
    """Return at most `count` rows, evenly spaced."""
    places = np.unique(np.linspace(0, len(rows) - 1, count).round().astype(np.int64))
    return rows.index_select(0, torch.from_numpy(places).to(rows.device))


def _spread(values: Sequence[float]) -> Spread:
    return Spread(sum(values) / len(values), min(values), max(values))


def _to_length_one(back: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Return parts shaped like a state, each row scaled to length 1, and the former lengths (B,)."""
    lengths = _norms(torch.cat([part.flatten(1) for part in back], dim=1))
    scale = lengths.clamp_min(torch.finfo(lengths.dtype).tiny)
    return [part / scale.view(-1, *[1] * (part.dim() - 1)) for part in back], lengths


def _norms(rows: Tensor) -> Tensor:
    """Return the Euclidean norm of each row, (B, …) to (B,), even where its square underflows."""
    rows = rows.flatten(1)
    if not rows.shape[1]:  # a window of one symbol has an empty state
        return rows.new_zeros(len(rows))
    largest, floats = rows.abs().amax(dim=1), torch.finfo(rows.dtype)
    scaled: Tensor = torch.linalg.vector_norm(rows / largest.clamp(floats.tiny, floats.max)[:, None], dim=1)
    return largest * scaled

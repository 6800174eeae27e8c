"""One step and its Jacobian: the closed form of linear recurrences, and what autograd says of networks."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from insight.gradients.cases import CASES, ROWS, network, normal, some_ids
from laws.cases import start_state
from tiny import model_config, random_model
from unroll.insight.gradients.jacobian import (
    StepFunction,
    growth,
    long_run,
    norms_by_lag,
    spectral_radius,
    step_figures,
    step_jacobian,
    step_of,
)
from unroll.insight.trace import in_float64
from unroll.nn.model import Model
from unroll.state import State, like, parts_of

SPECTRUM = torch.tensor([1.05, -0.97, 0.9, 0.5, -0.3, 0.01], dtype=torch.float64)


Q = torch.linalg.qr(normal(6, 6))[0]


W, U, OUT = Q @ torch.diag(SPECTRUM) @ Q.T, normal(6, 4, seed=1), normal(ROWS, 6, seed=2)


def linear(x: Tensor, state: State) -> tuple[Tensor, State]:
    ((s,),) = state
    s = s @ W.T + x @ U.T
    return s, ((s,),)


def law_closed_form(step: StepFunction, lags: int = 60) -> None:
    """The loss is u·s: by s_{t-k} its gradient is Wᵏᵀ u = Q λᵏ Qᵀ u, by x_{t-k} it is Uᵀ times that."""
    x, state = normal(lags, ROWS, 4, seed=3), ((normal(ROWS, 6, seed=4),),)
    (of_state,), of_inputs = norms_by_lag(step, lambda y: (y * OUT).sum(dim=1), x, state)
    closed_form = torch.stack([OUT @ Q * SPECTRUM**k @ Q.T for k in range(lags + 1)])  # (K+1, B, H)
    torch.testing.assert_close(of_state, closed_form.norm(dim=2).T, rtol=1e-8, atol=0)
    torch.testing.assert_close(of_inputs, (closed_form[:-1] @ U).norm(dim=2).T, rtol=1e-8, atol=0)


def test_a_linear_recurrence_has_the_closed_form() -> None:
    law_closed_form(linear)


@pytest.mark.parametrize(
    "fault",
    [
        lambda x, state: (linear(x, state)[0], state),  # a stale state handed on
        lambda x, state: (linear(x, state)[0], ((linear(x, state)[0] + 1e-7 * state[0][0],),)),
        lambda x, state: linear(x, ((state[0][0].flip(0),),)),  # rows mixed
        lambda x, state: linear(x, ((state[0][0].detach() + 0 * state[0][0],),)),  # cut
    ],
    ids=["stale", "nudged", "mixed", "cut"],
)
def test_the_law_fails_on_its_faults(fault: StepFunction) -> None:
    with pytest.raises(AssertionError):
        law_closed_form(fault)


def test_norms_are_right_where_their_squares_underflow() -> None:
    def shrinking(x: Tensor, state: State) -> tuple[Tensor, State]:
        s = 0.01 * state[0][0] + x
        return s, ((s,),)

    x, state = normal(150, 1, 4), ((normal(1, 4),),)
    (of_state,), _ = norms_by_lag(shrinking, lambda y: y.sum(dim=1), x, state)
    expected = 2 * 100.0 ** -np.arange(150)
    np.testing.assert_allclose(of_state[0, :150], expected, rtol=1e-8, atol=0)
    assert of_state[0, 149] < 1e-297


def test_a_linear_steps_jacobian_is_its_matrix_and_a_gradient_grows_as_its_largest_eigenvalue() -> None:
    jacobian = step_jacobian(linear, normal(1, 4), ((normal(1, 6),),))
    torch.testing.assert_close(jacobian, W, rtol=0, atol=1e-12)
    assert spectral_radius(jacobian, [6]) == pytest.approx(1.05, abs=1e-8)
    rates = growth(linear, normal(400, 2, 4), ((normal(2, 6),),))
    np.testing.assert_allclose(rates[300:].mean(dim=0), math.log(1.05), rtol=0, atol=1e-8)


# ---- Jacobians of networks


def one_place(model: Model) -> tuple[Tensor, State]:
    return model.embedding(torch.tensor([3])).detach(), start_state(model, 1)


@pytest.mark.parametrize("name", CASES)
def test_a_steps_jacobian_and_its_spectral_radius(name: str) -> None:
    model = network(name)
    (x, state), step = one_place(model), step_of(model)

    def flat(values: Tensor) -> Tensor:
        parts = torch.split(values[None], [part.shape[1] for part in parts_of(state)], dim=1)
        return torch.cat(parts_of(step(x, like(state, parts))[1]), dim=1)[0]

    values = torch.cat(parts_of(state), dim=1)[0]
    jacobian = step_jacobian(step, x, state)
    torch.testing.assert_close(jacobian, torch.func.jacrev(flat)(values), rtol=0, atol=1e-12)
    layers = [sum(part.shape[1] for part in layer) for layer in state]
    of_all = float(torch.linalg.eigvals(jacobian).abs().max())
    assert spectral_radius(jacobian, layers) == pytest.approx(of_all, rel=1e-6)
    if len(layers) > 1:  # planted fault: not block-triangular
        fault = jacobian.flip(0)
        assert spectral_radius(fault, layers) != pytest.approx(float(torch.linalg.eigvals(fault).abs().max()), rel=1e-3)


@pytest.mark.parametrize("name", ["lstm-none", "gru-residual", "rnn-sum"])
def test_a_gradient_grows_as_the_product_of_jacobians(name: str) -> None:
    model = in_float64(network(name))
    x, state = model.embedding(some_ids(25, rows=2).T), start_state(model, 2)
    rates, step = growth(step_of(model), x, state), step_of(model)
    random = torch.Generator().manual_seed(0)
    first = torch.cat([torch.randn(part.shape, generator=random, dtype=part.dtype) for part in parts_of(state)], dim=1)
    for row in range(2):
        before: list[State] = [tuple(tuple(part[row : row + 1] for part in layer) for layer in state)]
        for x_t in x[:, row : row + 1]:
            before.append(step(x_t, before[-1])[1])
        gradient, logs = first[row], [float(first[row].norm().log())]
        for x_t, state_before in zip(reversed(x[:, row : row + 1]), reversed(before[:-1]), strict=True):
            gradient = step_jacobian(step, x_t, state_before).T @ gradient
            logs.append(float(gradient.norm().log()))
        np.testing.assert_allclose(rates[:, row], np.diff(logs), rtol=0, atol=1e-9)


def test_figures_of_steps_along_a_text() -> None:
    model = in_float64(network("lstm-none"))
    inputs = some_ids(30, rows=40)
    *progress, last = returned(step_figures(model, inputs, "a"))
    assert [(event.phase, event.total) for event in progress] == [("Jacobians of a", 8)] * 8
    assert last.places == 8 and last.radius.least <= last.radius.mean <= last.radius.largest <= last.stretch.largest
    with torch.no_grad():
        state = model.hidden(inputs[:1, :-1])[1]
    first = step_jacobian(step_of(model), model.embedding(inputs[:1, -1]), state)
    # It is one of those: equal to an extreme it may differ in the last digits, by how a processor sums.
    assert last.radius.least * (1 - 1e-9) <= spectral_radius(first, [20, 20]) <= last.radius.largest * (1 + 1e-9)
    assert last.stretch.least <= float(torch.linalg.matrix_norm(first, 2)) * (1 + 1e-9)
    large = random_model(model_config("gru", hidden_size=800))
    assert returned(step_figures(large, inputs, "a")) == [None]
    single = long_run(model, inputs[:1])
    assert single is not None and single[1] == math.inf, "a single stretch has no interval"
    several = long_run(model, inputs)
    assert several is not None and 0 < several[1] < 1
    silent = random_model(model_config("rnn"), scale=0.0)
    assert long_run(silent, inputs) is None


def returned(work: Any) -> list[Any]:
    """What a generator yields, and last what it returns."""
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return [*events, end.value]

"""Gradients by lag: the closed form of linear recurrences, and the slow way with the state passed in as a value."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from laws.cases import start_state
from tiny import model_config, random_ids, random_model
from unroll.errors import UserError
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
from unroll.insight.gradients.measure import (
    Floats,
    LagNorms,
    halving,
    in_float64,
    lag_norms,
)
from unroll.nn.model import Model
from unroll.nn.recurrent import Recurrent, RecurrentLayer, run_stepwise
from unroll.state import State, like, parts_of

ROWS, LAGS = 3, 24


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These matrices are so small that a second thread costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- linear recurrences: s' = W s + U x, with W = Q diag(λ) Qᵀ of known eigenvalues λ

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
    back = torch.stack([OUT @ Q * SPECTRUM**k @ Q.T for k in range(lags + 1)])  # (K+1, B, H)
    torch.testing.assert_close(of_state, back.norm(dim=2).T, rtol=1e-8, atol=0)
    torch.testing.assert_close(of_inputs, (back[:-1] @ U).norm(dim=2).T, rtol=1e-8, atol=0)


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


# ---- networks, against the slow way

CASES: dict[str, dict[str, Any]] = {
    f"{arch}-{skip}": {"arch": arch, "skip": skip}
    for arch in ("lstm", "gru", "rnn")
    for skip in ("none", "residual", "sum")
} | {
    "lstm-3": {"arch": "lstm", "num_layers": 3, "skip": "sum", "layers_before": 1, "layers_after": 1},
    "gru-tied": {"arch": "gru", "tie_weights": True, "layers_before": 2},
    "rnn-1": {"arch": "rnn", "num_layers": 1},
}  # fmt: skip


def network(name: str = "lstm-none") -> Model:
    return random_model(model_config(**CASES[name]))


def some_ids(steps: int, rows: int = ROWS) -> Tensor:
    return torch.from_numpy(random_ids(rows * steps).astype(np.int64).reshape(rows, steps))


def nats(model: Model, ids: Tensor, state: State) -> Tensor:
    """The nats (B,) of the last of `ids`, the others read from a state that is passed in, by the fused kernel."""
    y, _ = model.hidden(ids[:, :-1], state)
    return F.cross_entropy(model.logits(y[:, -1]), ids[:, -1], reduction="none")


def the_slow_way(model: Model, ids: Tensor, lags: int, state: State) -> dict[str, Floats]:
    """For every lag anew: read up to there, pass the state in as a value, differentiate the rest. Lags 1 to K."""
    found: dict[str, list[Floats]] = {}
    for lag in range(1, lags + 1):
        cut = ids.shape[1] - 1 - lag
        with torch.no_grad():
            passed = model.hidden(ids[:, :cut], state)[1] if cut else state
        leaves = [part.clone().requires_grad_() for part in parts_of(passed)]
        made = torch.autograd.grad(nats(model, ids[:, cut:], like(passed, leaves)).sum(), leaves)
        names = [f"layer{k}/{part}" for k in range(len(state)) for part in ("h", "c")[: len(state[k])]]
        for name, gradient in zip(names, made, strict=True):
            found.setdefault(name, []).append(gradient.norm(dim=1).numpy())
    return {name: np.stack(norms, axis=1) for name, norms in found.items()}


def law_slow(rows: dict[str, Floats], slow: dict[str, Floats]) -> None:
    assert {*rows} == {*slow, "x"}
    for name, norms in slow.items():
        assert rows[name].shape == (ROWS, LAGS + 1) and rows[name].dtype == np.float64
        np.testing.assert_allclose(rows[name][:, 1:], norms, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_norms_by_lag_are_those_of_states_passed_in_as_values(name: str) -> None:
    model = network(name)
    ids, state = some_ids(LAGS + 4), start_state(model, ROWS)
    found = lag_norms(model, ids, LAGS, state)
    law_slow(found.rows, the_slow_way(model, ids, LAGS, state))
    # By the inputs: one graph over all of them.
    x = model.embedding(ids[:, :-1].T).detach().requires_grad_()
    y = x
    for layer in model.before:
        y = F.gelu(layer(y))
    y, _ = model.recurrent(y, state)
    losses = F.cross_entropy(model.logits(y[-1]), ids[:, -1], reduction="sum")
    (by_inputs,) = torch.autograd.grad(losses, x)
    np.testing.assert_allclose(found.rows["x"], by_inputs.norm(dim=2).flip(0).T[:, : LAGS + 1], rtol=1e-9, atol=1e-12)


def test_the_slow_way_catches_faults() -> None:
    model = network()
    ids, state = some_ids(LAGS + 2), start_state(model, ROWS)
    slow = the_slow_way(model, ids, LAGS, state)
    rows = lag_norms(model, ids, LAGS, state).rows
    law_slow(rows, slow)
    # The gradient by the same h with its way up to layer 1 at its own step: a node of the graph, no value handed on.
    x = model.embedding(ids[:, :-1].T)
    assert isinstance(model.recurrent, Recurrent)
    y, _, steps = model.recurrent.trace(x, state)
    nodes = [step.h for step in steps[0]]
    made = torch.autograd.grad(F.cross_entropy(model.logits(y[-1]), ids[:, -1], reduction="sum"), nodes)
    by_node = torch.stack([part.norm(dim=1) for part in reversed(made)], dim=1).numpy()
    faults = [
        rows | {"layer0/h": np.concatenate([by_node, rows["layer0/h"][:, -1:]], axis=1)[:, : LAGS + 1]},
        rows | {"layer1/h": rows["layer1/c"], "layer1/c": rows["layer1/h"]},  # labels swapped
        rows | {"layer0/h": rows["layer1/h"]},
        rows | {"layer0/c": np.roll(rows["layer0/c"], 1, axis=1)},  # a lag late
        {name: norms[::-1] for name, norms in rows.items()},  # rows mixed
        {name: norms.astype(np.float32).astype(np.float64) for name, norms in rows.items()},
    ]
    for fault in faults:
        with pytest.raises(AssertionError):
            law_slow(fault, slow)


def test_at_lag_0_it_is_by_the_value_as_the_last_step_uses_it() -> None:
    model = network()
    ids, state = some_ids(4), start_state(model, ROWS)
    found = lag_norms(model, ids, 2, state)
    assert isinstance(model.recurrent, Recurrent)
    with torch.no_grad():
        _, before = model.hidden(ids[:, :2], state)
        _, _, inside = model.trace(ids[:, 2:3], before)
    h = [layer["h"][:, 0].clone().requires_grad_() for layer in inside]
    upper = model.recurrent.layers[1]
    assert isinstance(upper, RecurrentLayer)
    above, _, _ = run_stepwise("lstm", h[0][None], before[1], upper.weights(0.0))
    for k, y in ((0, above[0]), (1, h[1])):
        (by_h,) = torch.autograd.grad(F.cross_entropy(model.logits(y), ids[:, -1], reduction="sum"), h[k])
        by_c = by_h * inside[k]["o"][:, 0] * (1 - inside[k]["c"][:, 0].tanh() ** 2)
        np.testing.assert_allclose(found.rows[f"layer{k}/h"][:, 0], by_h.norm(dim=1), rtol=1e-9)
        np.testing.assert_allclose(found.rows[f"layer{k}/c"][:, 0], by_c.norm(dim=1), rtol=1e-9)


@pytest.mark.parametrize("name", ["lstm-residual", "gru-none"])
def test_it_is_what_small_changes_of_the_state_do(name: str) -> None:
    model, lag, small = network(name), 7, 1e-5
    ids, state = some_ids(lag + 1, rows=1), start_state(model, 1)
    found = lag_norms(model, ids, lag, state)
    with torch.no_grad():
        for index, part in enumerate(parts_of(state)):
            changes = []
            for unit in range(part.shape[1]):
                both = []
                for sign in (1, -1):
                    moved = [other.clone() for other in parts_of(state)]
                    moved[index][0, unit] += sign * small
                    both.append(float(nats(model, ids, like(state, moved))))
                changes.append((both[0] - both[1]) / (2 * small))
            assert found.rows[list(found.rows)[index]][0, lag] == pytest.approx(np.linalg.norm(changes), rel=1e-5)


def test_what_was_read_before_is_the_state_from_which_it_starts() -> None:
    model, ids = network("lstm-sum"), some_ids(60)
    state = start_state(model, ROWS)
    whole = lag_norms(model, ids, LAGS, state)
    after = model.hidden(ids[:, : 60 - LAGS - 1], state)[1]
    tail = lag_norms(model, ids[:, 60 - LAGS - 1 :], LAGS, after)  # so short that the last input was read before it
    for name in whole.rows:
        expected = whole.rows[name].copy()
        if name == "x":
            assert np.isnan(tail.rows["x"][:, -1]).all()
            expected[:, -1] = np.nan
        np.testing.assert_allclose(tail.rows[name], expected, rtol=1e-9)
    assert not model.training and next(model.parameters()).requires_grad, "the network is left as it was"


@pytest.mark.parametrize("window", [1, 4, 40])
def test_beyond_a_window_the_gradient_is_exactly_zero(window: int) -> None:
    model = random_model(model_config("window", window=window))
    found = lag_norms(model, some_ids(LAGS + 2), LAGS)
    assert {*found.rows} == {"x"} and found.h is None and found.c is None and found.half_life() == ()
    assert (found.rows["x"][:, :window] > 0).all()
    assert (found.rows["x"][:, window:] == 0).all() and (found.x[window:] == 0).all()


def test_float64_tells_what_float32_loses() -> None:
    lags = 120
    model = random_model(model_config("rnn", num_layers=1), torch.float32, scale=0.1)
    ids = some_ids(lags + 2, rows=2)
    found = lag_norms(model, ids, lags)
    x = model.embedding(ids[:, :-1].T).detach().requires_grad_()
    y, _ = model.recurrent(x, None)
    (single,) = torch.autograd.grad(F.cross_entropy(model.logits(y[-1]), ids[:, -1], reduction="sum"), x)
    assert float(single[0].abs().max()) == 0
    assert 0 < found.x[-1] < 1e-45 and found.h is not None and 0 < found.h[0, -1] < 1e-45
    # So small that its square would be 0 in float64, too, and right all the same: the slow way, in float64.
    model, ids = random_model(model_config("rnn", num_layers=1), scale=0.02), some_ids(lags + 2, rows=ROWS)
    slow = the_slow_way(model, ids, lags, model.fresh_state(ROWS))["layer0/h"]
    assert slow[:, -1].max() < 1e-120
    np.testing.assert_allclose(lag_norms(model, ids, lags).rows["layer0/h"][:, 1:], slow, rtol=1e-7, atol=0)


def test_rows_are_summed_up_by_their_geometric_mean() -> None:
    some = LagNorms({"layer0/h": np.array([[4.0, 2.0], [9.0, 0.0]]), "x": np.array([[1.0, 1e-300], [4.0, 1e-100]])})
    assert some.h is not None and some.h.tolist() == [[pytest.approx(6), 0.0]]
    assert some.c is None and some.x.tolist() == [pytest.approx(2), pytest.approx(1e-200)]
    assert some.quantile("x", 0.5)[0] == 2.5
    model = network()
    both = lag_norms(model, some_ids(9), 6)
    assert both.h is not None and both.c is not None and both.h.shape == both.c.shape == (2, 7) and both.x.shape == (7,)
    np.testing.assert_allclose(both.c[1], np.exp(np.log(both.rows["layer1/c"]).mean(axis=0)))
    assert both.half_life() == tuple(map(halving, both.c))


@pytest.mark.parametrize("shape", [(2, 3), (2, 1)])
def test_rows_too_short_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="too few to look 3 steps back"):
        lag_norms(network(), torch.ones(shape, dtype=torch.int64), 3)
    with pytest.raises(UserError, match="the largest lag is 0"):
        lag_norms(network(), torch.ones(shape, dtype=torch.int64), 0)


# ---- half-lives


@pytest.mark.parametrize("factor", [0.001, 0.3, 0.5, 0.9, 0.99])
def test_a_pure_decay_has_its_half_life(factor: float) -> None:
    assert halving(7 * factor ** np.arange(60)) == pytest.approx(math.log(0.5) / math.log(factor), rel=1e-8)


def test_half_lives_where_it_is_not_pure() -> None:
    lags = np.arange(101)
    assert halving(np.ones(101)) is None
    assert halving(0.9995**lags) is None, "a loss of 5 % over 100 lags is level"
    assert halving(1.1**lags) is None
    assert halving(np.zeros(101)) is None
    assert halving(np.array([1.0, 0.5])) is None, "a single lag"
    rising = np.concatenate([1.2 ** np.arange(30), 1.2**29 * 0.5 ** np.arange(1, 41)])
    assert halving(rising) == pytest.approx(1), "from the largest on"
    assert halving(np.where(lags < 12, 0.25**lags, 0.25**12)) == pytest.approx(0.5), "down to 1 % of it"
    assert halving(np.where(lags < 4, 0.5**lags, 0)) == pytest.approx(1), "and no further than it is there"
    noise = 0.8**lags * np.exp(0.1 * np.random.default_rng(0).normal(size=101))
    assert halving(noise) == pytest.approx(math.log(0.5) / math.log(0.8), rel=0.1)


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
    found = step_jacobian(step, x, state)
    torch.testing.assert_close(found, torch.func.jacrev(flat)(values), rtol=0, atol=1e-12)
    layers = [sum(part.shape[1] for part in layer) for layer in state]
    of_all = float(torch.linalg.eigvals(found).abs().max())
    assert spectral_radius(found, layers) == pytest.approx(of_all, rel=1e-6)
    if len(layers) > 1:  # planted fault: not block-triangular
        wrong = found.flip(0)
        assert spectral_radius(wrong, layers) != pytest.approx(float(torch.linalg.eigvals(wrong).abs().max()), rel=1e-3)


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
        back, logs = first[row], [float(first[row].norm().log())]
        for x_t, its in zip(reversed(x[:, row : row + 1]), reversed(before[:-1]), strict=True):
            back = step_jacobian(step, x_t, its).T @ back
            logs.append(float(back.norm().log()))
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
    alone = long_run(model, inputs[:1])
    assert alone is not None and alone[1] == math.inf, "a single stretch has no interval"
    many = long_run(model, inputs)
    assert many is not None and 0 < many[1] < 1
    gone = random_model(model_config("rnn"), scale=0.0)
    assert long_run(gone, inputs) is None


def returned(made: Any) -> list[Any]:
    """What a generator yields, and last what it returns."""
    events = []
    while True:
        try:
            events.append(next(made))
        except StopIteration as end:
            return [*events, end.value]

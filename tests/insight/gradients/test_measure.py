"""Gradients by lag: the slow way with the state passed in as a value; half-lives; models measured on a text."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import unroll
from insight.gradients.cases import CASES, LAGS, ROWS, network, some_ids
from laws.cases import start_state
from tiny import model_config, random_ids, random_model, text
from unroll.artifact.open import open_model
from unroll.errors import UserError
from unroll.insight.gradients.advice import Floats
from unroll.insight.gradients.measure import (
    LagNorms,
    before_training,
    halving,
    lag_norms,
    stretches,
    validation_part,
)
from unroll.insight.gradients.picture import gradients
from unroll.insight.trace import network_of
from unroll.nn.model import Model
from unroll.nn.recurrent import Recurrent, RecurrentLayer, run_stepwise
from unroll.state import State, like, parts_of
from unroll.training.prepare import make_run
from unroll.training.recipe import read_recipe


def nats(model: Model, ids: Tensor, state: State) -> Tensor:
    """The nats (B,) of the last of `ids`, the others read from a state that is passed in, by the fused kernel."""
    y, _ = model.hidden(ids[:, :-1], state)
    return F.cross_entropy(model.logits(y[:, -1]), ids[:, -1], reduction="none")


def the_slow_way(model: Model, ids: Tensor, lags: int, state: State) -> dict[str, Floats]:
    """For every lag anew: read up to there, pass the state in as a value, differentiate the rest. Lags 1 to K."""
    norms_by_name: dict[str, list[Floats]] = {}
    for lag in range(1, lags + 1):
        start = ids.shape[1] - 1 - lag
        with torch.no_grad():
            before = model.hidden(ids[:, :start], state)[1] if start else state
        parts = [part.clone().requires_grad_() for part in parts_of(before)]
        partials = torch.autograd.grad(nats(model, ids[:, start:], like(before, parts)).sum(), parts)
        names = [f"layer{k}/{part}" for k in range(len(state)) for part in ("h", "c")[: len(state[k])]]
        for name, gradient in zip(names, partials, strict=True):
            norms_by_name.setdefault(name, []).append(gradient.norm(dim=1).numpy())
    return {name: np.stack(norms, axis=1) for name, norms in norms_by_name.items()}


def law_slow(rows: dict[str, Floats], slow: dict[str, Floats]) -> None:
    assert {*rows} == {*slow, "x"}
    for name, norms in slow.items():
        assert rows[name].shape == (ROWS, LAGS + 1) and rows[name].dtype == np.float64
        np.testing.assert_allclose(rows[name][:, 1:], norms, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_norms_by_lag_are_those_of_states_passed_in_as_values(name: str) -> None:
    model = network(name)
    ids, state = some_ids(LAGS + 4), start_state(model, ROWS)
    norms = lag_norms(model, ids, LAGS, state)
    law_slow(norms.rows, the_slow_way(model, ids, LAGS, state))
    # By the inputs: one graph over all of them.
    x = model.embedding(ids[:, :-1].T).detach().requires_grad_()
    y = x
    for layer in model.before:
        y = F.gelu(layer(y))
    y, _ = model.recurrent(y, state)
    losses = F.cross_entropy(model.logits(y[-1]), ids[:, -1], reduction="sum")
    (by_inputs,) = torch.autograd.grad(losses, x)
    np.testing.assert_allclose(norms.rows["x"], by_inputs.norm(dim=2).flip(0).T[:, : LAGS + 1], rtol=1e-9, atol=1e-12)


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
    partials = torch.autograd.grad(F.cross_entropy(model.logits(y[-1]), ids[:, -1], reduction="sum"), nodes)
    by_node = torch.stack([part.norm(dim=1) for part in reversed(partials)], dim=1).numpy()
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
    norms = lag_norms(model, ids, 2, state)
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
        np.testing.assert_allclose(norms.rows[f"layer{k}/h"][:, 0], by_h.norm(dim=1), rtol=1e-9)
        np.testing.assert_allclose(norms.rows[f"layer{k}/c"][:, 0], by_c.norm(dim=1), rtol=1e-9)


@pytest.mark.parametrize("name", ["lstm-residual", "gru-none"])
def test_it_is_what_small_changes_of_the_state_do(name: str) -> None:
    model, lag, small = network(name), 7, 1e-5
    ids, state = some_ids(lag + 1, rows=1), start_state(model, 1)
    norms = lag_norms(model, ids, lag, state)
    with torch.no_grad():
        for index, part in enumerate(parts_of(state)):
            changes = []
            for unit in range(part.shape[1]):
                losses = []
                for sign in (1, -1):
                    shifted = [other.clone() for other in parts_of(state)]
                    shifted[index][0, unit] += sign * small
                    losses.append(float(nats(model, ids, like(state, shifted))))
                changes.append((losses[0] - losses[1]) / (2 * small))
            assert norms.rows[list(norms.rows)[index]][0, lag] == pytest.approx(np.linalg.norm(changes), rel=1e-5)


def test_what_was_read_before_is_the_state_from_which_it_starts() -> None:
    model, ids = network("lstm-sum"), some_ids(60)
    state = start_state(model, ROWS)
    from_state = lag_norms(model, ids, LAGS, state)
    after = model.hidden(ids[:, : 60 - LAGS - 1], state)[1]
    tail = lag_norms(model, ids[:, 60 - LAGS - 1 :], LAGS, after)  # so short that the last input was read before it
    for name in from_state.rows:
        expected = from_state.rows[name].copy()
        if name == "x":
            assert np.isnan(tail.rows["x"][:, -1]).all()
            expected[:, -1] = np.nan
        np.testing.assert_allclose(tail.rows[name], expected, rtol=1e-9)
    assert not model.training and next(model.parameters()).requires_grad, "the network is left as it was"


@pytest.mark.parametrize("window", [1, 4, 40])
def test_beyond_a_window_the_gradient_is_exactly_zero(window: int) -> None:
    model = random_model(model_config("window", window=window))
    norms = lag_norms(model, some_ids(LAGS + 2), LAGS)
    assert {*norms.rows} == {"x"} and norms.h is None and norms.c is None and norms.half_life() == ()
    assert (norms.rows["x"][:, :window] > 0).all()
    assert (norms.rows["x"][:, window:] == 0).all() and (norms.x[window:] == 0).all()


def test_float64_tells_what_float32_loses() -> None:
    lags = 120
    model = random_model(model_config("rnn", num_layers=1), torch.float32, scale=0.1)
    ids = some_ids(lags + 2, rows=2)
    norms = lag_norms(model, ids, lags)
    x = model.embedding(ids[:, :-1].T).detach().requires_grad_()
    y, _ = model.recurrent(x, None)
    (single,) = torch.autograd.grad(F.cross_entropy(model.logits(y[-1]), ids[:, -1], reduction="sum"), x)
    assert float(single[0].abs().max()) == 0
    assert 0 < norms.x[-1] < 1e-45 and norms.h is not None and 0 < norms.h[0, -1] < 1e-45
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
    pair = lag_norms(model, some_ids(9), 6)
    assert pair.h is not None and pair.c is not None and pair.h.shape == pair.c.shape == (2, 7) and pair.x.shape == (7,)
    np.testing.assert_allclose(pair.c[1], np.exp(np.log(pair.rows["layer1/c"]).mean(axis=0)))
    assert pair.half_life() == tuple(map(halving, pair.c))


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


def test_stretches_are_spread_over_the_text_and_begin_with_the_start_symbol() -> None:
    ids = random_ids(2000)
    rows, run_in = stretches(ids, 7, 30, 5, "t")
    assert rows.shape == (5, 256 + 32) and run_in == 256
    assert rows[0].tolist() == [7, *ids[:287]] and rows[-1].tolist() == ids[-288:].tolist()
    rows, run_in = stretches(ids[:40], 7, 30, 5, "t")
    assert run_in == 4 and len(rows) == 5 and rows.shape[1] == 36
    rows, run_in = stretches(ids[:31], 7, 30, 5, "t")
    assert run_in == 0 and rows.tolist() == [[7, *ids[:31]]]
    with pytest.raises(UserError, match="t has 30 symbols, too few to look 30 steps back"):
        stretches(ids[:30], 7, 30, 5, "t")


def test_models_are_measured_on_their_own_validation_part(models: dict[str, Path]) -> None:
    report = gradients([models["lstm"], models["window"]], lags=20)
    figures = json.loads(json.dumps(report.figures(), allow_nan=False))
    lstm, window = figures["models"]
    assert [(signal["layer"], signal["signal"]) for signal in lstm["signals"]] == [
        (0, "h"), (0, "c"), (1, "h"), (1, "c"), (None, "x")
    ]  # fmt: skip
    opened = open_model(models["lstm"])
    assert [lag for lag, _ in lstm["signals"][0]["gradient"]] == list(range(21))
    assert lstm["half_life"] == [lstm["signals"][1]["half_life"], lstm["signals"][3]["half_life"]]
    assert lstm["positions"] == 128 and lstm["run_in"] == 256 and lstm["advice"] and lstm["fresh"] is False
    for signal in lstm["signals"]:
        for (_, mean), low, high in zip(signal["gradient"], signal["low"], signal["high"], strict=True):
            assert 0 < low <= high and mean < 10 * high
    assert lstm["spectral_radius"]["mean"] <= lstm["singular_value"]["mean"]
    assert lstm["growth"]["low"] < lstm["growth"]["per_step"] < lstm["growth"]["high"]
    assert window["spectral_radius"] is None and window["growth"] is None and window["half_life"] == []
    assert [norm for _, norm in window["signals"][0]["gradient"]][4:] == [0.0] * 17
    assert "a window has no recurrence" in window["notes"][0] and "name one text for all" in figures["notes"][0]
    # The rows, one by one.
    ids = validation_part(opened)
    rows, _ = stretches(ids, opened.tokenizer.start_id, 20, 128, "t")
    single = lag_norms(network_of(opened), torch.from_numpy(rows[100:101]), 20)
    for name, norms in single.rows.items():
        np.testing.assert_allclose(report.models[0].norms.rows[name][100:101], norms, rtol=1e-4)
    assert "gradients" in unroll.__all__ and unroll.gradients is gradients


def test_a_directory_without_its_training(models: dict[str, Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(models["rnn"], bare, ignore=shutil.ignore_patterns("metrics.jsonl", "recipe.toml", "resume"))
    with pytest.raises(UserError, match="bare has no validation part"):
        gradients(bare)
    file = tmp_path / "t.txt"
    file.write_text(text(20))
    (norms,) = gradients(bare, file, lags=5).models
    assert norms.training is None and norms.notes == ("the model directory has no log of its training",)


def test_untrained_weights_are_those_that_the_training_began_with(models: dict[str, Path]) -> None:
    path = models["rnn"]
    opened = network_of(open_model(path))
    before = torch.random.get_rng_state()
    restored = before_training(opened, path)
    assert torch.equal(torch.random.get_rng_state(), before)
    recipe = read_recipe(path / "recipe.toml")
    first = make_run(None, recipe, torch.device("cpu")).model
    for ours, original in zip(restored.parameters(), first.parameters(), strict=True):
        assert torch.equal(ours, original)
    trained, fresh = gradients(path, lags=5, fresh=True).models
    assert (trained.fresh, fresh.fresh) == (False, True) and fresh.training is None and not fresh.notes
    assert not np.allclose(trained.norms.x, fresh.norms.x, rtol=1e-3)


def test_what_cannot_be_measured_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("the car is")
    with pytest.raises(UserError, match="has 10 symbols, too few to look 10 steps back"):
        gradients(models["lstm"], file, lags=10)
    assert len(gradients(models["lstm"], file, lags=9).models[0].norms.rows["x"]) == 1
    with pytest.raises(UserError, match="no model is given"):
        gradients([])
    with pytest.raises(UserError, match="8 lines of models"):
        gradients([models["lstm"]] * 4, fresh=True, plot=tmp_path / "a.png")
    list(unroll.ngram(file, order=2, out=tmp_path / "n"))
    with pytest.raises(UserError, match="is an n-gram"):
        gradients(tmp_path / "n", file, lags=2)

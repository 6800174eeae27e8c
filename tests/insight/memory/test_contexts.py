"""Contexts of a memory are what a slow loop reads; targets are spread; gradients are of the whole state."""

import math

import numpy as np
import pytest
import torch

from insight.memory.cases import N, finish, found_of, slow, small_plan
from tiny import (
    ARCHS,
    TOKENIZER,
    model_config,
    random_model,
)
from unroll.insight.memory.contexts import (
    ROWS,
    Context,
    context_nats,
    grid,
    replaced_nats,
    shuffled_nats,
)
from unroll.nn.arch import ARCHITECTURES, RECURRENT
from unroll.predict.torch import TorchPredictor


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("context", ["fresh", "unrelated"])
def test_it_is_what_a_slow_loop_reads(arch: str, context: Context) -> None:
    plan = small_plan(context=context)
    model, memory = found_of(arch, plan)
    ids, history, limit = plan.ids.tolist(), int(plan.distances[-1]), int(plan.contexts[-1])
    for row, t in enumerate(plan.targets.tolist()):
        target = ids[t]
        far = plan.targets[(row - len(plan.targets) // 2) % len(plan.targets)]
        before = ids[far - limit : far] if context == "unrelated" else None
        for column, k in enumerate(plan.contexts.tolist()):
            assert memory.nats[row, column] == pytest.approx(slow(model, ids[t - k : t], target, before), abs=1e-9)
        assert memory.full[row] == pytest.approx(slow(model, [TOKENIZER.start_id, *ids[:t]], target), abs=1e-9)
        for column, d in enumerate(plan.distances.tolist()):
            beyond_d, near = ids[t - history : t - d], ids[t - d : t]
            order = np.argsort(plan.keys[row, : history - d])
            mixed = [beyond_d[place] for place in order]
            assert memory.shuffled[row, column] == pytest.approx(slow(model, mixed + near, target), abs=1e-9)
            foreign = plan.others[row, : history - d].tolist()
            assert memory.replaced[row, column] == pytest.approx(slow(model, foreign + near, target), abs=1e-9)


@pytest.mark.parametrize("arch", ARCHS)
def test_rows_are_read_side_by_side_as_alone(arch: str) -> None:
    """More of them than are read together, and pieces that end in the midst of a history."""
    plan = small_plan(count=1500, limit=70, targets=ROWS + 5)
    model, memory = found_of(arch, plan)
    ids = plan.ids.tolist()
    for row in (0, ROWS - 1, ROWS, ROWS + 4):
        t = int(plan.targets[row])
        assert memory.nats[row, -1] == pytest.approx(slow(model, ids[t - 70 : t], ids[t]), abs=1e-9)


@pytest.mark.parametrize("arch", RECURRENT)
def test_gradients_are_those_of_the_whole_state(arch: str) -> None:
    plan = small_plan(targets=3)
    model, memory = found_of(arch, plan)
    limit, lags = int(plan.contexts[-1]), 10
    logs = []
    for t in plan.targets.tolist():
        ids = torch.from_numpy(plan.ids[t - limit : t + 1].astype(np.int64))
        state = model.hidden(ids[None, : limit - lags])[1]
        state = tuple(tuple(part.detach().requires_grad_() for part in layer) for layer in state)
        logits, _ = model(ids[None, limit - lags : limit], state, engine="stepwise")
        loss = torch.nn.functional.cross_entropy(logits[:, -1], ids[-1:])
        parts = torch.autograd.grad(loss, [part for layer in state for part in layer])
        logs.append(math.log(math.sqrt(sum(float((part**2).sum()) for part in parts))))
    assert memory.gradient is not None
    assert memory.gradient.norms[lags] == pytest.approx(math.exp(np.mean(logs)), rel=1e-9)
    names = ARCHITECTURES[arch].state
    assert set(memory.gradient.signals) == {"x", *(f"layer{k}/{name}" for k in range(2) for name in names)}


def test_a_window_has_gradients_by_its_inputs_alone() -> None:
    _, memory = found_of("window", small_plan())
    assert memory.gradient is not None and memory.half_life is None
    assert (memory.gradient.norms[:N] > 0).all() and (memory.gradient.norms[N:] == 0).all()


@pytest.mark.parametrize("arch", ARCHS)
def test_disturbing_nothing_changes_nothing(arch: str) -> None:
    """Bitwise: a history that is undisturbed from the first symbol on is the context of that length."""
    plan = small_plan(count=900, limit=80, targets=30)
    predictor = TorchPredictor(random_model(model_config(arch)))
    rows, targets, contexts = plan.rows(80), plan.ids[plan.targets].astype(np.int64), np.array([80])
    random = np.random.default_rng(0)
    foreign, keys = random.permutation(rows.ravel()).reshape(rows.shape), random.random(rows.shape)
    plainly = finish(context_nats(predictor, rows, targets, contexts, None))
    assert (finish(shuffled_nats(predictor, rows, targets, contexts, keys)) == plainly).all()
    assert (finish(replaced_nats(predictor, rows, targets, contexts, foreign)) == plainly).all()
    _, memory = found_of(arch, plan)
    assert (memory.harm["shuffled"][-1], memory.harm["replaced"][-1]) == (0.0, 0.0)


# ---- what is chosen


def test_targets_are_spread_over_the_text_with_history_before_them() -> None:
    for seed in range(3):
        plan = small_plan(count=1000, limit=64, targets=90, seed=seed)
        assert plan.targets[0] >= 64 and plan.targets[-1] < 1000
        stretches = (plan.targets - 64) * 90 / (1000 - 64)
        assert ((stretches >= np.arange(90) - 1) & (stretches < np.arange(90) + 1)).all(), "one in each stretch"
        assert len({*plan.targets.tolist()}) == 90
    assert small_plan(count=100, limit=24, targets=1000).targets.tolist() == [*range(24, 100)]
    assert (small_plan(seed=1).targets != small_plan(seed=2).targets).any()


def test_contexts_are_powers_of_two_the_limit_and_what_models_see() -> None:
    assert grid(64, [None]).tolist() == [1, 2, 4, 8, 16, 32, 64]
    assert grid(50, [10, 10, 8, 70, None]).tolist() == [1, 2, 4, 8, 10, 16, 32, 50]

"""The optimizer: its schedule, what decays, the running average, and what a resume brings back."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tiny import ARCHS, model_config, random_model
from unroll.artifact.checkpoint import load_tensors, save_tensors
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.training.config import OptimConfig
from unroll.training.optim import (
    learning_rate_at,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_learning_rate,
    thaw,
    update_average,
)


def rates(steps: int, config: OptimConfig) -> list[float]:
    return [learning_rate_at(step, steps, config) for step in range(steps)]


def test_the_rate_rises_linearly_then_follows_its_schedule() -> None:
    warm = OptimConfig(learning_rate=0.4, warmup_steps=4)
    expected = [0.1, 0.2, 0.3, 0.4, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05]
    assert rates(12, warm) == pytest.approx(expected)
    cosine = OptimConfig(learning_rate=0.4, warmup_steps=4, schedule="cosine")
    assert rates(12, cosine) == pytest.approx(
        [0.1, 0.2, 0.3, 0.4] + [0.2 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    )
    constant = OptimConfig(learning_rate=0.4, warmup_steps=4, schedule="constant")
    assert rates(12, constant) == pytest.approx([0.1, 0.2, 0.3] + 9 * [0.4])


def test_a_plateau_cuts_the_rate_by_its_factor_and_others_heed_no_plateau() -> None:
    plateau = OptimConfig(learning_rate=0.4, warmup_steps=4, schedule="plateau", plateau_factor=0.5)
    assert [learning_rate_at(step, 12, plateau, cuts=2) for step in (0, 3, 4, 11)] == pytest.approx(
        [0.1, 0.4, 0.1, 0.1]
    )
    assert [learning_rate_at(8, 12, plateau, cuts) for cuts in range(3)] == pytest.approx([0.4, 0.2, 0.1])
    linear = OptimConfig(learning_rate=0.4, warmup_steps=4)
    assert learning_rate_at(8, 12, linear, cuts=3) == learning_rate_at(8, 12, linear)


@given(
    st.integers(1, 400), st.integers(0, 300), st.sampled_from(["linear", "cosine", "constant"]), st.floats(1e-6, 1e3)
)
def test_the_rate_is_above_zero_up_to_its_peak_and_falls_after_it(
    steps: int, warmup: int, schedule: Any, peak: float
) -> None:
    config = OptimConfig(learning_rate=peak, warmup_steps=warmup, schedule=schedule)
    report = rates(steps, config)
    top = report.index(max(report))
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in report)
    assert report[:top] == sorted(report[:top]) and report[top:] == sorted(report[top:], reverse=True)
    # However long the warm-up, half of the steps are left for the schedule, and the end is zero, or the peak.
    assert top <= steps // 2
    assert learning_rate_at(steps, steps, config) == pytest.approx(peak if schedule == "constant" else 0.0, abs=1e-9)


@pytest.mark.parametrize("arch", ARCHS)
def test_weights_decay_on_matrices_alone(arch: str) -> None:
    """With no gradient AdamW only decays: w (1 - rate · decay), whatever the moments."""
    model = random_model(model_config(arch), torch.float32)
    optimizer = make_optimizer(model, OptimConfig(learning_rate=0.5, weight_decay=0.1))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    set_learning_rate(optimizer, 0.25)
    optimizer.step()
    for name, weight in model.named_parameters():
        factor = 1 - 0.25 * 0.1 if weight.dim() == 2 else 1.0
        torch.testing.assert_close(weight.detach(), factor * before[name])
    assert {weight.dim() for weight in model.parameters()} == {1, 2}


def test_every_weight_is_trained_once() -> None:
    model = Model(model_config("lstm", tie_weights=True, layers_before=1, layers_after=1))
    groups = make_optimizer(model, OptimConfig()).param_groups
    trained = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(trained) == sorted(id(weight) for weight in model.parameters())


def test_deeper_layers_learn_later_and_less() -> None:
    model = random_model(model_config("lstm", layers_before=1), torch.float32)
    config = OptimConfig(layer_decay=0.5, thaw_steps=10, weight_decay=0.1)
    optimizer = make_optimizer(model, config, model.depths())
    trained = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
    assert sorted(trained) == sorted(id(weight) for weight in model.parameters())
    depth = {"head.weight": 0, "recurrent.layers.1.weight_hh": 1, "recurrent.layers.0.bias_ih": 2,
             "before.0.weight": 3, "embedding.weight": 3}  # fmt: skip
    weights, rates = dict(model.named_parameters()), dict[int, float]()
    set_learning_rate(optimizer, 0.8)
    for group in optimizer.param_groups:
        rates |= {id(weight): group["lr"] for weight in group["params"]}
    for step in (0, 9, 10, 29, 30):
        thaw(optimizer, step)
        for name, below in depth.items():
            assert weights[name].requires_grad == (step >= 10 * below)
            assert rates[id(weights[name])] == 0.8 * 0.5**below
    tied = random_model(model_config("gru", tie_weights=True))
    assert "embedding.weight" not in tied.depths(), "it is the output's too"


def adamw(weight: Tensor, gradients: list[Tensor], config: OptimConfig, decay: float) -> Tensor:
    """Return a weight after some steps of Loshchilov & Hutter 2019, algorithm 2."""
    m, v = torch.zeros_like(weight), torch.zeros_like(weight)
    for t, gradient in enumerate(gradients, 1):
        m = config.beta1 * m + (1 - config.beta1) * gradient
        v = config.beta2 * v + (1 - config.beta2) * gradient**2
        m_hat, v_hat = m / (1 - config.beta1**t), v / (1 - config.beta2**t)
        weight = weight - config.learning_rate * (m_hat / (v_hat.sqrt() + 1e-8) + decay * weight)
    return weight


def test_a_step_is_adamws() -> None:
    config = OptimConfig(learning_rate=0.03, weight_decay=0.2, beta1=0.8, beta2=0.95)
    model = random_model(model_config("gru"))
    optimizer = make_optimizer(model, config)
    random = torch.Generator().manual_seed(2)
    before = [weight.detach().clone() for weight in model.parameters()]
    steps = [[torch.randn(w.shape, generator=random, dtype=w.dtype) for w in before] for _ in range(5)]
    for gradients in steps:
        for weight, gradient in zip(model.parameters(), gradients, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    for k, weight in enumerate(model.parameters()):
        decay = 0.2 if weight.dim() == 2 else 0.0
        expected = adamw(before[k], [gradients[k] for gradients in steps], config, decay)
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-9, atol=1e-9)


def test_the_average_follows_its_formula() -> None:
    """a ← d·a + (1 - d)·w with d = min(decay, (1 + t) / (10 + t))."""
    random = torch.Generator().manual_seed(3)
    average = [torch.randn(3, 2, generator=random, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)]
    expected = [part.clone() for part in average]
    kept = list(average)
    for step in range(40):
        weights = [torch.randn(part.shape, generator=random, dtype=torch.float64) for part in average]
        update_average(average, weights, step, 0.7)
        decay = min(0.7, (1 + step) / (10 + step))
        expected = [decay * a + (1 - decay) * w for a, w in zip(expected, weights, strict=True)]
    assert all(item is other for item, other in zip(average, kept, strict=True)), "the average moves in place"
    torch.testing.assert_close(average, expected, rtol=1e-12, atol=1e-12)


def test_the_average_soon_forgets_the_start() -> None:
    average, weight = [torch.full((1,), 100.0)], [torch.zeros(1)]
    for step in range(50):
        update_average(average, weight, step, 0.999)
    assert abs(float(average[0])) < 1e-3


def take_steps(model: Model, optimizer: torch.optim.Optimizer, seeds: range) -> None:
    """Train on made-up texts."""
    for seed in seeds:
        ids = torch.randint(1, model.config.vocab_size, (2, 9), generator=torch.Generator().manual_seed(seed))
        model.zero_grad()
        logits, _ = model(ids)
        torch.autograd.backward(cross_entropy(logits, ids))
        optimizer.step()


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("left_out", ["", "exp_avg", "exp_avg_sq", "step"])
def test_an_optimizer_comes_back_from_its_tensors_bit_for_bit(arch: str, left_out: str, tmp_path: Path) -> None:
    """And differs where one kind of them is left out."""
    config = OptimConfig(learning_rate=0.02, beta1=0.85)
    model = random_model(model_config(arch), torch.float32)
    optimizer = make_optimizer(model, config)
    take_steps(model, optimizer, range(4))
    tensors = optimizer_tensors(model, optimizer)
    names = [name for name, _ in model.named_parameters()]
    assert set(tensors) == {f"{kind}/{name}" for kind in ("step", "exp_avg", "exp_avg_sq") for name in names}
    if left_out:
        tensors |= {f"{left_out}/{name}": torch.zeros_like(tensors[f"{left_out}/{name}"]) for name in names}
    save_tensors(tmp_path / "optimizer.safetensors", tensors, {})

    twin = random_model(model_config(arch), torch.float32)
    twin.load_state_dict(model.state_dict())
    resumed = make_optimizer(twin, config)
    load_optimizer_tensors(twin, resumed, load_tensors(tmp_path / "optimizer.safetensors"))
    take_steps(model, optimizer, range(4, 8))
    take_steps(twin, resumed, range(4, 8))
    equal = [torch.equal(item, other) for item, other in zip(model.parameters(), twin.parameters(), strict=True)]
    assert all(equal) if not left_out else not any(equal)
    moments, repeat = optimizer_tensors(model, optimizer), optimizer_tensors(twin, resumed)
    assert all(torch.equal(moments[name], repeat[name]) for name in moments) is not bool(left_out)


def test_a_fresh_optimizer_has_no_tensors() -> None:
    model = Model(model_config("lstm"))
    optimizer = make_optimizer(model, OptimConfig())
    assert optimizer_tensors(model, optimizer) == {}
    load_optimizer_tensors(model, optimizer, {})
    assert not optimizer.state

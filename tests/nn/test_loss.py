"""The loss against its definition, in natural logarithms, for every order of rows and steps."""

import math

import pytest
import torch
import torch.nn.functional as F

from laws.laws import close
from unroll.nn import loss
from unroll.nn.loss import cross_entropy, smoothed_cross_entropy

ROWS, STEPS, VOCAB = 3, 5, 7


def example(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(ROWS, STEPS, VOCAB, generator=random, dtype=torch.float64)
    return logits.to(dtype), torch.randint(VOCAB, (ROWS, STEPS), generator=random)


def nats_by_hand(logits: torch.Tensor, targets: torch.Tensor) -> list[list[float]]:
    return [
        [math.log(sum(math.exp(v) for v in step)) - step[target] for step, target in zip(row, row_targets, strict=True)]
        for row, row_targets in zip(logits.tolist(), targets.tolist(), strict=True)
    ]


@pytest.mark.parametrize("time_major", [False, True])
def test_nats(time_major: bool) -> None:
    logits, targets = example()
    expected = torch.tensor(nats_by_hand(logits, targets), dtype=torch.float64)
    if time_major:  # as the model hands them over: computed (T, B, V), seen as (B, T, V)
        logits = logits.transpose(0, 1).contiguous().transpose(0, 1)
    close(cross_entropy(logits, targets, "none"), expected, 1e-12)
    close(cross_entropy(logits, targets, "sum"), expected.sum(), 1e-12)
    close(cross_entropy(logits, targets), expected.mean(), 1e-12)


def test_probabilities_sum_to_one() -> None:
    logits, _ = example()
    all_targets = torch.arange(VOCAB).view(-1, 1, 1).expand(VOCAB, ROWS, STEPS)
    nats = torch.stack([cross_entropy(logits, targets, "none") for targets in all_targets])
    close((-nats).exp().sum(dim=0), torch.ones(ROWS, STEPS, dtype=torch.float64), 1e-12)


def test_half_precision_is_widened() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        logits, targets = example(dtype)
        nats = cross_entropy(logits, targets, "none")
        assert nats.dtype == torch.float32
        close(nats, torch.tensor(nats_by_hand(logits, targets)), 1e-6)


def test_an_impossible_symbol_costs_infinity_and_a_sure_one_nothing() -> None:
    logits = torch.tensor([[[0.0, -math.inf], [-math.inf, 0.0]]])
    assert cross_entropy(logits, torch.tensor([[0, 0]]), "none").tolist() == [[0.0, math.inf]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.0, 0.1])
def test_the_smoothed_loss_and_its_gradient_are_torchs(
    monkeypatch: pytest.MonkeyPatch, share: float, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(loss, "CHUNK", 4 * VOCAB)  # so that several chunks are needed, the last a smaller one
    random = torch.Generator().manual_seed(5)
    logits = (3 * torch.randn(26, VOCAB, generator=random, dtype=torch.float64)).to(dtype).requires_grad_()
    targets = torch.randint(VOCAB, (26,), generator=random)
    ours = smoothed_cross_entropy(logits, targets, share)
    wide = logits if dtype.itemsize >= 4 else logits.float()
    theirs = F.cross_entropy(wide, targets, label_smoothing=share)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    close(ours, theirs, min(tolerance, 1e-6))
    (gradient,), (expected,) = (torch.autograd.grad(2 * nats, logits) for nats in (ours, theirs))
    torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=tolerance / 26)

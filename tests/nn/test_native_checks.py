"""What crosses into the training kernels is checked, also where there are none: a stand-in notes what reaches them."""

from typing import Any

import pytest
import torch

from nn.fuzz import fuzz
from unroll.nn import native
from unroll.nn.cells import CellWeights
from unroll.nn.loss import cross_entropy


class Calls(list[str]):
    """The kernels' stand-in: it writes nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.append(name)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr(native, "instructions", lambda _: "avx2")
    monkeypatch.setattr(native, "_kernels", lambda _: (calls, 0))
    return calls


def test_calls_at_random_reach_the_kernels_or_are_refused(calls: Calls) -> None:
    counts = fuzz(3000, seed=1, compare=False)
    assert counts["accepted"] + counts["refused"] == 3000
    assert calls.count("unroll_lstm_forward") + calls.count("unroll_cross_entropy") == counts["accepted"]
    assert min(counts[f"refused {kind}"] for kind in ("other shape", "other type", "out of range")) > 50, counts


@pytest.mark.parametrize(("h", "c"), [((1, 32), (5, 32)), ((5, 32), (1, 32)), ((5, 1), (5, 32)), ((6, 32), (6, 32))])
def test_a_state_of_other_rows_is_refused(h: tuple[int, int], c: tuple[int, int], calls: Calls) -> None:
    """Copied in without a check, a state of one row would be stretched."""
    weights = CellWeights(torch.ones(128, 8), torch.ones(128, 32), torch.ones(128), torch.ones(128))
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(ValueError, match=r"^[hc] is .*; allowed: .* of shape \(5, 32\) on the CPU$"):
            native.run_lstm(torch.ones(3, 5, 8), (torch.zeros(h), torch.zeros(c)), weights)
        native.run_lstm(torch.ones(3, 5, 8), (torch.zeros(5, 32), torch.zeros(5, 32)), weights)
    assert calls == ["unroll_lstm_forward"]


def test_targets_of_another_shape_or_type_are_refused(calls: Calls) -> None:
    logits = torch.zeros(2, 3, 20, dtype=torch.bfloat16).requires_grad_()
    for targets in (torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int32)):
        with pytest.raises(ValueError, match=r"targets is .*; allowed: int64 of shape \(6\) on the CPU"):
            cross_entropy(logits, targets)
    with pytest.raises(IndexError, match="20 symbols"):
        cross_entropy(logits, torch.full((2, 3), 20))
    assert not calls


def test_where_there_are_none_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda: None)
    with pytest.raises(RuntimeError, match="no native kernels"):
        native.cross_entropy(torch.zeros(2, 3, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.int64))

"""A training step: in which precision it computes, how a batch reaches the device."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from laws.cases import config
from nn.test_precision import settings
from unroll.data.batches import Batch
from unroll.nn.model import Model
from unroll.training.config import OptimConfig, Precision, TrainConfig
from unroll.training.run import begin
from unroll.training.step import on_device, step_on


@pytest.mark.parametrize(("precision", "wanted"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee")])
def test_a_training_step_computes_as_it_was_told(precision: Precision, wanted: str, tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}
    model = Model(config("lstm", 2))
    told = TrainConfig(steps=9, batch_size=2, seq_len=5, precision=precision, threads=1)
    run = begin(None, model, OptimConfig(), told)

    def forwards(*_: object) -> None:
        seen["forwards"] = settings()

    def backwards(gradient: Tensor) -> Tensor:
        seen["backwards"] = settings()
        return gradient

    model.recurrent.register_forward_hook(forwards)
    next(model.parameters()).register_hook(backwards)  # type: ignore[no-untyped-call]
    before = settings()
    ids = np.random.default_rng(0).integers(7, size=(2, 5))
    step_on(run, Batch(ids, ids, None))
    assert settings() == before
    assert seen["backwards"] == [wanted, wanted]
    if precision != "bfloat16":
        assert seen["forwards"] == [wanted, wanted]


def test_a_batch_is_pinned_for_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.arange(6).reshape(2, 3)
    assert on_device(ids, torch.device("cpu")).tolist() == ids.tolist()
    calls: list[str] = []

    class Pinned:
        def to(self, device: torch.device, non_blocking: bool) -> str:
            calls.append(f"to {device}, {non_blocking}")
            return "there"

    def pin(_: Tensor) -> Pinned:
        calls.append("pinned")
        return Pinned()

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    assert on_device(ids, torch.device("cuda")) == "there"
    assert calls == ["pinned", "to cuda, True"]

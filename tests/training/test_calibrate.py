"""The fastest way to train is the one that is measured, and threads that hinder each other wait passively."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from unroll.nn.config import ModelConfig
from unroll.threads import COMMAND_MARK
from unroll.training import calibrate
from unroll.training.calibrate import measure_machine, tokens_per_second
from unroll.training.config import TrainConfig
from unroll.training.many import processes

CPU = torch.device("cpu")
MODEL = ModelConfig(vocab_size=20, hidden_size=16)
Rate = Callable[[int, str], float]


@dataclass
class Restarted(Exception):
    """Stands for the new process image."""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Rate], None]:
    """Make a machine of four cores whose rates are given by threads and precision."""
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", COMMAND_MARK):
        monkeypatch.delenv(name, raising=False)

    def restart() -> None:
        raise Restarted

    def make(rate: Rate) -> None:
        def measured(model: ModelConfig, training: TrainConfig, device: torch.device, seconds: float) -> float:
            return rate(training.threads, training.precision)

        monkeypatch.setattr(calibrate, "tokens_per_second", measured)
        monkeypatch.setattr(calibrate, "threads_up_to", lambda _: 4)
        monkeypatch.setattr(calibrate, "can_bfloat16", lambda arch, device: True)
        monkeypatch.setattr(calibrate, "wait_passively", restart)

    return make


def found(**fixed: Any) -> tuple[int, str]:
    chosen = measure_machine(MODEL, TrainConfig(), CPU, fixed, seconds=0.01)
    return chosen.threads, chosen.precision


def test_the_fastest_way_is_chosen(machine: Callable[[Rate], None]) -> None:
    machine(lambda threads, precision: {1: 100, 2: 170, 4: 150}[threads] * (2 if precision == "bfloat16" else 1))
    assert found() == (2, "bfloat16")
    machine(lambda threads, precision: threads * (1 if precision == "bfloat16" else 3))
    assert found() == (4, "float32")


def test_a_gpu_is_also_tried_in_tf32(machine: Callable[[Rate], None], monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"float32": 3, "tf32": 9, "bfloat16": 8}
    machine(lambda threads, precision: rates[precision])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    chosen = measure_machine(MODEL, TrainConfig(), torch.device("cuda"), {}, seconds=0.01)
    assert (chosen.threads, chosen.precision) == (1, "tf32")
    assert sorted(chosen.measured.values()) == [3, 8, 9]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert measure_machine(MODEL, TrainConfig(), torch.device("cuda"), {}, seconds=0.01).precision == "bfloat16"


def test_what_is_fixed_is_not_tried(machine: Callable[[Rate], None], monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def rate(threads: int, precision: str) -> float:
        tried.append((threads, precision))
        return 100.0 * threads

    machine(rate)
    assert found(threads=3, precision="float32") == (3, "float32")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert found(precision="float32") == (4, "float32")
    assert set(tried) == {(3, "float32"), (4, "float32")}


def test_threads_that_hinder_each_other_wait_passively_once(
    machine: Callable[[Rate], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(lambda threads, precision: 100 / threads)
    with pytest.raises(Restarted):
        found()
    with monkeypatch.context() as patch:  # of several processes none: the others would lose it
        patch.setattr(processes, "size", lambda: 2)
        assert found()[0] == 1
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    chosen = measure_machine(MODEL, TrainConfig(), CPU, {}, seconds=0.01)
    assert chosen.wait_policy == "passive"


def test_a_rate_is_measured_and_leaves_the_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    assert tokens_per_second(MODEL, TrainConfig(batch_size=2, seq_len=8, threads=1), CPU, 0.02) > 0
    assert torch.equal(before, torch.get_rng_state())

"""What a training takes is said before it is allocated, and is about what it takes."""

import dataclasses

import pytest
import torch

from unroll.errors import UserError
from unroll.nn.config import ModelConfig, parameter_count
from unroll.training import memory
from unroll.training.config import TrainConfig
from unroll.training.memory import Memory, announcement, memory_of, needed, seconds_per_step

CPU = torch.device("cpu")
LARGE = ModelConfig(vocab_size=100, hidden_size=20_000)
GB = 10**9


def announced(monkeypatch: pytest.MonkeyPatch, config: ModelConfig, free: Memory | None) -> str | None:
    monkeypatch.setattr(memory, "memory_of", lambda device: free)
    monkeypatch.setattr(memory, "seconds_per_step", lambda config, training, device: 90.4)
    return announcement(config, TrainConfig(), CPU)


def test_a_small_model_needs_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert announced(monkeypatch, ModelConfig(vocab_size=100, hidden_size=512), Memory(8 * GB, 8 * GB)) is None


def test_a_large_one_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    message = announced(monkeypatch, LARGE, Memory(50 * GB, 64 * GB))
    assert message is not None and message.startswith("this model has 1.6 billion weights: training takes about ")
    assert message.endswith(" of memory, of which 50.0 GB are free, and about 90 seconds a step")
    message = announced(monkeypatch, LARGE, None)
    assert message is not None and message.endswith(" GB of memory, and about 90 seconds a step")


def test_one_that_cannot_fit_is_refused_and_the_advised_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"1.6 billion weights takes .* and this machine has 24.0 GB") as refusal:
        announced(monkeypatch, LARGE, Memory(20 * GB, 24 * GB))
    size = int(refusal.value.fix.rpartition("=")[2])
    for hidden_size, fits in ((size, True), (2 * size, False)):
        config = dataclasses.replace(LARGE, hidden_size=hidden_size)
        assert (needed(config, TrainConfig()) <= 24 * GB) == fits
    assert announced(monkeypatch, dataclasses.replace(LARGE, hidden_size=size), Memory(20 * GB, 24 * GB))


def test_what_is_needed_grows_with_weights_and_symbols() -> None:
    more = TrainConfig(batch_size=64)
    assert needed(LARGE, TrainConfig()) > 16 * parameter_count(LARGE)
    assert needed(LARGE, more) > needed(LARGE, TrainConfig())


def test_this_machine_has_memory_and_a_pace() -> None:
    report = memory_of(CPU)
    assert report is None or 0 < report.free <= report.total
    assert 0 < seconds_per_step(ModelConfig(vocab_size=100, hidden_size=64), TrainConfig(), CPU) < 60

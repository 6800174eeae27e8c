"""Products of float32 on a GPU are float32 unless told otherwise, forwards and backwards; all this without a GPU."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from laws.cases import config, randomised
from unroll.artifact.checkpoint import load_tensors, save_tensors
from unroll.nn.model import Model
from unroll.nn.precision import SETTINGS, multiply_exactly, tf32
from unroll.nn.recurrent import RecurrentLayer, flatten
from unroll.predict.torch import TorchPredictor


def settings() -> list[str]:
    return [setting.fp32_precision for setting in SETTINGS]


def test_a_context_sets_both_and_puts_back_what_was() -> None:
    before, context = settings(), tf32(False)
    with context:
        assert settings() == ["ieee", "ieee"]
        with tf32(True), context:
            assert settings() == ["ieee", "ieee"]
        assert settings() == ["ieee", "ieee"]
        with tf32(True):
            assert settings() == ["tf32", "tf32"]
    assert settings() == before
    with pytest.raises(KeyError), tf32(True):
        raise KeyError
    assert settings() == before


def test_threads_that_want_the_same_keep_it_until_the_last_leaves() -> None:
    before, observed = settings(), list[list[str]]()
    inside, release = threading.Event(), threading.Event()

    def other() -> None:
        with tf32(False):
            inside.set()
            assert release.wait(10)
            observed.append(settings())

    thread = threading.Thread(target=other)
    with tf32(False):
        thread.start()
        assert inside.wait(10)
    release.set()
    thread.join()
    assert observed == [["ieee", "ieee"]]
    assert settings() == before


def test_a_process_may_multiply_exactly_throughout() -> None:
    before = settings()
    try:
        with tf32(True):
            multiply_exactly()
            assert settings() == ["tf32", "tf32"]
        assert settings() == ["ieee", "ieee"]
        multiply_exactly()
        assert settings() == ["ieee", "ieee"]
    finally:
        for setting, value in zip(SETTINGS, before, strict=True):
            setting.fp32_precision = value


def test_what_is_read_is_read_exactly() -> None:
    model = Model(config("gru", 1))
    observed: list[list[str]] = []
    model.recurrent.register_forward_hook(lambda *_: observed.append(settings()))
    TorchPredictor(model).logits(np.zeros((1, 3), np.int64))
    assert observed == [["ieee", "ieee"]]


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn"])
def test_weights_in_one_piece_are_the_same_weights(arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = randomised(Model(config(arch, 2)))
    ids = torch.from_numpy(np.random.default_rng(1).integers(7, size=(25, 3)))
    expected, _ = model(ids)
    originals = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    kinds: list[str] = []

    def in_one_piece(module: nn.RNNBase) -> None:
        # What torch does with the weights that it is given, where there is a GPU.
        weights = [weight for weight in module.parameters() if weight.device.type != "meta"]
        if not weights:
            return  # it is being made
        kinds.append(type(module).__name__.lower())
        sizes = [weight.shape.numel() for weight in weights]
        flat, start = torch.cat([weight.detach().flatten() for weight in weights]), 0
        with torch.no_grad():
            for weight, size in zip(weights, sizes, strict=True):
                weight.set_(flat.untyped_storage(), start, weight.shape, weight.stride())
                start += size

    monkeypatch.setattr(nn.RNNBase, "flatten_parameters", in_one_piece)
    layers = [layer for layer in model.recurrent.modules() if isinstance(layer, RecurrentLayer)]
    for layer in layers:
        flatten(layer)
        assert len({weight.untyped_storage().data_ptr() for weight in layer.parameters()}) == 1
    assert kinds == [arch, arch]
    actual, _ = model(ids)
    assert torch.equal(actual, expected)
    save_tensors(tmp_path / "w.safetensors", dict(model.named_parameters()), {})
    saved = load_tensors(tmp_path / "w.safetensors")
    assert all(torch.equal(saved[name], weight) for name, weight in originals.items())
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    torch.autograd.backward(actual.sum())
    optimizer.step()
    assert all(not torch.equal(weight, originals[name]) for name, weight in model.named_parameters())


def test_flattening_leaves_a_cpu_alone() -> None:
    layer = RecurrentLayer("lstm", 3, 4, 1.0, "torch")
    places = [weight.data_ptr() for weight in layer.parameters()]
    flatten(layer)
    assert places == [weight.data_ptr() for weight in layer.parameters()]
    assert layer.to(torch.float64).weight_ih.dtype == torch.float64

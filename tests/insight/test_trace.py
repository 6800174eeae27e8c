"""Tracing: the cell's own equations hold in what is recorded, and it is what the fused kernel and the scorer say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tiny import (
    ARCHS,
    TOKENIZER,
    begin_training,
    make_corpus,
    model_config,
    overrides,
    random_ids,
    random_model,
    text,
)
from unroll.artifact.open import open_model
from unroll.errors import UserError
from unroll.insight.trace import ROWS, SPAN, Part, chosen_names, parts, trace
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.model import Model
from unroll.predict.protocols import stream_nats
from unroll.predict.torch import TorchPredictor

Arrays = dict[str, NDArray[Any]]


def joined(stream: Iterator[Part]) -> Arrays:
    pieces = list(stream)
    assert [part.first for part in pieces] == list(np.cumsum([0, *(len(part.arrays["nats"]) for part in pieces[:-1])]))
    return {name: np.concatenate([part.arrays[name] for part in pieces]) for name in pieces[0].arrays}


def traced(model: Model, count: int) -> tuple[NDArray[np.uint8], Arrays]:
    ids = random_ids(count)
    return ids, joined(parts(model, ids, TOKENIZER.start_id))


LENGTHS = (1, SPAN - 1, SPAN, 3 * SPAN + 7, ROWS * SPAN + SPAN + 5)


@pytest.mark.parametrize("count", LENGTHS)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("skip", ["none", "residual", "sum"])
def test_it_is_what_the_fused_kernel_says(arch: str, skip: str, count: int) -> None:
    options: dict[str, Any] = {} if arch == "window" else {"skip": skip}
    model = random_model(model_config(arch, **options))
    ids, arrays = traced(model, count)
    assert set(arrays) == {f"layer{k}/{name}" for k in range(2) for name in ARCHITECTURES[arch].signals} | {
        "logits",
        "nats",
    }
    with torch.no_grad():
        tokens = torch.tensor([[TOKENIZER.start_id, *ids.tolist()]])
        logits, state = model(tokens)
    np.testing.assert_allclose(arrays["logits"], logits[0, 1:].numpy(), rtol=0, atol=1e-9)
    if arch != "window":
        for k, layer in enumerate(state):
            for name, part in zip(("h", "c"), layer, strict=False):
                np.testing.assert_allclose(arrays[f"layer{k}/{name}"][-1], part[0].numpy(), rtol=0, atol=1e-9)
    assert arrays["nats"].mean() == pytest.approx(stream_nats(TorchPredictor(model), ids, TOKENIZER.start_id), abs=1e-9)


def law_cell(arrays: Arrays) -> None:
    """c = f·c₋₁ + i·g and h = o·tanh c at every step of every layer, at the seams between stretches too."""
    for k in range(2):
        i, f, g, o, c, h = (arrays[f"layer{k}/{name}"] for name in "ifgoch")
        np.testing.assert_allclose(c[1:], f[1:] * c[:-1] + i[1:] * g[1:], rtol=0, atol=1e-9)
        np.testing.assert_allclose(h, o * np.tanh(c), rtol=0, atol=1e-9)


def test_the_cells_law_holds_and_fails_on_its_faults() -> None:
    _, arrays = traced(random_model(model_config("lstm")), 2 * SPAN + 9)
    law_cell(arrays)
    faults: list[Arrays] = [
        arrays | {"layer1/i": arrays["layer1/f"], "layer1/f": arrays["layer1/i"]},  # labels swapped
        arrays | {"layer0/g": arrays["layer0/o"], "layer0/o": arrays["layer0/g"]},
        arrays | {"layer0/c": np.roll(arrays["layer0/c"], 1, axis=0)},  # a step late
        arrays | {"layer0/c": np.concatenate([arrays["layer0/c"][:SPAN], 0 * arrays["layer0/c"][SPAN:]])},  # forgotten
    ]
    for fault in faults:
        with pytest.raises(AssertionError):
            law_cell(fault)


def test_a_grus_law() -> None:
    _, arrays = traced(random_model(model_config("gru")), 2 * SPAN + 9)
    for k in range(2):
        z, n, h = (arrays[f"layer{k}/{name}"] for name in "znh")
        np.testing.assert_allclose(h[1:], (1 - z[1:]) * n[1:] + z[1:] * h[:-1], rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An LSTM of a few steps."""
    folder = tmp_path_factory.mktemp("trace")
    list(begin_training(make_corpus(folder / "corpus", [text(200)]), folder / "model", overrides(), 4))
    return folder / "model"


def test_arrays_go_to_a_file_as_they_are_returned(model: Path, tmp_path: Path) -> None:
    words = text(40, seed=3)
    in_memory = trace(model, words)
    filed = trace(model, words, out=tmp_path / "t.npz")
    assert filed.arrays == {} and filed.names == in_memory.names
    with np.load(tmp_path / "t.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {*in_memory.names, "ids"}
        assert arrays["ids"].tolist() == in_memory.ids.tolist()
        for name in in_memory.names:
            np.testing.assert_array_equal(arrays[name], in_memory.arrays[name].astype(np.float32))
    assert [file.name for file in tmp_path.iterdir()] == ["t.npz"], "nothing else is left"


def test_what_is_wanted_is_what_is_kept(model: Path) -> None:
    kept_arrays = trace(model, "the car", layers=[1], signals=["c", "nats"])
    assert kept_arrays.names == ("layer1/c", "nats") and set(kept_arrays.arrays) == {"layer1/c", "nats"}
    assert kept_arrays.arrays["layer1/c"].shape == (7, 10) and kept_arrays.arrays["nats"].shape == (7,)
    assert kept_arrays.nats == pytest.approx(kept_arrays.arrays["nats"].sum())


def test_how_gates_are_used_is_counted(model: Path) -> None:
    report = trace(model, text(300, seed=5))
    for layer in report.layers:
        for gate in layer.gates:
            values = report.arrays[f"layer{layer.layer}/{gate.name}"]
            assert gate.mean == pytest.approx(values.mean(), rel=1e-5)
            assert gate.closed == pytest.approx((values < 0.1).mean()) and gate.open == pytest.approx(
                (values > 0.9).mean()
            )
        f = report.arrays[f"layer{layer.layer}/f"].astype(np.float64)
        assert layer.time_constants is not None
        np.testing.assert_allclose(layer.time_constants, -1 / np.log(f).mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(layer.largest, np.abs(report.arrays[f"layer{layer.layer}/h"]).max(axis=0))


def test_logits_of_a_large_vocabulary_are_kept_only_when_asked_for() -> None:
    large = Model(model_config("lstm", vocab_size=3000))
    assert "logits" in chosen_names(large, None, None, 1000)
    assert "logits" not in chosen_names(large, None, None, 100_000)
    assert "logits" in chosen_names(large, None, ["logits"], 100_000)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"text": ""}, "nothing to trace"),
        ({"layers": [2]}, "no layer 2"),
        ({"signals": ["r"]}, "no signal r"),
        ({"out": "trace.txt"}, "must end in .npz"),
        ({"out": "not/there/t.npz"}, "check the path"),
    ],
)
def test_what_cannot_be_traced_is_refused(asked: dict[str, Any], message: str, model: Path, tmp_path: Path) -> None:
    options = {"text": "the car"} | asked
    if "out" in options:
        options["out"] = tmp_path / options["out"]
    with pytest.raises(UserError) as refusal:
        trace(model, options.pop("text"), **options)
    assert message in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_network_without_a_cell_says_so(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", [text(100)])
    list(begin_training(corpus, tmp_path / "rnn", overrides({"arch": "rnn"}), 2))
    with pytest.raises(UserError, match="an RNN has no signal c"):
        trace(tmp_path / "rnn", "the car", signals=["c"])
    assert trace(tmp_path / "rnn", "the car").layers[0].time_constants is None
    assert open_model(tmp_path / "rnn").tokenizer.level == "char"

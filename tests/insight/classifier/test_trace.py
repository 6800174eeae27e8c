"""The trace of a classifier: the cell's equations hold in each direction's order, and it is what the engine says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from insight.classifier.cases import SHAPES, TEXT, made
from unroll.artifact.classifier import OpenClassifier
from unroll.errors import UserError
from unroll.insight.classifier.network import in_float64, network_of
from unroll.insight.classifier.trace import outside_layers, trace_classifier, traced
from unroll.insight.recorded import chosen_names
from unroll.nn.arch import ARCHITECTURES

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module", params=SHAPES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenClassifier:
    return made(tmp_path_factory.mktemp("trace") / request.param, **SHAPES[request.param])


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> OpenClassifier:
    return made(tmp_path_factory.mktemp("trace") / "words", num_layers=2)


def before(values: NDArray[Any], ends: NDArray[Any], *, backwards: bool) -> NDArray[Any]:
    """Return what each row continues: the row before it, backwards the row behind it, zeros at an end of its piece."""
    padded = np.zeros_like(values)
    starts = np.concatenate([[0], ends[:-1]])
    for start, end in zip(starts, ends, strict=True):
        piece = values[start:end]
        padded[start:end] = np.concatenate([piece[1:], 0 * piece[:1]] if backwards else [0 * piece[:1], piece[:-1]])
    return padded


def law_of_cells(arrays: Arrays, arch: str, ends: dict[str, NDArray[Any]]) -> None:
    """c = f · c₋₁ + i · g and h = o · tanh c; of the others what their equations say of h; each in its own order."""
    layers = {name.rpartition("/")[0] for name in arrays if name.endswith("/h")}
    assert layers
    for layer in layers:
        signals = {name: arrays[f"{layer}/{name}"] for name in ARCHITECTURES[arch].signals}
        kind, h = "characters" if layer.startswith("characters/") else "units", signals["h"]
        continued = {name: before(signals[name], ends[kind], backwards="backwards" in layer) for name in signals}
        match arch:
            case "lstm":
                c = signals["f"] * continued["c"] + signals["i"] * signals["g"]
                np.testing.assert_allclose(signals["c"], c, rtol=0, atol=1e-9, err_msg=layer)
                np.testing.assert_allclose(h, signals["o"] * np.tanh(signals["c"]), rtol=0, atol=1e-9)
            case "gru":
                expected = (1 - signals["z"]) * signals["n"] + signals["z"] * continued["h"]
                np.testing.assert_allclose(h, expected, rtol=0, atol=1e-9)
            case "mingru":
                expected = (1 - signals["z"]) * continued["h"] + signals["z"] * signals["n"]
                np.testing.assert_allclose(h, expected, rtol=0, atol=1e-9)


def exactly(opened: OpenClassifier) -> tuple[Arrays, dict[str, NDArray[Any]]]:
    """Return a trace in float64, and where the pieces of its rows end."""
    reading = opened.reader.read([TEXT])
    ends = {"units": reading.units.ends}
    if len(reading.words):
        ends["characters"] = reading.words.select(reading.word_of.values).ends
    return traced(in_float64(opened), reading), ends


def test_the_equations_hold_in_both_directions(opened: OpenClassifier) -> None:
    arrays, ends = exactly(opened)
    assert set(arrays) == set(chosen_names(opened.info.config, outside_layers(opened.info.config)))
    law_of_cells(arrays, opened.info.config.arch, ends)


def exchanged(*names: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {names[0]: arrays[names[1]], names[1]: arrays[names[0]]}


def turned(arrays: Arrays) -> Arrays:
    """Return the arrays with those backwards in the order in which they are read."""
    return {name: values[::-1] if name.startswith("backwards") else values for name, values in arrays.items()}


@pytest.mark.parametrize(
    "fault",
    [
        exchanged("forwards0/f", "forwards0/i"),
        exchanged("backwards1/i", "forwards1/i"),
        exchanged("backwards0/c", "backwards0/h"),
        exchanged("characters/forwards/f", "characters/backwards/f"),
        turned,
    ],
)
def test_the_law_catches_arrays_that_are_mixed_up(fault: Callable[[Arrays], Arrays], words: OpenClassifier) -> None:
    arrays, ends = exactly(words)
    law_of_cells(arrays, "lstm", ends)
    with pytest.raises(AssertionError):
        law_of_cells(fault(arrays), "lstm", ends)


def test_it_is_what_the_engine_says(opened: OpenClassifier) -> None:
    arrays, config = trace_classifier(opened, TEXT).arrays, opened.info.config
    reading = opened.reader.read([TEXT])
    np.testing.assert_allclose(arrays["logits"], opened.network.logits(reading)[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(arrays["pooled"], opened.network.pooled(reading)[0], rtol=0, atol=1e-5)
    y, _ = opened.network.outputs(reading)
    if config.skip == "none":
        last = [arrays[f"{way}{config.num_layers - 1}/h"] for way in config.directions]
        np.testing.assert_allclose(np.concatenate(last, axis=1), y, rtol=0, atol=1e-5)
    head = network_of(opened).head
    logits = arrays["pooled"] @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(arrays["logits"], logits, rtol=0, atol=1e-5)
    if "attention" in config.poolings:
        assert arrays["attention"].shape == (len(y),) and arrays["attention"].sum() == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(arrays["attention"], opened.network.attention(y, reading.units), rtol=0, atol=1e-5)
    if config.char_hidden_size:
        ends = arrays["characters/ends"]
        starts = np.concatenate([[0], ends[:-1]])
        spelt = [arrays["characters/forwards/h"][ends - 1], arrays["characters/backwards/h"][starts]]
        inputs = opened.network.inputs(reading)[:, config.embedding_size :]
        np.testing.assert_allclose(np.concatenate(spelt, axis=1), inputs, rtol=0, atol=1e-5)


def test_files_hold_what_is_asked(words: OpenClassifier, tmp_path: Path) -> None:
    out = tmp_path / "t.npz"
    kept = trace_classifier(words, TEXT, layers=[1], signals=["c", "pooled"], out=out)
    with np.load(out) as arrays:
        assert set(arrays) == {"forwards1/c", "backwards1/c", "pooled", "ids"} == set(kept.arrays)
        whole = trace_classifier(words, TEXT).arrays
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], whole[name])
    assert "".join(kept.pieces) == TEXT and len(kept.pieces) == len(kept.ids)
    assert [layer.name for layer in kept.layers] == ["forwards0", "backwards0", "forwards1", "backwards1"]
    f = whole["backwards1/f"]
    assert kept.layers[3].gates[1].mean == pytest.approx(f.mean(), abs=1e-6)
    trace_classifier(words, TEXT, out=out)
    with np.load(out) as arrays:
        assert set(arrays) == set(whole)
        assert len(arrays["characters/forwards/c"]) == arrays["characters/ends"][-1] == len(TEXT.replace(" ", ""))


def test_refusals(words: OpenClassifier) -> None:
    for text, options, message in (
        ("", {}, "nothing to trace"),
        ("the", {"layers": [2]}, "there is no layer 2"),
        ("the", {"signals": ["nats"]}, "has no signal nats"),
        ("the", {"out": "x.npy"}, "must end in .npz"),
    ):
        with pytest.raises(UserError, match=message) as refusal:
            trace_classifier(words, text, **options)
        assert refusal.value.allowed and refusal.value.fix

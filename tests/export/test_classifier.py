"""An exported classifier: the law of padding in ONNX Runtime, equal to torch and the engine, and usable without us."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import unroll
from artifact.test_classifier import CONFIG, READER, save
from export.page import prepare, printed
from nn.test_encoder import CELLS, randomised
from unroll.artifact.classifier import open_classifier
from unroll.data.ragged import Ragged
from unroll.data.reader import Reading
from unroll.data.tokenizer import CharTokenizer
from unroll.errors import UserError
from unroll.export import encoder, graph, layers
from unroll.export.classifier import build
from unroll.export.encoder import WORDS, inputs_of
from unroll.export.onnx import export_onnx, open_session
from unroll.nn.encoder import Classifier, Units
from unroll.nn.encoder_config import ClassifierConfig
from unroll.tasks.classify.predict import of_logits

Arrays = dict[str, NDArray[Any]]
LENGTHS = (23, 1, 30, 0, 7)


def shape(arch: Any, *, spelt: bool = True, **options: Any) -> ClassifierConfig:
    """Return a classifier with all poolings."""
    chosen: dict[str, Any] = {"num_layers": 2, "pooling": "last,mean,max,attention"} | options
    return replace(CONFIG, arch=arch, **chosen if spelt else chosen | {"char_hidden_size": 0, "chars": 0})


CASES = [
    *(
        shape(arch, skip=skip, bidirectional=ways, spelt=spelt)
        for arch, skip, (ways, spelt) in product(
            CELLS, ("none", "residual", "sum"), ((True, True), (True, False), (False, True))
        )
    ),
    *(
        shape(arch, num_layers=1, pooling=name)
        for arch, name in zip(CELLS, ("last", "mean", "max", "attention"), strict=True)
    ),
    *(shape(arch, multi_label=True, bidirectional=False, spelt=False, num_layers=3) for arch in CELLS),
]


class Exported:
    """An exported network of random weights, beside the one it was made from."""

    def __init__(self, config: ClassifierConfig) -> None:
        self.config, self.model = config, randomised(Classifier(config)).float()
        weights = {name: w.detach().numpy() for name, w in self.model.named_parameters()}
        self._session = open_session(build(config, weights, {}))

    def run(self, inputs: Arrays) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return logits and probabilities (B, K)."""
        logits, probabilities = self._session.run(["logits", "probabilities"], inputs)
        return logits, probabilities

    def reading(self, lengths: Sequence[int] = LENGTHS) -> Reading:
        """Return random rows of these lengths."""
        random = np.random.default_rng(2)
        rows, word_of = (
            Ragged.of([random.integers(most, size=length) for length in lengths])
            for most in (self.config.vocab_size, len(WORDS))
        )
        spelt = [random.integers(self.config.chars, size=size) for size in WORDS] if self.config.chars else []
        return Reading(rows, word_of, Ragged.of(spelt))


def padded(reading: Reading, *, further: int = 0) -> Arrays:
    """Return rows as the graph takes them, with zeros behind their ends, or `further` columns and random ids."""
    arrays = {name: array for name, array in reading.arrays().items() if array is not None}
    if not further:
        return arrays
    random = np.random.default_rng(further)
    for name, lengths in (("ids", "lengths"), ("word_of", "lengths"), ("characters", "word_lengths")):
        if name in arrays:
            most = arrays[name].max() + 1
            arrays[name] = np.pad(arrays[name], ((0, 0), (0, further)))
            behind = np.arange(arrays[name].shape[1]) >= arrays[lengths][:, None]
            arrays[name][behind] = random.integers(most, size=behind.sum())
    return arrays


def only(reading: Reading, row: int) -> Arrays:
    """Return one row as the graph takes it, with its own words; an empty one, of which texts have none, with all."""
    alone = reading.select([row])
    return padded(alone if len(alone.words) else replace(alone, words=reading.words))


def law_of_padding(exported: Exported, lengths: Sequence[int] = LENGTHS, further: int = 9) -> None:
    """Hold each row's result to the one that it has by itself, in another order, and however it is padded."""
    reading = exported.reading(lengths)
    alone = [exported.run(only(reading, row)) for row in range(len(lengths))]
    order = np.roll(np.arange(len(lengths))[::-1], 1)
    for mine, by_themselves, reordered, noisy in zip(
        exported.run(padded(reading)),
        map(np.concatenate, zip(*alone, strict=True)),
        exported.run(padded(reading.select(order))),
        exported.run(padded(reading, further=further)),
        strict=True,
    ):
        for other, expected in ((by_themselves, mine), (reordered, mine[order]), (noisy, mine)):
            tolerance = 1e-6 * max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(other, expected, rtol=0, atol=tolerance)


def named(config: ClassifierConfig) -> str:
    ways, spelt = ("both" if config.bidirectional else "one"), ("spelt" if config.char_hidden_size else "ids")
    return f"{config.arch}-{config.num_layers}-{config.skip}-{ways}-{spelt}-{config.pooling}"


@pytest.fixture(scope="module", params=CASES, ids=named)
def exported(request: pytest.FixtureRequest) -> Exported:
    return Exported(request.param)


def test_a_row_depends_on_nothing_beside_or_behind_it(exported: Exported) -> None:
    law_of_padding(exported)


@pytest.fixture(scope="module", params=CELLS)
def deep(request: pytest.FixtureRequest) -> Exported:
    return Exported(shape(request.param, skip="sum"))


@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any), further=st.integers(1, 20))
@settings(max_examples=25)
def test_so_it_is_whatever_their_lengths(deep: Exported, lengths: list[int], further: int) -> None:
    law_of_padding(deep, lengths, further)


def test_it_equals_torch_and_the_engine(exported: Exported, tmp_path: Path) -> None:
    config, reading = exported.config, exported.reading()
    arrays = padded(reading, further=3)
    logits, probabilities = exported.run(arrays)
    with torch.inference_mode():
        theirs = exported.model(Units(**{name: torch.from_numpy(array) for name, array in arrays.items()})).numpy()
    np.testing.assert_allclose(logits, theirs, rtol=1e-5, atol=1e-5)
    save(tmp_path / "model", config, READER if config.chars else replace(READER, characters=None))
    engine = open_classifier(tmp_path / "model").network.logits(reading)
    np.testing.assert_allclose(logits, engine, rtol=1e-5, atol=1e-5)
    expected = of_logits(engine, multi_label=config.multi_label)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-5)


# ---- faults that the law, and the check before writing, must see


def of_operators(fault: Callable[[list[str], dict[str, Any]], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a fault: what the recurrent operations read, or how, is changed."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        add = graph.Graph.add

        def faulty(writer: Any, called: str, *inputs: str, **options: Any) -> Any:
            given = list(inputs)
            if called in ("LSTM", "GRU", "RNN"):
                fault(given, options)
            return add(writer, called, *given, **options)

        patch.setattr(graph.Graph, "add", faulty)

    return plant


def without_lengths(inputs: list[str], options: dict[str, Any]) -> None:
    del inputs[4:]


def unmasked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(layers, "masked", lambda graph, y, where, otherwise=0.0: y)


def never_stopped(patch: pytest.MonkeyPatch) -> None:
    scan = graph.scan
    patch.setattr(layers, "scan", lambda *layer, reverse: scan(*layer[:-1], reverse=reverse))


def at_the_longest_end(patch: pytest.MonkeyPatch) -> None:
    rows_of = layers.rows_of
    patch.setattr(encoder, "rows_of", lambda *rows: (made := rows_of(*rows))._replace(last=made.inside))


LEAKS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "lstm without lengths": ("lstm", of_operators(without_lengths)),
    "gru without lengths": ("gru", of_operators(without_lengths)),
    "rnn without lengths": ("rnn", of_operators(without_lengths)),
    "mingru never stopped": ("mingru", never_stopped),
    "padding not masked": ("mingru", unmasked),
}


@pytest.mark.parametrize("fault", LEAKS)
def test_the_law_catches_padding_that_leaks(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arch, plant = LEAKS[fault]
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="Not equal"):
        law_of_padding(Exported(shape(arch)))


PART = layers.part
FAULTS = LEAKS | {
    "the sum of all for the last": ("lstm", at_the_longest_end),
    "directions swapped": (
        "gru", lambda patch: patch.setattr(
            layers, "part", lambda weights, prefix: PART(weights, prefix.replace("backwards.0", "forwards.0"))
        )),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_and_nothing_is_written(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arch, plant = FAULTS[fault]
    save(tmp_path / "model", shape(arch))
    with monkeypatch.context() as patch:
        plant(patch)
        with pytest.raises(UserError, match="differs from ours"):
            export_onnx(tmp_path / "model")
    assert not (tmp_path / "model" / "onnx").exists()
    assert export_onnx(tmp_path / "model").difference < 1e-5


@pytest.mark.parametrize("arch", CELLS)
def test_rows_quantized_by_onnx_runtime_change_each_other(arch: str, tmp_path: Path) -> None:
    """What docs/export.md says of `quantize_dynamic`."""
    quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime has no quantization here")
    subject = Exported(shape(arch))
    save(tmp_path / "model", subject.config)
    quantization.quantize_dynamic(export_onnx(tmp_path / "model").path, tmp_path / "int8.onnx")
    subject._session = open_session((tmp_path / "int8.onnx").read_bytes())
    with pytest.raises(AssertionError, match="Not equal"):
        law_of_padding(subject)


# ---- what is written


def test_it_says_what_it_is(tmp_path: Path) -> None:
    import onnx

    save(tmp_path / "model", shape("lstm"))
    report = export_onnx(tmp_path / "model")
    assert report.inputs == inputs_of(CONFIG) == Units._fields[:-1] and report.outputs == ("logits", "probabilities")
    for name, file in report.vocabularies.items():
        assert file.read_bytes() == (tmp_path / "model" / f"{name}.json").read_bytes()
    assert [*report.vocabularies] == ["tokenizer", "characters"] and report.to_json()["characters"] == str(file)
    notes = json.loads(report.about.read_bytes())
    assert (notes["labels"], notes["longest_word"], notes["max_units"]) == (["cat", "dog", "owl"], 64, 50)
    written = onnx.load(report.path)
    metadata = {entry.key: entry.value for entry in written.metadata_props}
    assert metadata["labels"] == '["cat", "dog", "owl"]' and metadata["characters"] == "characters.json"
    values = [*written.graph.input, *written.graph.output]
    shapes = {value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    assert shapes["ids"] == shapes["word_of"] == ["batch", "length"] and shapes["probabilities"] == ["batch", 3]
    assert shapes["characters"] == ["words", "characters"]


def test_another_vocabulary_of_characters_is_not_replaced(tmp_path: Path) -> None:
    save(tmp_path / "model")
    other = tmp_path / "web" / "characters.json"
    other.parent.mkdir()
    CharTokenizer.learn("xyz").save(other)
    with pytest.raises(UserError, match=r"characters\.json is another vocabulary"):
        export_onnx(tmp_path / "model", other.with_name("model.onnx"))
    assert [file.name for file in other.parent.iterdir()] == ["characters.json"]


def test_the_program_of_the_page_classifies_like_the_model(tmp_path: Path) -> None:
    prepare("animals", tmp_path)
    expected = unroll.classify(tmp_path / "runs" / "animals", ["that old cat says meow", "woof!"], top=1)
    rows = [(row["labels"][0]["label"], f"{row['labels'][0]['probability']:.3f}", row["text"]) for row in expected]
    lines = (line.split(" ", 2) for line in printed("animals", tmp_path).splitlines())
    assert [(label, f"{float(share):.3f}", text) for label, share, text in lines] == rows

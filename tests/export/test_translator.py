"""An exported translator: both graphs equal to the engine's for every cell and attention; it needs none of us."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unroll
from engine.test_translator import CASES, model_of
from export.page import prepare, printed
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.translator import Readers, open_translator, save_readers, save_translator
from unroll.data.reader import Reader
from unroll.data.tokenizer import WordTokenizer
from unroll.errors import UserError
from unroll.export import translator
from unroll.export.encoder import readings
from unroll.export.onnx import export_onnx, open_session
from unroll.nn.translator import Translator


def save(path: Path, model: Translator) -> Path:
    """Write what a directory needs to be opened."""
    path.mkdir()
    target, source = (
        Reader(WordTokenizer(tuple(f"w{k}" for k in range(size - 2))), max_units=50)
        for size in (model.config.vocab_size, model.config.source_size or 2)
    )
    readers = Readers(source if model.config.source_size else target, target)
    save_translator(path, readers.info(model.config, 50), "word")
    save_readers(path, readers)
    save_tensors(path / WEIGHTS, dict(model.float().named_parameters()), {"step": 7})
    return path


def named(case: Any) -> str:
    arch, attention, feeding, options = case
    return f"{arch}-{attention}-{feeding}-{len(options)}"


@pytest.mark.parametrize("case", CASES, ids=named)
def test_it_equals_the_engine(case: Any, tmp_path: Path) -> None:
    arch, attention, feeding, options = case
    report = export_onnx(save(tmp_path / "model", model_of(arch, attention, feeding, **options)))
    assert 0 < report.difference < 1e-5
    assert report.path.name == "model.onnx" and report.beside["encoder"].name == "model.encoder.onnx"
    assert ("attention" in report.outputs) == ("keys" in report.inputs) == (attention != "none")
    assert ("readout" in report.inputs) == feeding
    assert ("source" in report.vocabularies) == (options.get("source_size") != 0)


def test_what_pads_a_source_does_not_matter(tmp_path: Path) -> None:
    report = export_onnx(save(tmp_path / "model", model_of()))
    opened, encoder = open_translator(tmp_path / "model"), open_session(report.beside["encoder"].read_bytes())
    decoder = open_session(report.path.read_bytes())
    for _, inputs in readings(opened.info.config.encoder, translator.CHECKED):
        read = dict(zip([value.name for value in encoder.get_outputs()], encoder.run(None, inputs), strict=True))
        for row, length in enumerate(inputs["lengths"].tolist()):
            alone = encoder.run(None, {"ids": inputs["ids"][row : row + 1, :length], "lengths": np.array([length])})
            for other, (name, whole) in zip(alone, read.items(), strict=True):
                mine = whole[row, :length] if name in ("memory", "keys") else whole[row]
                np.testing.assert_allclose(other[0], mine, atol=1e-6)
        step = {"ids": np.zeros(len(inputs["ids"]), np.int64), "lengths": inputs["lengths"], **read}
        attention = decoder.run(["attention"], step)[0]
        np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-6)
        assert not attention[np.arange(attention.shape[1]) >= inputs["lengths"][:, None]].any()


def test_a_fault_is_caught_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "model", model_of())
    monkeypatch.setattr(translator, "masked", lambda graph, y, where, otherwise=0.0: y)
    with pytest.raises(UserError, match="differs from ours"):
        export_onnx(path)
    assert not (path / "onnx").exists()


def test_what_is_written(tmp_path: Path) -> None:
    report = export_onnx(save(tmp_path / "model", model_of()))
    notes = json.loads(report.about.read_bytes())
    assert notes["state"] == {"layer0_h": [7], "layer0_c": [7], "readout": [5]} and notes["source"] == "source.json"
    assert report.to_json()["encoder"] == str(report.beside["encoder"])
    assert sorted(file.name for file in report.path.parent.iterdir()) == [
        "model.encoder.onnx", "model.onnx", "model.onnx.json", "source.json", "tokenizer.json",
    ]  # fmt: skip


def test_the_program_of_the_page_translates_like_the_model(tmp_path: Path) -> None:
    prepare("toys", tmp_path)
    (row,) = unroll.translate(tmp_path / "runs" / "toys", ["a red cat"], beam=1)
    assert printed("toys", tmp_path) == row["translations"][0]["text"] + "\n" != "\n"

"""An exported tagger: equal to the engine's, whatever pads a sentence; its moves are those of a path; no need of us."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import unroll
from artifact.test_classifier import READER
from engine.test_tagger import TAGS, sentences
from export.page import prepare, printed
from export.test_classifier import only, padded
from nn.test_encoder import CELLS, randomised
from nn.test_tagger import CONTEXT, config
from tasks.tag.toy import trained
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.tagger import TaggerInfo, open_tagger, save_tagger
from unroll.artifact.vocabularies import save_reader
from unroll.data.reader import Reading
from unroll.engine.crf import IMPOSSIBLE, Scheme
from unroll.engine.tagger import TaggerNetwork
from unroll.errors import UserError
from unroll.export import layers, tagger
from unroll.export.onnx import export_onnx, open_session
from unroll.export.tagger import RULED_OUT, build
from unroll.nn.tagger import Tagger
from unroll.nn.tagger_config import TaggerConfig

SHAPES = [*(config(arch=arch, crf=True) for arch in CELLS),
          config(char_hidden_size=0, bidirectional=False), config(context_size=CONTEXT, skip="residual"),
          config(crf=True, context_size=CONTEXT, skip="sum")]  # fmt: skip


def info_of(shape: TaggerConfig, scheme: Scheme = "none") -> TaggerInfo:
    return TaggerInfo(shape, TAGS, "upos", 1, scheme, False, READER.tokenizer.digest, "", None, None)


class Exported:
    """An exported network of random weights, beside the engine's."""

    def __init__(self, shape: TaggerConfig, scheme: Scheme = "none") -> None:
        weights = {name: w.detach().numpy() for name, w in randomised(Tagger(shape)).float().named_parameters()}
        self.network = TaggerNetwork(shape, weights, TAGS, scheme)
        self.session = open_session(build(info_of(shape, scheme), weights, {}))

    def run(self, inputs: dict[str, NDArray[Any]]) -> Any:
        """Return the logits (B, T, K)."""
        return self.session.run(["logits"], inputs)[0]


def tokens(logits: Any, lengths: Sequence[int]) -> Any:
    """Return the logits (N, K) of the tokens alone."""
    return np.concatenate([row[:length] for row, length in zip(logits, lengths, strict=True)])


def law_of_padding(exported: Exported, reading: Reading) -> None:
    lengths = reading.units.lengths.tolist()
    whole = exported.run(padded(reading))
    noisy = padded(reading, further=9)
    if "contexts" in noisy:
        noisy["contexts"] = np.pad(noisy["contexts"], ((0, 0), (0, 9), (0, 0)))
        noisy["contexts"][np.arange(noisy["ids"].shape[1]) >= noisy["lengths"][:, None]] = 7
    alone = [exported.run(only(reading, row))[0] for row in range(len(lengths))]
    for other in (exported.run(noisy), alone):
        np.testing.assert_allclose(tokens(other, lengths), tokens(whole, lengths), rtol=0, atol=1e-5)
    assert not exported.run(noisy)[:, max(lengths) :].any()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.arch}-{shape.skip}-{shape.context_size}")
def test_it_equals_the_engine_and_sentences_are_their_own(shape: TaggerConfig) -> None:
    exported, reading = Exported(shape), sentences(shape)
    law_of_padding(exported, reading)
    logits = tokens(exported.run(padded(reading)), reading.units.lengths.tolist())
    np.testing.assert_allclose(logits, exported.network.scores(reading), rtol=1e-5, atol=1e-5)


def test_the_law_catches_padding_that_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows_of = layers.rows_of
    monkeypatch.setattr("unroll.export.encoder.rows_of", lambda graph, x, lengths: rows_of(graph, x, lengths)._replace(
        lengths=""))  # fmt: skip
    shape = config()
    with pytest.raises(AssertionError):
        law_of_padding(Exported(shape), sentences(shape))


@pytest.mark.parametrize(("crf", "scheme"), [(True, "none"), (False, "bio"), (True, "bioes")])
def test_its_moves_are_those_of_a_path(crf: bool, scheme: Scheme) -> None:
    exported = Exported(config(crf=crf), scheme)
    inputs = padded(sentences(config()))
    moves = dict(zip(tagger.MOVES, exported.session.run(tagger.MOVES, inputs), strict=True))
    for name, values in moves.items():
        scores = getattr(exported.network.chain, name)
        np.testing.assert_array_equal(values, np.where(scores == IMPOSSIBLE, RULED_OUT, scores).astype(np.float32))
    assert (moves["transitions"] == RULED_OUT).any() == (scheme != "none")
    assert [value.name for value in Exported(config()).session.get_outputs()] == ["logits"]


def test_what_is_written(tmp_path: Path) -> None:
    save(tmp_path / "model", config(vocab_size=6, chars=11, crf=True), "bio")
    report = export_onnx(tmp_path / "model")
    assert report.inputs == ("ids", "lengths", "characters", "word_lengths", "word_of")
    assert report.outputs == ("logits", "start", "transitions", "end") and 0 < report.difference < 1e-5
    notes = json.loads(report.about.read_bytes())
    assert (notes["tags"], notes["scheme"], notes["context"]) == (list(TAGS), "bio", None)
    assert notes["tokenizer"] == "tokenizer.json" and notes["longest_word"] == 64


def test_a_fault_is_caught_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "model", config(vocab_size=6, chars=11))
    monkeypatch.setattr(tagger, "masked", lambda graph, y, where: y)
    with pytest.raises(UserError, match="differs from ours"):
        export_onnx(tmp_path / "model")
    assert not (tmp_path / "model" / "onnx").exists()


def save(path: Path, shape: TaggerConfig, scheme: Scheme = "none") -> None:
    """Write what a directory needs to be opened."""
    path.mkdir()
    assert READER.characters is not None
    save_tagger(path, replace(info_of(shape, scheme), characters_digest=READER.characters.digest))
    save_reader(path, READER)
    weights = dict(randomised(Tagger(shape)).float().named_parameters())
    save_tensors(path / WEIGHTS, weights, {"step": 7})


def test_contexts_are_states_of_its_language_model(file: Path, characters: Path, tmp_path: Path) -> None:
    """The two graphs, one after the other, give what the tagger gives."""
    path = trained(file, tmp_path / "model", steps=3, pretrained=characters)
    report = export_onnx(path)
    assert report.inputs[-1] == "contexts"
    context = json.loads(report.about.read_bytes())["context"]
    language = open_session(export_onnx(path / "context").path.read_bytes())
    opened, sentence = open_tagger(path), ["balo", "X", "kiras"]
    reading = opened.read([sentence])
    assert opened.context is not None
    text, tokenizer = " ".join(sentence), opened.context.tokenizer
    assert context["tokenizer_digest"] == tokenizer.digest
    states = {value.name: np.zeros((1, value.shape[1]), np.float32) for value in language.get_inputs()[1:]}
    end, read = 0, list[Any]()
    for token in sentence:
        start, end = end, text.index(token, end) + len(token)
        ids = tokenizer.encode(text[start:end])
        ids = np.concatenate([[tokenizer.start_id], ids]) if not read else ids
        after = language.run([f"{name}_after" for name in states], {"ids": ids[None], **states})
        states = dict(zip(states, after, strict=True))
        read.append(sum(states[name.removesuffix("_after")] for name in context["states"]))
    inputs = padded(replace(reading, contexts=None)) | {"contexts": np.stack(read, axis=1)}
    session = open_session(report.path.read_bytes())
    (logits,) = session.run(["logits"], inputs)
    np.testing.assert_allclose(logits[0], opened.network.scores(reading), atol=1e-3)


def test_the_program_of_the_page_tags_like_the_model(tmp_path: Path) -> None:
    prepare("tags", tmp_path)
    (row,) = unroll.tag(tmp_path / "runs" / "tags", [["the", "old", "cat", "says", "woof"]])
    assert printed("tags", tmp_path) == "".join(f"{item['token']} {item['tag']}\n" for item in row["tokens"])

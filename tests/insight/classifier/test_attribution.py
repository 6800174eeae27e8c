"""Attribution of a label: what is left out is what the engine says, gradients are complete and the derivative."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from insight.classifier.cases import SHAPES, TEXT, log_p, made
from unroll.artifact.classifier import OpenClassifier
from unroll.errors import UserError
from unroll.insight.attribution.picture import picture
from unroll.insight.attribution.scores import METHODS, Method
from unroll.insight.classifier import quantity
from unroll.insight.classifier.attribution import LabelAttribution, attribute_classifier
from unroll.insight.classifier.network import in_float64, units_of
from unroll.insight.classifier.quantity import LabelQuantity
from unroll.nn.encoder import Units
from unroll.tasks.classify.decisive import decisive_units, without

SMOOTH = ("forwards", "deep", "mingru")
"""Those that pool without a maximum, so that gradients do not jump on their way."""


@pytest.fixture(scope="module", params=SHAPES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenClassifier:
    return made(tmp_path_factory.mktemp("attribution") / request.param, **SHAPES[request.param])


def law_complete(opened: OpenClassifier, within: float) -> None:
    """The scores of integrated gradients sum to what the engine says of the text, less that of all units unknown."""
    scores = attribute_classifier(opened, TEXT, "owl", against="cat", method="integrated", steps=400)
    reading = opened.reader.read([TEXT])
    unknown = without(opened.reader, reading, np.ones((1, len(scores.symbols)), np.bool_))
    (whole,), (nothing,) = log_p(opened, reading), log_p(opened, unknown)
    assert abs(scores.value - scores.baseline) > 1e-3
    assert scores.value == pytest.approx(whole[2] - whole[0], abs=1e-5)
    assert scores.baseline == pytest.approx(nothing[2] - nothing[0], abs=1e-5)
    assert scores.scores.sum() == pytest.approx(scores.value - scores.baseline, abs=within)
    assert scores.residual == pytest.approx(scores.scores.sum() - (scores.value - scores.baseline))


def test_integrated_gradients_are_complete(opened: OpenClassifier) -> None:
    law_complete(opened, 1e-5 if opened.path.name in SMOOTH else 1e-2)


@pytest.mark.parametrize("fault", [lambda units: units._replace(ids=0 * units.ids), lambda units: units._replace(
    word_lengths=(units.word_lengths - 1).clamp(min=1))], ids=["other units", "other characters"])  # fmt: skip
def test_the_law_catches_a_path_that_begins_or_ends_elsewhere(
    fault: Callable[[Units], Units], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantity, "units_of", lambda reading: fault(units_of(reading)))
    with pytest.raises(AssertionError):
        law_complete(made(tmp_path / "words", pooling="mean"), 1e-5)


def test_gradient_times_input_is_the_derivative(opened: OpenClassifier) -> None:
    scores = attribute_classifier(opened, TEXT, "dog", method="gradient")
    function = LabelQuantity(in_float64(opened), 1, None)
    reading = opened.reader.read([TEXT])
    x = function.network.inputs(units_of(reading))
    origin = function.network.inputs(units_of(without(opened.reader, reading, np.ones((1, len(x)), np.bool_))))
    for t in range(len(x)):
        step = torch.zeros_like(x)
        step[t] = 1e-6 * (x - origin)[t]
        slope = float(function(x + step) - function(x - step)) / 2e-6
        assert scores.scores[t] == pytest.approx(slope, rel=1e-4, abs=1e-7), t


def test_leaving_out_is_what_a_text_says_with_that_unit_unknown(opened: OpenClassifier) -> None:
    scores = attribute_classifier(opened, TEXT, "dog")
    effects = [unit["effect"] for unit in decisive_units(opened, TEXT, "dog")]
    np.testing.assert_allclose(scores.leave_out, effects, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(scores.scores, scores.leave_out)
    function = LabelQuantity(in_float64(opened), 1, None)
    reading = opened.reader.read([TEXT])
    texts = function.network.inputs(units_of(without(opened.reader, reading, np.eye(len(effects), dtype=np.bool_))))
    whole = function(function.network.inputs(units_of(reading)))
    np.testing.assert_allclose(scores.leave_out, (whole - function(texts)).detach().numpy(), rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> OpenClassifier:
    return made(tmp_path_factory.mktemp("attribution") / "words")


def scored(model: OpenClassifier, text: str, method: Method) -> LabelAttribution:
    return attribute_classifier(model, text, "cat", against="owl", method=method)


def test_figures_pieces_and_picture(words: OpenClassifier) -> None:
    text = "  the woof\n  says meow "
    for method in METHODS:
        scores = scored(words, text, method)
        figures = json.loads(json.dumps(scores.figures(), allow_nan=False))
        assert figures["label"] == "cat" and figures["against"] == "owl" and figures["method"] == method
        assert [text[unit["start"] : unit["end"]] for unit in figures["units"]] == [u["text"] for u in figures["units"]]
        assert figures["sum"] == pytest.approx(sum(unit["score"] for unit in figures["units"]))
        assert "".join(scores.pieces).rstrip() == text.rstrip() and len(scores.pieces) == len(figures["units"])
        assert (figures["residual"] is None) == (method != "integrated")
        svg = picture(scores, "Why?", ".svg").decode()
        assert "log p(cat) − log p(owl)" in svg and "woof" in svg


def test_by_default_it_is_the_label_that_is_predicted(words: OpenClassifier) -> None:
    (row,) = log_p(words, words.reader.read([TEXT]))
    scores = attribute_classifier(words, TEXT)
    assert scores.target == words.info.labels[int(row.argmax())]
    assert scores.probability == pytest.approx(float(np.exp(row.max())), abs=1e-6)
    assert scores.value == pytest.approx(float(row.max()), abs=1e-6)


def test_what_is_not_read_is_noted(words: OpenClassifier) -> None:
    scores = attribute_classifier(words, "the woof " * 30)  # 60 units, of which 50 are read
    assert len(scores.symbols) == 50 and "10 units behind the most" in scores.notes[0]
    assert scores.notes[0].endswith("the first 50 are read")


def test_refusals(words: OpenClassifier) -> None:
    for arguments, options, message in (
        (("",), {}, "has no units"),
        (("the", "cow"), {}, "never saw the label 'cow'"),
        (("the", "cat"), {"against": "cat"}, "set against itself"),
        (("the",), {"method": "gradients"}, "the method is 'gradients'"),
        (("the",), {"steps": 0}, "0 steps"),
    ):
        with pytest.raises(UserError, match=message) as refusal:
            attribute_classifier(words, *arguments, **options)
        assert refusal.value.allowed and refusal.value.fix

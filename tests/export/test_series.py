"""An exported model of sequences: equal to the engine's, whatever pads a row, is missing or is far from the mean."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.page import prepare, printed
from nn.test_encoder import CELLS
from nn.test_series import network
from unroll.artifact.series import SeriesInfo, open_series
from unroll.data.ragged import Vectors
from unroll.data.scaling import Scaling
from unroll.data.series_reading import Columns
from unroll.engine.series import SeriesEngine
from unroll.errors import UserError
from unroll.export import series
from unroll.export.graph import Graph
from unroll.export.onnx import export_onnx, open_session
from unroll.tasks.classify.predict import of_logits
from unroll.tasks.sequences.predict import answer

SCALING = Scaling((1.6e9, -2.0, 5.0), (300.0, 0.1, 0.0))
"""Times in seconds, a narrow channel, and one that was constant in training."""
SHAPES: list[dict[str, Any]] = [
    *({"arch": arch, "marks": marks} for arch in CELLS for marks in (False, True)),
    {"pooling": "last", "bidirectional": False},
    {"task": "regress", "outputs": 1, "skip": "residual"},
]


class Exported:
    """An exported network of random weights, beside the engine's."""

    def __init__(self, **options: Any) -> None:
        model = network(**options).float()
        weights = {name: w.detach().numpy() for name, w in model.named_parameters()}
        self.engine, regress = SeriesEngine(model.config, weights), model.config.task == "regress"
        goals = Scaling((1e6,), (3.0,)) if regress else Scaling((), ())
        self.info = SeriesInfo(
            model.config, Columns(model.config.task), () if regress else tuple("abcd"), SCALING, goals, None
        )
        self.session = open_session(series.build(self.info, weights, {}))

    def run(self, vectors: NDArray[np.floating], lengths: Any) -> Any:
        """Return the logits (B, K), or the numbers."""
        return self.session.run(None, {"vectors": vectors, "lengths": np.array(lengths)})[0]

    def expected(self, rows: Vectors) -> Any:
        """Return the same of the engine."""
        outputs = self.engine.outputs(SCALING.read(rows, marks=self.info.config.marks))
        return outputs if self.info.config.task == "classify" else 1e6 + 3 * outputs


def rows() -> Vectors:
    """Return rows with missing values, the first ones of a row among them, and values far from the mean."""
    lengths, random = [23, 1, 30, 7], np.random.default_rng(2)
    values = random.normal(SCALING.means, [300, 0.1, 1], (sum(lengths), 3))
    values[random.random(values.shape) < 0.3] = np.nan
    values[24:27] = np.nan
    values[[3, 40], [1, 1]] = 1e9, -np.inf
    return Vectors(values, np.cumsum(lengths))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_equals_the_engine_whatever_pads_a_row(shape: dict[str, Any]) -> None:
    exported, given = Exported(**shape), rows()
    expected = exported.expected(given)
    vectors, lengths = given.padded()
    noisy = np.pad(vectors, ((0, 0), (0, 5), (0, 0)))
    noisy[np.arange(noisy.shape[1]) >= lengths[:, None]] = [np.nan, 1e9, 7]
    for answers in (exported.run(vectors, lengths), exported.run(noisy, lengths)):
        np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-5)
    alone = [exported.run(given[row][None], [length])[0] for row, length in enumerate(lengths)]
    np.testing.assert_allclose(alone, expected, rtol=1e-5, atol=1e-5)


def test_the_law_catches_a_value_that_is_filled_from_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    add = Graph.add

    def backwards(graph: Any, called: str, *inputs: str, **options: Any) -> Any:
        if called == "Scan":
            options |= {"scan_input_directions": [1, 1], "scan_output_directions": [1]}
        return add(graph, called, *inputs, **options)

    monkeypatch.setattr(Graph, "add", backwards)
    with pytest.raises(AssertionError):
        test_it_equals_the_engine_whatever_pads_a_row({"arch": "lstm"})


@pytest.mark.parametrize("kind", ["sides", "slopes"])
def test_a_model_that_was_trained(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path = request.getfixturevalue(kind)
    report = export_onnx(path, tmp_path / "model.onnx")
    assert (report.inputs, report.vocabularies) == (("vectors", "lengths"), {})
    notes, opened = json.loads(report.about.read_bytes()), open_series(path)
    assert notes["channels"] == ["a", "b"] and notes["labels"] == list(opened.info.labels)
    given = Vectors(np.array([[0.0, 1], [np.nan, 2], [5, np.nan]]), np.array([3]))
    session = open_session(report.path.read_bytes())
    inputs = {"vectors": given.padded()[0], "lengths": given.lengths}
    *_, answers = session.run(report.outputs, inputs)
    np.testing.assert_allclose(answers, answer(opened, given), rtol=1e-5, atol=1e-6)


def test_forecasts_are_refused(sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "read_task", lambda path: "forecast")
    with pytest.raises(UserError, match="feed back into it") as refusal:
        export_onnx(sides, tmp_path / "model.onnx")
    assert refusal.value.allowed and refusal.value.fix


def test_probabilities_are_those_of_the_logits() -> None:
    exported = Exported()
    vectors, lengths = rows().padded()
    logits, probabilities = exported.session.run(None, {"vectors": vectors, "lengths": lengths})
    np.testing.assert_allclose(probabilities, of_logits(logits, multi_label=False), atol=1e-6)


def test_the_program_of_the_page_classifies_like_the_model(tmp_path: Path) -> None:
    prepare("walks", tmp_path)
    vectors = Vectors(np.array([[0.0], [1.1], [np.nan], [2.9]]), np.array([4]))
    opened = open_series(tmp_path / "runs" / "walks")
    (probabilities,) = answer(opened, vectors)
    label, share = printed("walks", tmp_path).split()
    assert label == opened.info.labels[probabilities.argmax()] and abs(float(share) - probabilities.max()) < 1e-3

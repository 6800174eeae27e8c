"""The cost of eight-bit weights is measured on the validation part, and kept beside the model."""

import shutil
from pathlib import Path

import pytest

import unroll
from tiny import overrides, trained
from unroll.artifact.directory import data_path
from unroll.artifact.open import open_model
from unroll.artifact.quantize import FILE, read_cost
from unroll.data.corpus import load_corpus
from unroll.errors import UserError
from unroll.predict.protocols import stream_nats


@pytest.fixture
def model(corpus: Path, tmp_path: Path) -> Path:
    trained(corpus, tmp_path / "model", overrides())
    return tmp_path / "model"


def test_the_cost_is_the_difference_of_two_evaluations(model: Path) -> None:
    assert read_cost(model) is None
    cost = unroll.quantize(model)
    valid = load_corpus(data_path(model)).valid
    exact, rounded = open_model(model), open_model(model, precision="int8")
    start_id = exact.tokenizer.start_id
    assert cost["float32_nats"] == pytest.approx(stream_nats(exact.predictor, valid, start_id), abs=1e-12)
    assert cost["int8_nats"] == pytest.approx(stream_nats(rounded.predictor, valid, start_id), abs=1e-12)
    assert cost["cost_nats"] == cost["int8_nats"] - cost["float32_nats"] != 0
    assert cost["tokens"] == len(valid) and read_cost(model) == cost
    (model / FILE).write_text('{"tokens": "many"}')
    with pytest.raises(UserError, match="tokens"):
        read_cost(model)


def test_without_a_validation_text_there_is_nothing_to_measure(model: Path) -> None:
    (model / "resume" / "data.path").unlink(missing_ok=True)
    shutil.rmtree(model / "resume" / "data", ignore_errors=True)
    with pytest.raises(UserError, match="validation text"):
        unroll.quantize(model)

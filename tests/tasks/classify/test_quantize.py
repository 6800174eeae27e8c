"""The cost of a classifier's int8 weights: that of `classify eval` on the held-out examples, kept and shown."""

import shutil
from pathlib import Path

import pytest

import unroll
from tasks.classify.toy import written
from unroll.artifact.quantize import FILE
from unroll.engine.network import Precision
from unroll.errors import UserError
from unroll.tasks.classify.evaluate import evaluate_classifier
from unroll.tasks.classify.quantize import quantize_classifier
from unroll.tasks.classify.store import VALID, held_out

PRECISIONS: tuple[Precision, ...] = ("float32", "int8")


def test_the_cost_is_that_of_evaluation_and_is_kept(toy: Path, tmp_path: Path) -> None:
    model = shutil.copytree(toy, tmp_path / "model")
    assert unroll.info(model)["int8"] is None
    cost = quantize_classifier(model)
    examples = written(tmp_path / "held-out.tsv", [(row["text"], row["labels"][0]) for row in held_out(model)])
    for precision in PRECISIONS:
        found = evaluate_classifier(model, examples, precision=precision)
        assert cost["count"] == found["count"]
        assert cost[f"{precision}_accuracy"] == found["accuracy"]
        assert cost[f"{precision}_nats"] == pytest.approx(found["nats"], abs=1e-6)
    assert cost["cost_nats"] == cost["int8_nats"] - cost["float32_nats"] != 0
    assert unroll.info(model)["int8"] == cost


def test_without_held_out_examples_it_names_another_way(toy: Path, tmp_path: Path) -> None:
    model = shutil.copytree(toy, tmp_path / "model")
    (model / VALID).write_text("")
    with pytest.raises(UserError) as refused:
        quantize_classifier(model)
    assert "classify eval" in str(refused.value) and not (model / FILE).exists()

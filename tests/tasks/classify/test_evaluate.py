"""The figures of a classifier: held to scikit-learn's, and to ones counted by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from tasks.classify.toy import written
from unroll.artifact.classifier import OpenClassifier, open_classifier
from unroll.errors import UserError
from unroll.tasks.classify.evaluate import evaluate_classifier, figures


def of_labels(model: OpenClassifier, count: int, *, multi_label: bool) -> OpenClassifier:
    shape = replace(model.info.config, labels=count, multi_label=multi_label)
    labels = tuple(f"label {k}" for k in range(count))
    return replace(model, info=replace(model.info, config=shape, labels=labels))


@pytest.fixture(scope="module")
def opened(toy: Path) -> OpenClassifier:
    return open_classifier(toy)


def test_they_are_scikit_learns(opened: OpenClassifier) -> None:
    random = np.random.default_rng(0)
    predicted = random.dirichlet(np.ones(5), 200)
    truth = random.integers(4, size=200)  # one label never occurs
    model = of_labels(opened, 5, multi_label=False)
    result = figures(model, np.eye(5, dtype=np.bool_)[truth], predicted)
    chosen = predicted.argmax(1)
    assert result["accuracy"] == metrics.accuracy_score(truth, chosen)
    assert result["nats"] == pytest.approx(metrics.log_loss(truth, predicted, labels=range(5)))
    assert result["confusion"] == metrics.confusion_matrix(truth, chosen, labels=range(5)).tolist()
    precision, recall, f1, count = metrics.precision_recall_fscore_support(
        truth, chosen, labels=range(5), zero_division=0
    )
    for k, row in enumerate(result["per_class"].values()):
        assert row == pytest.approx({"precision": precision[k], "recall": recall[k], "f1": f1[k], "count": count[k]})
    assert result["macro"]["accuracy"] == pytest.approx(recall[:4].mean()), "over the labels that occur"
    low, high = result["interval"]
    assert low < result["accuracy"] < high


def test_several_labels_are_scikit_learns(opened: OpenClassifier) -> None:
    random = np.random.default_rng(1)
    predicted, truth = random.random((150, 3)), random.random((150, 3)) < 0.4
    result = figures(of_labels(opened, 3, multi_label=True), truth, predicted)
    chosen = predicted >= 0.5
    assert result["accuracy"] == metrics.accuracy_score(truth, chosen)
    assert result["micro_f1"] == pytest.approx(metrics.f1_score(truth, chosen, average="micro"))
    assert [row["f1"] for row in result["per_class"].values()] == pytest.approx(
        metrics.f1_score(truth, chosen, average=None)
    )
    assert result["confusion"] is None


def test_texts_without_any_label_have_no_macro_figures(opened: OpenClassifier) -> None:
    predicted = np.full((4, 3), 0.1)
    result = figures(of_labels(opened, 3, multi_label=True), np.zeros((4, 3), np.bool_), predicted)
    assert result["accuracy"] == 1 and set(result["macro"].values()) == {None} and result["micro_f1"] == 0


def test_units_that_are_not_read_are_counted(toy: Path, tmp_path: Path) -> None:
    table = written(tmp_path / "long.tsv", [("meow " * 5003, "cat"), ("woof", "dog")])
    result = evaluate_classifier(toy, table)
    assert result["units_cut"] == 3 and "3 units" in result["notes"][0]


def test_calibration_by_hand(opened: OpenClassifier) -> None:
    predicted = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.45, 0.55]])
    truth = np.eye(2, dtype=np.bool_)[[0, 1, 0, 1]]
    result = figures(of_labels(opened, 2, multi_label=False), truth, predicted)
    assert result["calibration"] == [
        {"count": 1, "predicted": pytest.approx(0.55), "observed": 1.0},
        {"count": 1, "predicted": pytest.approx(0.6), "observed": 1.0},
        {"count": 2, "predicted": pytest.approx(0.9), "observed": 0.5},
    ]
    assert result["calibration_error"] == pytest.approx((0.45 + 0.4 + 2 * 0.4) / 4)


def test_json_as_it_is_promised(toy: Path, unseen: Path) -> None:
    result = evaluate_classifier(toy, unseen)
    assert result.keys() >= {"accuracy", "count", "per_class", "interval"}
    assert 0 <= result["accuracy"] <= 1 and result["count"] == 40
    assert all(row.keys() == {"precision", "recall", "f1", "count"} for row in result["per_class"].values())


def test_a_label_that_training_never_saw_is_refused(toy: Path, tmp_path: Path) -> None:
    table = written(tmp_path / "other.tsv", [("meow", "cats"), ("woof", "dog")])
    with pytest.raises(UserError, match=r"line 2 of .*other.tsv has the label 'cats', which the model lacks") as error:
        evaluate_classifier(toy, table)
    assert "'cat'" in error.value.fix


def test_other_columns(toy: Path, unseen: Path, tmp_path: Path) -> None:
    rows: list[Any] = [line.split("\t") for line in unseen.read_text().splitlines()]
    table = written(tmp_path / "named.tsv", [tuple(row) for row in rows[1:]], ("says", "animal"))
    named = evaluate_classifier(toy, table, text="says", label="animal")
    assert named == evaluate_classifier(toy, unseen)

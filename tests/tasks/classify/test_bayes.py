"""P(label | text) follows from the nats of the text and its end under each label, and from how frequent labels are."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.command import unroll
from training.steered.toy import LETTERS, rows, trained, written
from unroll.artifact.open import open_model
from unroll.artifact.steering import Starts
from unroll.errors import UserError
from unroll.lm.surprisal import score
from unroll.predict.protocols import lines
from unroll.state import State, map_state
from unroll.tasks.classify.bayes import BayesClassifier, as_labeller
from unroll.tasks.classify.evaluate import evaluate_classifier
from unroll.tasks.classify.predict import classify

TEXTS = ["bcd", "", "aeiouaeiouaeiouaeio", "漢", "x" * 1500, "zv", "b\ncd"]


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bayes")
    skewed = [row for row in rows(300) if row[1] != "west" or len(row[0]) < 13]
    return trained(written(folder / "t.tsv", skewed), folder / "model", steps=150, settings={"hidden_size": 32})


def law_bayes(model: Path, column: str, classified: Callable[..., list[dict[str, Any]]] = classify) -> None:
    """P(label | text) is P(text, end | label) P(label), over the sum of these; frequencies have one text more."""
    opened = open_model(model)
    counts = next(one for one in opened.description["steering"]["columns"] if one["name"] == column)
    prior = {label: count + 1 for label, count in zip(counts["labels"], counts["counts"], strict=True)}
    for text, row in zip(TEXTS, classified(model, TEXTS, label=column), strict=True):
        nats = {label: score(opened, text, eos=True, label=f"{column}={label}")[0].nats for label in prior}
        joint = {label: math.log(prior[label]) - nats[label] for label in prior}
        total = math.log(sum(math.exp(value - max(joint.values())) for value in joint.values())) + max(joint.values())
        assert row["text"] == text and sum(item["probability"] for item in row["labels"]) == pytest.approx(1)
        assert {item["label"]: item["probability"] for item in row["labels"]} == pytest.approx(
            {label: math.exp(value - total) for label, value in joint.items()}, abs=1e-4
        )


@pytest.mark.parametrize("column", ["place", "kind"])
def test_probabilities_follow_from_scores(steered: Path, column: str) -> None:
    law_bayes(steered, column)


@pytest.mark.parametrize("fault", ["prior", "labels", "end"])
def test_the_law_fails_for_planted_faults(steered: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "prior":  # every label as probable as another
        monkeypatch.setattr(BayesClassifier, "prior", property(lambda self: np.zeros(len(self.info.labels))))
    if fault == "labels":  # the start state of another row's label
        honest = Starts.state

        def of_another(starts: Starts, ids: Any) -> State:
            state = honest(starts, ids)
            return map_state(lambda part: np.roll(part, 1, axis=0), state)  # of one row it is the same

        monkeypatch.setattr(Starts, "state", of_another)
    if fault == "end":  # texts that need not end
        endless = lambda *given: ([nats[:-1] for nats in group] for group in lines(*given))  # noqa: E731
        monkeypatch.setattr("unroll.tasks.classify.bayes.lines", endless)
    with pytest.raises(AssertionError):
        law_bayes(steered, "kind")


def test_a_text_depends_on_nothing_beside_it(steered: Path) -> None:
    together, model = classify(steered, TEXTS), as_labeller(steered)
    for text, row in zip(TEXTS, together, strict=True):
        (alone,) = classify(model, [text])
        shares = {item["label"]: item["probability"] for item in alone["labels"]}
        assert {item["label"]: item["probability"] for item in row["labels"]} == pytest.approx(shares, abs=1e-6)
    assert classify(steered, []) == []


def test_what_was_learnt_is_recognised(steered: Path, tmp_path: Path) -> None:
    table = written(tmp_path / "test.tsv", rows(60, seed=1))
    for options in ({}, {"precision": "int8"}):
        figures = evaluate_classifier(steered, table, **options)  # type: ignore[arg-type]
        assert figures["accuracy"] > 0.9 and figures["count"] == 60 and set(figures["per_class"]) == set(LETTERS)
    assert set(evaluate_classifier(steered, table, label="kind")["per_class"]) == {"long", "short"}
    renamed = written(tmp_path / "renamed.tsv", rows(60, seed=1), ("w", "where", "kind"))
    assert evaluate_classifier(steered, renamed, text="w", label="where")["accuracy"] > 0.9


def test_the_commands_take_it_like_a_classifier(steered: Path, tmp_path: Path) -> None:
    printed = json.loads(unroll("classify", "predict", steered, "bcd", "xyz", "--top", "1", "--json").out)
    assert [row["labels"][0]["label"] for row in printed["predictions"]] == ["north", "west"]
    one = json.loads(unroll("classify", "predict", steered, "bcd", "--label", "kind", "--json").out)
    assert {item["label"] for item in one["predictions"][0]["labels"]} == {"long", "short"}
    table = written(tmp_path / "test.tsv", rows(60, seed=1))
    measured = json.loads(unroll("classify", "eval", steered, table, "--json").out)
    assert measured["accuracy"] > 0.9 and measured["interval"][0] < measured["accuracy"]


def test_it_needs_no_torch(steered: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from unroll.tasks.classify.predict import classify\n"
        f"print(classify({str(steered)!r}, ['bcdfg'], top=1)[0]['labels'][0]['label'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "north"


def test_a_column_is_chosen_of_what_is_open_already(steered: Path, toy: Path) -> None:
    kind = as_labeller(steered, label="kind")
    assert classify(kind, TEXTS) == classify(steered, TEXTS, label="kind") != classify(steered, TEXTS)
    assert classify(kind, TEXTS, label="place") == classify(steered, TEXTS, label="place")
    for model in (kind, as_labeller(toy)):
        with pytest.raises(UserError, match="the column of labels is 'plase'"):
            classify(model, TEXTS, label="plase")


def test_what_does_not_do_is_refused(steered: Path, toy: Path, tmp_path: Path) -> None:
    for model, label, message in (
        (steered, "plase", "the column of labels is 'plase'"),
        (toy, "place", "the column of labels is 'place'"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            classify(model, ["b"], label=label)
        assert caught.value.allowed and caught.value.fix
    other = written(tmp_path / "t.tsv", [("bcd", "noth", "short")])
    with pytest.raises(UserError, match=r"line 2 of .*t.tsv has the label 'noth', which the model lacks") as caught:
        evaluate_classifier(steered, other)
    assert "'north'" in caught.value.fix

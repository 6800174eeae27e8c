"""What the page shows of a classifier is what the library says: labels, decisive units, errors about held-out texts."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.live import Live, error, make_model, serving
from unroll.artifact.classifier import OpenClassifier, open_classifier
from unroll.serve.studio.labels import MOST_UNITS, labels_of, ranked
from unroll.serve.studio.studio import Folders
from unroll.tasks.classify.decisive import decisive_units
from unroll.tasks.classify.predict import classify
from unroll.tasks.classify.store import VALID

TEXT = "  the old animal,\nsays  meow at night "


@pytest.fixture
def live(animals: Path, tmp_path: Path) -> Iterator[Live]:
    """A studio of a classifier and a language model."""
    runs = tmp_path / "runs"
    shutil.copytree(animals, runs / "animals")
    make_model(runs / "char")
    with serving(runs / "animals", runs / "char", studio=Folders(runs), page_token="token") as live:
        live.plain.headers["Authorization"] = "Bearer token"
        yield live


def asked(live: Live, path: str, **fields: Any) -> Any:
    answer = live.post(f"/api/{path}", fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_classifiers_are_listed_apart(live: Live) -> None:
    info = live.get("/api/info").json()
    assert [model["name"] for model in info["models"]] == ["char"]
    (listed,) = info["tasks"]
    assert (listed["name"], listed["labels"], listed["level"], listed["multi_label"]) == ("animals", 3, "word", False)
    assert listed["kind"] == "classifier" and listed["about"] == "classifier, 3 labels"
    assert " % right of " in listed["held_out"]
    for path, fields in (("read", {"text": "a"}), ("next", {}), ("sample", {})):
        answer = live.post(f"/api/{path}", {"model": "animals", **fields})
        assert answer.status_code == 400 and error(answer)["code"] == "unsupported_model"
    for path in ("labels", "errors"):
        answer = live.post(f"/api/{path}", {"model": "char"})
        assert answer.status_code == 400 and error(answer)["code"] == "unsupported_model"


@pytest.mark.parametrize("text", [TEXT, "", " ", "woof", "Überraschung 🙂 hoot\u202e"])
def test_labels_and_units_are_the_librarys(live: Live, animals: Path, text: str) -> None:
    answer = asked(live, "labels", model="animals", text=text)
    (row,) = classify(animals, [text])
    assert answer["labels"] == row["labels"] and answer["label"] == row["labels"][0]["label"]
    assert "".join(piece for piece, _ in answer["pieces"]) == text
    units = [(unit["text"], unit["effect"]) for unit in decisive_units(animals, text)]
    assert [tuple(piece) for piece in answer["pieces"] if piece[1] is not None] == units
    assert answer["read"] == answer["units"] >= len(units)


def test_another_label_has_effects_of_its_own(live: Live, animals: Path) -> None:
    answer = asked(live, "labels", model="animals", text=TEXT, label="owl")
    effects = {piece: effect for piece, effect in answer["pieces"] if effect is not None}
    assert answer["label"] == "owl" and effects["meow"] < 0
    assert effects["meow"] == {unit["text"]: unit["effect"] for unit in decisive_units(animals, TEXT, "owl")}["meow"]
    refused = live.post("/api/labels", {"model": "animals", "text": TEXT, "label": "dogs"})
    assert refused.status_code == 400
    assert error(refused)["allowed"] == "cat, dog, owl" and error(refused)["fix"] == "did you mean 'dog'?"


def test_a_long_text_has_labels_and_no_units(live: Live) -> None:
    assert asked(live, "labels", model="animals", text="woof " * MOST_UNITS)["pieces"] is not None
    assert asked(live, "labels", model="animals", text="woof " * (MOST_UNITS + 1))["pieces"] is None
    long = asked(live, "labels", model="animals", text="a " * 500_000)
    assert (long["units"], long["read"], long["pieces"]) == (500_000, 5000, None)
    refused = live.post("/api/labels", {"model": "animals", "text": "a" * (2**20 + 1)})
    assert refused.status_code in (400, 413) and error(refused)["message"]


def test_a_text_that_is_cut_has_no_units_either(animals: Path) -> None:
    opened = open_classifier(animals)
    short = replace(opened, reader=replace(opened.reader, max_units=20))
    assert labels_of(short, "woof " * 20, None)["pieces"] is not None
    cut = labels_of(short, "woof " * 21, None)
    assert cut["pieces"] is None and (cut["units"], cut["read"], cut["most_units"]) == (21, 20, 20)


def test_errors_are_those_of_the_held_out_texts_the_most_confident_first(live: Live, animals: Path) -> None:
    answer = asked(live, "errors", model="animals")
    examples = [json.loads(line) for line in (animals / VALID).read_text().splitlines()]
    predicted = [row["labels"][0] for row in classify(animals, [example["text"] for example in examples])]
    expected = [
        (example["text"], example["labels"], best["label"], best["probability"])
        for example, best in zip(examples, predicted, strict=True)
        if [best["label"]] != example["labels"]
    ]
    expected.sort(key=lambda one: -one[-1])
    names = ("text", "labels", "label", "probability")
    assert [tuple(one[name] for name in names) for one in answer["errors"]] == expected != []
    assert (answer["wrong"], answer["count"], answer["total"]) == (len(expected), len(examples), len(examples))
    assert answer["example"] == examples[0]["text"] and not any(one["missed"] for one in answer["errors"])


def test_errors_are_those_of_the_weights_that_are_served(live: Live, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "animals"
    before = asked(live, "errors", model="animals")
    (folder / VALID).write_text(json.dumps({"text": "woof", "labels": ["cat"], "line": 2}) + "\n")
    assert asked(live, "errors", model="animals") == before, "kept with the weights"
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(description | {"max_units": 4000}))
    assert [one["text"] for one in asked(live, "errors", model="animals")["errors"]] == ["woof"]
    (folder / VALID).unlink()
    (folder / "model.json").write_text(json.dumps(description | {"max_units": 3000}))
    nothing = asked(live, "errors", model="animals")
    assert nothing == {"errors": [], "wrong": 0, "count": 0, "total": 0, "example": ""}


def test_so_many_texts_are_read_and_so_many_errors_sent(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unroll.serve.studio.labels.MOST_TEXTS", 19)
    monkeypatch.setattr("unroll.serve.studio.labels.MOST_ERRORS", 1)
    answer = asked(live, "errors", model="animals")
    assert answer["count"] == 19 < answer["total"] and len(answer["errors"]) == 1 < answer["wrong"]
    assert answer["errors"][0]["text"] in (live.context.models.latest("animals").opened.path / VALID).read_text()


def test_a_text_with_several_labels_is_listed_by_its_worst(animals: Path) -> None:
    opened = open_classifier(animals)
    model: OpenClassifier = replace(
        opened, info=replace(opened.info, config=replace(opened.info.config, multi_label=True))
    )
    examples = [{"text": str(k), "labels": labels} for k, labels in enumerate([["cat"], [], ["dog", "owl"], ["owl"]])]
    probable = np.array([[0.9, 0.1, 0.4], [0.2, 0.6, 0.7], [0.1, 0.3, 0.05], [0.1, 0.1, 0.49]])
    answer = ranked(model, examples, probable)
    assert [(one["text"], one["label"], one["missed"], one["probability"]) for one in answer["errors"]] == [
        ("2", "owl", True, 0.05),
        ("1", "owl", False, 0.7),
        ("3", "owl", True, 0.49),
    ]
    assert answer["wrong"] == 3

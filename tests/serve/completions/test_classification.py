"""Labels over HTTP, in the form of vLLM's classification API; each kind of model answers what it can."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cli.command import unroll
from serve.live import Live, error, make_model, serving
from serve.test_several import BODIES, ask
from unroll.tasks.classify.predict import classify

TEXTS = ["the cat says meow", "", "woof woof", "hoot", "Überraschung 🙂\n"]


@pytest.fixture(scope="module")
def both(animals: Path, folders: dict[str, Path]) -> Iterator[Live]:
    """A server of a classifier and a language model."""
    with serving(animals, folders["char"], max_inputs=8, max_prompt_tokens=6000) as live:
        yield live


@pytest.mark.parametrize("path", ["/classify", "/v1/classify", "/models/animals/v1/classify"])
def test_labels_and_probabilities(both: Live, animals: Path, path: str) -> None:
    answer = both.post(path, {"model": "animals", "input": TEXTS, "user": "me", "priority": 1})
    assert answer.status_code == 200 and answer.headers["x-ignored-params"] == "priority"
    body = answer.json()
    assert body["id"].startswith("classify-") and (body["object"], body["model"]) == ("list", "animals")
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0 == body["usage"]["completion_tokens"]
    (entry,) = (model for model in both.get("/v1/models").json()["data"] if model["id"] == "animals")
    for k, (item, row) in enumerate(zip(body["data"], classify(animals, TEXTS), strict=True)):
        probable = {label["label"]: label["probability"] for label in row["labels"]}
        assert (item["index"], item["num_classes"], item["label"]) == (k, 3, row["labels"][0]["label"])
        assert dict(zip(entry["labels"], item["probs"], strict=True)) == pytest.approx(probable, abs=1e-6)
    alone = both.post(path, {"model": "animals", "input": TEXTS[0]}).json()["data"]
    assert len(alone) == 1 and alone[0]["probs"] == pytest.approx(body["data"][0]["probs"], abs=1e-6)


def test_it_says_what_classify_predict_says(both: Live, animals: Path) -> None:
    done = unroll("classify", "predict", animals, *filter(None, TEXTS), "--json", cwd=animals)
    texts = [row["text"] for row in json.loads(done.out)["predictions"]]
    data = both.post("/classify", {"model": "animals", "input": texts}).json()["data"]
    for item, row in zip(data, json.loads(done.out)["predictions"], strict=True):
        assert item["label"] == row["labels"][0]["label"]
        assert max(item["probs"]) == pytest.approx(row["labels"][0]["probability"], abs=1e-6)


def test_requests_at_once_get_what_they_get_alone(both: Live) -> None:
    def probs(text: str) -> list[float]:
        answer = both.post("/classify", {"model": "animals", "input": [text, "hoot hoot", text * 20]})
        return [p for item in answer.json()["data"] for p in item["probs"]]

    texts = [f"{text} {k}" for k, text in enumerate(TEXTS * 6)]
    alone = [probs(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        for expected, got in zip(alone, pool.map(probs, texts), strict=True):
            assert got == pytest.approx(expected, abs=1e-6)


def test_one_classifier_needs_no_name(animals: Path) -> None:
    with serving(animals) as live:
        assert live.post("/classify", {"input": "woof"}).json()["data"][0]["label"] == "dog"
        assert live.get("/readyz").status_code == 200


@pytest.mark.parametrize("path", BODIES)
def test_a_classifier_is_refused_elsewhere(both: Live, path: str) -> None:
    answer = ask(both, f"{path}", BODIES[path] | {"model": "animals"})
    fault = error(answer)
    assert answer.status_code == 400 and (fault["code"], fault["param"]) == ("unsupported_model", "model")
    assert "'animals' is a classifier" in fault["message"] and "/v1/classify" in fault["fix"]
    assert fault["allowed"] == "char"


def test_a_language_model_has_no_labels(both: Live) -> None:
    answer = both.post("/classify", {"model": "char", "input": "woof"})
    fault = error(answer)
    assert answer.status_code == 400 and fault["code"] == "unsupported_model"
    assert "'char' is a language model" in fault["message"] and fault["allowed"] == "animals"
    assert "/v1/completions" in fault["fix"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "input is missing"),
        ({"input": []}, "array of 0"),
        ({"input": [1, 2]}, "invalid input[0]"),
        ({"input": ["a"] * 9}, "9 texts, above the limit of 8"),
        ({"input": ["a", "woof " * 5001]}, "text 1 of input has 5,001 units, above the 5,000 that animals reads"),
        ({"input": ["woof " * 4000] * 2}, "input has 8,000 units, above the limit of 6,000"),
        ({"input": "a " * 500_000}, "text 0 of input has 500,000 units, above the 5,000 that animals reads"),
    ],
)
def test_what_is_refused(both: Live, fields: dict[str, Any], message: str) -> None:
    answer = both.post("/classify", {"model": "animals"} | fields)
    fault = error(answer)
    assert answer.status_code == 400 and message in fault["message"] and fault["param"] == "input" and fault["fix"]


def test_texts_times_labels_are_limited(animals: Path) -> None:
    with serving(animals, max_probabilities=8) as live:
        assert live.post("/classify", {"input": ["woof"] * 2}).status_code == 200
        answer = live.post("/classify", {"input": ["woof"] * 3})
        fault = error(answer)
        assert answer.status_code == 400 and "asks for 9 probabilities, above the limit of 8" in fault["message"]


def test_a_word_of_a_million_characters_is_read(both: Live) -> None:
    answer = both.post("/classify", {"model": "animals", "input": ["woof" * 250_000]})
    assert answer.status_code == 200 and answer.json()["usage"]["prompt_tokens"] == 1


def test_an_unknown_model_is_named(both: Live) -> None:
    answer = both.post("/classify", {"model": "plants", "input": "woof"})
    assert answer.status_code == 404 and error(answer)["code"] == "model_not_found"
    assert error(answer)["allowed"] == "animals, char" and error(answer)["fix"]


def test_a_directory_that_changes_is_opened_again(animals: Path, tmp_path: Path) -> None:
    folder = tmp_path / "animals"
    shutil.copytree(animals, folder)
    with serving(folder) as live:
        assert live.post("/classify", {"input": "woof"}).status_code == 200
        shutil.rmtree(folder)
        assert error(live.post("/classify", {"input": "woof"}))["code"] == "model_gone"
        make_model(folder)
        assert error(live.post("/classify", {"input": "woof"}))["code"] == "unsupported_model"
        assert live.post("/v1/completions", {"prompt": "the", "max_tokens": 1}).status_code == 200
        shutil.rmtree(folder)
        shutil.copytree(animals, folder)
        assert live.post("/classify", {"input": "woof"}).json()["data"][0]["label"] == "dog"

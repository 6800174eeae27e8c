"""Tags over HTTP: those of the library, with their offsets, and what is refused."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.command import unroll
from serve.live import Live, error, serving
from tasks.tag.toy import sentences, trained, written
from unroll.tasks.tag.predict import tag

TEXTS = ["balkiro montasas", "", "  kirtasa\n😀 X ", "verlume"]
TOKENS = [["balkiro", "X"], ["two words", "verlume"]]


@pytest.fixture(scope="module")
def live(tagger: Path, animals: Path) -> Iterator[Live]:
    """A server of a tagger and a classifier."""
    with serving(tagger, animals, max_inputs=8, max_prompt_tokens=70_000, max_body=2**22) as live:
        yield live


def rows(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [
        entry | {"tokens": [token | {"probability": pytest.approx(token["probability"])} for token in entry["tokens"]]}
        for entry in answer.json()["data"]
    ]


@pytest.mark.parametrize("path", ["/tag", "/v1/tag", "/models/tagger/v1/tag"])
def test_tags_are_the_librarys(live: Live, tagger: Path, path: str) -> None:
    answer = live.post(path, {"model": "tagger", "texts": TEXTS, "user": "me", "priority": 1})
    assert rows(answer) == [{"index": k, **row} for k, row in enumerate(tag(tagger, TEXTS))]
    body, count = answer.json(), sum(len(text.split()) for text in TEXTS)
    assert body["id"].startswith("tag-") and (body["object"], body["model"]) == ("list", "tagger")
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] == count
    assert answer.headers["x-ignored-params"] == "priority"
    for text, entry in zip(TEXTS, body["data"], strict=True):
        assert [text[token["start"] : token["end"]] for token in entry["tokens"]] == text.split()


def test_a_text_and_tokens_are_taken_too(live: Live, tagger: Path) -> None:
    one = rows(live.post("/tag", {"model": "tagger", "text": TEXTS[0]}))
    assert one == [{"index": 0, **tag(tagger, [TEXTS[0]])[0]}]
    expected = [{"index": k, **row} for k, row in enumerate(tag(tagger, TOKENS))]
    assert rows(live.post("/tag", {"model": "tagger", "tokens": TOKENS})) == expected
    assert rows(live.post("/tag", {"model": "tagger", "tokens": TOKENS[0]})) == expected[:1]
    assert expected[1]["tokens"][0]["token"] == "two words"


def test_they_are_those_of_tag_predict(live: Live, tagger: Path) -> None:
    done = unroll("tag", "predict", tagger, TEXTS[0], "--json", cwd=tagger)
    assert done.code == 0, done.err
    (row,) = live.post("/tag", {"model": "tagger", "text": TEXTS[0]}).json()["data"]
    assert [token["tag"] for token in row["tokens"]] == [
        token["tag"] for token in json.loads(done.out)["predictions"][0]["tokens"]
    ]


def test_the_list_of_models_has_its_tags(live: Live, tagger: Path) -> None:
    model = live.get("/v1/models/tagger").json()
    assert model["kind"] == "tagger" and model["tags"] == ["ADJ", "ADV", "NOUN", "VERB"]
    assert live.get("/v1/models/animals").json()["kind"] == "classifier"


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({}, "text", "the request has nothing to read"),
        ({"text": "a", "tokens": ["a"]}, "tokens", "the request has text and tokens"),
        ({"texts": []}, "texts", "array of 0"),
        ({"tokens": [""]}, "tokens", "a string of 0 characters"),
        ({"tokens": [["a"], []]}, "tokens", "invalid tokens"),
        ({"tokens": ["a", ["b"]]}, "tokens", "invalid tokens"),
        ({"texts": ["a"] * 9}, "texts", "9 sentences, above the limit of 8"),
        ({"texts": ["a", "b " * 65_537]}, "texts", "sentence 1 of texts has 65,537 tokens, above the limit of 65,536"),
        ({"texts": ["b " * 40_000] * 2}, "texts", "80,000 tokens, above the limit of 70,000"),
    ],
)
def test_what_is_refused(live: Live, fields: dict[str, Any], param: str, message: str) -> None:
    answer = live.post("/tag", {"model": "tagger"} | fields)
    fault = error(answer)
    assert answer.status_code == 400 and message in fault["message"] and fault["param"] == param
    assert fault["allowed"] and fault["fix"]


def test_the_characters_of_contexts_are_limited(folders: dict[str, Path], tmp_path: Path) -> None:
    file = written(tmp_path / "toy.tsv", sentences(random.Random(0), 20))
    path = trained(file, tmp_path / "tagger", steps=1, pretrained=folders["char"])
    with serving(path, max_prompt_tokens=100) as live:
        assert live.post("/tag", {"tokens": ["a" * 100]}).status_code == 200
        fault = error(live.post("/tag", {"tokens": ["a" * 101]}))
    assert fault["message"] == "tokens has 101 characters, above the limit of 100" and fault["param"] == "tokens"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/classify", "/translate", "/v1/embeddings", "/tokenize"])
def test_a_tagger_is_refused_elsewhere(live: Live, path: str) -> None:
    body = {"model": "tagger", "input": "a", "text": "a", "prompt": "a"}
    fault = error(live.post(path, body))
    assert fault["code"] == "unsupported_model" and "'tagger' is a tagger, not a" in fault["message"]
    assert "/v1/tag" in fault["fix"]


def test_a_classifier_has_no_tags(live: Live) -> None:
    fault = error(live.post("/tag", {"model": "animals", "text": "woof"}))
    assert fault["code"] == "unsupported_model" and fault["message"] == "'animals' is a classifier, not a tagger"
    assert fault["allowed"] == "tagger" and "/v1/classify" in fault["fix"]

"""The routes that look inside: what is refused, and why."""

import pytest

from serve.inside.looking import SHORT, TEXT, Json, Studio
from unroll.serve.studio import routes


def test_unknown_symbols_are_named(studio: Studio) -> None:
    assert "'Z'" in studio.post("open", model="latch", text="abZ")["notes"][0]
    assert studio.post("open", model="latch", text="ab")["notes"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("open", {"model": "nobody", "text": "a"}, 404, "nobody"),
        ("open", {"model": "latch", "text": ""}, 400, "empty"),
        ("open", {"model": "latch", "text": 7}, 400, "a string"),
        ("open", {"model": "latch", "text": "a" * 20_001}, 400, "20,000"),
        ("open", {"model": "latch", "part": {"first": -1}}, 400, "number"),
        ("open", {"model": "latch"}, 400, "no text of its own"),
        ("range", {"model": "latch", "id": "gone", "signal": "c", "first": 0, "last": 1}, 400, "no longer kept"),
        ("labels", {"model": "latch", "text": TEXT, "property": "nonsense"}, 400, "quotes"),
        ("labels", {"model": "latch", "text": TEXT, "property": "/etc/passwd.tsv"}, 400, "no property"),
        ("labels", {"model": "latch", "text": TEXT, "property": "re:("}, 400, "not a regular expression"),
        ("find", {"model": "latch", "text": TEXT, "labels": [[5, 2, 1]]}, 400, "from a smaller to a larger index"),
        ("find", {"model": "latch", "text": TEXT, "labels": [[0, 2, True]]}, 400, "[from, to, label]"),
        ("find", {"model": "latch", "text": TEXT, "labels": [[0, 2, 1e300]]}, 400, "label"),
        ("find", {"model": "latch", "text": TEXT, "property": "quotes", "top": 0}, 400, "top"),
        ("memory", {"models": []}, 400, "models"),
        ("memory", {"models": ["latch"] * 5}, 400, "models"),
        ("similar", {"model": "latch", "text": "a", "query": "a"}, 400, "sentences"),
        ("similar", {"model": "latch", "text": TEXT, "query": " "}, 400, "query"),
        ("similar", {"model": "latch", "text": TEXT, "query": "a", "pool": "sum"}, 400, "last"),
        ("jobs/none/cancel", {}, 400, "no longer kept"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    studio: Studio, path: str, body: Json, status: int, reason: str
) -> None:
    answer = studio.client.post(f"/api/inside/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert reason in answer.json()["error"]["message"] + str(answer.json())


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"layer": 1}, "there is no layer 1"),
        ({"layer": 0, "signal": "r"}, "has the gates i, f, o"),
        ({"layer": "x"}, "whole number"),
        ({"layer": 0, "signal": "c", "id": "gone"}, "no longer kept"),
    ],
)
def test_a_picture_that_is_not_there_is_refused(studio: Studio, query: Json, reason: str) -> None:
    trace = studio.post("open", model="latch", text=SHORT)
    answer = studio.client.get("/api/inside/heat", params={"model": "latch", "id": trace["id"], "signal": "c", **query})
    assert answer.status_code == 400 and reason in answer.text


def test_all_of_it_needs_the_token(studio: Studio) -> None:
    answer = studio.client.post("/api/inside/open", json={"model": "latch"}, headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


def test_without_torch_it_says_what_to_install(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    assert studio.get("properties")
    monkeypatch.setattr(routes, "find_spec", lambda name: None)
    error = studio.client.get("/api/inside/properties").json()["error"]
    assert "PyTorch" in error["message"] and error["allowed"] and "train" in error["fix"]

"""The studio's routes: what is refused, and what needs the token."""

import httpx

from page.conftest import Running
from serve.studio.asking import Ask


def test_what_is_asked_wrongly_is_refused_with_the_reason(ask: Ask) -> None:
    requests = [
        ("read", {"model": "nobody", "text": "a"}, 404),
        ("read", {"model": "book", "text": 5}, 400),
        ("read", {"model": "book", "text": "a", "since": -1}, 400),
        ("read", {"model": "book", "text": "a" * 21_000}, 400),
        ("sample", {"model": "book", "length": 10**9}, 400),
        ("sample", {"model": "book", "temperature": -1}, 400),
        ("sample", {"model": "book", "top_p": 0}, 400),
        ("sample", {"model": "book", "ids": [10**6]}, 400),
        ("sample", {"model": "book", "ids": [True]}, 400),
        ("sample", {"model": "book", "pins": [{"layer": 9, "unit": 0, "value": 1}]}, 400),
        ("sample", {"model": "small", "pins": [{"layer": 0, "unit": 0, "signal": "c", "value": 1}]}, 400),
        ("compare", {"a": "book", "b": "small", "text": ""}, 400),
        ("texts", {"text": ""}, 400),
        ("train", {"source": "file", "file": "../book.txt"}, 400),
        ("train", {"source": "file", "file": "/etc/passwd"}, 400),
        ("train", {"source": "upload", "upload": "../../x"}, 400),
        ("train", {"source": "demo", "name": "../x", "steps": 1}, 400),
        ("train", {"source": "demo", "arch": "--out=/tmp/x"}, 400),
        ("train", {"source": "demo", "name": "book"}, 400),
        ("runs/nobody/pause", {}, 400),
        ("runs/book/remove", {}, 404),
        ("runs/book/pause", {}, 400),
        ("uploads", {"text": " \n"}, 400),
    ]
    for path, body, status in requests:
        answer = ask(path, body)
        assert answer.status_code == status, (path, body, answer.text)
        assert answer.json()["error"]["message"]
    assert ask("runs/..%2f..%2fetc").status_code in (400, 404)
    assert ask("texts/..%2f..%2fetc").status_code in (400, 404)


def test_nothing_of_it_is_told_without_the_token(studio: Running) -> None:
    for path in ("info", "files", "runs/book", "texts/abc", "inside/properties"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer"}):
            assert httpx.get(f"{studio.url}/api/{path}", headers=headers).status_code == 401


def test_texts_that_are_sent_are_bounded(ask: Ask, studio: Running) -> None:
    assert ask("texts", {"text": "a" * (2**20 + 10)}).status_code in (400, 413)
    upload = ask("uploads", {"name": "../../<b>.txt", "text": "a b c"}).json()
    assert upload["name"] == "b" and upload["bytes"] == 5

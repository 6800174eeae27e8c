"""Errors: every route answers with the same object, whose parts make sense by themselves; another shape is caught."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from serve.live import make_model
from unroll.errors import MachineError, UserError
from unroll.serve.app import create_app
from unroll.serve.errors import ApiError, internal, of_user_error
from unroll.serve.inside.routes import routes as inside_routes
from unroll.serve.models import Models
from unroll.serve.settings import Settings

KEY = "key"
PARTS = {"message", "allowed", "fix", "type", "param", "code"}
WITHOUT_FAULT = {
    "/healthz", "/readyz", "/health", "/version", "/metrics", "/openapi.json", "/v1/models", "/api/info", "/api/files",
    "/api/inside/properties",
}  # fmt: skip
"""Paths that take nothing that could be wrong but the method."""


def law_error(error: Any) -> None:
    """An error is an object of six parts; each text is one line, and an error of the sender has all three."""
    assert error.keys() == PARTS, error
    for name in ("message", "allowed", "fix"):
        assert isinstance(error[name], str) and "\n" not in error[name] and "  " not in error[name], error
    assert re.search(r"\w+ \w+", error["message"]) and not error["message"].endswith((".", ":")), error
    assert error["code"] and error["type"].endswith("_error")
    if error["type"] != "server_error":
        assert error["allowed"] and error["fix"], error


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("errors")
    models = Models([make_model(folder / name) for name in ("one", "two")])
    settings = Settings(port=80, page_token=KEY)
    headers = {"Authorization": f"Bearer {KEY}"}
    with TestClient(create_app(models, settings, studio=True), "http://127.0.0.1", headers=headers) as client:
        yield client


def every_path(client: TestClient) -> list[tuple[str, str]]:
    """Return the path and method of each route, those below /api/inside among them."""
    app: Any = client.app
    paths = []
    for route in app.routes:
        if isinstance(route, Route):
            paths += [(route.path, method) for method in route.methods or ()]
        elif isinstance(route, Mount) and route.path == "/api":
            paths += [(f"/api{inner.path}", method) for inner in route.routes if isinstance(inner, Route)
                      for method in inner.methods or ()]  # fmt: skip
    paths += [
        (f"/api/inside{route.path}", method)
        for route in inside_routes(app.state.context)
        for method in route.methods or ()
    ]
    return [(path, method) for path, method in paths if method != "HEAD"]


def test_bad_requests_of_every_route_get_the_one_object(client: TestClient) -> None:
    paths = every_path(client)
    assert len(paths) > 45
    for path, method in paths:
        address = re.sub(r"\{\w+\}", "nothing-here", path)
        wrong_method = client.request("GET" if method == "POST" else "DELETE", address, json={})
        assert wrong_method.status_code in (404, 405), (path, wrong_method.text)
        law_error(wrong_method.json()["error"])
        if method == "POST":
            for body in (b"{", b"[]", b'{"a": NaN}'):
                answer = client.post(address, content=body, headers={"Content-Type": "application/json"})
                assert answer.status_code >= 400, (path, body, answer.text)
                law_error(answer.json()["error"])
        if path in WITHOUT_FAULT or path.endswith("/v1/chat/completions"):
            continue
        fields = dict.fromkeys(("text", "model", "models", "prompt", "tokens", "input", "upload", "source"), 7)
        answer = client.post(address, json=fields) if method == "POST" else client.get(address)
        assert answer.status_code in (400, 404), (path, answer.status_code, answer.text)
        law_error(answer.json()["error"])


FAULTS: list[tuple[str, Any]] = [
    ("/v1/chat/completions", {}),
    ("/v1/completions", {"prompt": "a"}),
    ("/v1/completions", {"model": "one", "prompt": "QQ"}),
    ("/v1/completions", {"model": "one", "prompt": [10**6]}),
    ("/v1/completions", {"model": "one", "max_tokens": 0}),
    ("/v1/completions", {"model": "one", "state_from": "x"}),
    ("/models/one/v1/completions", {"model": "two"}),
    ("/api/read", {"model": "nobody"}),
    ("/api/sample", {"model": "one", "top_p": 0}),
    ("/api/sample", {"model": "one", "pins": [{"layer": 0}]}),
    ("/api/sample", {"model": "one", "pins": [{"layer": 9, "unit": 0, "value": 1}]}),
    ("/api/compare", {"a": "one", "b": "two", "text": ""}),
    ("/api/train", {"source": "file", "file": "/etc/passwd"}),
    ("/api/uploads", {"text": " "}),
    ("/api/runs/one/pause", {}),
    ("/api/runs/one/remove", {}),
    ("/api/inside/open", {"model": "one", "text": "a", "part": {"first": -1}}),
    ("/api/inside/labels", {"model": "one", "text": "a cat"}),
    ("/api/inside/find", {"model": "one", "text": "a cat", "labels": [[0, 2, True]]}),
    ("/api/inside/jobs/none/cancel", {}),
]


@pytest.mark.parametrize(("path", "body"), FAULTS, ids=lambda value: str(value)[:60])
def test_what_is_refused_later_gets_it_too(client: TestClient, path: str, body: Any) -> None:
    answer = client.post(path, json=body)
    assert 400 <= answer.status_code < 500, answer.text
    law_error(answer.json()["error"])


def test_errors_within_answers_are_the_same_object(client: TestClient) -> None:
    answer = client.post("/api/inside/unrolled", json={"models": ["one"], "text": "a" * 65}).json()
    law_error(answer["models"][0]["error"])


@pytest.mark.parametrize("headers", [{"Host": "elsewhere"}, {"Origin": "http://elsewhere"},
                                     {"Sec-Fetch-Site": "cross-site"}, {"Authorization": "Bearer no"},
                                     {"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"},
                                     {"Content-Length": "x"}])  # fmt: skip
def test_the_guard_refuses_with_it(client: TestClient, headers: dict[str, str]) -> None:
    request_headers = {"Content-Type": "application/json"} | headers
    answer = client.post("/api/read", content=b"{}", headers=request_headers)
    assert answer.status_code in (400, 401, 403, 415)
    law_error(answer.json()["error"])


def test_errors_of_the_library_keep_their_three_parts() -> None:
    error = of_user_error(UserError("the text is empty", allowed="a text", fix="type one"), "text")
    assert (error.status, error.message, error.allowed, error.fix, error.param) == (
        400, "the text is empty", "a text", "type one", "text"
    )  # fmt: skip
    law_error(error.figures())
    full = of_user_error(MachineError("the disk is full", fix="free some space"))
    assert full.status == 503 and full.type == "server_error"
    law_error(full.figures())
    law_error(internal().figures())


@pytest.mark.parametrize(
    "body",
    [
        {"message": "no such model"},
        ApiError(400, "invalid_value", "what is wrong\n  allowed: this\n  fix: that", allowed="a", fix="b").figures(),
        ApiError(400, "invalid_value", "something is wrong").figures(),
        ApiError(400, "invalid_value", "bad", allowed="a", fix="b").figures(),
    ],
)
def test_the_law_catches_another_shape(body: Any) -> None:
    with pytest.raises(AssertionError):
        law_error(body)


def test_a_route_that_answers_otherwise_is_caught(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApiError, "body", lambda error: {"error": {"message": error.message}})
    with pytest.raises(AssertionError):
        test_bad_requests_of_every_route_get_the_one_object(client)

"""The application: unknown paths, wrong methods and faults are answered as JSON."""

import json
import random
from typing import Any

import pytest

from serve.live import Live, raw, run_apart
from serve.wire import ask, parsed
from unroll.serve.guard import CONTENT_SECURITY_POLICY


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/%2e%2e%2fetc/passwd", "/..%5c..%5cetc", "/a%00b", "//etc/passwd", "/v1/models/../../etc",
     "/v1/models/..%2f..%2fetc", "/v1/models/%00"],
)  # fmt: skip
def test_paths_lead_nowhere(live: Live, path: str) -> None:
    assert ask(live, path=path)[0] == 404


def test_ten_thousand_paths_lead_nowhere(live: Live) -> None:
    """Through the guard and the router without a socket, which is quicker."""
    draw = random.Random(0)
    pieces = ["..", ".", "etc", "passwd", "%2e%2e", "\\", "/", "\x00", "\u202e", "v1", "models", "\n", "é", "x" * 300]

    async def all_of_them() -> None:
        for _ in range(10_000):
            path = "/" + "/".join(draw.choice(pieces) for _ in range(draw.randint(1, 5)))
            status, body = await asked(live, path)
            assert status == (200 if path == "/v1/models" else 404)
            assert "error" in json.loads(body) or path == "/v1/models"

    run_apart(all_of_them())


async def asked(live: Live, path: str) -> tuple[int, bytes]:
    """Ask the application for a path as it is."""
    host = f"127.0.0.1:{live.settings.port}".encode()
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": b"", "query_string": b"", "root_path": "",
        "headers": [(b"host", host)], "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80),
    }  # fmt: skip
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    application: Any = live.server.config.app
    await application(scope, receive, send)
    return messages[0]["status"], b"".join(message["body"] for message in messages[1:])


def test_methods_and_errors_are_told_as_json(live: Live) -> None:
    with live.http() as client:
        answer = client.delete("/v1/models", headers={"content-type": "application/json"})
        assert answer.status_code == 405 and "GET" in answer.headers["allow"]
        assert answer.json()["error"]["code"] == "method_not_allowed"
        answer = client.get("/<script>%1b[31m")
        assert answer.status_code == 404 and "\x1b" not in answer.text
    assert parsed(raw(live, b"this is no HTTP\r\n\r\n")) == (400, "invalid_request")


def test_what_fails_inside_tells_nothing_of_it(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(live.context.models, "latest", fail)
    answer = live.get("/v1/models")
    assert answer.status_code == 500 and "secret" not in answer.text and answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["type"] == "server_error"
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY

"""The server's connections: slow ones, idle ones, too many, and those that do not speak HTTP."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.live import Live, make_model, raw, serving
from serve.wire import parsed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("guarded") / "char")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Live]:
    with serving(folder, read_seconds=1.0) as live:
        yield live


def test_what_comes_too_slowly_is_cut_off(served: Live) -> None:
    start = time.monotonic()
    head = f"POST /tokenize HTTP/1.1\r\nHost: 127.0.0.1:{served.settings.port}\r\nContent-Type: application/json\r\n"
    body = raw(served, head.encode() + b"Content-Length: 100\r\n\r\n{", seconds=5)
    assert parsed(body) == (408, "request_timeout")
    assert parsed(raw(served, b"GET /heal", seconds=5)) == (408, "request_timeout")
    assert parsed(raw(served, b"", seconds=5)) == (408, "request_timeout")
    assert 2.5 < time.monotonic() - start < 6


def test_idle_connections_keep_nobody_out(served: Live) -> None:
    idle = [socket.create_connection(("127.0.0.1", served.settings.port)) for _ in range(300)]
    try:
        for connection in idle[::2]:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\n")
        with served.openai().completions.create(
            model="char", prompt="a", max_tokens=3000, stream=True, seed=1
        ) as events:
            assert sum(len(chunk.choices[0].text) for chunk in events) == 3000
        time.sleep(1.2)
        for connection in idle:
            connection.settimeout(2)
            assert b" 408 " in connection.recv(4096)
    finally:
        for connection in idle:
            connection.close()


def test_more_connections_than_allowed_are_refused(folder: Path) -> None:
    with serving(folder, connections=5) as live:
        idle = [socket.create_connection(("127.0.0.1", live.settings.port)) for _ in range(5)]
        try:
            time.sleep(0.1)
            answer = raw(live, b"")
            assert parsed(answer) == (503, "too_many_connections")
        finally:
            for connection in idle:
                connection.close()
        time.sleep(0.1)
        assert live.get("/healthz").status_code == 200

"""Fetching by name, from a server of our own."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.conftest import Here, Refused
from unroll.data.sources import SOURCES, Source

CONTENT = b"It was a bright cold day in April.\n" * 100


class Server(BaseHTTPRequestHandler):
    """Sends the same text to everyone."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/text"
        server.shutdown()
        thread.join()


def know(monkeypatch: pytest.MonkeyPatch, url: str, sha256: str | None) -> None:
    size = len(CONTENT) if sha256 else None
    monkeypatch.setitem(SOURCES, "april", Source("april", url, size, sha256, "public domain", "one line, often"))


def test_fetch_prints_the_files(here: Here, monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path) -> None:
    know(monkeypatch, url, hashlib.sha256(CONTENT).hexdigest())
    result = here("data", "fetch", "april", "--out", tmp_path)
    assert (result.code, result.out) == (0, f"{tmp_path / 'april.txt'}\n")
    assert "licence: public domain" in result.err
    assert (tmp_path / "april.txt").read_bytes() == CONTENT
    repeat = json.loads(here("data", "fetch", "april", "--out", tmp_path, "--json").out)
    assert repeat == {"name": "april", "url": url, "verified": True, "files": [str(tmp_path / "april.txt")]}


def test_what_cannot_be_checked_is_said_to_be(
    here: Here, monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path
) -> None:
    know(monkeypatch, url, None)
    result = here("data", "fetch", "april", "--out", tmp_path)
    assert result.code == 0
    assert "no checksum is known for april" in result.err


def test_another_text_than_promised_is_refused(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path
) -> None:
    know(monkeypatch, url, hashlib.sha256(b"another").hexdigest())
    assert "has changed" in refused("data", "fetch", "april", "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []

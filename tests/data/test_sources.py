import gzip
import hashlib
import io
import os
import sysconfig
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unroll.data.corpus import DataConfig, load_corpus, write_corpus
from unroll.data.sources import CHUNK_BYTES, SOURCES, STDLIB_BYTES, Source, fetch_source, stdlib_corpus, texts
from unroll.errors import UserError
from unroll.progress import Progress

TEXT = bytes(range(32, 127)) * 10_000  # several chunks


class Server(ThreadingHTTPServer):
    """Serves one body on every path but some, and remembers what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = TEXT
        self.ranges = True  # whether it understands them
        self.broken_after: int | None = None  # bytes after which it hangs up
        self.chunked = False
        self.asked: list[str | None] = []  # the ranges
        self.tag: tuple[str, str] | None = None  # a header that names the state of the body
        self.understands_if_range = True

    def url(self, path: str = "text") -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server, span = self.server, self.headers["Range"]
        server.asked.append(span)
        if span and server.tag and server.understands_if_range and self.headers["If-Range"] != server.tag[1]:
            span = None
        self.close_connection = True
        if self.path == "/missing":
            return self.send_error(404)
        if self.path in ("/moved", "/to-a-file"):
            self.send_response(302)
            self.send_header("Location", server.url() if self.path == "/moved" else "file:///etc/passwd")
            return self.end_headers()
        start = int(span.removeprefix("bytes=").removesuffix("-")) if span and server.ranges else 0
        if start >= len(server.body) > 0:
            return self.send_error(416)
        body = server.body[start:]
        self.send_response(206 if span and server.ranges else 200)
        if span and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        if server.tag:
            self.send_header(*server.tag)
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        part = body[: server.broken_after]
        if server.chunked:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(body), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def source_of(server: Server, *, path: str = "text", checked: bool = True, members: tuple[str, ...] = ()) -> Source:
    size, digest = (len(server.body), hashlib.sha256(server.body).hexdigest()) if checked else (None, None)
    return Source("corpus", server.url(path), size, digest, "public domain", "a test", members)


def refused(source: Source, out: Path) -> UserError:
    with pytest.raises(UserError) as refusal:
        list(fetch_source(source, out))
    assert refusal.value.fix
    return refusal.value


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_download_is_the_text(server: Server, tmp_path: Path, checked: bool, chunked: bool) -> None:
    server.chunked = chunked
    source, out = source_of(server, checked=checked), tmp_path / "new" / "folder"
    events = list(fetch_source(source, out))
    assert texts(source, out) == [out / "corpus.txt"]
    assert texts(source, out)[0].read_bytes() == TEXT
    assert os.listdir(out) == ["corpus.txt"]
    loading = [progress for progress in events if progress.phase == "downloading"]
    assert len(loading) >= len(TEXT) // CHUNK_BYTES
    assert loading[-1] == Progress("downloading", len(TEXT), 0 if chunked and not checked else len(TEXT), "bytes")
    assert events[-1] == Progress("checking", len(TEXT), len(TEXT), "bytes")


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    source = source_of(server)
    list(fetch_source(source, tmp_path))
    assert list(fetch_source(source, tmp_path)) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("chunked", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path, chunked: bool) -> None:
    server.broken_after, server.chunked = 300_000, chunked
    source = source_of(server)
    assert "broke off" in refused(source, tmp_path).what
    assert os.listdir(tmp_path) == ["corpus.part"]
    size = (tmp_path / "corpus.part").stat().st_size
    assert 0 < size <= 300_000
    server.broken_after = None
    positions = [progress.done for progress in fetch_source(source, tmp_path) if progress.phase == "downloading"]
    assert positions[0] > size
    assert server.asked == [None, f"bytes={size}-"]
    assert (tmp_path / "corpus.txt").read_bytes() == TEXT


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    source, server.ranges = source_of(server), False
    (tmp_path / "corpus.part").write_bytes(TEXT[:1000])
    list(fetch_source(source, tmp_path))
    assert server.asked == ["bytes=1000-"]
    assert (tmp_path / "corpus.txt").read_bytes() == TEXT


def test_what_cannot_be_checked_is_not_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / "corpus.part").write_bytes(b"of another file")
    list(fetch_source(source_of(server, checked=False), tmp_path))
    assert server.asked == [None]
    assert (tmp_path / "corpus.txt").read_bytes() == TEXT


TAGS = [("ETag", '"one"'), ("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT")]


@pytest.mark.parametrize("tag", TAGS, ids=lambda tag: tag[0])
def test_what_the_server_marks_goes_on(server: Server, tmp_path: Path, tag: tuple[str, str]) -> None:
    server.tag, server.broken_after = tag, 300_000
    source = source_of(server, checked=False)
    assert "it continues from there" in refused(source, tmp_path).fix
    size = (tmp_path / "corpus.part").stat().st_size
    server.broken_after = None
    list(fetch_source(source, tmp_path))
    assert server.asked == [None, f"bytes={size}-"]
    assert (tmp_path / "corpus.txt").read_bytes() == TEXT
    assert os.listdir(tmp_path) == ["corpus.txt"]


@pytest.mark.parametrize("supported", [True, False])
def test_another_state_is_fetched_anew(server: Server, tmp_path: Path, supported: bool) -> None:
    server.tag, server.broken_after, server.understands_if_range = ("ETag", '"one"'), 300_000, supported
    source = source_of(server, checked=False)
    refused(source, tmp_path)
    server.body, server.tag, server.broken_after = TEXT[::-1], ("ETag", '"two"'), None
    list(fetch_source(source, tmp_path))
    assert (tmp_path / "corpus.txt").read_bytes() == TEXT[::-1]
    assert os.listdir(tmp_path) == ["corpus.txt"]


def test_a_weak_mark_is_none(server: Server, tmp_path: Path) -> None:
    server.tag, server.broken_after = ("ETag", 'W/"one"'), 300_000
    source = source_of(server, checked=False)
    refused(source, tmp_path)
    server.broken_after = None
    list(fetch_source(source, tmp_path))
    assert server.asked == [None, None]
    assert (tmp_path / "corpus.txt").read_bytes() == TEXT


@pytest.mark.parametrize("rest", [TEXT, TEXT + b"more"])
def test_a_whole_or_too_long_rest_is_handled(server: Server, tmp_path: Path, rest: bytes) -> None:
    (tmp_path / "corpus.part").write_bytes(rest)
    list(fetch_source(source_of(server), tmp_path))
    assert server.asked == ([] if rest == TEXT else [f"bytes={len(rest)}-", None])
    assert (tmp_path / "corpus.txt").read_bytes() == TEXT


def test_a_wrong_rest_is_refused_and_forgotten(server: Server, tmp_path: Path) -> None:
    (tmp_path / "corpus.part").write_bytes(b"x" * 1000)
    source = source_of(server)
    assert "has changed: SHA-256" in refused(source, tmp_path).what
    assert os.listdir(tmp_path) == []
    list(fetch_source(source, tmp_path))
    assert (tmp_path / "corpus.txt").read_bytes() == TEXT


@pytest.mark.parametrize("body", [TEXT[:-1], TEXT[:-1] + b"?", TEXT * 3])
def test_another_file_than_promised_is_refused(server: Server, tmp_path: Path, body: bytes) -> None:
    source, server.body = source_of(server), body
    error = refused(source, tmp_path)
    assert "has changed" in error.what
    assert error.allowed in (f"bytes {len(TEXT)}", f"SHA-256 {source.sha256}")
    assert os.listdir(tmp_path) == []


def test_a_redirection_is_followed_but_only_to_http(server: Server, tmp_path: Path) -> None:
    list(fetch_source(source_of(server, path="moved"), tmp_path))
    assert (tmp_path / "corpus.txt").read_bytes() == TEXT
    assert refused(source_of(server, path="to-a-file"), tmp_path / "other").what


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http://127.0.0.1:1/x"])
def test_addresses_that_cannot_be_reached(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert f"cannot reach {url}" in refused(Source("corpus", url, None, None, "", ""), tmp_path).what


def test_a_missing_page(server: Server, tmp_path: Path) -> None:
    assert "the server answers 404" in refused(source_of(server, path="missing"), tmp_path).what


def test_an_archive_is_unpacked(server: Server, tmp_path: Path) -> None:
    server.body = zipped(folder__train=TEXT, folder__test=b"test", other=b"x")
    source = source_of(server, members=("folder/train", "folder/test"))
    events = list(fetch_source(source, tmp_path))
    assert texts(source, tmp_path) == [tmp_path / "corpus" / "train", tmp_path / "corpus" / "test"]
    assert [path.read_bytes() for path in texts(source, tmp_path)] == [TEXT, b"test"]
    assert os.listdir(tmp_path) == ["corpus"]
    assert sorted(os.listdir(tmp_path / "corpus")) == ["test", "train"]
    assert events[-1] == Progress("unpacking", len(TEXT) + 4, len(TEXT) + 4, "bytes")


@pytest.mark.parametrize("damage", ["no zip", "another member", "broken"])
def test_a_bad_archive_is_refused_and_forgotten(server: Server, tmp_path: Path, damage: str) -> None:
    archive = zipped(train=bytes(range(256)) * 99)
    server.body = {
        "no zip": TEXT,
        "another member": zipped(other=TEXT),
        "broken": archive[:60] + bytes(8) + archive[68:],
    }[damage]
    error = refused(source_of(server, members=("train",)), tmp_path)
    assert "is not the expected archive" in error.what
    assert not [name for name in os.listdir(tmp_path) if name in ("train", "corpus.part")]


def test_an_archive_that_claims_to_be_huge_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unroll.data.sources.MAX_UNPACKED_BYTES", 1000)
    server.body = zipped(train=bytes(1001))
    assert "claims to hold 1,001 bytes" in refused(source_of(server, members=("train",)), tmp_path).what


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    refused(source_of(server), tmp_path / "file" / "out")


def test_a_fetched_gzip_file_is_a_text_as_it_is(server: Server, tmp_path: Path) -> None:
    server.body = gzip.compress(TEXT)
    source = source_of(server)
    list(fetch_source(source, tmp_path))
    list(write_corpus(texts(source, tmp_path), tmp_path / "out", DataConfig(split="50/50")))
    assert sum(part.bytes for part in load_corpus(tmp_path / "out").info.parts.values()) == len(TEXT)


def test_the_table_of_sources() -> None:
    assert {"tinyshakespeare", "war-and-peace", "enwik8", "text8", "wikitext-2", "stacks", "linux-kernel"} <= set(
        SOURCES
    )
    for name, source in SOURCES.items():
        assert name == source.name
        assert source.url.startswith(("https://", "http://"))
        assert source.url.startswith("https://") or source.verified
        assert source.licence
        assert source.description
        assert source.verified == (source.sha256 is not None)
        assert source.sha256 is None or (len(source.sha256) == 64 and source.bytes)
    files = [path for source in SOURCES.values() for path in texts(source, Path())]
    assert len(set(files)) == len(files)


def test_the_default_corpus_is_the_standard_library() -> None:
    corpus = stdlib_corpus()
    folder = Path(sysconfig.get_path("stdlib"))
    first = sorted(path.name for path in folder.glob("*.py"))[0]
    assert corpus.data.startswith((folder / first).read_bytes())
    assert STDLIB_BYTES - 4 < len(corpus.data) <= STDLIB_BYTES
    assert corpus.data.decode().isprintable() is False
    assert corpus.sha256 == hashlib.sha256(corpus.data).hexdigest() == stdlib_corpus().sha256
    assert corpus.version.startswith("3.")


@pytest.mark.parametrize("limit", range(3, 9))
def test_the_default_corpus_ends_with_a_whole_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    (tmp_path / "b.py").write_bytes("é😀".encode())
    (tmp_path / "a.py").write_bytes(b"ab")
    monkeypatch.setattr("unroll.data.sources.STDLIB_BYTES", limit)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    text = "abé😀"
    assert stdlib_corpus().data == text.encode()[:limit].decode(errors="ignore").encode()
    (tmp_path / "a.py").unlink()
    (tmp_path / "b.py").unlink()
    with pytest.raises(UserError, match="no source of its standard library"):
        stdlib_corpus()

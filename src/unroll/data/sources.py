"""Text to begin with: the public corpora of the field by name, over HTTP, and the one that every Python brings."""

import hashlib
import http.client
import math
import os
import sys
import sysconfig
import urllib.error
import urllib.request
import zipfile
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unroll.errors import UserError, did_you_mean
from unroll.files import StrPath, explained
from unroll.progress import Progress, Work

CHUNK_BYTES = 2**18
TIMEOUT_SECONDS = 30.0
MAX_UNPACKED_BYTES = 2**31
STDLIB_BYTES = 4_000_000

_ELSEWHERE = "try again later, or get the text elsewhere and name the file"


@dataclass(frozen=True)
class Source:
    """A public corpus. `bytes` and `sha256` are those of the download, None where nobody has vouched for them."""

    name: str
    url: str
    bytes: int | None
    sha256: str | None
    licence: str
    description: str
    members: tuple[str, ...] = ()  # the texts of a zip archive; none: the download is the text

    @property
    def verified(self) -> bool:
        """Whether the download can be checked."""
        return self.sha256 is not None


# The checksums are published with tensorflow/datasets (Tiny Shakespeare) and huggingface/datasets (enwik8, WikiText);
# that of text8 agrees in several independent projects.
SOURCES = {
    source.name: source
    for source in (
        Source(
            "tinyshakespeare",
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            1_115_394,
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            "public domain",
            "40,000 lines of Shakespeare's plays; nanoGPT's split is 90/10",
        ),
        Source(
            "war-and-peace",
            "https://cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt",
            None,
            None,
            "public domain",
            "Tolstoy in English, 3.2 MB, the novel of Karpathy, Johnson and Fei-Fei (2015); they split 80/10/10",
        ),
        Source(
            "linux-kernel",
            "https://cs.stanford.edu/people/karpathy/char-rnn/linux_input.txt",
            None,
            None,
            "GPL-2.0",
            "C sources of the Linux kernel in random order, 6.2 MB, also of that paper",
        ),
        Source(
            "stacks",
            "https://codeload.github.com/stacks/stacks-project/zip/refs/heads/master",
            None,
            None,
            "GFDL",
            "algebraic geometry in LaTeX, six chapters of the Stacks project as it is today",
            tuple(
                f"stacks-project-master/{chapter}.tex"
                for chapter in ("algebra", "schemes", "morphisms", "cohomology", "coherent", "divisors")
            ),
        ),
        Source(
            "enwik8",
            "http://mattmahoney.net/dc/enwik8.zip",
            36_445_475,
            "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
            "CC BY-SA",
            "the first 100 MB of the English Wikipedia of 2006, XML and markup; use --level byte, split 90/5/5",
            ("enwik8",),
        ),
        Source(
            "text8",
            "http://mattmahoney.net/dc/text8.zip",
            31_344_016,
            "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
            "CC BY-SA",
            "100 MB of the same Wikipedia reduced to a-z and space; split 90/5/5",
            ("text8",),
        ),
        Source(
            "wikitext-2",
            "https://wikitext.smerity.com/wikitext-2-v1.zip",
            4_475_746,
            "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
            "CC BY-SA",
            "two million words of Wikipedia, prepared for --level word (Merity 2016)",
            tuple(f"wikitext-2/wiki.{part}.tokens" for part in ("train", "valid", "test")),
        ),
        Source(
            "wikitext-103",
            "https://wikitext.smerity.com/wikitext-103-v1.zip",
            190_229_076,
            "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
            "CC BY-SA",
            "a hundred million words of the same kind",
            tuple(f"wikitext-103/wiki.{part}.tokens" for part in ("train", "valid", "test")),
        ),
    )
}


@dataclass(frozen=True)
class StdlibCorpus:
    """The default corpus: the text, the version of Python that it belongs to, and its digest."""

    data: bytes
    version: str
    sha256: str


def stdlib_corpus() -> StdlibCorpus:
    """Return the top-level modules of the running Python's standard library by name, cut to 4 MB between characters."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"), key=lambda path: path.name)
    data = b"".join(path.read_bytes() for path in modules)
    if not data:
        raise UserError("this Python has no source of its standard library", fix="name a text file")
    end = min(STDLIB_BYTES, len(data))
    while end < len(data) and data[end] & 0xC0 == 0x80:  # inside a character
        end -= 1
    version = ".".join(map(str, sys.version_info[:3]))
    return StdlibCorpus(data[:end], version, hashlib.sha256(data[:end]).hexdigest())


def texts(source: Source, out: Path) -> list[Path]:
    """Return the files that `fetch` leaves in the folder `out`."""
    folder = out / source.name if len(source.members) > 1 else out
    return [folder / PurePosixPath(member).name for member in source.members] or [folder / f"{source.name}.txt"]


def sources() -> list[Source]:
    """Return the public corpora that `fetch` knows by name."""
    return list(SOURCES.values())


def fetch(name: str, out: StrPath = "data") -> Work[list[Path]]:
    """Download the public corpus `name` into the folder `out`, yielding progress; returns the files of its text.

    What is there already is not downloaded again, and a broken download continues where it stopped. Raises UserError.
    """
    if name not in SOURCES:
        fix = did_you_mean(name, SOURCES, "choose one of them: `unroll data list` describes them")
        raise UserError(f"there is no public corpus '{name}'", allowed=", ".join(sorted(SOURCES)), fix=fix)
    return fetch_source(SOURCES[name], Path(out))


def fetch_source(source: Source, out: Path) -> Work[list[Path]]:
    """Download the source into the folder `out`, check it and unpack it; returns its `texts`.

    A broken download continues where it stopped. Raises UserError when the server cannot be reached, stops early, or
    sends data that does not match the size and checksum.
    """
    files = texts(source, out)
    if all(path.exists() for path in files):
        return files
    part = out / f"{source.name}.part"
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
        yield from _download(source, part)
        yield from _check(source, part)
        if source.members:
            yield from _unpack(source, part, out)
            part.unlink()
        else:
            os.replace(part, files[0])
        _mark(part).unlink(missing_ok=True)
    return files


def _mark(part: Path) -> Path:
    """Return the file that records which version of the source a part belongs to, where there is no checksum."""
    return part.with_name(part.name + ".mark")


def _mark_of(answer: http.client.HTTPResponse) -> str:
    """Return the version that a server gives its answer: a strong ETag, or a date (RFC 9110, 13.1.5)."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")


def _download(source: Source, part: Path) -> Work[None]:
    mark = "" if source.verified or not _mark(part).exists() else _mark(part).read_text("latin-1")
    # Without a checksum or a mark, halves of two files might be joined.
    done = part.stat().st_size if part.exists() and (source.verified or mark) else 0
    if done and done == source.bytes:
        return
    with ExitStack() as stack:
        answer = stack.enter_context(_open(source.url, done, mark))
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            done = 0  # the server sends all of it
        elif done and mark and _mark_of(answer) != mark:
            done = 0  # the rest of another version: the server does not know If-Range
            answer = stack.enter_context(_open(source.url, 0))
        total = source.bytes or 0 if answer.length is None else done + answer.length
        if source.bytes not in (None, total):
            raise _refused(source, part, "bytes", total, source.bytes)
        with open(part, "ab" if done else "wb") as file:
            if not done and not source.verified:
                _mark(part).write_text(_mark_of(answer), "latin-1")
            while (chunk := _read(answer, source.url)) and done <= (source.bytes or math.inf):
                file.write(chunk)
                done += len(chunk)
                yield Progress("downloading", done, total, "bytes")
    if done < total:
        raise UserError(
            f"the download of {source.url} broke off after {done:,} of {total:,} bytes",
            fix="run the same command again"
            + (", it continues from there" if source.verified or _mark_of(answer) else ""),
        )


def _check(source: Source, part: Path) -> Work[None]:
    size, done, hasher = part.stat().st_size, 0, hashlib.sha256()
    with open(part, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
            done += len(chunk)
            yield Progress("checking", done, size, "bytes")
    for what, actual, promised in (("bytes", size, source.bytes), ("SHA-256", hasher.hexdigest(), source.sha256)):
        if promised not in (None, actual):
            raise _refused(source, part, what, actual, promised)


def _refused(source: Source, part: Path, what: str, actual: object, promised: object) -> UserError:
    part.unlink(missing_ok=True)
    _mark(part).unlink(missing_ok=True)
    return UserError(f"{source.url} has changed: {what} {actual}", allowed=f"{what} {promised}", fix=_ELSEWHERE)


def _unpack(source: Source, part: Path, out: Path) -> Work[None]:
    try:
        with zipfile.ZipFile(part) as archive:
            infos = [archive.getinfo(member) for member in source.members]
            total, done = sum(info.file_size for info in infos), 0
            if total > MAX_UNPACKED_BYTES:
                raise zipfile.BadZipFile(f"it claims to hold {total:,} bytes")
            for info, path in zip(infos, texts(source, out), strict=True):
                path.parent.mkdir(exist_ok=True)
                beside = path.with_name(path.name + ".part")
                with archive.open(info) as packed, open(beside, "wb") as file:
                    while chunk := packed.read(CHUNK_BYTES):
                        file.write(chunk)
                        done += len(chunk)
                        yield Progress("unpacking", done, total, "bytes")
                os.replace(beside, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError) as error:
        part.unlink()
        _mark(part).unlink(missing_ok=True)
        raise UserError(
            f"{source.url} is not the expected archive: {error}",
            allowed=f"a zip archive with {', '.join(source.members)}",
            fix=_ELSEWHERE,
        ) from None


def _open(url: str, offset: int, mark: str = "") -> http.client.HTTPResponse:
    """Request what follows `offset`, or everything where the server's `mark` has changed.

    Only http and https are used, also after a redirection.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    request = urllib.request.Request(url, headers={"User-Agent": "unroll"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if mark:
            request.add_header("If-Range", mark)
    try:
        answer: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT_SECONDS)
        return answer
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            return _open(url, 0)
        raise UserError(f"{url}: the server answers {error.code} {error.reason}", fix=_ELSEWHERE) from None
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"cannot reach {url}: {error}", fix="check the network, try again") from None


def _read(answer: http.client.HTTPResponse, url: str) -> bytes:
    try:
        return answer.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"the download of {url} broke off: {error}", fix="run the same command again") from None

"""The bytes of a text, as a stream: a file unpacked, decoded from its encoding, reduced to one column of a table."""

import bz2
import codecs
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from itertools import chain
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Protocol

from unroll.data.kinds import binary, broken, refuse_document
from unroll.data.tables import Row, column_of, lines_of, rows_of
from unroll.errors import UserError
from unroll.files import StrPath, unreadable
from unroll.settings import unknown_key

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from hashlib import _Hash

READ_BYTES = 2**17
MAX_MEMORY = 2**28
"""Bytes of memory that unpacking xz may take, whatever its header says; `xz -9` takes a quarter."""
MAX_WHOLE = 2**28
"""Bytes of a text that is read whole, unpacked."""
NOT_OF_FILES = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
"""Codecs of Python that encode text, but not files of text."""


class TextPath(PosixPath):
    """A path that also says how its text is read, so that all that takes a path takes it.

    Messages, which are f-strings, call it by its `label`: no user knows where a copy of standard input lies.
    """

    encoding: str | None = None
    """A codec of Python; None is UTF-8."""
    column: str | None = None
    """The column of a CSV file, or the key in lines of JSON, that is the text."""
    label: str | None = None

    def __format__(self, spec: str) -> str:
        return format(self.label or str(self), spec)


def text_path(
    path: StrPath, *, encoding: str | None = None, column: str | None = None, label: str | None = None
) -> TextPath:
    """Return a path whose text is in another `encoding`, or is one `column` of a CSV or JSON-lines file.

    Whatever reads a text takes it, as in `train(text_path("posts.csv", column="body"))`. Raises UserError for an
    encoding that Python does not know.
    """
    reading = TextPath(path)
    reading.encoding = None if encoding is None else known_encoding(encoding)
    reading.column, reading.label = column, label
    return reading


def known_encoding(name: str) -> str:
    """Return the name of an encoding of text as it is; raises UserError for another."""
    from encodings.aliases import aliases

    if _is_encoding(name):
        return name
    raise unknown_key(name, [*filter(_is_encoding, {*aliases.values()})], "the encodings of Python")


def _is_encoding(name: str) -> bool:
    """Tell whether Python has an encoding of text files of this name."""
    try:
        codec = codecs.lookup(name).name
        "".encode(name)  # refuses codecs of something else, as rot13
    except (LookupError, ValueError):
        return False
    return codec.replace("-", "_") not in NOT_OF_FILES


class Decompressor(Protocol):
    """What the decompressors of Python share."""

    @property
    def eof(self) -> bool:
        """Whether a stream has ended; another may follow."""

    @property
    def needs_input(self) -> bool:
        """Whether all that was put in has been unpacked."""

    @property
    def unused_data(self) -> bytes:
        """What follows the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most `max_length` bytes."""


GZIP_MAGIC = b"\x1f\x8b"
PACKINGS: dict[str, tuple[tuple[bytes, ...], Callable[[], Decompressor]]] = {
    # After its level a bz2 has a block, or its end: a text may well begin with BZh.
    "bz2": (tuple(b"BZh%d%b" % (k, rest) for k in range(1, 10) for rest in (b"1AY&SY", b"\x17rE8P\x90")),
            bz2.BZ2Decompressor),
    "xz": ((b"\xfd7zXZ\0",), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_MEMORY)),
    "zst": ((b"\x28\xb5\x2f\xfd",), zstd.ZstdDecompressor),
}  # fmt: skip
"""Ways to pack a file beside gzip: the bytes that it begins with, and what unpacks it."""


def read_chunks(
    path: Path, size: int = READ_BYTES, *, row_end: str = "\n", any_bytes: bool = False
) -> Iterator[tuple[bytes, int]]:
    """Yield the text of a file in UTF-8, in chunks of about `size` bytes, each time with the place on the disk.

    The last chunk is empty. Each row of a column gets the `row_end` that it lacks. With `any_bytes`, as at level byte,
    a PDF is a text too. Raises UserError where the file cannot be read, is damaged, or is not in its encoding.
    """
    with _explained(path) as file:
        pieces = _pieces(path, file, size, any_bytes)
        for chunk in pieces if _column(path) is None else _joined(pieces, row_end.encode(), size):
            if chunk:
                yield chunk, file.tell()
        yield b"", file.tell()


def read_rows(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their ends, or the rows of its column and newlines, in UTF-8; raises UserError."""
    with _explained(path) as file:
        pieces = _pieces(path, file, READ_BYTES, any_bytes=False)
        yield from lines_of(pieces, b"\n", path) if _column(path) is None else (row + b"\n" for row in pieces)


def read_table(
    path: Path, columns: Mapping[str, str], digest: "_Hash", *, every: bool = False
) -> Iterator[tuple[Row, int]]:
    """Yield the rows of a table as `rows_of` does, each with the place on the disk; `digest` takes all bytes, unpacked.

    A column that the path itself names is of no account. Raises UserError.
    """
    with _explained(path) as file:
        chunks = _hashed(_texts_only(path, _unpacked(file, READ_BYTES)), digest)
        for row in rows_of(decoded(chunks, path, _encoding(path) or "UTF-8"), path, columns, every=every):
            yield row, file.tell()


def read_whole(path: Path) -> bytes:
    """Return the text of a file in UTF-8; raises UserError, also for more than MAX_WHOLE bytes. A pipe will do."""
    data = bytearray()
    with _explained(path) as file:
        for piece in _pieces(path, file, READ_BYTES, any_bytes=False):
            data += piece
            if len(data) > MAX_WHOLE:
                limit = f"a text of at most {MAX_WHOLE:,} bytes"
                raise UserError(f"{path} is too long", allowed=limit, fix="shorten it")
    return bytes(data)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file as they are, unpacked; raises UserError."""
    with _explained(path) as file:
        return b"".join(_unpacked(file, READ_BYTES))


def decoded(chunks: Iterator[bytes], path: Path, encoding: str) -> Iterator[str]:
    """Yield the text of bytes in another encoding; raises UserError naming the first byte that is not in it."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = characters = 0
    for chunk in chain(chunks, [b""]):
        rest = decoder.getstate()[0]
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:
            raise broken(path, rest + chunk, offset - len(rest), error, encoding) from None
        if (place := text.find("\0")) >= 0:
            raise binary(path, chunk, f"NUL at character {characters + place:,}")
        offset, characters = offset + len(chunk), characters + len(text)
        yield text


def _column(path: Path) -> str | None:
    return path.column if isinstance(path, TextPath) else None


def _encoding(path: Path) -> str | None:
    return path.encoding if isinstance(path, TextPath) else None


def _hashed(chunks: Iterator[bytes], digest: "_Hash") -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _texts_only(path: Path, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Return the chunks of a file; raises UserError for a document or an archive."""
    first = next(chunks, b"")
    refuse_document(path, first)
    return chain([first], chunks)


def _pieces(path: Path, file: BufferedReader, size: int, any_bytes: bool) -> Iterator[bytes]:
    """Yield the rows of the path's column, or else the text chunk by chunk, in UTF-8."""
    chunks, column = _unpacked(file, size), _column(path)
    if not any_bytes:
        chunks = _texts_only(path, chunks)
    encoding = _encoding(path)
    if encoding is None and column is None:
        return chunks
    texts = decoded(chunks, path, encoding or "UTF-8")
    texts = texts if column is None else column_of(texts, path, column)
    return (text.encode("utf-8", "surrogatepass") for text in texts)


def _joined(rows: Iterator[bytes], end: bytes, size: int) -> Iterator[bytes]:
    """Yield rows with their ends, so many together that they make `size` bytes."""
    chunk = bytearray()
    for row in rows:
        chunk += row if row.endswith(end) else row + end
        if len(chunk) >= size:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


@contextmanager
def _explained(path: Path) -> Iterator[BufferedReader]:
    """Open a file; what goes wrong while it is read becomes a UserError."""
    packing = None
    try:
        with open(path, "rb") as file:
            packing = _packing(file)
            yield file
    except (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, gzip.BadGzipFile) as error:
        raise _damaged(path, packing, error) from None
    except OSError as error:
        if packing is not None and error.errno is None:  # as bz2 reports its own
            raise _damaged(path, packing, error) from None
        raise unreadable(path, error) from None


def _damaged(path: Path, packing: str | None, error: Exception) -> UserError:
    return UserError(f"{path} is damaged {packing}: {error}", fix="fetch or pack it again")


def _packing(file: BufferedReader) -> str | None:
    """Return how a file is packed, by its first bytes; None for a plain one."""
    head = file.peek(10)
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    return next((name for name, (magics, _) in PACKINGS.items() if head.startswith(magics)), None)


def _unpacked(file: BufferedReader, size: int) -> Iterator[bytes]:
    """Yield what a file holds, at most `size` bytes at a time: memory does not grow, however far it unpacks."""
    packing = _packing(file)
    if packing in (None, "gzip"):
        stream = gzip.GzipFile(fileobj=file) if packing else file
        while chunk := stream.read(size):
            yield chunk
        return
    make = PACKINGS[packing][1]
    decompressor, data = make(), file.read(size)
    while True:
        if chunk := decompressor.decompress(data, size):
            yield chunk
        data = b""
        if decompressor.eof:
            # Another stream may follow; between two of xz there may be zeros.
            data = decompressor.unused_data.lstrip(b"\0") or file.read(size).lstrip(b"\0")
            if not data:
                return
            decompressor = make()
        elif decompressor.needs_input and not (data := file.read(size)):
            raise EOFError("it ends too early")

"""Files that are read whole or line by line: their bytes, their texts, lines of JSON, and texts on one line."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unroll.data.blocks import GZIP_MAGIC, MARK, file_size
from unroll.errors import UserError
from unroll.files import unreadable

LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""Characters that end a line: in all programs the first, in many the second, in Python's `str.splitlines` all."""

ESCAPES = (
    {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F)}
    | {code: f"\\u{code:04x}" for code in (*range(0x80, 0xA0), 0x2028, 0x2029)}
    | {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}  # as PEP 383 has them
    | {ord("\n"): "\\n", ord("\t"): "\\t", ord("\r"): "\\r"}
)
"""Characters that cannot appear in a table cell or on one line, with their escapes."""


def whole_text(path: Path, *, keep_mark: bool = False) -> str:
    """Return the text of a file, plain or gzip, with its line ends unchanged.

    A byte order mark at its start is dropped unless `keep_mark`. A pipe works too, as it is read once.
    Raises UserError where it cannot be read or is not UTF-8.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged gzip: {error}", fix="fetch or pack it again") from None
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at byte offset {error.start:,} ({error.reason})",
            allowed="UTF-8 text",
            fix="convert it (iconv -f LATIN1 -t UTF-8, if that is what it is)",
        ) from None
    return text if keep_mark else text.removeprefix(MARK)


def escaped(text: str) -> str:
    """Return a text on one line, reversibly; bytes that are not UTF-8 are \\xff."""
    return text.translate(ESCAPES | {ord("\\"): "\\\\"})


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, plain or gzip, with their ends. Raises UserError where it cannot be read."""
    file_size(path)  # refuses anything that is not a file
    try:
        with open(path, "rb") as file:
            packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            yield from gzip.GzipFile(fileobj=file) if packed else file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged gzip: {error}", fix="fetch or pack it again") from None
    except OSError as error:
        raise unreadable(path, error) from None


def line_text(line: bytes, path: Path, number: int) -> str:
    """Return a line without its end (LF, CR LF) and, the first, without a byte order mark; UserError if not UTF-8."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number} is not UTF-8: byte 0x{line[error.start]:02x} at byte {error.start} of the line",
            allowed="UTF-8 text",
            fix="convert it",
        ) from None
    text = text.removesuffix("\n").removesuffix("\r")
    return text.removeprefix(MARK) if number == 1 else text


def json_line(text: str) -> dict[str, Any] | None:
    """Return the JSON object in a line; None where there is none, or one with lone surrogates."""
    try:
        item = json.loads(text)
        json.dumps(item, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return item if isinstance(item, dict) else None

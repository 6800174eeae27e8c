"""Files that are read line by line: their bytes, their texts, and lines that hold a JSON object."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unroll.data.blocks import GZIP_MAGIC, file_size
from unroll.errors import UserError


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, plain or gzip, with their ends. Raises UserError where it cannot be read."""
    file_size(path)  # refuses what is no file
    try:
        with open(path, "rb") as file:
            packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            yield from gzip.GzipFile(fileobj=file) if packed else file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged gzip: {error}", fix="fetch or pack it again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", fix="check its permissions and the disk") from None


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
    return text.removeprefix("\ufeff") if number == 1 else text


def json_line(text: str) -> dict[str, Any] | None:
    """Return the object that a line holds; None where it holds none, or one with lone surrogates."""
    try:
        item = json.loads(text)
        json.dumps(item, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return item if isinstance(item, dict) else None

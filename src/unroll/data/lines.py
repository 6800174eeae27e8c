"""Files that are read whole or line by line: their bytes, their texts, and texts on one line."""

import re
from collections.abc import Iterator
from pathlib import Path

from unroll.data.blocks import MARK, file_size
from unroll.data.kinds import broken
from unroll.data.opening import read_rows, read_whole
from unroll.errors import UserError

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
    """Return the text of a file with its line ends unchanged.

    A byte order mark at its start is dropped unless `keep_mark`. Raises UserError where it cannot be read or is not
    UTF-8.
    """
    data = read_whole(path)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise broken(path, data, 0, error) from None
    return text if keep_mark else text.removeprefix(MARK)


def escaped(text: str) -> str:
    """Return a text on one line, reversibly; bytes that are not UTF-8 are \\xff."""
    return text.translate(ESCAPES | {ord("\\"): "\\\\"})


def unescaped(text: str, where: str) -> str:
    """Return the text that `escaped` writes so; raises UserError for a backslash that begins no escape."""
    letters = {escape: chr(code) for code, escape in (ESCAPES | {ord("\\"): "\\\\"}).items()}

    def letter(match: re.Match[str]) -> str:
        if match[0] not in letters:
            raise UserError(
                f"{match[0]} in {where} is no escape",
                allowed=r"\n, \t, \r, \x1b, \u2028 for newline, tab and other controls, \\ for a backslash",
                fix=r"write \\ for a backslash",
            )
        return letters[match[0]]

    return re.sub(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|.|$)", letter, text, flags=re.DOTALL)


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their ends, or the rows of its column; raises UserError where it is unreadable."""
    file_size(path)  # refuses anything that is not a file
    return read_rows(path)


def text_lines(path: Path) -> list[str]:
    """Return the lines of a file as texts, without their ends; raises UserError where it is unreadable."""
    return [line_text(line, path, number).rstrip("\r\n") for number, line in enumerate(read_lines(path), 1)]


def line_text(line: bytes, path: Path, number: int) -> str:
    """Return a line without its end (LF, CR LF) and, the first, without a byte order mark; UserError if not UTF-8."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        error.reason += f", in line {number:,}"
        raise broken(path, line, 0, error) from None
    text = text.removesuffix("\n").removesuffix("\r")
    return text.removeprefix(MARK) if number == 1 else text

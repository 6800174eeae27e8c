"""Text files of any size as blocks: UTF-8 checked, documents told apart, whole lines where a level needs them.

Files are documents in order. A document that another one follows, and that lacks its final newline, gets one, at every
level and whatever its other line ends are: else its last word and the first word of the next would be one. The last
document stays as it is, and so does a single file. A byte order mark of UTF-8 at the start of a file says how the file
is written and is no part of its text; at level byte, where any file is a text, it is three bytes like others.

Where documents of one file end with a separator, it is one unit of its block, the character END: it is never cut.
"""

import codecs
import hashlib
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from unroll.data.kinds import binary, broken
from unroll.data.opening import read_chunks
from unroll.errors import UserError
from unroll.files import unreadable

Level = Literal["char", "byte", "word", "bpe"]
Chunks = Iterator[tuple[bytes, int]]
Unit = Literal["characters", "bytes", "lines", "words"]
"""What a text is cut into parts by."""

BLOCK_BYTES = 2**17  # with its code points and ids it stays in the cache of a core
MAX_LINE = 64 * 2**20  # characters
END = "\0"
"""Stands for a separator in a block: no text above level byte has this character."""
LINE_ENDS = ("\n", END)
ENDS = {"lines": re.compile(f"[\n{END}]"), "words": re.compile(rf"[\s{END}]")}
"""What ends a unit of a text: documents end lines and words."""
URL = re.compile("([a-z]+):/+(?=[^/])")
MARK = "\ufeff"
"""A byte order mark, where a text begins."""


class Block(NamedTuple):
    """A stretch of one file."""

    content: str | bytes  # bytes at level byte, whatever they are; text at the others, with END for each separator
    size: int  # in bytes, before decoding
    file: int  # the number of its file
    read: int  # bytes of all files that have been read from the disk by now
    separator: str = ""  # what END stands for
    goes_on: bool = False  # whether its last line, cut between two words, continues in the next block


@dataclass
class Seen:
    """What is known of a file once it has been read; gzip counts as its content."""

    hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    bytes: int = 0
    mark_bytes: int = 0
    """Bytes of the byte order mark that was dropped at its start: 3 or 0. Known before the first block comes."""
    newline_added: bool = False
    """Whether it lacked its final newline and got one."""


def read_blocks(
    files: Sequence[Path],
    level: Level,
    block_bytes: int = BLOCK_BYTES,
    seen: Sequence[Seen] | None = None,
    separator: str = "",
) -> Iterator[Block]:
    """Yield the files one after another; a block at level word or bpe ends with a line, or with the last file.

    Within a line that is longer than a block it ends between two words, so that the ids of the parts are those of the
    whole.

    All but the last file end with a newline, and above level byte none begins with a byte order mark: see above. What
    is learnt about each file is recorded in `seen`; none of it depends on `block_bytes`.
    Raises UserError for an unreadable, empty or damaged file, and at the levels above bytes for one that is no UTF-8 or
    no text, and (word, bpe) a long line without spaces.
    """
    before = 0
    for number, path in enumerate(files):
        size = file_size(path)
        record = seen[number] if seen else None
        last: Block | None = None  # it may have to be ended
        for block in _file_blocks(_chunks(path, level, block_bytes, record, separator), path, level, record, separator):
            if last is not None:
                yield last
            last = block._replace(file=number, read=before + block.read)
        if last is None:
            raise UserError(f"{path} is empty", allowed="files with text in them", fix="leave it out")
        yield last if number == len(files) - 1 else _ended(last, record)
        before += size


def text_of(block: Block) -> str:
    """Return the content of a block at the levels above bytes."""
    assert isinstance(block.content, str)
    return block.content.replace(END, block.separator) if block.separator else block.content


def bytes_of(block: Block) -> bytes:
    """Return the content of a block at level byte."""
    assert isinstance(block.content, bytes)
    return block.content


def units(block: Block, unit: Unit) -> int:
    """Return how many units end in the block, the last of a text included."""
    if unit in ("characters", "bytes"):
        return len(block.content)
    ends = [match.end() for match in ENDS[unit].finditer(str(block.content))]
    return len(ends) + (not block.goes_on and ends[-1:] != [len(block.content)])


def cut(block: Block, count: int, unit: Unit) -> tuple[Block, Block]:
    """Return the first `count` units of the block and the rest of it."""
    if unit in ("characters", "bytes"):
        return _split(block, count)
    ends = (match.end() for match in ENDS[unit].finditer(str(block.content)))
    return _split(block, next(islice(ends, count - 1, None), len(block.content)) if count else 0)


def characters(block: Block) -> int:
    """Return the number of characters: code points, or bytes that do not continue a UTF-8 sequence."""
    if block.separator:
        return len(text_of(block))
    if isinstance(block.content, str) or block.content.isascii():
        return len(block.content)
    return int(np.count_nonzero(np.frombuffer(block.content, np.int8) >= -64))  # 10xxxxxx is -128 to -65


def file_size(path: Path) -> int:
    """Return the size of a regular file in bytes; raises UserError for anything else."""
    if url := URL.match(str(path)):
        address = str(path).replace(url[0], f"{url[1]}://", 1)  # a path has no two slashes side by side
        raise UserError(
            f"{address} is an address, not a file",
            allowed="files, which can be read twice",
            fix=f"fetch it first: curl -LO {shlex.quote(address)}",
        )
    try:
        size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from None
    if path.is_dir():
        raise UserError(
            f"{path} is a folder", allowed="files of text, plain or compressed", fix=f"name its files: {path}/*"
        )
    if not path.is_file():
        raise UserError(f"{path} is a pipe or a device", allowed="files, which can be read twice", fix="save it first")
    return size


def _ended(block: Block, seen: Seen | None) -> Block:
    """Return the last block of a document that another one follows, with its final newline."""
    ended: str | bytes
    if isinstance(block.content, str):
        ended = block.content if block.content.endswith(LINE_ENDS) else block.content + "\n"
        ended = ended.replace(block.separator, END) if block.separator else ended  # which the newline may complete
    else:
        ended = block.content if block.content.endswith(b"\n") else block.content + b"\n"
    if ended == block.content:
        return block
    if seen:
        seen.newline_added = True
    return block._replace(content=ended, size=block.size + 1)


def _file_blocks(chunks: Chunks, path: Path, level: Level, seen: Seen | None, separator: str) -> Iterator[Block]:
    if level == "byte":
        return (Block(chunk, len(chunk), 0, read) for chunk, read in chunks if chunk)
    blocks = _text_blocks(chunks, path, seen)
    if separator:
        blocks = _separated(blocks, separator)
    return blocks if level == "char" else _line_blocks(blocks, path, level)


def _chunks(path: Path, level: Level, block_bytes: int, seen: Seen | None, separator: str) -> Chunks:
    """Yield the bytes of a text, each time with the place reached on the disk; the last chunk is empty."""
    for chunk, read in read_chunks(path, block_bytes, row_end=separator or "\n", any_bytes=level == "byte"):
        if seen:
            seen.hash.update(chunk)
            seen.bytes += len(chunk)
        yield chunk, read


def _text_blocks(chunks: Chunks, path: Path, seen: Seen | None) -> Iterator[Block]:
    offset, rest = 0, b""
    for chunk, read in chunks:
        data = rest + chunk
        text, size = _decoded(data, path, offset, final=not chunk)
        mark_bytes = len(MARK.encode()) if offset == 0 and text.startswith(MARK) else 0
        if seen and mark_bytes:
            seen.mark_bytes = mark_bytes
        if content := text[1:] if mark_bytes else text:
            yield Block(content, size - mark_bytes, 0, read)
        offset, rest = offset + size, data[size:]


def _separated(blocks: Iterator[Block], separator: str) -> Iterator[Block]:
    """Yield blocks with END for each separator, also for those that begin in one block and end in another."""
    rest = None
    for block in blocks:
        block = block._replace(separator=separator)
        if rest is not None:
            block = _joined([rest, block])
        text = str(block.content).replace(separator, END)
        block, rest = _split(block._replace(content=text), len(text) - _beginning(text, separator))
        if block.content:
            yield block
    if rest is not None and rest.content:
        yield rest


def _beginning(text: str, separator: str) -> int:
    """Return how many characters at the end of a text may begin a separator."""
    longest = min(len(separator) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(separator[:size])), 0)


def _line_blocks(blocks: Iterator[Block], path: Path, level: Level) -> Iterator[Block]:
    beginning: list[Block] = []  # of a line whose end has not come
    for block in blocks:
        text = block.content
        assert isinstance(text, str)
        if sum(len(part.content) for part in beginning) + _first_line(text) > MAX_LINE:
            raise UserError(
                f"{path} has a line of more than {MAX_LINE:,} characters without a space between two words",
                allowed="text in lines or words at the levels word and bpe",
                fix="use --level char or --level byte",
            )
        end = max(map(text.rfind, LINE_ENDS)) + 1
        line, rest = _split(block, end or _between_words(text, level))
        if line.content:
            yield _joined([*beginning, line])._replace(goes_on=not end)
            beginning = []
        if rest.content:
            beginning.append(rest)
    if beginning:
        yield _joined(beginning)


def _first_line(text: str) -> int:
    """Return the length of the first line, with its end."""
    return min((at + 1 for end in LINE_ENDS if (at := text.find(end)) >= 0), default=len(text))


def _between_words(text: str, level: Level) -> int:
    """Return the last place between two words where a text may be cut; 0 if there is none.

    The space between them stands before it at level word, where it belongs to no symbol, and after it at level bpe,
    where a piece begins with it.
    """
    place = text.rfind(" ", 1, -1)
    while place > 0 and not (text[place - 1].isalnum() and text[place + 1].isalnum()):
        place = text.rfind(" ", 1, place)
    return max(0, place + (level == "word"))


def _decoded(data: bytes, path: Path, offset: int, *, final: bool) -> tuple[str, int]:
    """Return the text of the complete characters and the number of their bytes; `offset` is where the data begins."""
    problem = None
    try:
        text, size = codecs.utf_8_decode(data, "strict", final)
    except UnicodeDecodeError as error:
        text, size, problem = "", error.start, error
    if (place := data.find(b"\0", 0, size)) >= 0:
        raise binary(path, data, f"NUL at byte offset {offset + place:,}")
    if problem:
        raise broken(path, data, offset, problem)
    return text, size


def _split(block: Block, place: int) -> tuple[Block, Block]:
    head, tail = block.content[:place], block.content[place:]
    tail_size = len(tail) if tail.isascii() or isinstance(tail, bytes) else len(tail.encode())
    if block.separator and isinstance(tail, str):
        tail_size += tail.count(END) * (len(block.separator.encode()) - 1)
    return block._replace(content=head, size=block.size - tail_size), block._replace(content=tail, size=tail_size)


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    content = "".join(str(block.content) for block in blocks)
    return blocks[-1]._replace(content=content, size=sum(block.size for block in blocks))

"""Text files of any size as blocks: plain or gzip, UTF-8 checked, whole lines where a level needs them."""

import codecs
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from unroll.errors import UserError

Level = Literal["char", "byte", "word", "bpe"]
Chunks = Iterator[tuple[bytes, int]]

BLOCK_BYTES = 2**17  # with its code points and ids it stays in the cache of a core
MAX_LINE = 64 * 2**20  # characters
GZIP_MAGIC = b"\x1f\x8b"


class Block(NamedTuple):
    """A stretch of one file."""

    content: str | bytes  # bytes at level byte, whatever they are; text at the others
    size: int  # in bytes, before decoding
    file: int  # the number of its file
    read: int  # bytes of all files that have been read from the disk by now


def read_blocks(
    files: Sequence[Path],
    level: Level,
    block_bytes: int = BLOCK_BYTES,
    hashers: Sequence["hashlib._Hash"] | None = None,
) -> Iterator[Block]:
    """Yield the files one after another; a block at level word or bpe ends with a line, or with its file.

    The `hashers`, one a file, are fed the bytes as they are read, gzip unpacked.
    Raises UserError for what is not a readable file, an empty one, damaged gzip, and at the levels above bytes for
    broken UTF-8, NUL and (word, bpe) a line without end. What is found does not depend on `block_bytes`.
    """
    before = 0
    for number, path in enumerate(files):
        size = file_size(path)
        block = None
        chunks = _chunks(path, block_bytes, hashers[number] if hashers else None)
        for block in _file_blocks(chunks, path, level):
            yield block._replace(file=number, read=before + block.read)
        if block is None:
            raise UserError(f"{path} is empty", allowed="files with text in them", fix="leave it out")
        before += size


def text_of(block: Block) -> str:
    """Return the content of a block at the levels above bytes."""
    assert isinstance(block.content, str)
    return block.content


def bytes_of(block: Block) -> bytes:
    """Return the content of a block at level byte."""
    assert isinstance(block.content, bytes)
    return block.content


def units(block: Block, level: Level) -> int:
    """Return how many code points (char), bytes (byte) or lines (word, bpe) the block has."""
    if level in ("char", "byte"):
        return len(block.content)
    text = text_of(block)
    return text.count("\n") + (not text.endswith("\n"))


def cut(block: Block, count: int, level: Level) -> tuple[Block, Block]:
    """Return the first `count` units of the block and the rest of it."""
    place = count
    if level in ("word", "bpe"):
        text = text_of(block)
        place = len(text) - len(text.split("\n", count)[count])
    return _split(block, place)


def characters(block: Block) -> int:
    """Return the number of characters: code points, or bytes that do not continue a UTF-8 sequence."""
    if isinstance(block.content, str) or block.content.isascii():
        return len(block.content)
    return int(np.count_nonzero(np.frombuffer(block.content, np.int8) >= -64))  # 10xxxxxx is -128 to -65


def file_size(path: Path) -> int:
    """Return the bytes of a regular file on the disk; raises UserError where it is none."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", fix="check the path") from None
    if path.is_dir():
        raise UserError(f"{path} is a folder", allowed="files of text, plain or gzip", fix=f"name its files: {path}/*")
    if not path.is_file():
        raise UserError(f"{path} is a pipe or a device", allowed="files, which can be read twice", fix="save it first")
    return size


def _file_blocks(chunks: Chunks, path: Path, level: Level) -> Iterator[Block]:
    match level:
        case "byte":
            return (Block(chunk, len(chunk), 0, read) for chunk, read in chunks if chunk)
        case "char":
            return _text_blocks(chunks, path)
        case "word" | "bpe":
            return _line_blocks(chunks, path)


def _chunks(path: Path, block_bytes: int, hasher: "hashlib._Hash | None") -> Chunks:
    """Yield the bytes of a file, unpacked, each time with the place reached on the disk; the last chunk is empty."""
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if packed else file
            while True:
                chunk = stream.read(block_bytes)
                if hasher:
                    hasher.update(chunk)
                yield chunk, file.tell()
                if not chunk:
                    return
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged gzip: {error}", fix="fetch or pack it again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", fix="check its permissions and the disk") from None


def _text_blocks(chunks: Chunks, path: Path) -> Iterator[Block]:
    offset, rest = 0, b""
    for chunk, read in chunks:
        data = rest + chunk
        text, size = _decoded(data, path, offset, final=not chunk)
        if text:
            yield Block(text, size, 0, read)
        offset, rest = offset + size, data[size:]


def _line_blocks(chunks: Chunks, path: Path) -> Iterator[Block]:
    held: list[Block] = []  # the beginning of a line whose end has not come
    for block in _text_blocks(chunks, path):
        text = text_of(block)
        if sum(len(part.content) for part in held) + (text.find("\n") + 1 or len(text)) > MAX_LINE:
            raise UserError(
                f"{path} has a line of more than {MAX_LINE:,} characters",
                allowed="text in lines at the levels word and bpe",
                fix="use --level char or --level byte",
            )
        line, rest = _split(block, text.rfind("\n") + 1)
        if line.content:
            yield _joined([*held, line])
            held = []
        if rest.content:
            held.append(rest)
    if held:
        yield _joined(held)


def _decoded(data: bytes, path: Path, offset: int, *, final: bool) -> tuple[str, int]:
    """Return the text of the complete characters and the number of their bytes; `offset` is where the data begins."""
    broken = None
    try:
        text, size = codecs.utf_8_decode(data, "strict", final)
    except UnicodeDecodeError as error:
        text, size, broken = "", error.start, error
    if (place := data.find(b"\0", 0, size)) >= 0:
        raise UserError(
            f"{path} is binary: NUL at byte offset {offset + place:,}", allowed="UTF-8 text", fix="use --level byte"
        )
    if broken:
        what = " ".join(f"{byte:02x}" for byte in data[broken.start : broken.end])
        codec = "UTF-16" if offset == 0 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "LATIN1"
        raise UserError(
            f"{path} is not UTF-8: byte {what} at byte offset {offset + broken.start:,} ({broken.reason})",
            allowed="UTF-8 text",
            fix=f"convert it (iconv -f {codec} -t UTF-8, if that is what it is), or use --level byte",
        )
    return text, size


def _split(block: Block, place: int) -> tuple[Block, Block]:
    head, tail = block.content[:place], block.content[place:]
    tail_size = len(tail) if tail.isascii() or isinstance(tail, bytes) else len(tail.encode())
    return block._replace(content=head, size=block.size - tail_size), block._replace(content=tail, size=tail_size)


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    return blocks[-1]._replace(content="".join(map(text_of, blocks)), size=sum(block.size for block in blocks))

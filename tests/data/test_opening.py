"""Packed files, other encodings and columns give the bytes of the plain text, in memory that does not grow."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.hostile import FRAGMENTS
from unroll.data.opening import read_chunks, read_rows, read_whole, text_path
from unroll.errors import UserError
from unroll.files import as_path, as_paths

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
}
SENTENCE = "Größe – „naïve“ café.\r\n"
TEXTS = st.lists(st.sampled_from([part for part in FRAGMENTS if "\0" not in part]), max_size=8).map("".join)
WRITTEN = {"windows-1252": SENTENCE, "koi8-r": "Привет, мир.\n", "shift_jis": "吾輩は猫である。\n", "utf-16": SENTENCE,
           "utf-16-le": SENTENCE, "utf-32": SENTENCE, "gb18030": "道可道\n", "iso2022_jp": "猫である。\n"}  # fmt: skip


def content(path: Path, size: int = 2**17, **how: str) -> bytes:
    return b"".join(chunk for chunk, _ in read_chunks(path, size, **how))  # type: ignore[arg-type]


@pytest.mark.parametrize("packer", PACKERS)
@given(text=st.binary(min_size=1, max_size=300), size=st.integers(1, 40))
def test_what_is_packed_is_the_text(
    packer: str, text: bytes, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("packed") / "text"
    pack, text = PACKERS[packer], b"text " + text
    file.write_bytes(pack(text) + (pack(text) if packer != "plain" else text))  # several streams are one text
    assert b"".join(chunk for chunk, _ in read_chunks(file, size)) == text * 2


@pytest.mark.parametrize("packer", [name for name in PACKERS if name != "plain"])
def test_a_damaged_file_is_named_so(packer: str, tmp_path: Path) -> None:
    packed = PACKERS[packer](bytes(range(32, 127)) * 99)
    for damage in (packed[:-3], packed[:20] + bytes(9) + packed[29:], packed + b"more"):
        (tmp_path / "text").write_bytes(damage)
        with pytest.raises(UserError, match=f"text is damaged {packer.replace('gz', 'gzip')}: "):
            content(tmp_path / "text")


@pytest.mark.parametrize("packer", [name for name in PACKERS if name != "plain"])
def test_a_bomb_is_unpacked_piece_by_piece(packer: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(PACKERS[packer](b" " * 30_000_000))
    sizes = [len(chunk) for chunk, _ in read_chunks(tmp_path / "bomb", 1000)]
    assert sum(sizes) == 30_000_000
    assert max(sizes) <= 1000


def test_the_memory_that_xz_asks_for_is_limited(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}]
    (tmp_path / "text.xz").write_bytes(lzma.compress(b"text", filters=filters))
    with pytest.raises(UserError, match="Memory usage limit"):
        content(tmp_path / "text.xz")


def test_a_text_that_begins_as_a_packed_one_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("BZh9 is how a bz2 begins\n")
    assert content(tmp_path / "text") == b"BZh9 is how a bz2 begins\n"


def test_what_is_read_whole_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unroll.data.opening.MAX_WHOLE", 1000)
    (tmp_path / "text").write_bytes(gzip.compress(b" " * 1001))
    with pytest.raises(UserError, match="too long"):
        read_whole(tmp_path / "text")


@pytest.mark.parametrize("size", [1, 2, 5, 2**17])
@pytest.mark.parametrize("packer", PACKERS)
def test_a_packed_text_in_another_encoding_is_read_byte_by_byte(packer: str, size: int, tmp_path: Path) -> None:
    text = "吾輩は猫である。\n" * 9
    file = tmp_path / "text"
    file.write_bytes(PACKERS[packer](text.encode("utf-16")))
    assert content(text_path(file, encoding="utf-16"), size).decode() == text


@pytest.mark.parametrize("packer", [name for name in PACKERS if name != "plain"])
def test_a_packed_document_is_refused(packer: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(PACKERS[packer](b"%PDF-1.4\n" + random.Random(1).randbytes(2**18).hex().encode()))
    with pytest.raises(UserError, match="is a PDF"):
        content(tmp_path / "text")


@pytest.mark.parametrize("encoding", WRITTEN)
@pytest.mark.parametrize("size", [1, 2, 5, 2**17])
def test_an_encoding_gives_utf_8(encoding: str, size: int, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(WRITTEN[encoding].encode(encoding))
    assert content(text_path(tmp_path / "text", encoding=encoding), size).decode() == WRITTEN[encoding]


@pytest.mark.parametrize(
    ("encoding", "before", "fault"),
    [
        ("windows-1252", b"caf\xe9", b"\x81"),
        ("shift_jis", "猫".encode("shift_jis"), b"\x82\x20"),
        ("ascii", b"a", b"\xff"),
        ("utf-8", "é".encode(), b"\xc3\x20"),
        ("utf-16-le", "né".encode("utf-16-le"), b"\x00\xdc"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 2**17])
def test_the_byte_that_is_not_in_an_encoding_is_named(
    encoding: str, before: bytes, fault: bytes, size: int, tmp_path: Path
) -> None:
    data = before * 7
    (tmp_path / "text").write_bytes(data + fault + before)
    with pytest.raises(UserError, match=f"byte {fault[0]:02x}.* at byte offset {len(data):,} "):
        content(text_path(tmp_path / "text", encoding=encoding), size)


@pytest.mark.parametrize("name", ["utf-88", "rot13", "base64", "idna", "", "unicode_escape", "a\0b"])
def test_other_names_are_no_encodings(name: str) -> None:
    with pytest.raises(UserError) as refused:
        text_path("text", encoding=name)
    for allowed in str(refused.value.allowed).split(", "):
        assert text_path("text", encoding=allowed).encoding == allowed


@given(rows=st.lists(TEXTS, min_size=1, max_size=8), size=st.integers(1, 50))
def test_a_column_is_the_rows_with_their_ends(
    rows: list[str], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In CSV with any delimiter, and in lines of JSON; each row ends with a newline, or with the separator."""
    folder = tmp_path_factory.mktemp("tables")
    for delimiter in ",;\t|":
        table = io.StringIO()
        writer = csv.writer(table, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows([("number", "body"), *enumerate(rows)])
        (folder / "table").write_bytes(table.getvalue().encode())
        path = text_path(folder / "table", column="body")
        plain = "".join(row if row.endswith("\n") else row + "\n" for row in rows)
        assert content(path, size).decode() == plain
        assert content(path, size, row_end="<|>").decode() == "".join(row.removesuffix("<|>") + "<|>" for row in rows)
        assert [row.decode() for row in read_rows(path)] == [row + "\n" for row in rows]
    (folder / "lines").write_text("\n".join(json.dumps({"body": row, "id": 1}) for row in rows))
    assert content(text_path(folder / "lines", column="body"), size).decode() == plain


def test_a_path_that_says_how_it_is_read_stays_one(tmp_path: Path) -> None:
    path = text_path(tmp_path / "text", encoding="cp1252", label="standard input")
    assert as_path(path) is path
    assert as_paths([path])[0] is path
    assert f"{path} is empty" == "standard input is empty"
    assert str(path) == str(tmp_path / "text")

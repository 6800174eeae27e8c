"""Files of users as they are: whole or in lines, byte for byte; and texts on one line."""

import gzip
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.hostile import texts
from unroll.data.lines import LINE_ENDS, escaped, line_text, read_lines, unescaped, whole_text
from unroll.errors import UserError
from unroll.files import printable_name

shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@shared_folder
@given(text=texts, packed=st.booleans())
def test_a_whole_text_is_what_the_file_holds(tmp_path: Path, text: str, packed: bool) -> None:
    """Its ends of lines too, whatever they are; but for a byte order mark at its start, of several the first."""
    file = tmp_path / "text"
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert whole_text(file) == text.removeprefix("\ufeff")
    assert whole_text(file, keep_mark=True) == text


@shared_folder
@given(text=texts)
def test_lines_are_what_stands_between_newlines(tmp_path: Path, text: str) -> None:
    file = tmp_path / "text"
    file.write_bytes(text.encode())
    raw = list(read_lines(file))
    assert b"".join(raw) == text.encode()
    found = [line_text(line, file, number) for number, line in enumerate(raw, 1)]
    lines = text.split("\n")
    expected = [line.removesuffix("\r") for line in lines[: None if lines[-1] else -1]]
    if expected:
        expected[0] = expected[0].removeprefix("\ufeff")
    assert found == expected


@pytest.mark.parametrize("level", ["abc", "ab\n" * 3])
def test_a_file_that_is_no_text_is_named_by_its_offset(tmp_path: Path, level: str) -> None:
    (tmp_path / "text").write_bytes(level.encode() + b"caf\xe9\n")
    with pytest.raises(UserError) as refusal:
        whole_text(tmp_path / "text")
    assert f"text is not UTF-8: byte e9 at byte offset {len(level) + 3} " in refusal.value.what
    assert refusal.value.allowed and refusal.value.fix


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(gzip.compress(b"text")[:-3])
    for name, message in (("nowhere", "No such file"), ("", "Is a directory"), ("packed", "damaged gzip")):
        with pytest.raises(UserError, match=message):
            whole_text(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_whole_text_may_come_from_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"a\r\nb",))
    writer.start()
    assert whole_text(tmp_path / "pipe") == "a\r\nb"
    writer.join()


@given(text=texts)
def test_what_is_escaped_is_one_cell_of_one_line_and_can_be_restored(text: str) -> None:
    cell = escaped(text)
    assert len(cell.splitlines()) <= 1
    assert not set(cell) & {*LINE_ENDS, "\t", "\0", "\x1b"}
    assert cell.encode("raw_unicode_escape").decode("unicode_escape") == text.replace("\ufeff", "\ufeff")
    assert unescaped(cell, "it") == text


@pytest.mark.parametrize("text", ["\\", "\\q", "a\\", "\\x4", "\\xzz", "\\\n"])
def test_a_backslash_that_begins_no_escape_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="in it is no escape") as caught:
        unescaped(text, "it")
    assert unescaped(text.replace("\\", "\\\\"), "it") == text and "for a backslash" in caught.value.fix


def test_bytes_that_are_no_text_are_escaped() -> None:
    assert escaped("caf\udce9") == "caf\\xe9"


def test_line_ends_are_those_of_python() -> None:
    expected = [chr(code) for code in range(0x110000) if len(f"a{chr(code)}b".splitlines()) > 1]
    assert sorted(LINE_ENDS) == expected


@given(
    name=st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
)
def test_every_name_of_a_file_can_be_printed(name: bytes) -> None:
    printable = printable_name(Path("folder") / os.fsdecode(name))
    printable.encode()
    assert len(printable.splitlines()) == 1
    assert printable == "".join(map(escaped, printable)).replace("\\\\", "\\")

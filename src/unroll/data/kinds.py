"""What a file is that cannot be read as text, and the command that gets at its text."""

import re
import shlex
import unicodedata
from pathlib import Path

from unroll.errors import UserError

FEW = 5
"""Bytes beyond ASCII of which fewer do not tell an encoding."""
SAMPLE_BYTES = 2**17
PANDOC = "pandoc -t plain {file} -o {text}"
OFFICE = "libreoffice --headless --convert-to {to} {{file}}"
MICROSOFT, OPEN = "application/vnd.openxmlformats-officedocument.", "application/vnd.oasis.opendocument."
KINDS = {
    "application/pdf": ("a PDF", "pdftotext {file} {text}"),
    f"{MICROSOFT}wordprocessingml.document": ("a Word document", PANDOC),
    f"{MICROSOFT}spreadsheetml.sheet": ("an Excel workbook", OFFICE.format(to="csv")),
    f"{MICROSOFT}presentationml.presentation": ("PowerPoint slides", OFFICE.format(to="pdf")),
    f"{OPEN}text": ("an OpenDocument text", PANDOC),
    f"{OPEN}spreadsheet": ("an OpenDocument spreadsheet", OFFICE.format(to="csv")),
    f"{OPEN}presentation": ("OpenDocument slides", OFFICE.format(to="pdf")),
    "application/epub+zip": ("an EPUB book", PANDOC),
    "application/zip": ("a zip archive", "unzip -p {file} > {text}"),
    "application/x-tar": ("a tar archive", "tar -xf {file}"),
    "application/x-7z-compressed": ("a 7z archive", "7z x {file}"),
    "application/vnd.rar": ("a RAR archive", "unrar x {file}"),
}
"""Names of kinds of files, and the commands that get at their text."""
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
FAMILIES = {"image": "an image", "audio": "a sound recording", "video": "a video"}
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x7f]")
"""Bytes that hardly any text has, and any picture or recording."""
UNPACK = {".gz": "gunzip -k", ".bz2": "bunzip2 -k", ".xz": "unxz -k", ".zst": "unzstd"}
"""Endings of packed files, and the commands that write such a file unpacked beside it."""
DOCUMENTS = (b"%PDF-", b"PK\x03\x04", OLE)
"""Beginnings of documents and archives, some of which are UTF-8 to the last byte."""
MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte order marks, the longer first."""


def refuse_document(path: Path, head: bytes) -> None:
    """Raise UserError where the first bytes of a file, unpacked, are those of a document or an archive."""
    if (head.startswith(DOCUMENTS) or head[257:262] == b"ustar") and (error := _document(path, head)):
        raise error


def binary(path: Path, data: bytes, fault: str) -> UserError:
    """Return the error for bytes with a `fault` that no text has: what the file is, where they tell."""
    return (
        _document(path, data)
        or _wide(path, data)
        or UserError(
            f"{path} is binary: {fault}",
            allowed="UTF-8 text",
            fix="extract its text first, or train at --level byte, where any file is a text",
        )
    )


def broken(path: Path, data: bytes, offset: int, fault: UnicodeError, encoding: str = "UTF-8") -> UserError:
    """Return the error for a `fault` in the data that begin at `offset` of a file and are not in an encoding."""
    if error := _document(path, data) or _wide(path, data):
        return error
    start, end, reason = 0, 1, str(fault)
    if isinstance(fault, UnicodeDecodeError):
        start, end, reason = fault.start, fault.end, fault.reason
    what = f"{path} is not {encoding}: byte {data[start:end].hex(' ')} at byte offset {offset + start:,} ({reason})"
    sample = data[max(0, start - SAMPLE_BYTES // 2) :][:SAMPLE_BYTES]
    if encoding == "UTF-8" and _mostly_utf8(sample):
        command = _command(path, "iconv -c -f UTF-8 -t UTF-8 {file} > {text}")
        return UserError(
            what,
            allowed="UTF-8 text, as the rest of it is",
            fix=f"correct it there, or leave such bytes out: {command}",
        )
    guess = _detected(b" " + sample)[1]  # behind a space no text begins as a picture does
    few = len(sample.translate(None, bytes(range(128)))) < FEW
    if guess is None or few or guess.lower() == encoding.lower():
        return UserError(
            what,
            allowed="UTF-8 text, or another encoding that is named",
            fix="name its encoding; too little tells which it is: --encoding windows-1252 is usual in Western Europe",
        )
    return _encoded(path, guess, f"{what}. It looks like {guess}")


def _document(path: Path, data: bytes) -> UserError | None:
    """Return the error for a document, an archive, a picture or a recording; None where it is none that we know."""
    mime = _detected(data[:SAMPLE_BYTES])[0]
    # Two letters begin some pictures ("BM"), and some texts.
    family = FAMILIES.get(mime.partition("/")[0], "") if CONTROL.search(data[:SAMPLE_BYTES]) else ""
    name, command = KINDS.get(mime) or (family, "")
    if data.startswith(OLE):
        name, command = "a file of an old Microsoft Office", OFFICE.format(to="txt:Text")
    if not name:
        return None
    fix = f"extract its text first, for example with `{_command(path, command)}`" if command else "name a file of text"
    return UserError(f"{path} is {name}", allowed="text", fix=fix)


def _wide(path: Path, data: bytes) -> UserError | None:
    """Return the error for a text in UTF-16 or UTF-32, with a byte order mark or without; None for another."""
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return _encoded(path, encoding, f"{path} is {encoding.upper()}, by its byte order mark")
    guess = _detected(data[:SAMPLE_BYTES])[1]
    if guess is None or not guess.startswith(("utf-16", "utf-32")):
        return None
    sample = data[:SAMPLE_BYTES]
    if len(CONTROL.findall(sample)) < len(sample) / 8 and sample.decode(errors="ignore").encode() == sample:
        return None  # UTF-8 but for a few bytes
    text = data[: len(data) // 4 * 4].decode(guess, "replace")
    if any(
        letter == "\ufffd" or (letter not in "\t\r\n" and unicodedata.category(letter) in ("Cc", "Cn"))
        for letter in text
    ):
        return None  # what is no text may look like it in its first bytes
    return _encoded(path, guess, f"{path} looks like {guess.upper()} without a byte order mark")


def _mostly_utf8(data: bytes) -> bool:
    """Tell whether most characters beyond ASCII are UTF-8, so that the others are damaged, not in another encoding."""
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    return sum(not letter.isascii() for letter in text) - damaged > 4 * damaged


def _detected(data: bytes) -> tuple[str, str | None]:
    """Return the media type of bytes, and their probable encoding where they are text."""
    import chardet  # a fifth of a second, for files that are refused

    guess = chardet.detect(data)
    return guess["mime_type"] or "", guess["encoding"]


def _encoded(path: Path, encoding: str, what: str) -> UserError:
    """Return the error for a text in another encoding."""
    iconv = re.sub("(UTF-..)-", r"\1", encoding.upper())  # UTF-16LE
    command = _command(path, f"iconv -f {iconv} -t UTF-8 {{file}} > {{text}}")
    return UserError(
        what,
        allowed="UTF-8 text, or another encoding that is named",
        fix=f"add --encoding {encoding.lower()}, or convert it: {command}",
    )


def _command(path: Path, command: str) -> str:
    """Return a command with the names of the file and of its text to be, another than its own."""
    shown = path if f"{path}" == str(path) else Path("FILE")  # standard input has no name
    if (unpack := UNPACK.get(shown.suffix)) and not command.startswith("tar "):  # which unpacks by itself
        return f"{unpack} {shlex.quote(str(shown))} && {_command(shown.with_suffix(''), command)}"
    text = f"{shown.stem}.txt" if f"{shown.stem}.txt" != shown.name else f"{shown.stem}.utf8.txt"
    return command.format(file=shlex.quote(str(shown)), text=shlex.quote(text))

"""A file that is no text is named rightly, and the advice, followed to the letter, gives its text."""

import gzip
import io
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from unroll.data.blocks import file_size, read_blocks, text_of
from unroll.data.opening import text_path
from unroll.errors import UserError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FRENCH = "Longtemps, je me suis couché de bonne heure. « Je m’endors » – à peine ma bougie éteinte.\n" * 3
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n" * 3
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 3
ENGLISH = "It was the best of times — it was “the worst” of times.\n" * 3
GERMAN = "BMW fährt schöner, größer und weiter über die Brücke, müßte man wähnen.\n" * 3  # "BM" begins a bitmap
WRITTEN = [
    (FRENCH, "windows-1252"), (GERMAN, "windows-1252"), (ENGLISH, "windows-1252"), (RUSSIAN, "koi8-r"),
    (RUSSIAN, "windows-1251"), (RUSSIAN, "ibm866"), (JAPANESE, "shift_jis"), (JAPANESE, "euc-jp"), (ENGLISH, "utf-16"),
    (RUSSIAN, "utf-16-le"), (ENGLISH, "utf-16-be"), (ENGLISH, "utf-32"), (ENGLISH, "utf-32-le"),
]  # fmt: skip


def refused(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        list(read_blocks([path], "char"))
    assert "level byte" not in str(caught.value.fix)
    return caught.value


def followed(error: UserError, folder: Path) -> None:
    """Run the command that the advice names."""
    named = re.search("`(.*)`|convert it: (.*)", str(error.fix))
    assert named, error
    command = named[1] or named[2]
    for program in (part.split()[0] for part in command.split(" && ")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    subprocess.run(command, shell=True, cwd=folder, check=True, timeout=60)


@pytest.mark.parametrize(("text", "encoding"), WRITTEN)
def test_another_encoding_is_named_and_both_ways_to_read_it_give_the_text(
    text: str, encoding: str, tmp_path: Path
) -> None:
    file = tmp_path / "it is.txt"
    file.write_bytes(text.encode(encoding))
    error = refused(file)
    named = re.search(r"add --encoding (\S+),", str(error.fix))
    assert named, error
    assert "".join(map(text_of, read_blocks([text_path(file, encoding=named[1])], "char"))) == text
    followed(error, tmp_path)
    assert (tmp_path / "it is.utf8.txt").read_text(encoding="utf-8").removeprefix("\ufeff") == text


def test_the_advice_for_a_packed_text_unpacks_it(tmp_path: Path) -> None:
    text, encoding = FRENCH, "windows-1252"
    (tmp_path / "it is.txt.xz").write_bytes(lzma.compress(text.encode(encoding)))
    followed(refused(tmp_path / "it is.txt.xz"), tmp_path)
    assert (tmp_path / "it is.utf8.txt").read_text(encoding="utf-8") == text


def test_damage_within_utf_8_is_no_other_encoding(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes(FRENCH.encode() + b"\xe9" + FRENCH.encode())
    fix = str(refused(file).fix)
    assert "--encoding" not in fix
    assert "iconv -c -f UTF-8 -t UTF-8" in fix


def test_too_little_to_tell_the_encoding_is_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"caf\xe9 ")
    assert "too little tells which it is" in str(refused(tmp_path / "text").fix)


def zipped(**members: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return data.getvalue()


def docx() -> bytes:
    data = io.BytesIO()
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{kind}"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            '<Relationship Id="r" Target="word/document.xml" Type="http://schemas.openxmlformats.org/officeDocument/'
            '2006/relationships/officeDocument"/></Relationships>',
        )
        archive.writestr(
            "word/document.xml",
            '<?xml version="1.0"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
            "<w:body><w:p><w:r><w:t>hello world</w:t></w:r></w:p></w:body></w:document>",
        )
    return data.getvalue()


def xlsx() -> bytes:
    data = io.BytesIO()
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}"/></Types>',
        )
        archive.writestr("xl/workbook.xml", '<?xml version="1.0"?><workbook/>')
    return data.getvalue()


def opendocument(kind: str, body: str) -> bytes:
    data = io.BytesIO()
    office = "urn:oasis:names:tc:opendocument:xmlns"
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}")
        archive.writestr(
            "content.xml",
            f'<?xml version="1.0"?><office:document-content xmlns:office="{office}:office:1.0" '
            f'xmlns:text="{office}:text:1.0"><office:body><office:text>{body}</office:text></office:body>'
            "</office:document-content>",
        )
        archive.writestr(
            "styles.xml",
            f'<?xml version="1.0"?><office:document-styles xmlns:office="{office}:office:1.0">'
            "<office:font-face-decls/><office:styles/><office:automatic-styles/><office:master-styles/></office:document-styles>",
        )
    return data.getvalue()


def pdf() -> bytes:
    """A page with two words, all of it ASCII: to the letter a text."""
    stream = b"BT /F1 24 Tf 72 720 Td (hello world) Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
    return data + end % (table, len(data))


def tar(mode: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{mode}") as archive:  # type: ignore[call-overload]
        member = tarfile.TarInfo("within.txt")
        member.size = 12
        archive.addfile(member, io.BytesIO(b"hello world\n"))
    return data.getvalue()


DOCUMENTS = {
    "paper.pdf": ("a PDF", pdf(), "paper.txt"),
    "paper.txt": ("a PDF", pdf(), "paper.utf8.txt"),
    "a b.docx": ("a Word document", docx(), "a b.txt"),
    "a.odt": ("an OpenDocument text", opendocument("text", "<text:p>hello world</text:p>"), "a.txt"),
    "a.zip": ("a zip archive", zipped(within_txt="hello world\n"), "a.txt"),
    "a.tar": ("a tar archive", tar(""), "within.txt"),
    "a.tar.gz": ("a tar archive", tar("gz"), "within.txt"),
    "a.pdf.gz": ("a PDF", gzip.compress(pdf()), "a.txt"),
    "b.pdf.zst": ("a PDF", zstd.compress(pdf()), "b.txt"),
    "a.tar.xz": ("a tar archive", tar("xz"), "within.txt"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_named_and_the_advice_gives_its_text(name: str, tmp_path: Path) -> None:
    what, data, text = DOCUMENTS[name]
    (tmp_path / name).write_bytes(data)
    error = refused(tmp_path / name)
    assert error.what == f"{tmp_path / name} is {what}"
    assert "--encoding" not in str(error.fix)
    followed(error, tmp_path)
    assert "hello world" in (tmp_path / text).read_text(encoding="utf-8")


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(20) + zlib.compress(bytes(99))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (PNG, "is an image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(256)), "is an image"),
        (b"ID3\4\0\0\0\0" + bytes(99), "is a sound recording"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is a file of an old Microsoft Office"),
        (opendocument("spreadsheet", ""), "is an OpenDocument spreadsheet"),
        (xlsx(), "is an Excel workbook"),
        (b"PK\x03\x04" + bytes(40), "is a zip archive"),
    ],
)
def test_what_else_is_no_text_is_named(data: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    assert what in refused(tmp_path / "file").what


@pytest.mark.parametrize("encoding", ["latin-1", "koi8-r"])
def test_a_document_is_refused_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf())
    with pytest.raises(UserError, match="is a PDF"):
        list(read_blocks([text_path(tmp_path / "a.pdf", encoding=encoding)], "char"))


def test_unknown_bytes_are_binary(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(UserError, match="is binary: NUL at byte offset 0") as caught:
        list(read_blocks([tmp_path / "file"], "char"))
    assert "at --level byte, where any file is a text" in str(caught.value.fix)


def test_an_address_is_fetched_first() -> None:
    with pytest.raises(UserError, match=r"https://example\.org/a\.txt is an address") as caught:
        file_size(Path("https://example.org/a.txt"))
    assert caught.value.fix == "fetch it first: curl -LO https://example.org/a.txt"


def test_standard_input_has_no_name_in_the_advice(tmp_path: Path) -> None:
    (tmp_path / "stdin").write_bytes(pdf())
    error = refused(text_path(tmp_path / "stdin", label="standard input"))
    assert error.what == "standard input is a PDF"
    assert "`pdftotext FILE FILE.txt`" in str(error.fix)

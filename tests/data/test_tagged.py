"""Tokens and tags come with their lines, tags go back with every other byte kept, and what is broken is refused."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unroll.data import tagged as module
from unroll.data.opening import text_path
from unroll.data.tagged import Tagged, read_tagged, rewritten, tagged_of
from unroll.errors import UserError
from unroll.progress import Progress, result

RANGES = """\
# newpar
# text = Vámonos al  mar. Sí!
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tV\tMood=Imp\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t_\t_
3\tal  mar\t_\tNOUN\tN\t_\t1\tobl\t_\t_
3.1\tsí\tsí\tADV\t_\t_\t_\t_\t1:x\t_
4\t_\t_\tPUNCT\t.\t_\t1\tpunct\t_\t_

# text = Sí
1\tSí\tsí\tINTJ\t_\t_\t0\troot\t_\tA=\tB
""".replace("A=\tB", "A=B")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.conllu"


def read(path: Path, content: str, column: str = "upos", **choices: bool | int) -> Tagged:
    path.write_bytes(content.encode())
    return result(read_tagged(path, column, **choices))  # type: ignore[arg-type]


def columns(content: str, path: Path, column: str = "-1", **choices: bool | int) -> Tagged:
    return read(path.with_suffix(".tsv"), content, column, **choices)


def test_words_are_tokens_and_ranges_and_empty_nodes_are_none(file: Path) -> None:
    tagged = read(file, RANGES)
    assert tagged.sentences == (("Vamos", "nos", "al  mar", "_"), ("Sí",))
    assert tagged.tags == (("VERB", "PRON", "NOUN", "PUNCT"), ("INTJ",))
    assert tagged.lines.tolist() == [4, 5, 6, 8, 11] and len(tagged) == 2 and tagged.column == "upos"


def test_an_underscore_is_a_value_of_features_and_of_its_own_lemma(file: Path) -> None:
    assert read(file, RANGES, "FEATS").tags == (("Mood=Imp", "_", "_", "_"), ("_",))
    with pytest.raises(UserError, match=r"line 6 of .* has no tag in LEMMA for the token 'al  mar'"):
        read(file, RANGES, "lemma")
    lemmas = read(file, RANGES.replace("al  mar\t_", "al  mar\tmar"), "lemma").tags
    assert lemmas == (("ir", "nosotros", "mar", "_"), ("sí",))


def test_without_tags_a_file_needs_none(file: Path) -> None:
    tagged = read(file, RANGES, "xpos", tags=False)
    assert tagged.tags == () and len(tagged.sentences[0]) == 4
    with pytest.raises(UserError, match=r"line 11 of .* has no tag in XPOS for the token 'Sí'\n.*allowed"):
        read(file, RANGES, "xpos")
    assert read(file, RANGES, "xpos", tags=False).sentences == tagged.sentences


def test_files_of_columns(file: Path) -> None:
    conll = "-DOCSTART- -X- -X- O\n\nEU  NNP B-NP B-ORG\nrejects VBZ B-VP O \n\n\n\u00a0 x x O"
    tagged = columns(conll, file)
    assert tagged.sentences == (("EU", "rejects"), ("\u00a0",)) and tagged.tags == (("B-ORG", "O"), ("O",))
    assert tagged.column == "4" and tagged.lines.tolist() == [3, 4, 7]
    assert columns(conll, file, "2").tags == (("NNP", "VBZ"), ("x",))
    tabs = "\ufeffNew York\tB-LOC\r\n\t\r\n# text = a b\r\n#\tO\r\n"
    tagged = columns(tabs, file)
    assert tagged.sentences == (("New York",), ("#",)) and tagged.tags == (("B-LOC",), ("O",))
    numbered = columns("# text = a\n1\ta\tO\n2\tb\tB-X\n", file, "3", token_column=2)
    assert numbered.sentences == (("a", "b"),) and numbered.tags == (("O", "B-X"),)


def test_what_is_packed_or_encoded_is_read_and_written_back_as_the_path_says(tmp_path: Path) -> None:
    path = tmp_path / "latin.conll.gz"
    path.write_bytes(gzip.compress("é a\nü b\n".encode("latin-1")))
    tagged = result(read_tagged(text_path(path, encoding="latin-1"), "2"))
    assert tagged.sentences == (("é", "ü"),)
    assert rewritten(tagged, [["b", "é"]]) == "é b\nü é\n".encode("latin-1")
    with pytest.raises(UserError, match="the tag with '漢' cannot be written"):
        rewritten(tagged, [["b", "漢"]])


@pytest.mark.parametrize(
    ("encoding", "codec", "mark"),
    [
        ("utf-8-sig", "utf-8", ""),
        ("utf-8-sig", "utf-8", "\ufeff"),
        ("utf-16", "utf-16-le", "\ufeff"),
        ("UTF16", "utf-16-be", "\ufeff"),
        ("utf-16-be", "utf-16-be", ""),
        ("utf-16-be", "utf-16-be", "\ufeff"),
        ("U32", "utf-32-be", "\ufeff"),
    ],
)
def test_byte_order_and_mark_are_kept(tmp_path: Path, encoding: str, codec: str, mark: str) -> None:
    path = tmp_path / "file.tsv"
    path.write_bytes(f"{mark}é\tA\r\n".encode(codec))
    tagged = result(read_tagged(text_path(path, encoding=encoding), "2"))
    assert rewritten(tagged, [["B"]]) == f"{mark}é\tB\r\n".encode(codec)


def test_an_encoding_that_loses_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.tsv"
    path.write_bytes(b"\x87\x90\tA\n")  # NEC's own code of a character that cp932 writes as 81 E0
    tagged = result(read_tagged(text_path(path, encoding="cp932"), "2"))
    with pytest.raises(UserError, match=r"file.tsv does not come back byte for byte .* cp932\n.*allowed.*\n.*UTF-8"):
        rewritten(tagged, [["B"]])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("2\tnos\t", "2\t", "line 5 of .*file.conllu has 9 columns, and CoNLL-U ten\n.*ten columns with a tab"),
        ("\t_\n3\tal", "\t_\tx\n3\tal", "line 5 of .* has 11 columns"),
        ("2\tnos", "3\tnos", "line 5 of .* has the ID '3'\n.*allowed: 2, the next word"),
        ("2\tnos", "x\tnos", "line 5 of .* has the ID 'x'"),
        ("\n\n#", "\n#", "line 10 of .* has the ID '1'\n.*allowed: 5,.*\n.*an empty line ends a sentence"),
        ("1\tSí", "2\tSí", "line 11 of .* has the ID '2'\n.*allowed: 1,.*\n.*a sentence begins with 1"),
        ("2\tnos\t", "2\t\t", "line 5 of .* has no token"),
        ("PRON", "_", "line 5 of .* has no tag in UPOS for the token 'nos'\n.*_ and nothing are none\n.*fix"),
        ("PRON", "", "line 5 of .* has no tag in UPOS"),
        ("PRON", "PR\0N", "file.conllu is binary: NUL at character"),
        (RANGES, "# only\n\n", "has no tokens"),
        (RANGES, "", "has no tokens"),
    ],
)
def test_broken_lines_of_conllu_are_refused(file: Path, old: str, new: str, says: str) -> None:
    assert old in RANGES
    with pytest.raises(UserError, match=says):
        read(file, RANGES.replace(old, new, 1))


@pytest.mark.parametrize(
    ("content", "column", "says"),
    [
        ("a O\nb\n", "2", "line 2 of .* has 1 column, the first one 2\n"),
        ("a\tO\nb O\n", "2", "line 2 of .* has 1 column, the first one 2\n"),
        ("a O\nb O O\n", "-1", "line 2 of .* has 3 columns, the first one 2"),
        ("\n\na O\n", "3", "line 3 of .* has 2 columns, with the token in column 1 and the tag in column 3"),
        ("a O\n", "1", "the tag in column 1"),
        ("a O\n", "-2", "the tag in column -2"),
        ("a O\n", "-3", "the tag in column -3"),
        ("a O\n", "0", "the tag in column 0"),
        ("a\tO\n\tO\n", "2", "line 2 of .* has no token"),
        ("a\tO\n\nb\t\n", "2", "line 3 of .* has no tag in column 2 for the token 'b'"),
        ("a _\n", "2", "line 1 of .* has no tag in column 2 for the token 'a'"),
        ("a O\n", "ups", "'ups' is no column of tags in CoNLL-U\n.*a number\n.*did you mean 'upos'"),
        ("a O\n", "form", "'form' is no column of tags"),
        ("a O\n", "--2", "'--2' is no column of tags"),
        ("a O\n", "upos", "line 1 of .* has 1 column, and CoNLL-U ten\n.*\n.*by its number"),
        ("-DOCSTART- O\n\n", "2", "has no tokens"),
    ],
)
def test_broken_files_of_columns_are_refused(file: Path, content: str, column: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        columns(content, file, column)


def test_a_file_named_conllu_has_no_numbered_columns(file: Path) -> None:
    with pytest.raises(UserError, match="is CoNLL-U, and 4 is a number"):
        read(file, RANGES, "4")


def test_tokens_of_conllu_have_no_other_column(file: Path) -> None:
    with pytest.raises(UserError, match="are to be in column 2"):
        file.write_text(RANGES)
        result(read_tagged(file, "upos", token_column=2))


def test_the_token_column_must_be_there(file: Path) -> None:
    with pytest.raises(UserError, match="with the token in column 3"):
        columns("a O\n", file, token_column=3)


def test_sizes_and_encodings_are_checked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(b"\xff\xfea")
    with pytest.raises(UserError, match="UTF-16"):
        result(read_tagged(file, "upos"))
    monkeypatch.setattr(module, "MAX_TOKENS", 4)
    with pytest.raises(UserError, match="more than 4 tokens"):
        read(file, RANGES)
    with pytest.raises(UserError, match="folder"):
        result(read_tagged(file.parent, "upos"))


def test_progress_ends_with_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPORT_TOKENS", 2)
    reports: list[Progress] = []
    file.write_text(RANGES)
    result(read_tagged(file, "upos"), reports.append)
    assert [report.done for report in reports] == [8, 12] and reports[-1].total == 12


def test_a_missing_column_is_added(file: Path) -> None:
    tagged = columns("a\r\nb\r\n\r\n", file, "2", tags=False)
    assert rewritten(tagged, [["X", "Y"]]) == b"a X\r\nb Y\r\n\r\n"
    tagged = columns("a\tx\nb\ty", file, "3", tags=False)
    assert rewritten(tagged, [["X", "Y"]]) == b"a\tx\tX\nb\ty\tY"


@pytest.mark.parametrize("tag", ["", "a\tb", "a\nb", "a b"])
def test_tags_that_would_break_a_line_are_refused(file: Path, tag: str) -> None:
    with pytest.raises(UserError, match=r"line 1 of .*\n.*allowed.*\n.*--json"):
        rewritten(columns("a O\n", file), [[tag]])
    if tag == "a b":
        assert rewritten(columns("a\tO\n", file), [[tag]]) == b"a\ta b\n"


def test_sentences_in_memory() -> None:
    tagged = tagged_of([["a", "b"], [], ["c"]], [["X", "Y"], [], ["X"]])
    assert tagged.sentences == (("a", "b"), ("c",)) and tagged.tags == (("X", "Y"), ("X",))
    assert tagged.lines.tolist() == [1, 2, 3] and tagged.sha256 != tagged_of([["a"]], [["X"]]).sha256
    with pytest.raises(ValueError, match=r"longer|shorter"):
        tagged_of([["a"]], [])


# ---- laws of writing back

ends = st.sampled_from(["\n", "\r\n"])
marks = st.sampled_from(["", "\ufeff"])
field = st.text(st.characters(exclude_characters="\t\n\0", exclude_categories=["Cs"]), min_size=1, max_size=5).filter(
    lambda text: text not in ("_", "\r") and not text.endswith("\r")
)
word = field.filter(lambda text: " " not in text and not text.startswith("-DOCSTART-"))


@st.composite
def conllu(draw: st.DrawFn) -> str:
    """Return a file of CoNLL-U with comments, ranges, empty nodes and all kinds of line ends."""
    text = draw(marks)
    for _ in range(draw(st.integers(1, 4))):
        number = 0
        for kind in ["word", *draw(st.lists(st.sampled_from(["word", "range", "node", "comment"]), max_size=6))]:
            fields = [draw(st.just("_") | field) for _ in range(9)]
            fields[2] = draw(field)
            number += kind == "word"
            names = {"word": f"{number}", "range": f"{number + 1}-{number + 2}", "node": f"{number}.1"}
            text += "\t".join([names[kind], *fields]) if kind in names else f"#{draw(field)}"
            text += draw(ends)
        text += draw(ends)
    return text[: len(text) - draw(st.integers(0, 3))] if text.endswith("\n\n\n") else text


@st.composite
def table(draw: st.DrawFn) -> tuple[str, int]:
    """Return a file of columns and their number."""
    width, tabs = draw(st.integers(2, 4)), draw(st.booleans())
    gap = st.just("\t") if tabs else st.text(" ", min_size=1, max_size=3)
    text = draw(marks)
    for _ in range(draw(st.integers(1, 4))):
        text += draw(st.sampled_from(["", "-DOCSTART- x" + "\n", "# a b\n" if tabs else "\n"]))
        for _ in range(draw(st.integers(1, 4))):
            fields = [draw(field if tabs else word) for _ in range(width)]
            if tabs and fields[0].startswith("# "):
                fields[0] = "#"
            text += "".join(part + draw(gap) for part in fields[:-1]) + fields[-1] + draw(ends)
        text += draw(st.sampled_from(["\n", "\r\n", " \n", "\t\n", "\n\n"]))
    return text.removesuffix("\n") if draw(st.booleans()) else text, width


def others(tags: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[f"T{row}{place}" for place in range(len(own))] for row, own in enumerate(tags)]


@given(conllu(), st.sampled_from(["lemma", "misc", "feats"]))
def test_conllu_comes_back_and_only_its_tags_change(
    tmp_path_factory: pytest.TempPathFactory, text: str, column: str
) -> None:
    path = tmp_path_factory.mktemp("law") / "file.conllu"
    path.write_bytes(text.encode())
    tagged = result(read_tagged(path, column, tags=False))
    place = module.CONLLU.index(column)
    rows = [text.removeprefix("\ufeff").split("\n")[line - 1].removesuffix("\r").split("\t") for line in tagged.lines]
    kept = iter([row[place] for row in rows])
    same = [[next(kept) for _ in sentence] for sentence in tagged.sentences]
    assert rewritten(tagged, same) == text.encode()
    changed = others(tagged.sentences)
    path.write_bytes(rewritten(tagged, changed))
    again = result(read_tagged(path, column))
    assert again.sentences == tagged.sentences and [[*row] for row in again.tags] == changed
    assert (again.lines == tagged.lines).all()
    assert rewritten(again, same) == text.encode()


@given(table())
def test_columns_come_back_and_only_their_tags_change(
    tmp_path_factory: pytest.TempPathFactory, of_table: tuple[str, int]
) -> None:
    text, width = of_table
    path = tmp_path_factory.mktemp("law") / "file.tsv"
    path.write_bytes(text.encode())
    for column in map(str, range(2, width + 1)):
        tagged = result(read_tagged(path, column))
        assert rewritten(tagged, tagged.tags) == text.encode()
        changed = others(tagged.tags)
        path.write_bytes(rewritten(tagged, changed))
        again = result(read_tagged(path, column))
        assert again.sentences == tagged.sentences and [[*row] for row in again.tags] == changed
        assert rewritten(again, tagged.tags) == text.encode()
        path.write_bytes(text.encode())

"""Rows come with their lines; a table without the column, or with a damaged row, is refused with the place."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.hostile import texts
from unroll.data import tables
from unroll.data.tables import DELIMITERS, column_of, is_table, lines_of, rows_of
from unroll.errors import UserError

HERE = Path("table")
cells = texts.filter(lambda text: "\0" not in text)  # a file with a NUL is no text


COLUMNS = {"body": "--text", "kind": "--label"}


def rows(text: str) -> list[tuple[int, dict[str, object]]]:
    return [(row.line, dict(row.fields)) for row in rows_of(iter([text]), HERE, COLUMNS)]


def column(text: str) -> list[str]:
    return list(column_of(iter([text]), HERE, "body"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,text\n1,a\n", "has no column 'body'"),
        ("", "has no column"),
        ("id,body\n1,a\n2\n", "line 3 of table has 1 field, its header 2"),
        ('id,body\n1,"a\n', "line 2 of table is damaged"),
        ("id,body\r1,a\r", "line 1 of table is damaged"),  # the line ends of a very old Macintosh
        ('{"body": "a"}\n{"body": 3}\n', "line 2 of table has no text 'body'"),
        ('{"body": "a"}\n[]\n', "line 2 of table is not a JSON object"),
        ('{"text": "a"}\n', "one of its columns: text"),
    ],
)
def test_what_is_no_table_with_the_column_is_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        column(text)


def test_a_column_whose_name_is_almost_right_is_advised() -> None:
    with pytest.raises(UserError, match="fix: --text 'The Body'"):
        list(column_of(iter(["id,The Body\n1,a\n"]), HERE, "the body"))


def test_a_header_of_any_length_is_shown_in_part() -> None:
    with pytest.raises(UserError, match=r"name0, name1, .* …\n") as refused:
        column(",".join(f"name{k}" for k in range(999)))
    assert len(str(refused.value)) < 500


def test_tables_by_their_names() -> None:
    assert all(is_table(Path(name)) for name in ("a.csv", "A.TSV", "a.b.jsonl", "a.ndjson.gz", "A.CSV.ZST"))
    assert not any(is_table(Path(name)) for name in ("a.txt", "csv", "a.csv.txt", "a.csv.zip", "a.gz"))


def test_a_column_of_a_spreadsheet() -> None:
    """With a byte order mark, CR LF, a semicolon, quotes, an empty line and an empty field, as Excel writes it."""
    text = '\ufeffid;body\r\n1;"a ""b""; c\r\nd"\r\n\r\n2;\r\n'
    assert column(text) == ['a "b"; c\r\nd', ""]


@pytest.mark.parametrize("blank", ["", "\n", " \r\n\n"])
@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_rows_of_several_columns_have_the_numbers_of_their_lines(blank: str, delimiter: str) -> None:
    """Whatever the order of the columns, with line breaks in quotes, and blank lines before the header and after it."""
    table = 'kind;id;body\n\na;1;"x;\ny"\n"";2;z\n'.replace(";", delimiter)
    first = 3 + blank.count("\n")
    expected = [(first, {"body": f"x{delimiter}\ny", "kind": "a"}), (first + 2, {"body": "z", "kind": ""})]
    assert rows("\ufeff" * (not blank) + blank + table) == expected


def test_objects_have_values_of_any_kind() -> None:
    text = '\n{"body": "x", "kind": 3}\n\n{"kind": ["a"], "id": 0, "body": null}\n'
    assert rows(text) == [(2, {"body": "x", "kind": 3}), (4, {"body": None, "kind": ["a"]})]


def test_a_header_may_have_a_line_break_in_quotes() -> None:
    assert rows('"a\nb",body,kind\n1,x,y\n') == [(3, {"body": "x", "kind": "y"})]


def test_the_option_that_names_a_missing_column_is_advised() -> None:
    with pytest.raises(UserError, match=r"table has no column 'kind'\n.*: body, id, Kinds\n.*--label Kinds$"):
        rows("body,id,Kinds\n")
    with pytest.raises(UserError, match=r"line 2 of table has no column 'kind'\n.*: body, x\n.*--label$"):
        rows('{"body": "", "kind": ""}\n{"body": "", "x": ""}')


def test_a_damaged_row_is_named_by_its_first_line() -> None:
    """Its last line is the file's, where a quote is never closed."""
    with pytest.raises(UserError, match="line 3 of table has 3 fields, its header 2"):
        rows('kind,body\na,b\nc,"d\ne",f\n')
    with pytest.raises(UserError, match="line 3 of table is damaged"):
        rows('kind,body\na,b\nc,"d\ne\nf\n')


@given(st.lists(st.tuples(cells, cells), max_size=5), st.sampled_from(DELIMITERS), st.sampled_from(["\n", "\r\n"]))
def test_what_csv_writes_is_read_back(table: list[tuple[str, str]], delimiter: str, end: str) -> None:
    written = io.StringIO(newline="")
    bare = any("\r" in cell for row in table for cell in row)  # the writer of Python leaves a CR without quotes
    writer = csv.writer(
        written, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL
    )
    writer.writerows([("body", "kind"), *table])
    assert [tuple(fields.values()) for _, fields in rows(written.getvalue())] == table


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_what_json_writes_is_read_back(table: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"kind": kind, "body": body}, ensure_ascii=False) for body, kind in table]
    assert [tuple(fields.values()) for _, fields in rows("\n".join(lines))] == table


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINE", 100)
    with pytest.raises(UserError, match="a line of more than 100 characters"):
        list(lines_of(iter(["x" * 60] * 2), "\n", HERE))

"""A table without the column, or with a damaged row, is refused with the place."""

from pathlib import Path

import pytest

from unroll.data import tables
from unroll.data.tables import column_of, lines_of
from unroll.errors import UserError

HERE = Path("table")


def column(text: str) -> list[str]:
    return list(column_of(iter([text]), HERE, "body"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,text\n1,a\n", "has no column 'body'"),
        ("", "has no column"),
        ("id,body\n1,a\n2\n", "line 3 of table has 1 fields, its header 2"),
        ('id,body\n1,"a\n', "line 2 of table is damaged"),
        ("id,body\r1,a\r", "line 1 of table is damaged"),  # the line ends of a very old Macintosh
        ('{"body": "a"}\n{"body": 3}\n', "row 2 of table has no text 'body'"),
        ('{"body": "a"}\n[]\n', "row 2 of table is not a JSON object"),
        ('{"text": "a"}\n', "its keys are text"),
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


def test_a_column_of_a_spreadsheet() -> None:
    """With a byte order mark, CR LF, a semicolon, quotes, an empty line and an empty field, as Excel writes it."""
    text = '\ufeffid;body\r\n1;"a ""b""; c\r\nd"\r\n\r\n2;\r\n'
    assert column(text) == ['a "b"; c\r\nd', ""]


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINE", 100)
    with pytest.raises(UserError, match="a line of more than 100 characters"):
        list(lines_of(iter(["x" * 60] * 2), "\n", HERE))

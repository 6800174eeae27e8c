"""Files of n-best lists and of references: each format, and every line that does not follow it is named."""

from pathlib import Path

import pytest

from lm.test_pair_files import write
from unroll.errors import UserError
from unroll.lm.nbest import Fields, read_nbest, read_references

MOSES = (
    "0 ||| a bad cab  ||| d: 0 -5.5 lm: -3 ||| -9.2298\n"
    "0 ||| a bad cabs ||| d: 0 -5.5 lm: -3 ||| -9.3\n"
    "1 |||  ||| d: 0 ||| 0\n"
    "0 ||| fade ||| d: 1 ||| -1e1\n"
    "1 ||| dab ||| d: 2 ||| 0.0\n"
)
TABLE = (
    "\ufeffspeaker\tutt\thyp\tscore\r\n"
    "é\tu2\ta bad cab\t-9\r\n\u202eא\tu2\tfade\t-9.5\r\ne\u0301\tu1\ta\t3\r\nx\tu2\ta bad cab\t-9"
)
JSON_LINES = (
    '{"utt": "u1", "text": "a bad cab", "score": -3, "more": {"a": [1, 2]}}\n'
    '{ "score":-2.5,"utt":"u1" , "text":"fade\\u0020" }  \r\n'
    '{"utt": 7, "text": "", "score": -1e0}\n'
)
LISTS = {"moses": MOSES, "tsv": TABLE, "jsonl": JSON_LINES}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no hypotheses"),
        ("just a text\n", "line 1 is in no format of n-best lists"),
        (MOSES + "\n", "line 6 has 1 fields, the first line 4"),
        (MOSES + "2 ||| a ||| -3\n", "line 6 has 3 fields, the first line 4"),
        (MOSES.replace("-1e1", "ten"), "line 4 has 'ten' as its score"),
        (MOSES.replace("-1e1", "nan"), "line 4 has 'nan' as its score"),
        (MOSES.replace("-1e1", "-inf"), "line 4 has '-inf' as its score"),
        ("0 ||| a\n", "line 1 has an id and a hypothesis, and no score"),
        ("a\tb\tc\nx\ty\t1\n", "line 1 has no id: its fields are a, b, c"),
        ("id\tb\tscore\nx\ty\t1\n", "line 1 has no text"),
        ("id\ttext\tb\nx\ty\t1\n", "line 1 has no score"),
        ("id\ttext\tscore\n", "line 1 is a header, with no hypotheses"),
        ("id\ttext\tscore\nx\ty\t1\nx\ty\n", "line 3 has 2 columns, the header 3"),
        ("id\ttext\tscore\nx\ty\t1\n\n", "line 3 has 1 columns, the header 3"),
        ("id\ttext\tscore\tlm\nx\ty\t1\t2\n", "already has the field lm, which rescoring adds"),
        (JSON_LINES + "{", "line 4 is not a JSON object"),
        (JSON_LINES + "\n{}", "line 4 is not a JSON object"),
        (JSON_LINES + '{"text": "a", "score": 3}', "line 4 has no id"),
        (JSON_LINES + '{"id": 1, "text": 5, "score": 3}', "line 4 has an id or a hypothesis that is not text"),
        (JSON_LINES + '{"id": [], "text": "", "score": 3}', "line 4 has an id or a hypothesis that is not text"),
        (JSON_LINES + '{"id": 1, "text": "a", "score": true}', "line 4 has True as its score"),
        (JSON_LINES + '{"id": 1, "text": "a", "score": NaN}', "line 4 has nan as its score"),
        (JSON_LINES + '{"id": 1, "text": "a", "score": 1' + "0" * 400 + "}", "as its score, which is not a number"),
        (JSON_LINES + '{"id": 1, "text": "\\udc00", "score": 1}', "line 4 is not a JSON object"),
        (JSON_LINES + '{"id": 1, "text": "a", "score": 1, "rescored": 3}', "line 4 already has the field rescored"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "nbest", content)
    with pytest.raises(UserError) as refusal:
        read_nbest(path)
    assert message in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n  fix: " in str(refusal.value)


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "nbest", MOSES.replace("fade", "fadé"), "latin-1")
    with pytest.raises(UserError, match=r"is not UTF-8: byte e9 at byte offset 9 .*in line 4"):
        read_nbest(path)


def test_fields_may_have_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "nbest", '{"key": "k", "id": "i", "said": "a", "am": -2, "score": -1}')
    (hypothesis,) = read_nbest(path, Fields("key", "said", "am")).hypotheses
    assert (hypothesis.id, hypothesis.text, hypothesis.score) == ("k", "a", -2)
    with pytest.raises(UserError, match="line 1 has no score: its fields are key, id, said"):
        read_nbest(path, Fields("key", "said", "lam"))
    path = write(tmp_path / "nbest", "0 ||| a ||| -5 ||| -2 ||| 0-0\n")
    assert [read_nbest(path, Fields(score=k)).hypotheses[0].score for k in (None, "3")] == [-2, -5]
    for field in ("2", "6", "total"):
        with pytest.raises(UserError, match=f"cannot be field {field}"):
            read_nbest(path, Fields(score=field))


@pytest.mark.parametrize(
    "content",
    [
        "a bad cab\ndab\n",
        "1\tdab\r\n9\tx\r\n0\ta bad cab",
        '{"id": 0, "text": "a bad cab"}\n{"utt": "1", "hyp": "dab"}\n',
    ],
)
def test_references_come_in_three_forms(tmp_path: Path, content: str) -> None:
    references = read_references(write(tmp_path / "ref", content), ["0", "1"])
    assert (references["0"], references["1"]) == ("a bad cab", "dab")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\n", "1 lines for 2 ids"),
        ("0\ta\n", "no text for the id 1"),
        ("0\ta\n0\tb\n", "line 2 repeats the id 0"),
        ("0\ta\nb\n", "line 2 is not an id and a text"),
        ('{"id": 0}\n', "line 1 is not an id and a text"),
        ("{\n", "line 1 is not an id and a text"),
        ("", "no text for the id 0"),
    ],
)
def test_references_that_do_not_fit(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_references(write(tmp_path / "ref", content), ["0", "1"])

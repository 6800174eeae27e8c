"""Examples come with their lines, parts are fair and repeatable, and what is odd is refused or counted."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.hostile import texts
from unroll.data import labelled
from unroll.data.labelled import Examples, Parts, examples_of, parts_of, read_examples, text_number
from unroll.data.opening import text_path
from unroll.errors import UserError
from unroll.progress import Progress, result


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def read(path: Path, content: str, *, label: Sequence[str] = ("label",), multi: bool = False) -> Examples:
    path.write_bytes(content.encode())
    return result(read_examples(path, ["text"], label, multi=multi))


def examples(rows: Sequence[tuple[str, ...]], *, multi: bool = False) -> Examples:
    """Return examples of texts and their labels, as if from a file."""
    width = 1 if multi else len(rows[0]) - 1
    return Examples(
        Path("table.csv"),
        ("label", "author", "genre")[:width],
        multi,
        tuple(text for text, *_ in rows),
        tuple(tuple(labels) for _, *labels in rows),
        np.arange(2, len(rows) + 2),
        "",
    )


def test_examples_have_their_lines_labels_and_digest(table: Path) -> None:
    content = '\ufeff\r\nlabel;id;text\r\n pos ;1;"a\r\nb"\r\nneg;2;\r\n'
    read_back = read(table, content)
    assert read_back.texts == ("a\r\nb", "") and read_back.labels == (("pos",), ("neg",))
    assert read_back.lines.tolist() == [3, 5] and read_back.names == (("neg", "pos"),)
    assert read_back.sha256 == hashlib.sha256(content.encode()).hexdigest() and len(read_back) == 2


def test_several_text_columns_are_joined_by_newlines(table: Path) -> None:
    table.write_text("title,body,kind,author\nA,b,x,me\n,d,y,you\n")
    read_back = result(read_examples(table, ["body", "title"], ["author", "kind"]))
    assert read_back.texts == ("b\nA", "d\n") and read_back.labels == (("me", "x"), ("you", "y"))
    assert read_back.names == (("me", "you"), ("x", "y")) and read_back.columns == ("author", "kind")


def test_examples_without_labels(table: Path) -> None:
    read_back = read(table, "text\na\nb\n", label=())
    assert read_back.texts == ("a", "b") and read_back.labels == ((), ()) and read_back.names == ()


def test_the_encoding_and_the_packing_are_those_of_the_path(table: Path) -> None:
    import gzip

    table.write_bytes(gzip.compress("text,label\né,ü\n".encode("latin-1")))
    read_back = result(read_examples(text_path(table, encoding="latin-1", column="other"), ["text"], ["label"]))
    assert read_back.texts == ("é",) and read_back.labels == (("ü",),)


def test_labels_of_json(table: Path) -> None:
    values = ["a", " b ", 3, -1, True, False, "3"]
    content = "".join(json.dumps({"text": "x", "label": value}) + "\n" for value in values)
    labels = [label for (label,) in read(table, content).labels]
    assert labels == ["a", "b", "3", "-1", "true", "false", "3"]


def test_a_text_with_any_number_of_labels(table: Path) -> None:
    several = [("a", "b"), (), ("c",), ("a b",)]
    csv = "text,label\n1,b|a|b\n2, \n3,c\n4, a b \n"
    assert read(table, csv, multi=True).labels == tuple(several)
    lists = [["b", "a", "b"], [], "c", ["a b"]]
    content = "".join(json.dumps({"text": "x", "label": value}) + "\n" for value in lists)
    read_back = read(table, content, multi=True)
    assert read_back.labels == tuple(several) and read_back.names == (("a", "a b", "b", "c"),)
    two = read(table, "text,label,more\n1,a,\n2,b,c|a\n", label=("label", "more"), multi=True)
    assert two.labels == (("a",), ("a", "b", "c")) and two.names == (("a", "b", "c"),)
    bars = read(table, '{"text": "x", "label": ["a|b"]}\n', multi=True)
    assert bars.labels == (("a|b",),), "in a list a bar is like any character"


@pytest.mark.parametrize(
    ("content", "multi", "says"),
    [
        ("text,label\na,x\nb,\n", False, "line 3 of .* has no label in 'label'\n"),
        ('text,label\n"a\n",x\nb, \n', False, "line 4 of .* has no label"),
        ("text,label\na,x||y\n", True, "line 2 of .* has no label"),
        ('{"text": "a", "label": null}', False, "line 1 of .* has no label in 'label'\n"),
        ('{"text": "a", "label": null}', True, "line 1 of .* has no label"),
        ('{"text": "a", "label": ["x", ""]}', True, "line 1 of .* has no label"),
        ('{"text": "a", "label": 1.5}', False, "has no label in 'label', but 1.5\n.*an integer"),
        ('{"text": "a", "label": ["x"]}', False, r"but \['x'\]\n.*\n.*--multi-label"),
        ('{"text": "a", "label": {"x": 1}}', True, "has no label in 'label', but {"),
        ('{"text": 1, "label": "x"}', False, "line 1 of .* has no text 'text', but 1\n"),
        ("text,lable\na,x\n", False, "no column 'label'\n.*: text, lable\n.*--label lable$"),
        ("txet,label\na,x\n", False, "no column 'text'\n.*\n.*--text txet$"),
        ("text,label\n", False, "has no rows"),
        ("", False, "has no column"),
    ],
)
def test_what_is_no_example_is_refused(table: Path, content: str, multi: bool, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read(table, content, multi=multi)


@pytest.mark.parametrize(
    ("name", "says"), [("MAX_TEXT", "line 3 of .* 5 chara"), ("MAX_TEXTS", "line 3"), ("MAX_EXAMPLES", "line 3")]
)
def test_sizes_are_checked_while_reading(table: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str) -> None:
    monkeypatch.setattr(labelled, name, {"MAX_TEXT": 4, "MAX_TEXTS": 8, "MAX_EXAMPLES": 1}[name])
    with pytest.raises(UserError, match=says):
        read(table, "text,label\naaaa,x\naaaaa,y\n")


def test_a_text_of_a_million_characters_is_read(table: Path) -> None:
    assert read(table, "text,label\n" + "a" * 10**6 + ",x\n").texts == ("a" * 10**6,)


def test_progress_ends_with_the_file(table: Path) -> None:
    table.write_text("text,label\n" + "a,x\n" * 2500)
    reports: list[Progress] = []
    result(read_examples(table, ["text"], ["label"]), reports.append)
    assert len(reports) == 3 and reports[-1].done == reports[-1].total == table.stat().st_size


# ---- parts

rows = st.lists(st.tuples(texts, st.sampled_from("abc"), st.sampled_from("xy")), min_size=2, max_size=40)


def parts(
    table: Sequence[tuple[str, ...]], valid: Sequence[tuple[str, ...]] | None = None, *, multi: bool = False
) -> Parts:
    return parts_of(examples(table, multi=multi), None if valid is None else examples(valid, multi=multi))


@given(rows)
def test_parts_are_fair(table: list[tuple[str, ...]]) -> None:
    """No row is lost, no text is in both parts, training has every label, and the order of rows is kept."""
    try:
        made = parts(table)
    except UserError as error:
        assert "has the same" in str(error) or "have the same" in str(error) or "too few" in str(error)
        return
    assert sorted([*made.train.lines.tolist(), *made.valid.lines.tolist()]) == list(range(2, len(table) + 2))
    assert made.train.lines.tolist() == sorted(made.train.lines.tolist()) and len(made.valid)
    assert not {*made.train.texts} & {*made.valid.texts} and made.shared == 0
    assert made.names == examples(table).names
    by_line = dict(enumerate(table, 2))
    for part in (made.train, made.valid):
        for line, text, labels in zip(part.lines.tolist(), part.texts, part.labels, strict=True):
            assert (text, *labels) == by_line[line]


def test_one_text_in_ten_is_held_out_by_its_hash() -> None:
    table = [(f"text {k}", "ab"[k % 2]) for k in range(3000)]
    made = parts(table)
    assert set(made.valid.texts) == {text for text, _ in table if text_number(text) % 10 == 0}
    assert 250 < len(made.valid) < 350
    assert text_number("a") == int(hashlib.sha256(b"a").hexdigest()[:16], 16)
    more = parts([*table, ("one more", "a")])
    assert set(more.valid.texts) - {"one more"} == set(made.valid.texts), "a text stays where it is"


def of_tenth(tenth: bool, count: int) -> list[str]:
    """Return texts that the hash holds out, or not."""
    numbered = (f"text {k}" for k in range(10_000))
    return [text for text in numbered if (text_number(text) % 10 == 0) == tenth][:count]


def test_a_label_with_one_example_is_for_training_only() -> None:
    out = of_tenth(True, 3)
    table = [*((text, "a") for text in of_tenth(False, 9)), (out[0], "b"), (out[1], "b"), (out[2], "a")]
    made = parts(table)
    assert made.valid.texts == (out[1], out[2]) and made.single == ("b",)
    assert "1 label of table.csv with one example for training: b" in made.remarks
    several = parts([(text, *labels) for text, labels in zip(out, ("a", "b", "ab"), strict=True)], multi=True)
    assert several.valid.texts == (out[2],) and several.train.texts == (out[0], out[1])


def test_something_is_held_out_of_few_examples() -> None:
    kept = of_tenth(False, 4)
    made = parts([(text, "ab"[k % 2]) for k, text in enumerate(kept)])
    assert made.valid.texts == (min(kept, key=text_number),)
    with pytest.raises(UserError, match=r"table.csv has too few examples .*: 2 rows\n.*\n.*--valid"):
        parts([("x", "a"), ("y", "b")])


def test_a_table_split_before_by_the_same_hash_has_too_few_held_out() -> None:
    rest = [(text, "ab"[k % 2]) for k, text in enumerate(of_tenth(False, 200))]
    made = parts(rest)
    assert len(made.valid) == made.few == 1
    assert made.remarks == ("1 row held out of table.csv, too few to choose weights by: name others with --valid",)
    out = [(text, "a") for text in of_tenth(True, 3)]
    assert parts(rest + out).remarks == () == parts(rest, out[:1]).remarks


def test_what_is_odd_is_counted() -> None:
    plain = [(f"text {k}", "ab"[k % 2]) for k in range(10)]
    odd = [("text 0", "a"), ("text 1", "b"), ("text 1", "b"), ("text 2", "b"), ("", "a"), (" \n", "b")]
    made = parts(plain + odd, [("text 3", "a"), ("text 3", "b"), ("new", "a"), ("", "b")])
    assert (made.repeated, made.ambiguous, made.empty, made.shared) == (3, 1, 3, 3)
    assert made.remarks == (
        "3 rows of table.csv with text and label of an earlier row",
        "1 text of table.csv with different labels in different rows",
        "3 empty texts, read as the start symbol alone",
        "3 texts of table.csv also in table.csv: the figures of validation include them",
    )
    assert parts(plain, [("new", "a")]).remarks == ()


def test_texts_in_memory_have_the_parts_of_a_file(table: Path) -> None:
    rows = [(f"text {k}", "ab"[k % 2]) for k in range(30)]
    of_file = read(table, "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    in_memory = examples_of(*zip(*rows, strict=True))
    for from_file, from_memory in ((of_file, in_memory), (parts_of(of_file).train, parts_of(in_memory).train)):
        assert from_memory.texts == from_file.texts and from_memory.labels == from_file.labels
        assert (from_memory.lines == from_file.lines - 1).all() and from_memory.names == from_file.names
    assert in_memory.sha256 != examples_of(["a"], ["b"]).sha256


@pytest.mark.parametrize("multi", [False, True])
def test_one_label_only_is_refused(multi: bool) -> None:
    with pytest.raises(UserError, match=r"all rows of table.csv have the same 'label': a\n.*two different"):
        parts([("x", "a"), ("y", "a")], multi=multi)
    with pytest.raises(UserError, match=r"have the same 'author': m"):
        parts([("x", "a", "m"), ("y", "b", "m")])
    with pytest.raises(UserError, match=r"have the same 'label': no label"):
        parts([("x",), ("y",)], multi=True)


def test_one_label_that_some_texts_have_can_be_learnt() -> None:
    assert parts([("x", "a"), ("y",)], [("z",)], multi=True).names == (("a",),)


@pytest.mark.parametrize("multi", [False, True])
def test_a_label_that_training_lacks_is_refused(multi: bool) -> None:
    table = [("x", "positive"), ("y", "negative")]
    with pytest.raises(
        UserError, match=r"line 3 of .* label 'postive', which .* lacks\n.*: negative, positive\n.*'positive'"
    ):
        parts(table, [("x", "positive"), ("y", "postive")], multi=multi)
    with pytest.raises(UserError, match=r"line 2 .*'q'.*\n.*\n.*leave the row out"):
        parts(table, [("x", "q")], multi=multi)


def test_a_label_of_one_column_is_none_of_another() -> None:
    table = [("x", "a", "m"), ("y", "b", "n")]
    with pytest.raises(UserError, match=r"label 'a'.*\n.*: m, n\n"):
        parts(table, [("x", "a", "a")])

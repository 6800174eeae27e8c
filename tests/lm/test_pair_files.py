"""Files of minimal pairs: each format, and every line that does not follow it is named."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.hostile import WORDS
from unroll.errors import UserError
from unroll.lm.pair_files import Pair, read_pairs

HEADER = "pattern\tconstr_id\tsent_id\tcorrect_number\tform\tclass\ttype\tprefix\tlen_prefix\tsent"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def agreement(*items: tuple[str, str, str, str, float, float]) -> str:
    """Return a table of (constr_id, type, good, bad, score of the good, score of the bad)."""
    rows = [HEADER + "\tmodel"]
    for number, (constr, kind, good, bad, *values) in enumerate(items):
        for form, name, value in ((good, "correct", values[0]), (bad, "wrong", values[1])):
            sentence = f'"the ""cat"" {constr} {form}s ."'
            rows.append(
                f'P\t{constr}\t{number}\tsing\t{form}\t{name}\t{kind}\t"the ""cat"" {constr}"\t3\t{sentence}\t{value}'
            )
    return "\n".join(rows) + "\n"


def test_blimp_is_grouped_by_uid_and_phenomenon(tmp_path: Path) -> None:
    items = [
        {"sentence_good": "a b.", "sentence_bad": "b a.", "UID": "u1", "linguistics_term": "t", "pairID": "0"},
        {"sentence_good": "ה\u202eא e\u0301", "sentence_bad": "\u2028", "UID": "u2", "linguistics_term": "t"},
        {"sentence_good": "x", "sentence_bad": "y"},
    ]
    file = write(tmp_path / "some.jsonl", "\ufeff" + "\r\n\n".join(map(json.dumps, items)))
    first, second, third = read_pairs([file])
    assert first == Pair("a b.", "b a.", "u1", "t", file, 1)
    assert (second.good, second.bad, second.set, second.line) == ("ה\u202eא e\u0301", "\u2028", "u2", 3)
    assert (third.set, third.group, third.line) == ("some", "", 5)


@pytest.mark.parametrize("header", ["", "good\tbad\n", "Good\tbad\tset\r\n"])
def test_a_table_has_a_header_or_none(tmp_path: Path, header: str) -> None:
    file = write(tmp_path / "mine.tsv", f"{header}a cat\ta cats\r\n\nx\ty\tother")
    assert [(p.good, p.bad, p.set) for p in read_pairs([file])] == [("a cat", "a cats", "mine"), ("x", "y", "other")]


def test_agreement_items_are_two_lines_wherever_they_stand(tmp_path: Path) -> None:
    lines = agreement(("1", "original", "is", "are", 0, 0), ("2", "generated", "go", "goes", 0, 0)).splitlines()
    file = write(tmp_path / "a.tab", "\n".join([lines[0], lines[4], lines[2], lines[1], lines[3]]))
    generated, original = read_pairs([file])
    assert (original.good, original.bad, original.prefix) == ("is", "are", 'the "cat" 1')
    assert (original.set, original.group) == ("original", "P original")
    assert (generated.good, generated.bad, generated.set) == ("go", "goes", "nonsense")
    assert original.line == 4
    assert original.scores == ()


def test_words_that_the_published_models_did_not_know_are_those_of_the_sentence(tmp_path: Path) -> None:
    row = "P\t1\t1\tsing\t{}\toriginal\t{}\t3\t{}\n"
    good, bad = (row.format(form, "<unk> the cat", "Dignitaries the cat is") for form in ("is\tcorrect", "are\twrong"))
    (item,) = read_pairs([write(tmp_path / "a.tab", f"{HEADER}\n{good}{bad}")])
    assert item.prefix == "Dignitaries the cat"
    bad = bad.replace("Dignitaries the", "Dignitaries a")
    with pytest.raises(UserError, match="line 3 has a prefix that its sentence does not begin with"):
        read_pairs([write(tmp_path / "a.tab", f"{HEADER}\n{good}{bad}")])


GOOD = json.dumps({"sentence_good": "a", "sentence_bad": "b"})
ITEM = agreement(("1", "original", "is", "are", -1, -2)).splitlines()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no pairs"),
        ("\n\r\n", "has no pairs"),
        ("good\tbad\n", "has no pairs"),
        ("a sentence\n", "line 1 is in no format"),
        ("a\tb\tc\td\n", "line 1 is in no format"),
        ("a\tb\n\nc\n", "line 3 is not good<TAB>bad"),
        ("a\tb\n\tb\n", "line 2 is not good<TAB>bad"),
        ("a\tb\na\tb\tc\td\n", "line 2 is not good<TAB>bad"),
        (GOOD + "\n[]\n", "line 2 is not a JSON object"),
        (GOOD + "\n{\n", "line 2 is not a JSON object"),
        (GOOD + "\n" + "[" * 100_000, "line 2 is not a JSON object"),
        (GOOD + '\n{"sentence_good": "a"}', "line 2 has no text as"),
        (GOOD + '\n{"sentence_good": "a", "sentence_bad": 3}', "line 2 has no text as"),
        (GOOD + '\n{"sentence_good": "a", "sentence_bad": "\\ud800"}', "line 2 is not a JSON object"),
        (GOOD + '\n{"sentence_good": "a", "sentence_bad": ""}', "line 2 has no text as"),
        ("\n".join([*ITEM[:2]]), "line 2 is the correct form of an item that lacks the other"),
        ("\n".join([*ITEM, ITEM[1]]), "line 4 repeats the correct form of line 2"),
        ("\n".join([*ITEM, "x\ty"]), "line 4 has 2 columns, the header 11"),
        ("\n".join(ITEM).replace("wrong", "worse"), "line 3 has no form, or a class"),
        ("\n".join([*ITEM, ITEM[1].replace('"the', '"the"x')]), "line 4 is not a line of a table"),
        ("\n".join([*ITEM[:2], ITEM[2].replace("the", "a", 1)]), "line 3 has another prefix than line 2"),
        ("\n".join(ITEM).replace("constr_id", "form"), "line 1 does not name the column constr_id once"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(tmp_path: Path, content: str, message: str) -> None:
    file = write(tmp_path / "pairs", content)
    with pytest.raises(UserError) as refusal:
        read_pairs([file])
    assert message in str(refusal.value)
    assert str(file) in str(refusal.value)
    assert "\n  fix: " in str(refusal.value)


def test_what_is_not_utf8_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "pairs", "a\tb\nc\tcafé\n", "latin-1")
    with pytest.raises(UserError, match=r"is not UTF-8: byte e9 at byte offset 5 .*in line 2"):
        read_pairs([file])


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)), min_size=1))
def test_hostile_texts_come_back_from_json(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]
) -> None:
    file = tmp_path_factory.mktemp("hostile") / "pairs.jsonl"
    items = [{"sentence_good": good, "sentence_bad": bad} for good, bad in texts]
    write(file, "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))
    assert [(p.good, p.bad) for p in read_pairs([file])] == texts


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (agreement(("1", "original", "is", "are", -1, -2)), "repeats the score model"),
        (agreement(("1", "original", "is", "was", -1, -2)).replace("\tmodel", "\tx"), "is another item than line 2"),
        (agreement(("2", "original", "is", "are", -1, -2)).replace("\tmodel", "\tx"), "another of the files lacks"),
        (agreement(("1", "original", "is", "are", -1, -2)).replace("-2", "low"), "line 3 has 'low' as the score model"),
        (agreement(("1", "original", "is", "are", -1, math.nan)), "line 3 has 'nan' as the score model"),
        ("\n".join(line.rsplit("\t", 1)[0] for line in ITEM), "carries no scores"),
        (GOOD, "carries no scores"),
    ],
)  # fmt: skip
def test_scores_that_do_not_fit_together(tmp_path: Path, second: str, message: str) -> None:
    first = write(tmp_path / "one.tab", "\n".join(ITEM).replace("-1", "-3"))
    if "item than" in message or "lacks" in message or "repeats" in message:
        files = [first, write(tmp_path / "two.tab", second)]
    else:
        files = [write(tmp_path / "two.tab", second)]
    with pytest.raises(UserError, match=message):
        read_pairs(files, scored=True)

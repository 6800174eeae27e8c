"""Properties: every rule on texts where one can count along, and labels that lie where symbols of each level end."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight.planted import TOKENIZER, bracketed, planted, save
from tiny import begin_training, make_corpus, overrides
from tiny import text as sentences
from unroll.artifact.open import open_model
from unroll.data.tokenizer import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.errors import UserError
from unroll.insight.cells.properties import (
    PROPERTIES,
    Labels,
    Text,
    as_read,
    depth,
    in_brackets,
    inside,
    label,
    letters,
    marks,
    read_text,
    since_newline,
)


def marked(rule: str, text: str) -> str:
    """Return the text with a ^ below every character where a property holds."""
    return "".join("^" if value else "." for value in PROPERTIES[rule][1](text))


@pytest.mark.parametrize(
    ("rule", "text", "holds"),
    [
        ("quotes", 'He said "so what" twice "no"', "........^^^^^^^^........^^^."),
        ("quotes", '"a\n\n"b" c', "^^..^^..."),  # a paragraph ends it
        ("quotes", '"a\nb" c', "^^^^..."),
        ("quotes", "“a “b” c” d", "^^^^^......"),
        ("quotes", "„ja“ «non» x", "^^^..^^^^..."),
        ("quotes", 'c = \'"\'; s = "a\\"b";', ".............^^^^^.."),
        ("bracket", "a (b [c] d) e) f", "..^^^^^^^^......"),
        ("bracket", "(a\nb\n\nc", "^^^^..."),
        ("comment", "x /* a */ y // b\nz", "...^^^^^.....^^^.."),
        ("comment", "http://a # b\nc#d", ".........^^^...."),
        ("comment", "a <!-- b --> c /**/ d", "...^^^^^^^^.....^^..."),
        ("tag", "a <b c> d < e\n>", "..^^^^........."),
        ("link", "[[a b]] [c]", ".^^^^^....."),
        ("math", "a $x$ \\$5 $$y$$ z", "..^^......^^^...."),
        ("url", "see http://a.b/c now", "....^^^^^^^^^^^^...."),
        ("case", "Ein Öl i3 _A B2", "^^^.^^.......^^"),
    ],
)
def test_what_holds_or_does_not(rule: str, text: str, holds: str) -> None:
    assert marked(rule, text) == holds


@given(st.text("ab \n\t(])", max_size=60))
def test_counts_are_those_of_a_loop(text: str) -> None:
    place, word, blank = 0, 0, 0
    for k, letter in enumerate(text):
        place = 0 if letter == "\n" else place + 1
        blank = 0 if letter == "\n" else blank + (letter in " \t" and blank == place - 1)
        word = word + 1 if letter.isalnum() else 0
        assert since_newline(text)[k] == place
        assert PROPERTIES["indent"][1](text)[k] == blank
        assert letters(text)[k] == word


def test_the_place_in_a_line() -> None:
    assert since_newline("ab\ncd\n\ne").tolist() == [1, 2, 0, 1, 2, 0, 0, 1]


@pytest.mark.parametrize(
    ("text", "open_after"),
    [
        ("a(b{c})d", [0, 1, 1, 2, 2, 1, 0, 0]),
        ("(a[b)c]", [1, 1, 2, 2, 0, 0, 0]),  # a closing one closes what was opened after its partner
        ("]a)", [0, 0, 0]),
        ("{(\n}x", [1, 2, 2, 0, 0]),  # at the start of a line it closes all
        ("{\n\n}", [1, 1, 1, 0]),
    ],
)
def test_depth(text: str, open_after: list[int]) -> None:
    assert depth(text).tolist() == open_after


def test_brackets_of_a_paragraph_end_with_it() -> None:
    assert in_brackets("((a\n\nb").tolist() == [1, 1, 1, 0, 0, 0]


def test_what_a_pattern_marks_is_said_as_it_is() -> None:
    text = as_read("a text", "xbbycb", CharTokenizer.learn("xbcy\n"))
    assert label(text, "re:b+").what == "inside b+"
    assert label(text, "re:x(b+)").what == "inside the group of x(b+)", "and not of the whole match"


def test_a_pattern_holds_inside_its_matches_or_its_first_group() -> None:
    assert inside("b+")("abbab").tolist() == [0, 1, 1, 0, 1]
    assert inside("x(b+)|y(c)")("xbbycb").tolist() == [0, 1, 1, 0, 1, 0]
    assert inside("x|(b)")("xb").tolist() == [0, 1], "of a pattern with groups, what is outside them does not count"
    assert inside("^a$")("a\nab\na").tolist() == [1, 0, 0, 0, 0, 1]


WORDS = 'John said "it is (a) naïve car" 😀 .\n'


def learnt(level: str) -> Tokenizer:
    match level:
        case "char":
            return CharTokenizer.learn(WORDS)
        case "byte":
            return ByteTokenizer()
        case "word":
            return WordTokenizer(tuple(dict.fromkeys(WORDS.split())))
        case _:
            return BpeTokenizer.learn([WORDS * 5], vocab_size=280)


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_labels_lie_where_symbols_end(level: str) -> None:
    tokenizer = learnt(level)
    text = as_read("text", WORDS * 2, tokenizer)
    assert text.ids.tolist() == tokenizer.encode(WORDS * 2).tolist()
    values = label(text, "quotes").values
    assert len(values) == len(text.ids)
    by_character = PROPERTIES["quotes"][1](WORDS * 2)
    bytes_read = 0
    for place, id in enumerate(text.ids.tolist()):
        if level == "word":
            piece = tokenizer.pieces[id].decode()
            bytes_read = (WORDS * 2).encode().index(piece.encode(), bytes_read) + len(piece.encode())
        else:
            bytes_read += len(tokenizer.pieces[id])
        last = len((WORDS * 2).encode()[: bytes_read - 1].decode("utf-8", "ignore"))
        assert values[place] == by_character[last], (place, id)


def test_bytes_that_are_no_text_keep_their_places(tmp_path: Path) -> None:
    text = as_read("text", b'a "\xff\xfe" b'.decode("utf-8", "surrogateescape"), ByteTokenizer())
    assert bytes(text.ids.astype(np.uint8)) == b'a "\xff\xfe" b'
    assert label(text, "quotes").values.tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


# ---- tables


def table(folder: Path, content: str) -> str:
    (folder / "t.tsv").write_text(content, encoding="utf-8")
    return str(folder / "t.tsv")


@pytest.fixture
def text() -> Text:
    return as_read("text", "aé(b)", CharTokenizer.learn("aé(b)"))


def test_a_table_has_a_number_for_each_symbol(text: Text, tmp_path: Path) -> None:
    name = table(tmp_path, "one\ttwo\n1\t.5\n0\t2\n1\t3\n1\t4\n0\t5\n")
    first, second = label(text, name), label(text, f"{name}:two")
    assert first.values.tolist() == [1, 0, 1, 1, 0] and first.binary and first.metric == "auroc"
    assert second.values.tolist() == [0.5, 2, 3, 4, 5] and second.metric == "correlation"


def test_a_table_has_stretches_in_bytes(text: Text, tmp_path: Path) -> None:
    assert label(text, table(tmp_path, "start\tend\n1\t4\n5\t6\n")).values.tolist() == [0, 1, 1, 0, 1]
    name = table(tmp_path, "end\tlevel\tstart\n3\t2\t0\n4\t7\t3\n")
    assert label(text, name).values.tolist() == [2, 2, 7, 0, 0]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_table_is_read_byte_for_byte(text: Text, tmp_path: Path, ends: str) -> None:
    """Lines end with LF or CR LF, nowhere else; a byte order mark is no part of the first name."""
    rows = ["\ufeffname\tone", "a\rb\t1", "c\u2028d\t0", "\t1", "e\x85\t1", "f\t0"]
    assert label(text, table(tmp_path, ends.join(rows)) + ":one").values.tolist() == [1, 0, 1, 1, 0]
    with pytest.raises(UserError, match="has no number in the column name"):
        label(text, table(tmp_path, ends.join(rows)) + ":name")
    (tmp_path / "t.tsv").write_bytes(b"one\n\xff\n")
    with pytest.raises(UserError, match=r"is not UTF-8: byte ff at byte offset 0 .*in line 2"):
        label(text, str(tmp_path / "t.tsv"))
    (tmp_path / "t.tsv").write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        label(text, str(tmp_path / "t.tsv"))


@pytest.mark.parametrize(
    ("content", "column", "match"),
    [
        ("one\n1\n0\n", "", "has 2 labels, but text has 5 symbols"),
        ("one\n1\n0\n1\nx\n0\n", "", "line 5 of .* has no number in the column one: 'x'"),
        ("one\ttwo\n1\t1\n0\n1\t1\n1\t1\n0\t1\n", ":two", "line 3 of .* has no number in the column two: ''"),
        ("one\n1\n0\nnan\n1\n0\n", "", "line 4 of .* has no number"),
        ("one\n1\n0\n1\n1\n0\n", ":two", "has no column 'two'"),
        ("start\tend\n4\t4\n", "", "line 2 of .* goes from 4 to 4"),
        ("start\tend\n0\t7\n", "", "in bytes of text, which has 6"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    text: Text, tmp_path: Path, content: str, column: str, match: str
) -> None:
    with pytest.raises(UserError) as refusal:
        label(text, table(tmp_path, content) + column)
    assert re.search(match, str(refusal.value))


@pytest.mark.parametrize(
    ("asked", "match"),
    [("quote", "no property 'quote'"), ("re:(", "not a regular expression"), ("no.tsv", "check the path"),
     ("t.tsvx", "no property")],
)  # fmt: skip
def test_what_is_no_property_is_refused(text: Text, asked: str, match: str) -> None:
    with pytest.raises(UserError, match=re.escape(match)):
        label(text, asked)


# ---- marks


def slow_marks(labels: list[float], ids: list[int], vocab: int) -> dict[tuple[int, int], int]:
    """Return the kind of each pair of neighbours that is a mark, by trying all thresholds."""
    moves = [after - before for before, after in pairwise(labels)]
    usual = max(sorted(set(moves)), key=moves.count)
    pairs = list(pairwise(ids))
    changes = [move != usual for move in moves]
    share = {pair: np.mean([c for p, c in zip(pairs, changes, strict=True) if p == pair]) for pair in set(pairs)}
    best: tuple[float, set[tuple[int, int]]] = (0.0, set())
    for threshold in sorted(set(share.values())):
        slow_pairs = {pair for pair in share if share[pair] >= threshold}
        hits = sum(c for p, c in zip(pairs, changes, strict=True) if p in slow_pairs)
        f1 = 2 * hits / (sum(p in slow_pairs for p in pairs) + sum(changes))
        best = max(best, (f1, slow_pairs), key=lambda one: one[0])
    kinds = {}
    for pair in best[1]:
        pair_moves = [m for p, m, c in zip(pairs, moves, changes, strict=True) if p == pair and c]
        ups = np.mean([m > 0 for m in pair_moves])
        kinds[pair] = 1 if ups > 0.9 else 2 if ups < 0.1 else 3
    return kinds


@pytest.mark.parametrize("rule", ["bracket", "depth", "re:[a-e]+", "re:j(.)"])
def test_marks_are_those_of_a_slow_search(rule: str) -> None:
    text = as_read("text", bracketed(1500), TOKENIZER)
    labels = label(text, rule)
    found_marks = marks(labels, text.ids, TOKENIZER.vocab_size)
    assert found_marks is not None
    kind_by_edge = {(int(a), int(b)): int(found_marks.kinds[a, b]) for a, b in np.argwhere(found_marks.kinds)}
    assert kind_by_edge == slow_marks(labels.values.tolist(), text.ids.tolist(), TOKENIZER.vocab_size)


def kinds(content: str, rule: str) -> dict[str, int]:
    text = as_read("text", content, CharTokenizer.learn(content))
    found_marks = marks(label(text, rule), text.ids, 60)
    assert found_marks is not None
    letter = dict(zip(text.ids.tolist(), content, strict=True))
    return {letter[a] + letter[b]: int(found_marks.kinds[a, b]) for a, b in np.argwhere(found_marks.kinds).tolist()}


def test_marks_are_what_a_reader_takes_for_them() -> None:
    assert set(kinds('a "b" c "d" e ' * 9, "quotes").values()) == {1, 2}, "after a blank it opens, else it closes"
    assert set(kinds('"a"b"c"ab"' * 9, "quotes").values()) <= {1, 2, 3}
    assert kinds("x /* a / b * c */ y / z * " * 9, "comment") == {"/*": 1, "*/": 2}
    assert {pair[1]: kind for pair, kind in kinds("abc\nde\nfghij\n" * 9, "line").items()} == {"\n": 2}


def test_where_nothing_stands_for_the_changes_there_are_no_marks() -> None:
    text = as_read("text", bracketed(1000), TOKENIZER)
    random = np.random.default_rng(0)
    for values in (random.random(1000), (random.random(1000) < 0.05).astype(float), np.zeros(1000)):
        assert marks(Labels("random", "random", values), text.ids, TOKENIZER.vocab_size) is None


def test_large_vocabularies_have_marks_by_symbol_alone() -> None:
    ids = np.tile(np.arange(2000), 3)
    labels = Labels("high", "high", (ids >= 1000).astype(float))
    found_marks = marks(labels, ids, 2000)
    assert found_marks is not None and found_marks.kinds.shape == (1, 2000)
    assert np.flatnonzero(found_marks.kinds[0]).tolist() == [0, 1000] and found_marks.kinds[0, [0, 1000]].tolist() == [
        2,
        1,
    ]


# ---- texts


def test_without_a_file_it_is_the_validation_part(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", [sentences(60)])
    list(begin_training(corpus, tmp_path / "model", overrides(), 2))
    opened = open_model(tmp_path / "model")
    book = sentences(60)
    text = read_text(opened, None)
    assert book.endswith(text.content) and len(text.content) == len(book) - int(0.9 * len(book))
    (tmp_path / "part.txt").write_text(text.content)
    assert read_text(opened, tmp_path / "part.txt").ids.tolist() == text.ids.tolist()


def test_stretches_are_counted_in_the_bytes_of_the_file(tmp_path: Path) -> None:
    """As `unroll score --file` counts them: a byte order mark is three, and no part of the text."""
    opened = open_model(save(planted(), tmp_path / "model"))
    content = bracketed(50)
    for mark in ("", "\ufeff"):
        (tmp_path / "text").write_bytes((mark + content).encode())
        text, first = read_text(opened, tmp_path / "text"), len(mark.encode())
        assert text.content == content
        labels = label(text, table(tmp_path, f"start\tend\n{first + 7}\t{first + 9}\n"))
        assert np.flatnonzero(labels.values).tolist() == [7, 8]


def test_a_model_without_its_text_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--file F"):
        read_text(open_model(save(planted(), tmp_path / "model")), None)


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_property_has_a_number_for_each_character(name: str) -> None:
    match, rule = PROPERTIES[name]
    assert match
    for text in ("", "a", "\n", '("', "((\n\n\n"):
        assert rule(text).shape == (len(text),)

"""Units of files: they tile any text, their nats add up, and blocks and fresh lines change nothing of it."""

import gzip
import math
import re
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.hostile import WORDS, texts
from lm.test_surprisal import BPE, CHAR, LEVELS, SOME, TOKENIZERS, by_hand, neural, plain, together
from unroll.artifact import saved_state
from unroll.artifact.open import Opened
from unroll.data.tokenizer import CharTokenizer
from unroll.data.words import UnicodeWordTokenizer
from unroll.errors import UserError
from unroll.lm import units as module
from unroll.lm.surprisal import UnknownRule, beginning
from unroll.lm.units import UNITS, Unit, UnitName, score_lines, score_units
from unroll.predict.predictor import log_probabilities


def read(opened: Opened, file: Path, unit: UnitName, unknown: UnknownRule = "as-unk") -> list[Unit]:
    return list(score_units(opened, file, beginning(opened), unit, unknown=unknown))


def written(folder: Path, content: str | bytes) -> Path:
    file = folder / "text"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


MARK = "\ufeff".encode()


def law_tiles(units: Sequence[Unit], data: bytes, level: str = "byte") -> None:
    """Each unit begins where the one before it ends, and together they are the file.

    Above level byte a byte order mark at its start is among the bytes of the first unit, and in no text.
    """
    assert [0, *(unit.end for unit in units)] == [*(unit.start for unit in units), len(data)]
    mark = len(MARK) if data.startswith(MARK) and level != "byte" else 0
    for unit in units:
        assert unit.start < unit.end
        assert unit.text.encode("utf-8", "surrogateescape") == data[max(mark, unit.start) : unit.end]


files = st.builds(str.__add__, st.sampled_from(["", "\ufeff"]), texts).map(lambda text: text.replace("\0", ""))
files = files.filter(lambda text: text not in ("", "\ufeff"))
"""Any text as a file may hold it, after a byte order mark or not."""

EXPECTED = {"word": r"\A\s+|\S+\s*", "line": r"[^\n]*\n|[^\n]+", "char": r"(?s:.)"}
"""The units of a text, as one says them."""


def law_units(read_units: Callable[[Opened, Path, UnitName], list[Unit]], opened: Opened, file: Path) -> None:
    """Units tile the text, their nats add up to its nats, and they are what their names say."""
    data, level = file.read_bytes(), opened.tokenizer.level
    total = [(unit.nats, unit.tokens) for unit in read_units(opened, file, "token")]
    for name in UNITS:
        units = read_units(opened, file, name)
        law_tiles(units, data, level)
        assert math.fsum(unit.nats for unit in units) == pytest.approx(math.fsum(n for n, _ in total), rel=1e-12)
        assert sum(unit.tokens for unit in units) == sum(count for _, count in total)
        if name != "token" and (level in ("char", "bpe") or name == "line"):
            ends = {len(data[: unit.end].decode()) for unit in units if level != "bpe" or _whole(data, unit.end)}
            mark = level != "byte" and data.startswith(MARK)
            expected = {mark + match.end() for match in re.finditer(EXPECTED[name], data.decode()[mark:])}
            assert ends == expected if level == "char" or name == "line" else ends <= expected


def _whole(data: bytes, place: int) -> bool:
    return place == len(data) or data[place] & 0xC0 != 0x80


@given(files, st.sampled_from([1, 2, 3, 7, 64, 2**14]))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_units_tile_any_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, block: int) -> None:
    monkeypatch.setattr(module, "READ_BYTES", block)
    for tokenizer in TOKENIZERS.values():
        law_units(read, plain(tokenizer), written(tmp_path, text))


@given(files, st.sampled_from([1, 7, 2**14]))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_units_of_raw_words_tile_any_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, block: int
) -> None:
    monkeypatch.setattr(module, "READ_BYTES", block)
    law_units(read, plain(RAW), written(tmp_path, text))


def test_a_word_of_raw_text_has_its_punctuation(tmp_path: Path) -> None:
    """As a reader sees it; the nats are those of its symbols, and a mark counts for the word that it begins."""
    text = '"Well," said he (twice), don\'t!\n\nI well-known did.\n'
    opened = plain(UnicodeWordTokenizer.learn([text]))
    units = read(opened, written(tmp_path, text), "word")
    assert [unit.text for unit in units] == re.findall(r"\S+\s*", text)
    (whole,) = together(opened, [text])
    nats = [token.nats or 0.0 for token in whole.per_token]
    assert [unit.tokens for unit in units] == [4, 1, 1, 4, 4, 1, 3, 3]
    assert units[0].nats == pytest.approx(sum(nats[:4]))
    assert units[3].nats == pytest.approx(sum(nats[6:10]))


def law_blocks(opened: Opened, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found does not depend on how much of the file is read at a time."""
    for name in UNITS:
        expected = read(opened, file, name)
        for block in (1, 2, 3, 5, 64):
            monkeypatch.setattr(module, "READ_BYTES", block)
            units = read(opened, file, name)
            assert [(unit.start, unit.end, unit.text) for unit in units] == [
                (unit.start, unit.end, unit.text) for unit in expected
            ]
            assert [unit.nats for unit in units] == pytest.approx([unit.nats for unit in expected], abs=1e-9)


ODD = "\ufeffthe cat \r\n\r\n\n  a\u2028mat\u3000e\u0301 אבג שלום👩\u200d🚀 \x1cdon't\x85" * 3 + "the end  "


RAW = UnicodeWordTokenizer.learn([SOME, ODD])


@pytest.mark.parametrize("level", [*LEVELS, "raw words"])
def test_units_do_not_depend_on_blocks(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = TOKENIZERS.get(level, RAW)
    for opened in (plain(tokenizer), neural(tokenizer, "gru")):
        law_blocks(opened, written(tmp_path, ODD), monkeypatch)


def test_the_laws_fail_when_a_block_does_not_know_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted faults: what a block ends with is forgotten; the state is; a unit that is open is closed by its block."""
    opened, file, begins = plain(CHAR), written(tmp_path, ODD), module._begins

    def forgetful(data: bytes, unit: UnitName, last: int, *, as_text: bool) -> Any:
        return begins(data, unit, ord("x"), as_text=as_text)

    def closed(data: bytes, unit: UnitName, last: int, *, as_text: bool) -> Any:
        places, final = begins(data, unit, last, as_text=as_text)
        return np.union1d([0], places), final

    for fault in (forgetful, closed):
        monkeypatch.setattr(module, "READ_BYTES", 2**14)
        monkeypatch.setattr(module, "_begins", fault)
        with pytest.raises(AssertionError):
            law_blocks(opened, file, monkeypatch)
    monkeypatch.setattr(module, "_begins", begins)
    monkeypatch.setattr(module, "READ_BYTES", 2**14)
    read_on = saved_state.read_on

    def fresh(predictor: Any, ids: Any, reading: Any) -> Any:
        return read_on(predictor, ids, beginning(opened))

    monkeypatch.setattr(module, "read_on", fresh)
    with pytest.raises(AssertionError):
        law_blocks(opened, file, monkeypatch)


def test_the_law_fails_when_a_unit_is_left_out(tmp_path: Path) -> None:
    """Planted faults: empty lines are passed over; a word's nats are without its white space."""
    file = written(tmp_path, SOME + "\n\nthe cat\n")

    def without_empty(opened: Opened, file: Path, name: UnitName) -> list[Unit]:
        return [unit for unit in read(opened, file, name) if unit.text != "\n"]

    def cheaper(opened: Opened, file: Path, name: UnitName) -> list[Unit]:
        units = read(opened, file, name)
        first = units[0]
        cheap_unit = Unit(first.start, first.end, first.text, first.tokens, first.nats - 1e-6, 0)
        return [cheap_unit, *units[1:]] if name == "word" else units

    for fault in (without_empty, cheaper):
        with pytest.raises(AssertionError):
            law_units(fault, plain(CHAR), file)


@pytest.mark.parametrize("level", LEVELS)
def test_a_file_is_one_text_with_carried_state(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_BYTES", 50)
    opened = neural(TOKENIZERS[level])
    units = read(opened, written(tmp_path, SOME * 9), "token")
    (text,) = together(opened, [SOME * 9])
    assert [unit.nats for unit in units] == pytest.approx([token.nats for token in text.per_token], abs=1e-9)
    if level != "word":
        assert [(unit.start, unit.end) for unit in units] == [(token.start, token.end) for token in text.per_token]


@pytest.mark.parametrize("level", LEVELS)
def test_fresh_lines_are_texts_of_their_own(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_BYTES", 20)
    opened, text = neural(TOKENIZERS[level]), ODD + "\n\n" + SOME + "\n\nthe mat \n the cat"
    units = list(score_lines(opened, written(tmp_path, text)))
    law_tiles(units, text.encode(), level)
    split = re.findall(EXPECTED["line"], text if level == "byte" else text.removeprefix("\ufeff"))
    assert [unit.text for unit in units] == split
    assert [unit.nats for unit in units] == pytest.approx([s.nats for s in together(opened, split)], abs=1e-9)


@given(files, st.sampled_from([1, 3, 64]))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fresh_lines_tile_any_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, block: int) -> None:
    monkeypatch.setattr(module, "READ_BYTES", block)
    for tokenizer in TOKENIZERS.values():
        units = list(score_lines(plain(tokenizer), written(tmp_path, text), unknown="penalise"))
        law_tiles(units, text.encode(), tokenizer.level)
        read_as = text if tokenizer.level == "byte" else text.removeprefix("\ufeff")
        assert [unit.text for unit in units] == re.findall(EXPECTED["line"], read_as)


def test_bytes_need_be_no_text(tmp_path: Path) -> None:
    data = b"a\x00\xff \xc3\xa9 \xc3\n\xa9\xa9 b\xc2\xa0c\n\n" + bytes(range(256))
    opened = neural(TOKENIZERS["byte"])
    for name in UNITS:
        law_tiles(read(opened, written(tmp_path, data), name), data)
    law_tiles(list(score_lines(opened, written(tmp_path, data))), data)
    words = [unit.text.encode("utf-8", "surrogateescape") for unit in read(opened, tmp_path / "text", "word")]
    assert words[:5] == [b"a\x00\xff ", b"\xc3\xa9 ", b"\xc3\n", b"\xa9\xa9 ", b"b\xc2\xa0c\n\n"]
    chars = [unit.text for unit in read(opened, tmp_path / "text", "char")][:6]
    assert chars == ["a", "\0", "\udcff", " ", "é", " "]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("level", LEVELS)
def test_a_byte_order_mark_costs_nothing_but_at_level_byte(level: str, unit: UnitName, tmp_path: Path) -> None:
    opened = neural(TOKENIZERS[level])
    unmarked = read(opened, written(tmp_path, SOME), unit)
    marked = read(opened, written(tmp_path, "\ufeff" + SOME), unit)
    if level == "byte":
        assert sum(item.tokens for item in marked) == sum(item.tokens for item in unmarked) + 3
        return
    assert [(item.text, item.nats, item.tokens) for item in marked] == [
        (item.text, item.nats, item.tokens) for item in unmarked
    ]
    assert [item.end for item in marked] == [3 + item.end for item in unmarked]
    (tmp_path / "odd").write_bytes("\ufeff漢".encode() + b"\xff")
    with pytest.raises(UserError, match="byte ff at byte offset 6"):
        read(opened, tmp_path / "odd", unit)
    unseen = written(tmp_path, "\ufeff漢字字")
    if level in ("char", "word"):
        with pytest.raises(UserError, match="at byte 3" if level == "word" else "at byte 6"):
            read(opened, unseen, unit, "refuse")


def test_gzip_is_read_as_what_it_holds(tmp_path: Path) -> None:
    opened = plain(CHAR)
    expected = read(opened, written(tmp_path, SOME), "word")
    assert read(opened, written(tmp_path, gzip.compress(SOME.encode())), "word") == expected


@pytest.mark.parametrize("level", LEVELS)
def test_a_line_of_a_million_characters(level: str, tmp_path: Path) -> None:
    text = "the cat sat é " * (10**6 // 14) + "\n" + "a\n"
    opened = plain(TOKENIZERS[level])
    units = read(opened, written(tmp_path, text), "line")
    law_tiles(units, text.encode())
    assert len(units) == 2
    fresh = list(score_lines(opened, tmp_path / "text"))
    assert fresh[0].nats == pytest.approx(units[0].nats, rel=1e-10)
    assert fresh[1].nats != units[1].nats


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TEXT", 2**10)
    monkeypatch.setattr(module, "READ_BYTES", 2**11)
    opened = plain(CharTokenizer.learn("abc "))

    def peak(content: str, unit: UnitName) -> int:
        file = written(tmp_path, content)
        tracemalloc.start()
        try:
            for _ in score_units(opened, file, beginning(opened), unit):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    content: str
    unit: UnitName
    for content, unit in (("abc abc\n" * 1500, "word"), ("abc " * 3000, "line")):
        peak(content, unit)
        assert peak(content * 6, unit) < 1.2 * peak(content, unit)


def test_a_very_long_unit_keeps_the_beginning_of_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, text = plain(CHAR), "the cat é " * 50
    (full,) = read(opened, written(tmp_path, text), "line")
    monkeypatch.setattr(module, "MAX_TEXT", 100)
    monkeypatch.setattr(module, "READ_BYTES", 37)
    (shortened,) = read(opened, tmp_path / "text", "line")
    assert shortened.nats == pytest.approx(full.nats)
    assert (shortened.start, shortened.end) == (0, len(text.encode()))
    assert shortened.text.encode("utf-8", "surrogateescape") == text.encode()[:100]


def test_unknown_symbols_of_a_file(tmp_path: Path) -> None:
    file, opened = written(tmp_path, "the cat\nca€t ϡ\na\n"), neural(CHAR)
    lines = {rule: read(opened, file, "line", rule) for rule in ("as-unk", "exclude", "penalise")}
    assert {rule: [unit.unknown for unit in units] for rule, units in lines.items()} == {
        rule: [0, 2, 0] for rule in lines
    }
    assert [unit.tokens for unit in lines["exclude"]] == [8, 5, 2]
    assert lines["penalise"][1].nats - lines["as-unk"][1].nats == pytest.approx(5 * math.log(256))
    nats = by_hand(opened, CHAR.encode("the cat\nca€t ϡ\na\n").tolist())
    assert lines["exclude"][1].nats == pytest.approx(sum(nats[8:10]) + sum(nats[11:13]) + nats[14])
    fresh = {rule: list(score_lines(opened, file, unknown=rule)) for rule in ("as-unk", "exclude", "penalise")}
    assert [unit.tokens for unit in fresh["exclude"]] == [8, 5, 2]
    assert fresh["penalise"][1].nats - fresh["as-unk"][1].nats == pytest.approx(5 * math.log(256))
    with pytest.raises(UserError, match="'€' at byte 10, 'ϡ' at byte 15"):
        read(opened, file, "line", "refuse")
    with pytest.raises(UserError, match="'€' at byte 10, 'ϡ' at byte 15"):
        list(score_lines(opened, file, unknown="refuse"))


def test_only_what_cannot_be_counted_has_no_rate(tmp_path: Path) -> None:
    (blank,) = read(neural(TOKENIZERS["word"]), written(tmp_path, "  \t "), "line")
    assert (blank.tokens, blank.nats, blank.nats_per_token) == (0, 0.0, None)


# ---- words of pieces


def words_of_pieces(opened: Opened, ids: Sequence[int]) -> list[tuple[bytes, float]]:
    """Return the bytes of words with their nats; of a piece, what it says of the white space is the word's before."""
    words, state, previous = [(b"", 0.0)], None, opened.tokenizer.start_id
    for id in ids:
        piece = opened.tokenizer.pieces[id]
        logits, state = opened.predictor.logits(np.array([[previous]]), state)
        p = np.exp(log_probabilities(logits)[0])
        head = piece[: len(piece) - len(piece.lstrip())]
        space = sum(p[k] for k, other in enumerate(opened.tokenizer.pieces) if other.startswith(head)) if head else 1.0
        if piece == head:
            space = p[id]
        if head:
            words[-1] = (words[-1][0] + head, words[-1][1] - math.log(space))
        if piece != head:
            fresh = words[-1][0][-1:].isspace()
            rest = -math.log(p[id] / space)
            words = [*words, (piece, rest)] if fresh and not head else words
            if head:
                words.append((piece[len(head) :], rest))
            elif not fresh:
                words[-1] = (words[-1][0] + piece, words[-1][1] + rest)
        previous = id
    return words


def test_a_word_of_pieces_has_the_white_space_that_ends_it(tmp_path: Path) -> None:
    text = "the cat sat on  a mat\nthe\tcat and the driving car. "
    for opened in (neural(BPE), plain(BPE)):
        words = [(unit.text.encode(), unit.nats) for unit in read(opened, written(tmp_path, text), "word")]
        expected = words_of_pieces(opened, BPE.encode(text).tolist())
        assert [word for word, _ in words] == [word for word, _ in expected] == re.findall(rb"\S+\s*", text.encode())
        assert [nats for _, nats in words] == pytest.approx([nats for _, nats in expected], abs=1e-9)


def test_what_a_word_of_pieces_costs_is_a_choice_between_words(tmp_path: Path) -> None:
    """Summed over all pieces that may begin the next word, the probabilities after the white space are one."""
    opened = neural(BPE)
    cat = BPE.encode("the cat").tolist()
    logits, _ = opened.predictor.logits(np.array([[BPE.start_id, *cat[:1]]]))
    p = np.exp(log_probabilities(logits)[0])
    units = read(opened, written(tmp_path, "the cat"), "word")
    first, space = by_hand(opened, cat)[0], -math.log(sum(p[k] for k, x in enumerate(BPE.pieces) if x[:1] == b" "))
    assert len(cat) == 2
    assert units[0].nats == pytest.approx(first + space)
    assert units[1].nats == pytest.approx(-math.log(p[cat[1]]) - space)
    assert [unit.tokens for unit in units] == [1, 1]


@pytest.mark.parametrize("word", WORDS)
def test_hostile_words_are_words(word: str, tmp_path: Path) -> None:
    for opened in (plain(CHAR), plain(BPE)):
        units = read(opened, written(tmp_path, f"{word} {word}\n{word}"), "word")
        assert [unit.text for unit in units] == [f"{word} ", f"{word}\n", word]


# ---- carrying on


@pytest.mark.parametrize("level", LEVELS)
def test_a_file_goes_on_where_another_ended(level: str, tmp_path: Path) -> None:
    opened = neural(TOKENIZERS[level], "lstm")
    text = SOME * 3
    twice = math.fsum(unit.nats for unit in read(opened, written(tmp_path, text * 2), "word"))
    half = written(tmp_path, text)
    total, reading = 0.0, beginning(opened)
    for _ in range(2):
        units = score_units(opened, half, reading, "line")
        while True:
            try:
                total += next(units).nats
            except StopIteration as stopped:
                reading = stopped.value
                break
    assert total == pytest.approx(twice, abs=1e-8)


def test_pairwise_is_what_tiles_means() -> None:
    """The law itself: a gap, an overlap and a lost end are seen."""
    data = b"abcdef"
    tiling = [Unit(0, 2, "ab", 2, 1.0, 0), Unit(2, 6, "cdef", 4, 1.0, 0)]
    law_tiles(tiling, data)
    assert all(one.end == other.start for one, other in pairwise(tiling))
    for broken_tiling in (
        [tiling[0], Unit(3, 6, "def", 3, 1.0, 0)],
        [tiling[0], Unit(1, 6, "bcdef", 5, 1.0, 0)],
        [tiling[0], Unit(2, 5, "cde", 3, 1.0, 0)],
        [tiling[0], Unit(2, 6, "cdeg", 4, 1.0, 0)],
    ):
        with pytest.raises(AssertionError):
            law_tiles(broken_tiling, data)

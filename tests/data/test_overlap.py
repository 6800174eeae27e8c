"""How much of a text stands in another: copies are known, texts that only resemble each other are not called copies."""

from collections.abc import Generator
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from unroll.data import overlap
from unroll.data.overlap import FEWEST, Overlap, shared
from unroll.data.tokenizer import CharTokenizer, WordTokenizer

Result = TypeVar("Result")
WORDS = [f"{first}{last}" for first in ("the", "John", "was", "keep", "forget") for last in ("", "s", "ing", "er")]


def result_of(steps: Generator[float, None, Result]) -> Result:
    """Run to the end; what is done grows up to all of it."""
    progress = [0.0]
    while True:
        try:
            progress.append(next(steps))
        except StopIteration as ended:
            assert progress == sorted(progress)
            value: Result = ended.value
            assert progress[-1] == pytest.approx(1) or (value is None and progress[-1] < 1)
            return value


def compared(train: str, second: str) -> Overlap:
    """Compare texts as models of characters read them."""
    tokenizer = CharTokenizer.learn(train)
    shares = result_of(shared(tokenizer.lookup(train), tokenizer.lookup(second), tokenizer.newline_id))
    return Overlap("valid.txt", None, *(shares or (None, None)))


def warned(train: str, second: str) -> bool:
    return compared(train, second).warning("valid") is not None


def prose(lines: int, seed: int) -> list[str]:
    """Return lines of which hardly two are alike."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(6, 14))) + ".\n" for _ in range(lines)]


def names(count: int, seed: int, kinds: int) -> list[str]:
    """Return names, the frequent ones often: of `kinds` that there are, by Zipf's law."""
    random = np.random.default_rng(seed)
    words = ["".join(random.choice([*"aeioulmnrst"], 2 + k % 7)) for k in range(kinds)]
    weights = 1 / np.arange(1, kinds + 1)
    return [f"{words[k]}\n" for k in random.choice(kinds, count, p=weights / weights.sum())]


TRAIN, OTHER = prose(2000, 0), prose(200, 1)
ONE_LINE = "".join(TRAIN).replace("\n", " ")


def test_texts_of_their_own_are_no_copies() -> None:
    assert not warned("".join(TRAIN), "".join(OTHER))
    assert not warned(ONE_LINE, "".join(OTHER).replace("\n", " "))
    assert not warned("".join(OTHER), "".join(TRAIN))


@pytest.mark.parametrize(
    "copy",
    [
        "".join(TRAIN),
        "".join(TRAIN[300:500]),
        "".join(
            np.random.default_rng(2).permutation(TRAIN)[:200]
        ),  # the usual mistake: lines drawn at random, and left
        "".join(TRAIN[300:500] + OTHER[:120]),
        "".join(TRAIN[300:500])[17:],
        "".join(TRAIN[::9]).replace("forgets ", "forgot "),
    ],
)
def test_copies_and_near_copies_are_known(copy: str) -> None:
    found = compared("".join(TRAIN), copy)
    assert found.share is not None and found.share > 0.5
    assert found.usual is not None and found.usual < 0.1
    warning = found.warning("valid")
    assert warning and f"{100 * found.share:.0f} % of the lines of valid.txt occur in the training text" in warning


def test_copies_of_a_text_in_one_line_are_known_wherever_they_begin() -> None:
    for begin in (0, 1, 777, 12_345):
        assert warned(ONE_LINE, ONE_LINE[begin : begin + 20_000])


def test_a_copy_of_a_few_lines_is_no_warning() -> None:
    assert not warned("".join(TRAIN), "".join(OTHER[:150] + TRAIN[:50]))


def test_lists_of_names_come_again_without_being_copied() -> None:
    """Most names of a held-back part are frequent ones, which the training part has too."""
    people = names(20_000, 0, 3000)
    for held_out in (200, 2000):
        found = compared("".join(people[:-held_out]), "".join(people[-held_out:]))
        assert found.share is not None and found.share > 0.8
        assert found.warning("valid") is None
    distinct = list(dict.fromkeys(names(20_000, 0, 3000)))
    assert not warned("".join(distinct[:-200]), "".join(distinct[-200:]))
    assert warned("".join(distinct), "".join(np.random.default_rng(3).permutation(distinct)[:200]))


def test_tables_of_few_different_lines_are_no_copies() -> None:
    random = np.random.default_rng(0)
    rows = [f"{a}\t{b}\t{c}\n" for a, b, c in random.integers(0, 3, (9000, 3))]
    assert not warned("".join(rows[:8000]), "".join(rows[8000:]))
    assert compared("ok\n" * 500, "ok\n" * 100).share is None  # of one different line


@given(st.lists(st.sampled_from(TRAIN[:60]), max_size=90), st.lists(st.sampled_from(TRAIN[30:90]), max_size=90))
@settings(max_examples=60)
def test_the_share_is_that_of_sets_of_lines(train: list[str], other: list[str]) -> None:
    """Where no line is long enough to be cut."""
    overlap_cut, overlap.CUT = overlap.CUT, 2**62
    try:
        found = compared("".join(train), "".join(other))
    finally:
        overlap.CUT = overlap_cut
    if len({*other}) < FEWEST:
        assert found.share is None
    elif found.share is not None:
        assert found.share == pytest.approx(len({*other} & {*train}) / len({*other}))


@pytest.mark.parametrize("block", [500, 1000, 2**12])
def test_it_hardly_depends_on_how_much_is_read_at_a_time(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train, second = "".join(TRAIN), "".join(TRAIN[300:400] + OTHER[:100])
    expected = compared(train, second)
    monkeypatch.setattr(overlap, "BLOCK", block)
    found = compared(train, second)
    assert found.share == pytest.approx(expected.share, abs=0.05)


def test_of_long_texts_some_lines_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "SAMPLE", 64)
    assert warned("".join(TRAIN), "".join(TRAIN[::2]))
    found = compared("".join(TRAIN), "".join(TRAIN[:1000]) + "".join(prose(1000, 5)))
    assert found.share == pytest.approx(0.5, abs=0.2)


def test_words_are_compared_alike() -> None:
    tokenizer = WordTokenizer.learn(dict.fromkeys("".join(TRAIN + OTHER).split(), 1))

    def ids(lines: list[str]) -> NDArray[np.int64]:
        return tokenizer.encode("".join(lines))

    share, usual = result_of(shared(ids(TRAIN), ids(TRAIN[500:700]), tokenizer.newline_id)) or (0.0, 1.0)
    assert share > 0.9 and usual < 0.1
    share, _ = result_of(shared(ids(TRAIN), ids(OTHER), tokenizer.newline_id)) or (1.0, 1.0)
    assert share < 0.1


def test_the_same_file_is_said_to_be_the_same() -> None:
    for part in ("valid", "test"):
        warning = Overlap("a.txt", same_as="book.txt").warning(part)
        assert warning and warning.startswith("a.txt is the training file book.txt itself")

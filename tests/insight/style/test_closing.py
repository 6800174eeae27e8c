"""What closes scores 1, what does not scores less, and noise scores what chance does: nothing."""

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unroll.insight.style.closing import FEWEST, Mark, closing, ends, matched

PAIRS = {"(": ")", "[": "]", "{": "}", "“": "”", "«": "»"}
BALANCED = st.recursive(
    st.sampled_from(["", "word ", "1, "]),
    lambda inner: st.builds(
        lambda opener, first, second: f"{opener}{first}{PAIRS[opener]} {second}",
        st.sampled_from([*PAIRS]),
        inner,
        inner,
    ),
    max_leaves=30,
)


@settings(max_examples=40)
@given(BALANCED, st.randoms(use_true_random=False))
def test_balanced_structures_close_and_one_closer_less_is_noticed(text: str, choose: random.Random) -> None:
    closers = [place for place, character in enumerate(text) if character in PAIRS.values()]
    assume(2 * len(closers) > FEWEST)
    assert ends(text) == 1
    place = choose.choice(closers)
    less = ends(text[:place] + text[place + 1 :])
    assert less is not None and less < 1


@pytest.mark.parametrize("alphabet", ["()[]{}", 'ab ."()', "abcde (){}[]\n"])
def test_random_order_closes_nothing_beyond_chance(alphabet: str) -> None:
    noise = "".join(random.Random(1).choices(alphabet, k=4000))
    value = ends(noise)
    assert value is not None and value < 0.1


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("()()", 2),
        ("(())", 2),
        (")(", 0),
        ("([)]", 1),  # what is open inside stays open, and its closer comes too late
        ("(((", 0),
        ("[()", 1),
    ],
)
def test_what_is_matched(text: str, pairs: int) -> None:
    marks = [Mark(("([".find(c) >= 0 and c) or {")": "(", "]": "["}[c], "open" if c in "([" else "close") for c in text]
    assert matched(marks) == pairs


@pytest.mark.parametrize(
    "text",
    [
        'He said "no", and "yes"; she ("why?") left.',
        '"Well, Prince," she said, "so Genoa and Lucca are now," and "then."',
        'printk(" one", "two\\n"); f("", "x");',
        'x="1" y="2" z=" "',
    ],
)
def test_straight_quotes_close(text: str) -> None:
    assert ends(text) == 1


def test_a_quote_closes_within_its_paragraph() -> None:
    closed = '"One," he said. "Two."\n'
    assert ends(closed * 2) == 1
    open_ = '"One," he said. "Two.\n\n'
    value = ends(open_ * 2 + '"Three," he said, "four."')
    assert value is not None and value < 0.8


def test_apostrophes_are_no_quotes() -> None:
    assert ends("don't 'tis ''markup'' o'clock") is None


def test_few_marks_say_nothing() -> None:
    assert ends("(a)") is None and ends("") is None
    assert closing([Mark("(", "open")] * (FEWEST - 1)) is None
    assert closing([Mark("(", "open")] * FEWEST) == 0
    assert closing([Mark("$", "either")] * FEWEST) is None  # any order closes all of them


def test_only_the_names_that_are_asked_for_count() -> None:
    marks = [Mark("(", "open"), Mark("(", "close")] * 4 + [Mark("{", "open")] * 4
    assert closing(marks, "{") == 0
    assert closing(marks, "(") == 1
    assert closing(marks, "[") is None

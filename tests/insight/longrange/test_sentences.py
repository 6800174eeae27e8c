"""Sentences of the long-range tasks: phrases of exact length, grammar, decoys."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from insight.longrange.test_tasks import random, topic, words
from unroll.insight.longrange.sentences import ENGLISH, phrases
from unroll.insight.longrange.tasks import (
    TASKS,
    Task,
    draw,
)


def test_sentences_are_grammatical_and_have_decoys() -> None:
    pronouns, german = TASKS["pronouns"], TASKS["german"]
    assert isinstance(pronouns, Task) and isinstance(german, Task)
    people = set(ENGLISH["PERSON"].split())
    changes = decoys = 0
    for seed in range(40):
        for row in words(pronouns, draw(pronouns, random(seed), 10, 40)):
            text = " ".join(row)
            assert re.fullmatch(r"((\w+ )+\. )+(she|he) \w+ \.", text)
            assert len([word for word in row if word in ("she", "he")]) == len(topic(row)) <= 2
            changes += len(topic(row)) == 2
            decoys += len([word for word in row if word in people]) > len(topic(row))
    assert 100 < changes < 300 and decoys > 300
    prepositions = 0
    for row in words(german, draw(german, random(), 70, 40)):
        assert re.fullmatch(r"((\w+ )(\w+ )sich (\w+ )*\w+ \.\s?)+", " ".join(row))
        prepositions += len({*row[:-2]} & {*german.candidates}) >= 3
    assert prepositions > 35


# ---- pieces


@given(words=st.integers(0, 60), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_phrases_have_exactly_so_many_words(words: int, seed: int) -> None:
    kinds = [[("a",)] * length for length in (3, 4, 5)]
    if words in (1, 2):
        return
    assert len(phrases(random(seed), kinds, words)) == words

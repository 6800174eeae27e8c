"""Sentences near a query, with their controls."""

import numpy as np
import pytest

from serve.inside.looking import TEXT, Studio
from unroll.artifact.open import Opened
from unroll.serve.inside import similar


def test_sentences_keep_their_lines_and_go_on_over_wrapped_ones() -> None:
    text = "One stands here. Two goes on\nover a line end! “Three?” he said.\n\nFour\n\nOne stands here.\n"
    text += "last: a long line that is full to its\nedge"
    sentences, notes = similar.sentences(text)
    lines = [(one.text, one.line) for one in sentences]
    assert lines == [
        ("One stands here.", 1),
        ("Two goes on over a line end!", 1),
        ("“Three?”", 2),
        ("he said.", 2),
        ("Four", 4),
        ("last: a long line that is full to its edge", 7),
    ]
    assert notes == [] and sentences[1].read == "Two goes on\nover a line end!"
    assert similar.sentences("abc\n" * 9)[0][0].line == 1, "every sentence but once"


def test_neighbours_come_with_their_controls(studio: Studio, opened: dict[str, Opened]) -> None:
    sentences, _ = similar.sentences(TEXT)
    query = sentences[5].text
    answer = studio.post("similar", model="latch", text=TEXT, query=query, top=5, standardise=False)
    vectors = similar.vectors(opened["latch"], [sentence.read for sentence in sentences], "last").astype(np.float64)
    cosines = vectors @ vectors[5] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[5])
    cosines[5] = -np.inf  # the query itself
    best = int(np.argmax(cosines))
    row = answer["rows"][0]
    assert row["text"] == sentences[best].text and row["cosine"] == pytest.approx(cosines[best], abs=1e-5)
    first, second = similar.grams(query), similar.grams(row["text"])
    assert row["jaccard"] == pytest.approx(len(first & second) / len(first | second))
    assert query not in [sentence["text"] for sentence in answer["rows"]]
    other_endings = studio.post("similar", model="latch", text=TEXT, query=query, top=50, other_ending=True)
    assert not any(sentence["same_ending"] for sentence in other_endings["rows"])
    assert len(answer["map"]["shares"]) == 2 and 0 < sum(answer["map"]["shares"]) <= 1
    for change in ({"pool": "mean"}, {"standardise": True}):
        variant = studio.post("similar", model="latch", text=TEXT, query=query, top=5, **change)
        assert [sentence["cosine"] for sentence in variant["rows"]] != [
            sentence["cosine"] for sentence in answer["rows"]
        ]

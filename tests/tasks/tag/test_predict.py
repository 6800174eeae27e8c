"""Tags of sentences and of texts: with offsets into them, and each sentence's by itself."""

import re
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.hostile import texts
from unroll.artifact.tagger import OpenTagger, open_tagger
from unroll.data.tagged import read_tagged, tagged_of
from unroll.errors import UserError
from unroll.progress import Progress, result
from unroll.tasks.tag import predict
from unroll.tasks.tag.predict import joined_spans, predicted_tags, tag, token_spans, tokens_in_training


@pytest.fixture(scope="module")
def opened(toy: Path) -> OpenTagger:
    return open_tagger(toy)


def test_tags_have_tokens_with_offsets_and_probabilities(opened: OpenTagger, unseen: Path) -> None:
    tagged = result(read_tagged(unseen, "2"))
    rows = tag(opened, tagged.sentences)
    assert len(rows) == len(tagged)
    assert [item["token"] for row in rows for item in row["tokens"]] == [t for row in tagged.sentences for t in row]
    for row in rows:
        assert all(row["text"][item["start"] : item["end"]] == item["token"] for item in row["tokens"])
        assert all(0 < item["probability"] <= 1 + 1e-12 for item in row["tokens"])
    pairs = zip([item["tag"] for row in rows for item in row["tokens"]], chain(*tagged.tags), strict=True)
    assert np.mean([said == true for said, true in pairs]) > 0.9, "it has learnt"
    assert tag(opened.path, [" ".join(tagged.sentences[0])], tokens="spaces") == rows[:1]


def test_a_sentence_does_not_depend_on_the_others(
    opened: OpenTagger, unseen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = [(), *result(read_tagged(unseen, "2")).sentences, ()]
    whole = result(predicted_tags(opened, sentences))
    alone = [result(predicted_tags(opened, [sentence])) for sentence in sentences]
    assert whole.ids.tolist() == [id for part in alone for id in part.ids.tolist()]
    np.testing.assert_allclose(whole.probabilities, np.concatenate([part.probabilities for part in alone]), rtol=1e-5)
    monkeypatch.setattr(predict, "TOGETHER", 7)
    parts = result(predicted_tags(opened, sentences))
    assert parts.ids.tolist() == whole.ids.tolist()


def test_true_tags_have_probabilities(opened: OpenTagger) -> None:
    sentences = [("a", "b")]
    best = result(predicted_tags(opened, sentences))
    truth = best.ids.copy()
    truth[1] = -1
    predicted = result(predicted_tags(opened, sentences, truth))
    assert predicted.true.tolist() == [best.probabilities[0], 0.0] and not len(best.true)


def test_nothing_has_no_tags(opened: OpenTagger) -> None:
    assert tag(opened, []) == [] and tag(opened, ["", " \n", []]) == [
        {"text": text, "tokens": []} for text in ("", " \n", "")
    ]


def test_progress_counts_sentences(opened: OpenTagger) -> None:
    reports: list[Progress] = []
    result(predicted_tags(opened, [("a",), ("b", "c")]), reports.append)
    assert reports[-1] == Progress("tagging", 2, 2, "sentences")


def test_endless_sentences_are_refused(opened: OpenTagger) -> None:
    with pytest.raises(UserError, match=r"sentence 2 has 65,537 tokens\n.*65,536\n.*one in each line"):
        tag(opened, ["a", "a " * 65_537], tokens="spaces")
    with pytest.raises(UserError, match="tokens is 'words'"):
        tag(opened, ["a"], tokens="words")  # type: ignore[arg-type]


# ---- tokens of texts


def test_texts_are_cut_as_training_was(opened: OpenTagger) -> None:
    from dataclasses import replace

    from unroll.data.words import UnicodeWordTokenizer

    def cut(*words: str) -> str:
        reader = replace(opened.reader, tokenizer=UnicodeWordTokenizer(words))
        return tokens_in_training(replace(opened, reader=reader))

    assert cut("the", "end", ".") == "unicode" and cut("the", "end.", "n't") == "spaces"
    assert cut("雨", "。") == "unicode"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("He didn't see 3.5 cafe\u0301s, “really”...", "He didn't see 3 . 5 cafe\u0301s , “ really ” . . ."),
        ("snake_case\tand\r\nmore ", "snake_case and more"),
        ("नमस्ते दुनिया।", "नमस्ते दुनिया ।"),
    ],
)
def test_unicode_cuts_around_marks(text: str, tokens: str) -> None:
    assert [text[start:end] for start, end in token_spans(text, "unicode")] == tokens.split()


@given(texts)
def test_spans_leave_out_white_space_alone(text: str) -> None:
    for kind in ("unicode", "spaces"):
        spans = token_spans(text, kind)
        assert all(start < end for start, end in spans)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        covered = "".join(text[start:end] for start, end in spans)
        assert re.sub(r"\s", "", covered) == re.sub(r"\s", "", text)


@given(st.lists(st.text(min_size=1)))
def test_spans_of_joined_tokens(tokens: list[str]) -> None:
    text = " ".join(tokens)
    assert [text[start:end] for start, end in joined_spans(tokens)] == tokens


def test_sentences_in_memory_are_no_texts(opened: OpenTagger) -> None:
    sentence = tagged_of([["New York", "."]], [["X", "Y"]]).sentences[0]
    assert [item["token"] for item in tag(opened, [sentence])[0]["tokens"]] == ["New York", "."]

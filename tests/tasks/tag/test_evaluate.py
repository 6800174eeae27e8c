"""The figures of a tagger: held to scikit-learn's, and to ones counted by hand."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from unroll.artifact.tagger import OpenTagger, open_tagger
from unroll.data.tagged import Tagged, read_tagged, tagged_of
from unroll.errors import UserError
from unroll.progress import result
from unroll.tasks.tag import evaluate
from unroll.tasks.tag.evaluate import evaluate_tagger, measure_tagger
from unroll.tasks.tag.predict import tag


@pytest.fixture(scope="module")
def opened(toy: Path) -> OpenTagger:
    return open_tagger(toy)


def noisy(file: Path, opened: OpenTagger) -> Tagged:
    """Return sentences of which every fifth tag is wrong, and every seventh token was never seen."""
    tagged = result(read_tagged(file, "2"))
    tags, count = opened.info.tags, iter(range(10**6))

    def other(name: str) -> str:
        return tags[(tags.index(name) + 1) % len(tags)] if next(count) % 5 == 0 else name

    changed = [[other(name) for name in row] for row in tagged.tags]
    tokens = [[f"new{k}" if k % 7 == 3 else token for k, token in enumerate(row)] for row in tagged.sentences]
    return tagged_of(tokens, changed)


def test_they_are_scikit_learns(opened: OpenTagger, unseen: Path) -> None:
    tagged = noisy(unseen, opened)
    figures = result(measure_tagger(opened, tagged))
    rows = tag(opened, tagged.sentences)
    said = [item["tag"] for row in rows for item in row["tokens"]]
    true, labels = [*chain.from_iterable(tagged.tags)], list(opened.info.tags)
    assert figures["accuracy"] == metrics.accuracy_score(true, said) and 0 < figures["accuracy"] < 1
    assert figures["tokens"] == len(true) and figures["sentences"] == len(rows)
    assert figures["labels"] == labels
    assert figures["confusion"] == metrics.confusion_matrix(true, said, labels=labels).tolist()
    wanted = metrics.precision_recall_fscore_support(true, said, labels=labels, zero_division=0)
    for row, *values in zip(figures["per_tag"].values(), *wanted, strict=True):
        assert [*row.values()] == pytest.approx(values)
    whole = [
        all(item["tag"] == name for item, name in zip(row["tokens"], own, strict=True))
        for row, own in zip(rows, tagged.tags, strict=True)
    ]
    assert figures["sentence_accuracy"] == pytest.approx(np.mean(whole))
    low, high = figures["interval"]
    assert low < figures["accuracy"] < high and figures["entities"] is None and figures["notes"] == []


def test_known_and_unknown_tokens_make_up_all(opened: OpenTagger, unseen: Path) -> None:
    tagged = noisy(unseen, opened)
    figures = result(measure_tagger(opened, tagged))
    new = [token.startswith("new") for token in chain.from_iterable(tagged.sentences)]
    assert figures["unknown"]["count"] >= sum(new) > 0
    parts = [figures["known"], figures["unknown"]]
    assert sum(part["count"] for part in parts) == figures["tokens"]
    assert sum(part["count"] * part["accuracy"] for part in parts) / figures["tokens"] == pytest.approx(
        figures["accuracy"]
    )
    known = tagged_of([[token.upper() for token in row] for row in tagged.sentences[:3]], tagged.tags[:3])
    upper = result(measure_tagger(opened, known))
    own = opened.reader.known(known.sentences)
    assert opened.info.lowercase and upper["known"]["count"] == int(own.sum()) > 0, "in lower case"


def test_nats_are_those_of_the_true_tags(opened: OpenTagger) -> None:
    sentence = ["a", "b", "c"]
    tags = [item["tag"] for item in tag(opened, [sentence])[0]["tokens"]]
    nats = [-np.log(item["probability"]) for item in tag(opened, [sentence])[0]["tokens"]]
    assert result(measure_tagger(opened, tagged_of([sentence], [tags])))["nats"] == pytest.approx(np.mean(nats))


def test_a_tag_that_training_never_had_is_an_error_without_nats(opened: OpenTagger, unseen: Path) -> None:
    tagged = result(read_tagged(unseen, "2"))
    first, *rest = tagged.tags
    changed = replace(tagged, tags=(("NEW", *first[1:]), *rest))
    figures, before = (result(measure_tagger(opened, each)) for each in (changed, tagged))
    assert figures["accuracy"] <= before["accuracy"] and figures["nats"] is None and before["nats"] > 0
    assert figures["per_tag"]["NEW"] == {"precision": 0, "recall": 0, "f1": 0, "count": 1}
    assert figures["notes"] == ["1 token with a tag that training never had: NEW"]
    assert figures["labels"][-1] == "NEW" and sum(figures["confusion"][-1]) == 1


def test_confusion_of_very_many_tags_is_left_out(
    opened: OpenTagger, unseen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "MOST_CONFUSED", 1)
    assert evaluate_tagger(opened, unseen)["confusion"] is None


def test_entities_are_measured_by_the_scheme(opened: OpenTagger) -> None:
    of_entities = replace(opened, info=replace(opened.info, scheme="bio"))
    tagged = tagged_of([["a", "b"]], [["B-X", "I-X"]])
    figures = result(measure_tagger(of_entities, tagged))
    assert figures["entities"]["micro"]["count"] == 1 and figures["entities"]["invalid_true"] == 0
    with pytest.raises(UserError, match="the tag 'E-X' in X is none of --scheme bio"):
        result(measure_tagger(of_entities, tagged_of([["a"]], [["E-X"]])))


def test_the_columns_are_those_of_training_unless_named(opened: OpenTagger, unseen: Path, tmp_path: Path) -> None:
    same = evaluate_tagger(opened.path, unseen)
    rows = [line.split("\t") for line in unseen.read_text().splitlines()]
    swapped = tmp_path / "swapped.tsv"
    swapped.write_text("".join("\t".join(row[::-1]) + "\n" if len(row) > 1 else "\n" for row in rows))
    assert evaluate_tagger(opened, swapped, column="1", token_column=2) == same

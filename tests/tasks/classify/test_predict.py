"""Predictions: probabilities of labels, the same for a text whatever stands beside it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unroll.artifact.classifier import open_classifier
from unroll.errors import UserError
from unroll.tasks.classify.predict import classify, of_logits

TEXTS = ["the cat says meow", "", "woof " * 300, "hoot", "unheard of", "ÄÖÜ 漢字 🙂", "\n\n", "a\tb\rc"]


def test_they_sum_to_one_and_are_sorted(toy: Path) -> None:
    for item, text in zip(classify(toy, TEXTS), TEXTS, strict=True):
        shares = [label["probability"] for label in item["labels"]]
        assert item["text"] == text and sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True)
        assert sorted(label["label"] for label in item["labels"]) == ["cat", "dog", "owl"]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_text_depends_on_nothing_beside_it(toy: Path, precision: str) -> None:
    opened = open_classifier(toy, precision)  # type: ignore[arg-type]
    together = classify(opened, TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        (alone,) = classify(opened, [text])
        assert [label["label"] for label in alone["labels"]] == [label["label"] for label in row["labels"]]
        for ours, theirs in zip(alone["labels"], row["labels"], strict=True):
            assert ours["probability"] == pytest.approx(theirs["probability"], abs=1e-6)


def test_top(toy: Path) -> None:
    assert [len(row["labels"]) for row in classify(toy, TEXTS[:2], top=2)] == [2, 2]
    with pytest.raises(UserError, match="top is 0"):
        classify(toy, TEXTS, top=0)


def test_nothing_is_nothing(toy: Path) -> None:
    assert classify(toy, []) == []


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, -1e4, 0.0]])
    np.testing.assert_allclose(of_logits(logits, multi_label=False), [[1, 0, 0]])
    np.testing.assert_allclose(of_logits(logits, multi_label=True), [[1, 0, 0.5]])
    small = of_logits(np.array([[-20.0, -40, -700]]), multi_label=True)
    np.testing.assert_allclose(np.log(small), [[-20, -40, -700]], rtol=1e-9)


def test_predicting_needs_no_torch(toy: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from unroll.tasks.classify.predict import classify\n"
        f"print(classify({str(toy)!r}, ['meow'], top=1)[0]['labels'][0]['label'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "cat"

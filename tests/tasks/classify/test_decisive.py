"""The units that decided: the word that decides is among them, and each effect is what two predictions say."""

import math
from pathlib import Path

import numpy as np
import pytest

from tasks.classify.toy import trained
from unroll.artifact.classifier import OpenClassifier, open_classifier
from unroll.errors import UserError
from unroll.tasks.classify.decisive import LONGEST, decisive_units, without
from unroll.tasks.classify.predict import classify, probabilities_of

TEXT = "The old  animal says woof, again"


def share(model: OpenClassifier, text: str, label: str) -> float:
    (row,) = classify(model, [text])
    return math.log(next(item["probability"] for item in row["labels"] if item["label"] == label))


@pytest.fixture(scope="module")
def opened(toy: Path) -> OpenClassifier:
    return open_classifier(toy)


def test_the_word_that_decides(opened: OpenClassifier) -> None:
    units = decisive_units(opened, TEXT)
    assert max(units, key=lambda unit: unit["effect"])["text"] == "woof"
    assert all(TEXT[unit["start"] : unit["end"]] == unit["text"] for unit in units)
    assert [unit["text"] for unit in units if unit["text"].strip()] == TEXT.replace(",", " ,").split()
    (against,) = [unit for unit in decisive_units(opened, TEXT, "cat") if unit["text"] == "woof"]
    assert against["effect"] < 0


def test_an_effect_is_what_two_predictions_say(tmp_path: Path, table: Path) -> None:
    letters = open_classifier(
        trained(table, tmp_path / "letters", steps=2, settings={"level": "char", "char_hidden_size": 0})
    )
    text = "a cat, meow " * 8  # more units than are read side by side
    units = decisive_units(letters, text, "cat")
    assert len(units) == len(text)
    for unit in units[::7]:
        hidden = text[: unit["start"]] + "\x00" + text[unit["end"] :]
        assert unit["effect"] == pytest.approx(share(letters, text, "cat") - share(letters, hidden, "cat"), abs=1e-5)


def test_a_hidden_word_hides_its_characters(opened: OpenClassifier) -> None:
    middle = np.array([[False, True, False]])
    reading = [without(opened.reader, opened.reader.read([f"my {word} says"]), middle) for word in ("cat", "of")]
    first, second = (probabilities_of(opened, text) for text in reading)
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_nothing_and_too_much(opened: OpenClassifier) -> None:
    assert decisive_units(opened, "") == []
    with pytest.raises(UserError, match="1,001 units"):
        decisive_units(opened, "woof " * (LONGEST + 1))
    with pytest.raises(UserError, match="never saw the label 'cats'"):
        decisive_units(opened, "woof", "cats")

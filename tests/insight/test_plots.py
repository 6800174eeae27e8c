"""What pictures share: words are visible, and models of one name are distinct."""

import pytest

from insight.curves.test_picture import curve
from unroll.insight.plots import architecture, labels, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [("the ", "the"), (" ", "␣"), (" the", "␣the"), ("end.\n\n  ", "end.↵↵"), ("\x07", "\\x07"), ("\udcff", "\\xff"),
     ("\u202e", "\\u202e"), ("\u00e9", "é"), ("a" * 16, "a" * 16), ("a" * 17, "a" * 15 + "…")],
)  # fmt: skip
def test_words_are_visible(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_models_of_one_name_are_told_apart() -> None:
    models = [curve("position", "a/x"), curve("position", "b/x"), curve("position", "c/y\n", "rnn")]
    assert labels(models) == ["a/x (lstm, char)", "b/x (lstm, char)", "y\\x0a (rnn, char)"]
    assert architecture(curve("position", arch="ngram")) == "5-gram"

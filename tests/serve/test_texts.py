"""Texts that the page looks into, symbol by symbol."""

import pytest

from unroll.data.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.errors import UserError
from unroll.insight.cells.properties import as_read
from unroll.serve import texts as module


@pytest.mark.parametrize(
    ("tokenizer", "text", "pieces"),
    [
        (CharTokenizer.learn("ab"), "ab\nz", ["a", "b", "\n", "z"]),
        (ByteTokenizer(), "é\udcff", ["\\xc3", "\\xa9", "\\xff"]),
        (WordTokenizer(("the", "cat")), "the  cat\nsat ", ["the  ", "cat", "\n", "sat "]),
    ],
)
def test_symbols_look_as_they_are_written(tokenizer: Tokenizer, text: str, pieces: list[str]) -> None:
    assert module.surfaces(tokenizer, as_read("text", text, tokenizer)) == pieces


def test_texts_are_kept_by_what_they_say_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = module.Texts()
    assert texts.find(texts.keep("one")) == "one" and texts.keep("one") == texts.keep("one")
    monkeypatch.setattr(module, "MOST_KEPT", 10)
    first = texts.keep("aaaaaaaa")
    texts.keep("bbbbbbbb")
    with pytest.raises(UserError, match="no longer kept"):
        texts.find(first)
    with pytest.raises(UserError, match="empty"):
        texts.keep("")

"""What comes next: the model's own distribution, and whole words held to brute force over a tiny vocabulary."""

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from data.hostile import texts
from lm.test_surprisal import BPE, CHAR, TOKENIZERS, by_hand, neural, plain
from tiny import ARCHS, model_config, random_model
from unroll.artifact.open import Opened
from unroll.data.tokenizer import BpeTokenizer, CharTokenizer, Tokenizer
from unroll.errors import UserError
from unroll.lm import continuations as following
from unroll.lm.continuations import NextWords, next_symbols, next_words
from unroll.predict.predictor import log_probabilities
from unroll.predict.torch import TorchPredictor
from unroll.state import join_rows, select_rows

TINY = CharTokenizer.learn("ab ")  # and <unk> and the newline: five symbols
LONGEST = 7

Exact = tuple[dict[str, float], list[float], float]

Search = Callable[..., NextWords]


def peaked(tokenizer: Tokenizer, arch: str = "lstm") -> Opened:
    """Return a model that is sure of some things."""
    model = random_model(model_config(arch, tokenizer.vocab_size), scale=1.5)
    return Opened(Path("nowhere"), TorchPredictor(model), tokenizer, {})


def said(opened: Opened, ids: list[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the distribution after these ids and the start symbol."""
    inputs = np.array([[opened.tokenizer.start_id, *ids]])
    return np.asarray(np.exp(log_probabilities(opened.predictor.logits(inputs)[0])[0]))


# ---- symbols


@pytest.mark.parametrize("level", TOKENIZERS)
def test_symbols_are_the_distribution(level: str) -> None:
    opened = neural(TOKENIZERS[level])
    p = said(opened, opened.tokenizer.encode("the cat").tolist())
    vocabulary = next_symbols(opened, "the cat", 10**9)
    assert len(vocabulary.likely) == opened.tokenizer.vocab_size
    assert sum(symbol.probability for symbol in vocabulary.likely) == pytest.approx(1, abs=1e-12)
    assert vocabulary.rest == 0
    assert [symbol.probability for symbol in vocabulary.likely] == sorted(p, reverse=True)
    for symbol in vocabulary.likely:
        assert symbol.id is not None and symbol.probability == p[symbol.id]
    first = next_symbols(opened, "the cat", 7)
    assert first.likely == vocabulary.likely[:7]
    assert first.rest == pytest.approx(1 - sum(symbol.probability for symbol in first.likely), abs=1e-12)


@pytest.mark.parametrize("arch", ARCHS)
def test_what_comes_next_costs_what_score_says(arch: str) -> None:
    opened = neural(CHAR, arch)
    likely = {each.token: each.probability for each in next_symbols(opened, "The cat", 100).likely}
    for symbol in " .\n漢":
        nats = by_hand(opened, CHAR.encode("The cat" + symbol).tolist())[-1]
        assert likely[symbol] == pytest.approx(math.exp(-nats), abs=1e-12)


def test_tokens_are_their_text_where_they_have_one() -> None:
    def tokens(level: str) -> dict[int | None, str]:
        return {each.id: each.token for each in next_symbols(neural(TOKENIZERS[level]), "", 999).likely}

    assert tokens("char")[0] == "<unk>" and "\n" in tokens("char").values()
    assert (tokens("byte")[10], tokens("byte")[255], tokens("byte")[97]) == ("\n", "\\xff", "a")
    assert (tokens("word")[0], tokens("word")[1]) == ("<unk>", "<eos>")
    assert tokens("bpe")[0] == "<eos>" and " the" in tokens("bpe").values()


def test_unknown_symbols_are_named_or_replaced() -> None:
    with pytest.raises(UserError, match="'€' at 4") as refusal:
        next_symbols(neural(CHAR), "The €at")
    assert "--replace-unknown" in refusal.value.fix
    assert next_symbols(neural(CHAR), "The €at", replace_unknown=True).likely
    with pytest.raises(UserError, match="top is 0"):
        next_symbols(neural(CHAR), "The", 0)


# ---- words by brute force


def enumerated(opened: Opened, text: str) -> Exact:
    """Return P(word, then white space) of words up to LONGEST letters, P of longer beginnings, P(<unk> in a word)."""
    tokenizer = opened.tokenizer
    start = tokenizer.encode(text).tolist()
    a, b, space, newline = (int(tokenizer.encode(symbol)[0]) for symbol in "ab \n")
    words: dict[str, float] = {}
    reached = {"": 1.0}
    unknown = 0.0
    for length in range(LONGEST + 1):
        longer: dict[str, float] = {}
        for letters in map("".join, product("ab", repeat=length)):
            p = reached[letters] * said(opened, [*start, *(a if letter == "a" else b for letter in letters)])
            words[letters] = float(p[space] + p[newline])
            unknown += float(p[tokenizer.unknown_id])
            longer |= {letters + "a": float(p[a]), letters + "b": float(p[b])}
        reached = longer
    return words, list(reached.values()), unknown


def law_words(search: Search, opened: Opened, text: str, exact: Exact, top: int = 8) -> None:
    """The words found are the most probable ones, with their probabilities; the rest is all other mass."""
    words, longer, unknown = exact
    assert math.fsum([*words.values(), *longer]) + unknown == pytest.approx(1, abs=1e-12)
    result = search(opened, text, top)
    assert result.certain
    best = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:top]
    assert best[-1][1] > max(longer), "a longer word might be more probable"
    assert [candidate.token.removeprefix(result.begun) for candidate in result.likely] == [word for word, _ in best]
    assert [candidate.probability for candidate in result.likely] == pytest.approx([p for _, p in best], abs=1e-12)
    remainder = math.fsum([*words.values(), *longer]) - math.fsum(p for _, p in best) + unknown
    assert result.rest == pytest.approx(remainder, abs=1e-12)


CASES = ["", "ab ", "a", "ba\nabb", "aab  "]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("text", CASES, ids=repr)
def test_the_search_finds_the_words_of_brute_force(arch: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = neural(TINY, arch)
    exact = enumerated(opened, text)
    for rows in (1, 3, 64):
        monkeypatch.setattr(following, "READ_TOGETHER", rows)
        law_words(next_words, opened, text, exact)


def test_the_law_fails_for_a_search_that_ends_early_or_forgets_the_end_of_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted faults: too few beginnings are read; the wrong state is; P(beginning) passes for P(word)."""
    opened = neural(TINY)
    exact = enumerated(opened, "ab ")
    law_words(next_words, opened, "ab ", exact)

    def early(opened: Opened, text: str, top: int) -> NextWords:
        result = next_words(opened, text, top, limit=5)
        return NextWords(result.likely, result.rest, result.begun, certain=True)

    with pytest.raises(AssertionError):
        law_words(early, opened, "ab ", exact)
    with monkeypatch.context() as patched:
        patched.setattr(following, "select_rows", lambda state, rows: select_rows(state, [0]))
        with pytest.raises(AssertionError):
            law_words(next_words, opened, "ab ", exact)
    with monkeypatch.context() as patched:
        spelling = following._spelling(TINY)
        longer = np.sort(np.concatenate([spelling.continues, spelling.ends]))
        patched.setattr(following, "_spelling", lambda *_: spelling._replace(ends=longer))
        with pytest.raises(AssertionError):
            law_words(next_words, opened, "ab ", exact)


def test_all_that_can_be_found_and_the_rest_are_one() -> None:
    opened = peaked(TINY)
    result = next_words(opened, "ab ", 10**6, limit=300)
    assert not result.certain
    assert len({word.token for word in result.likely}) == len(result.likely) >= 300
    assert math.fsum(word.probability for word in result.likely) + result.rest == pytest.approx(1, abs=1e-12)
    words, _, _ = enumerated(opened, "ab ")
    for word in result.likely:
        if len(word.token) <= LONGEST:
            assert word.probability == pytest.approx(words[word.token], abs=1e-12)
    first = next_words(opened, "ab ", 3)
    assert first.certain
    assert [word.token for word in first.likely] == [word.token for word in result.likely[:3]]


def test_a_text_that_ends_inside_a_word_is_completed() -> None:
    opened = neural(TINY)
    inside = next_words(opened, "b ab", 4)
    assert inside.begun == "ab"
    assert all(word.token.startswith("ab") for word in inside.likely)
    after = next_words(opened, "b ab ", 4)
    assert after.begun == ""
    # The word that is there already, and white space where a word might be, are words of no letters more.
    p = said(opened, TINY.encode("b ab").tolist())
    probabilities = {word.token: word.probability for word in next_words(opened, "b ab", 50).likely}
    assert probabilities["ab"] == pytest.approx(float(p[TINY.encode(" ")[0]] + p[TINY.encode("\n")[0]]))


def test_what_is_found_is_the_same_each_time() -> None:
    opened = plain(CHAR)
    assert next_words(opened, "The ", 20, limit=500) == next_words(opened, "The ", 20, limit=500)


def test_words_are_not_searched_in_models_of_words() -> None:
    with pytest.raises(UserError, match="already whole words") as refusal:
        next_words(neural(TOKENIZERS["word"]), "the")
    assert "--whole-words" in refusal.value.fix
    with pytest.raises(UserError, match="top is -1"):
        next_words(neural(CHAR), "the", -1)


# ---- bytes and pieces


def spellings(tokenizer: Tokenizer, word: bytes) -> list[list[int]]:
    """Return all ways to write bytes in the pieces of a vocabulary."""
    if not word:
        return [[]]
    return [
        [id, *tail]
        for id, piece in enumerate(tokenizer.pieces)
        if piece and word.startswith(piece)
        for tail in spellings(tokenizer, word[len(piece) :])
    ]


def p_of(opened: Opened, start: list[int], ids: list[int]) -> float:
    """Return P(ids, then a piece that begins with white space or the end symbol)."""
    p = math.exp(-math.fsum(by_hand(opened, [*start, *ids])[len(start) :]))
    after = said(opened, [*start, *ids])
    pieces = opened.tokenizer.pieces
    ends = [
        k for k, piece in enumerate(pieces) if piece[:1] in (*b" \t\n\r\x0b\x0c",) or piece[:1].isspace() or not piece
    ]
    return p * float(after[ends].sum())


@pytest.mark.parametrize("level", ["byte", "bpe"])
@pytest.mark.parametrize("text", ["the cat\n", "the c"])
def test_words_of_bytes_and_pieces_have_their_probabilities(level: str, text: str) -> None:
    opened = peaked(TOKENIZERS[level])
    tokenizer = opened.tokenizer
    result = next_words(opened, text, 12)
    assert math.fsum(candidate.probability for candidate in result.likely) + result.rest == pytest.approx(1, abs=1e-12)
    start = tokenizer.encode(text).tolist()
    for candidate in result.likely:
        word = candidate.token.removeprefix(result.begun).encode()
        if b"\\x" in word:
            continue
        ways = [p_of(opened, start, ids) for ids in spellings(tokenizer, word)]
        assert candidate.probability <= sum(ways) + 1e-12
        assert candidate.probability >= max(ways) - 1e-12
        assert level == "bpe" or candidate.probability == pytest.approx(ways[0], abs=1e-12)


def test_the_space_before_a_word_is_part_of_its_piece() -> None:
    """After "the " come the pieces that begin with a space, given that one does: read as the text that it is."""
    opened = neural(BPE)
    p = said(opened, BPE.encode("the").tolist())
    spaced = [id for id, piece in enumerate(BPE.pieces) if piece.startswith(b" ")]
    cat = next(id for id in spaced if BPE.pieces[id] == b" cat")
    after = said(opened, [*BPE.encode("the").tolist(), cat])
    ends = [k for k, piece in enumerate(BPE.pieces) if piece[:1].isspace() or not piece]
    least = float(p[cat] / p[spaced].sum() * after[ends].sum())
    words = {each.token: each.probability for each in next_words(opened, "the ", 400, limit=3000).likely}
    assert least <= words["cat"] * (1 + 1e-12) < 1.05 * least
    assert math.fsum(words.values()) <= 1 + 1e-12
    assert not any(word.startswith(" ") for word in words)


def test_a_piece_that_holds_white_space_ends_its_word_there() -> None:
    """No text teaches such pieces, but a vocabulary may have them: "a b" is the word "a" and more."""
    pieces = BPE.tokens[:257]
    tokenizer = BpeTokenizer((*pieces, "aĠ", "aĠb"), (("a", "Ġ"), ("aĠ", "b")))
    opened = neural(tokenizer)
    p = said(opened, [])
    probabilities = {each.token: each.probability for each in next_words(opened, "", 900, limit=300).likely}
    letter = tokenizer.pieces.index(b"a")
    after = said(opened, [letter])
    ends = [k for k, piece in enumerate(tokenizer.pieces) if piece[:1].isspace() or not piece]
    assert tokenizer.pieces[-2:] == (b"a ", b"a b")
    assert probabilities["a"] == pytest.approx(float(p[-1] + p[-2] + p[letter] * after[ends].sum()), abs=1e-12)


@given(texts.filter(lambda text: "\0" not in text))
@settings(deadline=None, max_examples=40)
def test_any_text_has_words_that_follow(text: str) -> None:
    for level in ("char", "byte", "bpe"):
        result = next_words(plain(TOKENIZERS[level]), text, 3, replace_unknown=True, limit=40)
        assert text.endswith(result.begun)
        assert all(word.token.startswith(result.begun) for word in result.likely)
        assert not any(c.isspace() for c in result.begun) or level != "char"
        assert math.fsum(word.probability for word in result.likely) + result.rest == pytest.approx(1, abs=1e-9)


def test_rows_are_joined_as_they_are_selected() -> None:
    opened = neural(CHAR)
    _, state = opened.predictor.logits(np.array([[1], [2], [3]]))
    turned = join_rows([select_rows(state, [row]) for row in (2, 0, 1)])
    for layer, turned_layer in zip(select_rows(state, [2, 0, 1]), turned, strict=True):
        for first, second in zip(layer, turned_layer, strict=True):
            np.testing.assert_array_equal(first, second)

"""Surprisal of texts: brute force, neighbours, the nats that sampling reports, unknown symbols."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray

from data.hostile import texts
from tiny import ARCHS, TOKENIZER, model_config, random_model
from tiny import text as sentences
from unroll.artifact.open import Opened
from unroll.data.tokenizer import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.errors import UserError
from unroll.lm import surprisal
from unroll.lm.sample import SampleOptions, generate
from unroll.lm.surprisal import TextScore, UnknownRule, beginning, score_on, score_texts
from unroll.predict import protocols
from unroll.predict.predictor import Nats, Predictor, Window, log_probabilities
from unroll.predict.torch import TorchPredictor
from unroll.state import State

Array = NDArray[np.float64]
Scorer = Callable[[Opened, Sequence[str]], list[TextScore]]

SOME = "The cat sat. A cat, the  mat;\n\tdon't é e\u0301 漢 😀\r\n"


class Trigram(Predictor):
    """A predictor without torch, whose state is the symbol before the last: random, and the same everywhere."""

    vocab_size = 0

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.table = log_probabilities(np.random.default_rng(0).normal(size=(97, vocab_size), scale=2))

    def _contexts(self, inputs: Window, state: State | None) -> tuple[Window, State]:
        before = np.zeros((len(inputs), 1), np.int64) if state is None else state[0][0]
        symbols = np.concatenate([before, inputs], axis=1)
        return (symbols[:, :-1] * 31 + symbols[:, 1:]) % 97, ((inputs[:, -1:],),)

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        contexts, after = self._contexts(inputs, state)
        return -self.table[contexts, targets], after

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Array, State]:
        contexts, after = self._contexts(inputs, state)
        return self.table[contexts[:, -1]], after


CHAR = CharTokenizer.learn(SOME)
BPE = BpeTokenizer.learn([SOME * 3, sentences(60)], vocab_size=330)
TOKENIZERS: dict[str, Tokenizer] = {
    "char": CHAR,
    "byte": ByteTokenizer(),
    "word": WordTokenizer.learn(dict.fromkeys(["the", "a", "cat", "é", "don't"], 3)),
    "bpe": BPE,
}
LEVELS = tuple(TOKENIZERS)


def neural(tokenizer: Tokenizer, arch: str = "lstm") -> Opened:
    model = random_model(model_config(arch, tokenizer.vocab_size))
    return Opened(Path("nowhere"), TorchPredictor(model), tokenizer, {})


def plain(tokenizer: Tokenizer) -> Opened:
    return Opened(Path("nowhere"), Trigram(tokenizer.vocab_size), tokenizer, {})


def by_hand(opened: Opened, ids: Sequence[int]) -> list[float]:
    """Return the nats of each id, every next distribution asked for one by one."""
    nats, state, previous = [], None, opened.tokenizer.start_id
    for id in ids:
        logits, state = opened.predictor.logits(np.array([[previous]]), state)
        nats.append(-float(log_probabilities(logits)[0, id]))
        previous = id
    return nats


def together(opened: Opened, batch: Sequence[str]) -> list[TextScore]:
    return list(score_texts(opened, batch))


# ---- texts


def law_brute_force(opened: Opened, batch: Sequence[str], score_all: Scorer) -> None:
    """The nats of each symbol are those of every next probability, asked for one by one."""
    for text, score in zip(batch, score_all(opened, batch), strict=True):
        expected = by_hand(opened, opened.tokenizer.encode(text).tolist())
        assert [token.nats for token in score.per_token] == pytest.approx(expected, abs=1e-9)
        assert score.nats == pytest.approx(math.fsum(expected), abs=1e-9)
        assert score.tokens == len(expected)


def law_neighbours(opened: Opened, batch: Sequence[str], score_all: Scorer, relative: float) -> None:
    """The score of a text depends neither on the texts beside it nor on their order."""
    scores = score_all(opened, batch)
    turned = score_all(opened, batch[::-1])[::-1]
    for text, score, turned_score in zip(batch, scores, turned, strict=True):
        (single,) = score_all(opened, [text])
        assert abs(score.nats - single.nats) <= relative * single.nats
        assert abs(turned_score.nats - single.nats) <= relative * single.nats


TEXTS = ["", "abc", "j", "abcdefghij" * 12, "\n", "ab\n\nc", *("cafe" * k + "dig"[:k] for k in range(1, 12))]


@pytest.mark.parametrize("arch", ARCHS)
def test_scores_are_those_of_brute_force(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "STREAM_WINDOW", 17)
    monkeypatch.setattr(protocols, "LINE_TOKENS", 100)
    law_brute_force(neural(TOKENIZER, arch), TEXTS, together)


@pytest.mark.parametrize("level", LEVELS)
def test_scores_are_those_of_brute_force_at_every_level(level: str) -> None:
    batch = [SOME, "the cat", " the\u2028cat\n", "", "unknown ϡ words\r\n", "the cat " * 9]
    law_brute_force(neural(TOKENIZERS[level]), batch, together)
    law_brute_force(plain(TOKENIZERS[level]), batch, together)


@pytest.mark.parametrize("arch", ARCHS)
def test_scores_do_not_depend_on_neighbours(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "LINE_TOKENS", 300)
    law_neighbours(neural(TOKENIZER, arch), TEXTS, together, 1e-12)


def test_in_float32_neighbours_change_a_millionth_at_most() -> None:
    # Weights like trained ones: larger, and the state is chaotic, so that no rounding is forgotten.
    model = random_model(model_config("lstm", CHAR.vocab_size, hidden_size=128), torch.float32, scale=0.1)
    opened = Opened(Path("nowhere"), TorchPredictor(model), CHAR, {})
    random = np.random.default_rng(0)
    batch = ["".join(random.choice(list("The cat sat. A mat"), size)) for size in random.integers(1, 90, 60)]
    law_neighbours(opened, batch, together, 1e-6)


def test_the_laws_fail_when_texts_are_filled_up_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: a batch that ends together, so that the shorter texts begin after filling."""

    def filled(predictor: Any, texts: Any, start_id: int, states: None) -> Iterator[list[Nats]]:
        batch = list(texts)
        width = max(map(len, batch)) + 2
        symbols = np.array([[*[start_id] * (width - len(ids)), *ids] for ids in batch], np.int64)
        nats, _ = predictor.nats(symbols[:, :-1], symbols[:, 1:])
        yield [row[len(row) - len(ids) :] for row, ids in zip(nats, batch, strict=True)]

    monkeypatch.setattr(surprisal, "lines", filled)
    with pytest.raises(AssertionError):
        law_neighbours(neural(TOKENIZER), TEXTS, together, 1e-6)
    with pytest.raises(AssertionError):
        law_brute_force(neural(TOKENIZER), TEXTS, together)


def test_the_law_fails_when_the_first_symbol_is_not_scored() -> None:
    """Planted fault: as other programs have it, which score a text from its second symbol on."""

    def second(opened: Opened, batch: Sequence[str]) -> list[TextScore]:
        scores = together(opened, batch)
        return [
            TextScore(s.text, s.tokens, s.nats - (s.per_token[0].nats or 0 if s.tokens else 0), 0, s.per_token)
            for s in scores
        ]

    with pytest.raises(AssertionError):
        law_brute_force(neural(TOKENIZER), ["abc"], second)


@pytest.mark.parametrize("arch", ARCHS)
def test_score_gives_the_nats_that_sampling_reports(arch: str) -> None:
    opened = neural(TOKENIZER, arch)
    symbols = list(generate(opened.predictor, TOKENIZER, [], 120, SampleOptions(temperature=0.7, seed=3)))
    (score,) = together(opened, ["".join(symbol.text for symbol in symbols)])
    assert [token.nats for token in score.per_token] == pytest.approx([symbol.nats for symbol in symbols], abs=1e-9)
    assert [token.token for token in score.per_token] == [symbol.text for symbol in symbols]


def test_the_probabilities_of_all_texts_of_one_length_sum_to_one() -> None:
    tokenizer = CharTokenizer.learn("ab")
    batch = [a + b + c for a in "ab\nϡ" for b in "ab\nϡ" for c in "ab\nϡ"]
    assert sum(math.exp(-s.nats) for s in together(neural(tokenizer), batch)) == pytest.approx(1, abs=1e-12)


@given(texts)
@settings(deadline=None, max_examples=60)
def test_offsets_are_places_in_utf8(text: str) -> None:
    for level, tokenizer in TOKENIZERS.items():
        (score,) = together(plain(tokenizer), [text])
        data, end = text.encode(), 0
        for token in score.per_token:
            assert end <= token.start < token.end
            assert level == "word" or token.start == end
            assert data[end : token.start].decode().strip() == ""
            end = token.end
            if token.token not in ("<unk>", "<eos>") and "\\" not in token.token:
                assert data[token.start : token.end].decode() == token.token
        assert level == "word" or end == len(data)


def test_the_end_of_a_line_is_scored_on_request() -> None:
    for level, tokenizer in TOKENIZERS.items():
        opened = neural(tokenizer)
        (open_end,) = score_texts(opened, ["the cat"])
        (with_end,) = score_texts(opened, ["the cat"], eos=True)
        newline = tokenizer.encode("\n").tolist()
        assert by_hand(opened, [*tokenizer.encode("the cat").tolist(), *newline])[-1] == pytest.approx(
            with_end.nats - open_end.nats
        )
        assert with_end.per_token[-1]._replace(nats=None) == ("<eos>" if level == "word" else "\n", 7, 7, None)
        assert with_end.tokens == open_end.tokens + 1


# ---- unknown symbols


def rules(tokenizer: Tokenizer, text: str, rule: UnknownRule) -> TextScore:
    (score,) = score_texts(neural(tokenizer), [text], unknown=rule)
    return score


@pytest.mark.parametrize(
    ("level", "text", "places", "bytes"),
    [("char", "ca€t 漠", [2, 5], [3, 3]), ("word", "the dög sat", [1, 2], [5, 4])],
)
def test_unknown_symbols_cost_what_the_rule_says(level: str, text: str, places: list[int], bytes: list[int]) -> None:
    tokenizer = TOKENIZERS[level]
    nats = by_hand(neural(tokenizer), tokenizer.encode(text).tolist())
    as_unk, exclude, penalise = (rules(tokenizer, text, rule) for rule in ("as-unk", "exclude", "penalise"))
    assert as_unk.unknown == exclude.unknown == penalise.unknown == len(places)
    assert [token.token == "<unk>" for token in as_unk.per_token] == [k in places for k in range(len(nats))]
    assert as_unk.nats == pytest.approx(sum(nats))
    assert exclude.nats == pytest.approx(sum(n for k, n in enumerate(nats) if k not in places))
    assert exclude.tokens == len(nats) - len(places)
    assert [token.nats is None for token in exclude.per_token] == [k in places for k in range(len(nats))]
    assert penalise.nats == pytest.approx(sum(nats) + sum(bytes) * math.log(256))
    assert penalise.tokens == as_unk.tokens == len(nats)


def test_penalised_all_characters_are_at_most_certain() -> None:
    """<unk> and then the bytes of a character: over all that UTF-8 writes, no more than <unk> itself."""
    sizes = [0x80, 0x800 - 0x80, 0x10000 - 0x800 - 0x800, 0x110000 - 0x10000]
    assert sum(count * math.exp(-surprisal.LN_256 * size) for size, count in enumerate(sizes, 1)) < 1


def test_refused_unknown_symbols_are_named_with_their_places() -> None:
    with pytest.raises(UserError) as refusal:
        list(score_texts(neural(CHAR), ["cat", "éa€t"], unknown="refuse"))
    assert "text 2" in refusal.value.what and "'€' at byte 3" in refusal.value.what
    assert "--unknown" in refusal.value.fix
    assert len(list(score_texts(neural(CHAR), ["cat", "é"], unknown="refuse"))) == 2
    with pytest.raises(UserError, match="penalize"):
        list(score_texts(neural(CHAR), ["cat"], unknown="penalize"))  # type: ignore[arg-type]


# ---- going on


def test_a_text_goes_on_where_another_ended() -> None:
    for arch in ARCHS:
        opened = neural(TOKENIZER, arch)
        total, after = score_on(opened, "abcabcjihg", beginning(opened))
        first, reading = score_on(opened, "abcab", beginning(opened))
        rest, final = score_on(opened, "cjihg", reading)
        assert first.nats + rest.nats == pytest.approx(total.nats, abs=1e-9)
        assert final.before == after.before
        (fresh,) = together(opened, ["cjihg"])
        assert abs(fresh.nats - rest.nats) > 1e-3

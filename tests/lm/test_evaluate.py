"""Evaluation: every symbol once under each protocol, counts that are those of the text, figures that own up."""

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.hostile import documents
from tiny import ARCHS, TOKENIZER, model_config, random_ids, random_model
from unroll.data.blocks import read_blocks
from unroll.data.tokenizer import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.data.words import UnicodeWordTokenizer
from unroll.errors import UserError
from unroll.lm import evaluate as module
from unroll.lm.evaluate import Evaluation, Protocol, evaluate_predictors, lines_of, nats_of_lines, regrouped, scored
from unroll.lm.surprisal import Symbols, UnknownRule, by_rule
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.predict.predictor import Nats, Predictor, Window
from unroll.predict.protocols import Ids, lines
from unroll.predict.torch import TorchPredictor
from unroll.progress import result
from unroll.state import State


class Priced(Predictor):
    """A predictor in which a symbol costs its id plus one, whatever came before."""

    vocab_size = 2**16

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        return targets.astype(np.float64) + 1, ()

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Nats, State]:
        raise NotImplementedError


def read(model: Model, ids: Ids) -> float:
    """Return the nats of ids after the start symbol, in one pass."""
    symbols = torch.tensor([[TOKENIZER.start_id, *ids.tolist()]])
    with torch.no_grad():
        return float(cross_entropy(model(symbols[:, :-1])[0], symbols[:, 1:], reduction="sum"))


def evaluated(model: Model, file: Path, protocol: Protocol) -> Evaluation:
    return result(evaluate_predictors([TorchPredictor(model)], TOKENIZER, [file], protocol))[0]


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    file = tmp_path / "letters.txt"
    rng = np.random.default_rng(0)
    file.write_text("".join("abcdefghij\n"[k] for k in rng.integers(0, 11, 3000)))
    return file


@pytest.mark.parametrize("arch", ARCHS)
def test_stream_and_lines_are_what_reading_by_hand_gives(
    arch: str, letters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_TOGETHER", 700)
    model, ids = random_model(model_config(arch)), TOKENIZER.encode(letters.read_text())
    stream = evaluated(model, letters, "stream")
    assert abs(stream.nats - read(model, ids)) < 1e-7
    of_lines = [read(model, TOKENIZER.encode(line)) for line in letters.read_text().splitlines(keepends=True)]
    by_line = evaluated(model, letters, "lines")
    assert abs(by_line.nats - sum(of_lines)) < 1e-7
    np.testing.assert_allclose(nats_of_lines(by_line.line_nats), of_lines, atol=1e-8)
    assert abs(nats_of_lines(stream.line_nats).sum() - stream.nats) < 1e-7
    assert len(nats_of_lines(stream.line_nats)) == len(of_lines)
    for evaluation in (stream, by_line):
        assert (evaluation.tokens, evaluation.chars, evaluation.bytes, evaluation.unknown) == (3000, 3000, 3000, 0)


def test_a_sentence_does_not_know_its_neighbours() -> None:
    """Also where one has a million symbols, one none at all, and the kernel computes in float32."""
    model = random_model(model_config("lstm"), torch.float32, scale=0.3)
    texts = [random_ids(n, seed=n) for n in (1, 2, 3, 50, 0, 49, 700, 1, 3000)]
    batched = [nats for group in lines(TorchPredictor(model), texts, TOKENIZER.start_id) for nats in group]
    for ids, nats in zip(texts, batched, strict=True):
        single = [n for group in lines(TorchPredictor(model), [ids], TOKENIZER.start_id) for n in group]
        assert len(nats) == len(ids)
        assert abs(nats.sum() - single[0].sum()) <= 1e-6 * max(1.0, single[0].sum())


def test_padding_that_leaks_is_noticed() -> None:
    """Planted fault: sentences laid against the right edge, so that the filling is read first."""
    model = random_model(model_config("lstm"))
    texts = [random_ids(n, seed=n) for n in (5, 9)]

    def leaky(texts: Sequence[Ids]) -> list[float]:
        width = max(map(len, texts)) + 1
        symbols = np.full((len(texts), width), TOKENIZER.start_id, np.int64)
        for row, ids in enumerate(texts):
            symbols[row, width - len(ids) :] = ids
        nats, _ = TorchPredictor(model).nats(symbols[:, :-1], symbols[:, 1:])
        return [float(row[len(row) - len(ids) :].sum()) for row, ids in zip(nats, texts, strict=True)]

    assert abs(leaky(texts)[0] - read(model, texts[0])) > 1e-3


@pytest.mark.parametrize("rows", [256, 512, 1024, 10_000])
def test_crops_do_not_depend_on_how_the_text_is_read(letters: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_TOGETHER", rows)
    model, ids = random_model(model_config("gru")), TOKENIZER.encode(letters.read_text())
    total = 0.0
    for i in range(0, 2999 // 256 * 256, 256):
        with torch.no_grad():
            logits, _ = model(torch.from_numpy(ids[None, i : i + 256]))
        total += float(cross_entropy(logits, torch.from_numpy(ids[None, i + 1 : i + 257]), reduction="sum"))
    evaluation = evaluated(model, letters, "crops")
    assert evaluation.tokens == 2999 // 256 * 256
    assert abs(evaluation.nats - total) < 1e-7


@given(st.lists(st.lists(st.integers(0, 3), max_size=9), max_size=9), st.integers(1, 7))
def test_regrouping_and_lines_keep_every_symbol(blocks: list[list[int]], size: int) -> None:
    arrays = [np.array(block, np.uint8) for block in blocks]
    symbols = [symbol for block in blocks for symbol in block]
    pieces = [piece.tolist() for piece in regrouped(arrays, size)]
    assert list(chain(*pieces)) == symbols
    assert all(len(piece) == size for piece in pieces[:-1])
    lines = [line.tolist() for line in lines_of(arrays, 0)]
    assert list(chain(*lines)) == symbols
    assert all(line[-1] == 0 and 0 not in line[:-1] for line in lines[:-1])


TOKENIZERS: dict[str, Tokenizer] = {
    "char": CharTokenizer.learn("abé漢 \r"),
    "byte": ByteTokenizer(),
    "word": WordTokenizer(("a", "the", "é")),
    "raw words": UnicodeWordTokenizer.learn(["the é, a. (a) \r\n"]),
    "bpe": BpeTokenizer.learn(["the cat the cat é漢 a a b"] * 9, vocab_size=290),
}


@pytest.mark.parametrize("protocol", ["stream", "lines"])
def test_raw_words_give_the_text_back_so_they_have_bits(tmp_path: Path, protocol: Protocol) -> None:
    text = "the é, a. (a)\r\na the, the a the\n" * 40
    (tmp_path / "text.txt").write_bytes(text.encode())
    tokenizer = UnicodeWordTokenizer.learn([text])
    (evaluation,) = result(evaluate_predictors([Priced()], tokenizer, [tmp_path / "text.txt"], protocol))
    assert (evaluation.chars, evaluation.bytes) == (len(text), len(text.encode()))
    assert evaluation.figures()["bits_per_char"] == pytest.approx(evaluation.nats / np.log(2) / len(text))
    (tmp_path / "text.txt").write_bytes((text + "new\n").encode())
    (evaluation,) = result(evaluate_predictors([Priced()], tokenizer, [tmp_path / "text.txt"], protocol))
    assert evaluation.figures()["bits_per_char"] is None
    assert "unknown symbols: 1, scored as <unk>: bits per character" in evaluation.figures()["notes"][0]


@given(documents, st.sampled_from(list(TOKENIZERS)), st.sampled_from(["stream", "lines"]))
@settings(max_examples=150, deadline=None)
def test_counts_and_nats_are_those_of_the_text(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], level: str, protocol: Protocol
) -> None:
    folder, tokenizer = tmp_path_factory.mktemp("texts"), TOKENIZERS[level]
    files = [folder / f"{number}.txt" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(text.encode())
    if level != "byte" and "\ufeff" in texts:
        with pytest.raises(UserError, match="is empty"):
            list(evaluate_predictors([Priced()], tokenizer, files, protocol))
        return
    contents = [text if level == "byte" else text.removeprefix("\ufeff") for text in texts]
    contents[:-1] = [text if text.endswith("\n") else f"{text}\n" for text in contents[:-1]]
    content = "".join(contents)
    ids = np.concatenate([tokenizer.encode(text) for text in contents])
    if not len(ids):
        with pytest.raises(UserError, match="is too short for the protocol"):
            list(evaluate_predictors([Priced()], tokenizer, files, protocol))
        return
    evaluations = result(evaluate_predictors([Priced()], tokenizer, files, protocol))
    assert evaluations[0].tokens == len(ids)
    assert evaluations[0].nats == (ids + 1.0).sum()
    figures = evaluations[0].figures()
    assert (figures["bits_per_byte"] is None) == (level == "word" or figures["unknown_rate"] > 0)
    notes = [note for note in figures["notes"] if "bits per" in note]
    assert bool(notes) == (figures["bits_per_byte"] is None)
    assert len(figures["notes"]) - len(notes) == any("mark" in note for note in figures["notes"]) + any(
        "newline" in note for note in figures["notes"]
    )
    marked = level != "byte" and any(text.startswith("\ufeff") for text in texts)
    assert any("byte order mark" in note for note in figures["notes"]) == marked
    newline_added = any(not text.endswith("\n") for text in texts[:-1])
    assert any("final newline" in note for note in figures["notes"]) == newline_added
    if figures["bits_per_byte"] is not None:
        assert math.isclose(figures["bits_per_byte"], evaluations[0].nats / math.log(2) / len(content.encode()))
        assert math.isclose(figures["bits_per_char"], evaluations[0].nats / math.log(2) / len(content))


@given(
    texts=documents,
    level=st.sampled_from(["char", "word"]),
    protocol=st.sampled_from(get_args(Protocol)),
    rule=st.sampled_from(get_args(UnknownRule)),
)
@settings(max_examples=200, deadline=None)
def test_unknown_symbols_cost_what_they_cost_in_score(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], level: str, protocol: Protocol, rule: UnknownRule
) -> None:
    """Whatever is known and where: the sum over the symbols that the protocol scores, of several files too."""
    folder, tokenizer = tmp_path_factory.mktemp("texts"), TOKENIZERS[level]
    files = [folder / f"{number}.txt" for number in range(len(texts))]
    repeats = 200 if protocol == "crops" else 1
    for file, text in zip(files, texts, strict=True):
        file.write_bytes(text.encode() * repeats)
    whole = "".join(block.content for block in read_blocks(files, tokenizer.level) if isinstance(block.content, str))
    symbols = Symbols(whole.encode(), *tokenizer.encode_offsets(whole), 0)
    nats, counted, unknown = by_rule(tokenizer, symbols, 1 + symbols.ids.astype(np.float64), rule)
    scored = slice(1, 1 + (len(nats) - 1) // 256 * 256) if protocol == "crops" else slice(None)
    work = evaluate_predictors([Priced()], tokenizer, files, protocol, unknown=rule)
    if rule == "refuse" and unknown.any():
        with pytest.raises(UserError, match="that the model has never seen"):
            list(work)
    elif not counted[scored].any():
        with pytest.raises(UserError, match=r"too short for the protocol|nothing is left to evaluate"):
            list(work)
    else:
        (evaluation,) = result(work)
        assert evaluation.tokens == counted[scored].sum() and evaluation.unknown == unknown[scored].sum()
        assert math.isclose(evaluation.nats, nats[scored][counted[scored]].sum())
        figures = evaluation.figures()
        spelt = level == "char" and (rule == "penalise" or not evaluation.unknown)
        assert (figures["bits_per_byte"] is not None) == spelt
        if spelt and protocol != "crops":
            assert math.isclose(figures["bits_per_byte"], evaluation.nats / math.log(2) / len(whole.encode()))


def test_a_mixture_is_the_weighted_mean_of_probabilities(letters: Path) -> None:
    first, second = (TorchPredictor(random_model(model_config(arch))) for arch in ("lstm", "rnn"))
    weights = np.array([0.3, 0.7])
    evaluations = result(evaluate_predictors([first, second], TOKENIZER, [letters], "stream", weights))
    ids = TOKENIZER.encode(letters.read_text())
    ((_, nats),) = scored([first, second], [ids], TOKENIZER.start_id, TOKENIZER.start_id, "stream")
    expected = -np.log(0.3 * np.exp(-nats[0]) + 0.7 * np.exp(-nats[1])).sum()
    assert abs(evaluations[2].nats - expected) < 1e-8
    assert abs(evaluations[0].nats - nats[0].sum()) < 1e-8


def test_refusals(tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("abc")
    with pytest.raises(UserError, match="at least one crop"):
        list(evaluate_predictors([Priced()], TOKENIZER, [file], "crops"))
    with pytest.raises(UserError, match="protocol is 'rows'"):
        list(evaluate_predictors([Priced()], TOKENIZER, [file], "rows"))  # type: ignore[arg-type]

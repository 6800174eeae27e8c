"""A vocabulary that grows: what the old text costs, what refuses to grow, and what is said of unknown symbols."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unroll
from tiny import make_corpus, model_config, overrides, random_ids, random_model, start, text
from unroll.artifact.open import load
from unroll.data.corpus import load_corpus
from unroll.data.documents import DocumentTokenizer
from unroll.data.tokenizer import (
    BpeTokenizer,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
    WordTokenizer,
    grown,
    load_tokenizer,
)
from unroll.data.words import UnicodeWordTokenizer
from unroll.errors import UserError
from unroll.nn.config import ModelConfig
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.training.budget import Budget
from unroll.training.growth import grown_weights, new_ids
from unroll.training.report import Report

RUSSIAN = "мама мыла раму и читала газету утром\n"


def grown_model(model: Model, vocab_size: int) -> Model:
    config = ModelConfig(**{**vars(model.config), "vocab_size": vocab_size})
    larger = Model(config).double().eval()
    larger.load_state_dict(grown_weights(model, range(model.config.vocab_size), vocab_size))
    return larger


# ---- the law


def law_old_text(model: Model, larger: Model) -> None:
    """Old logits stay, a new one is their mean, and so an old text costs at most ln(1 + k/V) nats a symbol more."""
    size, more = model.config.vocab_size, larger.config.vocab_size - model.config.vocab_size
    ids = torch.from_numpy(random_ids(60, vocab_size=size).astype(np.int64))[None]
    with torch.no_grad():
        old, _ = model(ids[:, :-1])
        new, _ = larger(ids[:, :-1])
    torch.testing.assert_close(new[..., :size], old, rtol=0, atol=1e-13)
    torch.testing.assert_close(new[..., size:], old.mean(-1, keepdim=True).expand(-1, -1, more), rtol=0, atol=1e-13)
    cost = cross_entropy(new, ids[:, 1:], "none") - cross_entropy(old, ids[:, 1:], "none")
    assert float(cost.min()) > 0 and float(cost.max()) <= math.log(1 + more / size) + 1e-12


SHAPES: list[dict[str, Any]] = [
    {}, {"tie_weights": True}, {"tie_weights": True, "embedding_size": 10}, {"layers_before": 1, "layers_after": 1},
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("arch", ["lstm", "window"])
def test_old_text_keeps_its_logits(arch: str, shape: dict[str, Any]) -> None:
    model = random_model(model_config(arch, **shape))
    law_old_text(model, grown_model(model, model.config.vocab_size + 7))


@pytest.mark.parametrize("fault", ["embedding.weight", "head.bias"])
def test_the_law_fails_on_faults(fault: str) -> None:
    model = random_model(model_config("lstm"))
    larger = grown_model(model, model.config.vocab_size + 7)
    with torch.no_grad():
        rows = larger.get_parameter(fault)
        rows.copy_(rows.roll(1, 0))
    with pytest.raises(AssertionError):
        law_old_text(model, larger)


# ---- vocabularies

OLD_AND_NEW: list[tuple[Tokenizer, Tokenizer, str]] = [
    (CharTokenizer.learn("bcd"), CharTokenizer.learn("xbж"), "bxж\n"),
    (WordTokenizer(("the", "cat")), WordTokenizer(("dog", "the")), "the dog\ncat"),
    (UnicodeWordTokenizer(("the", "cat")), UnicodeWordTokenizer(("dog", ".", "the")), "the dog.\ncat"),
]


@pytest.mark.parametrize(("old", "new", "sentence"), OLD_AND_NEW, ids=["char", "word", "unicode"])
@pytest.mark.parametrize("separator", ["", "|"])
def test_old_symbols_keep_their_ids_and_new_ones_are_known(
    old: Tokenizer, new: Tokenizer, sentence: str, separator: str, tmp_path: Path
) -> None:
    if separator:
        old, new, sentence = DocumentTokenizer(old, "|"), DocumentTokenizer(new, "|"), f"{sentence}|{sentence}"
    larger = grown(old, new)
    ids = new_ids(old, larger)
    assert [larger.symbol(id) for id in ids] == [old.symbol(id) for id in range(old.vocab_size)]
    assert ids[: old.vocab_size - bool(separator)] == list(range(old.vocab_size - bool(separator)))
    assert old.unknown(sentence) and not larger.unknown(sentence)
    assert larger.decode(larger.encode(sentence)) == sentence
    assert {*map(larger.symbol, range(larger.vocab_size))} == {
        tokenizer.symbol(id) for tokenizer in (old, new) for id in range(tokenizer.vocab_size)
    }
    assert grown(old, old) == old and grown(larger, new) == larger
    larger.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json") == larger


def test_bytes_and_pieces_know_all_already() -> None:
    pieces = BpeTokenizer.learn(["the cat"], vocab_size=260)
    assert grown(pieces, pieces) == pieces and grown(ByteTokenizer(), ByteTokenizer()) == ByteTokenizer()


def test_the_rows_of_end_move_with_it() -> None:
    model = random_model(model_config("lstm", 5))
    old = DocumentTokenizer(CharTokenizer.learn("ab"), "|")
    larger = grown(old, DocumentTokenizer(CharTokenizer.learn("abxyz"), "|"))
    weights = grown_weights(model, new_ids(old, larger), larger.vocab_size)
    for name, rows in (("embedding.weight", model.embedding.weight), ("head.bias", model.head.bias)):
        assert torch.equal(weights[name][-1], rows[-1]) and torch.equal(weights[name][:4], rows[:4])


# ---- fine-tuning


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent")
    (folder / "book.txt").write_text(text(170))
    list(start([folder / "book.txt"], folder / "run", Budget(steps=5), overrides(), device="cpu"))
    return folder / "run"


@pytest.fixture
def russian(tmp_path: Path) -> Path:
    (tmp_path / "russian.txt").write_text(RUSSIAN * 60)
    return tmp_path / "russian.txt"


FEW = {"model": {}, "optim": {}, "data": {}, "training": overrides()["training"]}


def tuned(parent: Path, file: Path, out: Path, **options: Any) -> list[str]:
    """Fine-tune; return the remarks."""
    reports = start([file], out, Budget(steps=5), FEW, device="cpu", base=parent, **options)
    return [report.text for report in reports if isinstance(report, Report) and report.kind == "warn" and report.text]


def test_new_symbols_are_named_alike_whether_added_or_not(parent: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_bytes(b"the cat sat\r\n" * 200)
    for choice in ("add", "unknown"):
        (remark,) = tuned(parent, tmp_path / "lines.txt", tmp_path / choice, new_symbols=choice)
        assert r": '\r'" in remark


def test_a_grown_model_knows_the_new_text_and_starts_from_the_old_weights(
    parent: Path, russian: Path, tmp_path: Path
) -> None:
    (remark,) = tuned(parent, russian, tmp_path / "run", new_symbols="add")
    old, new = load(parent), load(tmp_path / "run")
    assert isinstance(old.tokenizer, CharTokenizer)
    letters = "".join(sorted({*RUSSIAN} - {*" \n"}))
    assert new.tokenizer == CharTokenizer(old.tokenizer.symbols + letters)
    assert f"{len(letters)} symbols are added to the {old.tokenizer.vocab_size} of the model: 'а', " in remark
    described = unroll.info(tmp_path / "run")
    assert [part["unknown"] for part in described["parts"].values()] == [0, 0, 0]
    assert described["vocab_size"] == new.tokenizer.vocab_size == new.model.config.vocab_size
    assert not any("--new-symbols" in note for note in described["notes"])
    # A text of the parent's own adds nothing, and the first weights are the parent's.
    (tmp_path / "own.txt").write_text(text(170))
    assert tuned(parent, tmp_path / "own.txt", tmp_path / "own", new_symbols="add") == []
    assert load(tmp_path / "own").tokenizer == old.tokenizer


def test_symbols_that_stay_unknown_are_said_beside_what_they_spoil(parent: Path, russian: Path, tmp_path: Path) -> None:
    (remark,) = tuned(parent, russian, tmp_path / "run")
    part = load_corpus(tmp_path / "run" / "resume" / "data").info.parts["valid"]
    assert 0.7 < part.unknown_share < 0.9
    assert " %, are unknown to the model" in remark and "--new-symbols add" in remark
    (note,) = [note for note in unroll.info(tmp_path / "run")["notes"] if "--new-symbols add" in note]
    assert note.startswith(f"{100 * part.unknown_share:.3g} % of the validation symbols")


@pytest.mark.parametrize(
    ("level", "model", "reason"), [("byte", {}, "256 bytes"), ("bpe", {}, "256 bytes"),
    ("word", {"adaptive_softmax": "4", "embedding_size": 10}, "adaptive softmax")],
)  # fmt: skip
def test_what_cannot_grow_says_why(
    level: str, model: dict[str, Any], reason: str, russian: Path, tmp_path: Path
) -> None:
    (tmp_path / "book.txt").write_text(text(170))
    fixed = overrides(model)
    fixed["data"] = {"level": level}
    list(start([tmp_path / "book.txt"], tmp_path / "parent", Budget(steps=1), fixed, device="cpu"))
    with pytest.raises(UserError, match=reason) as refusal:
        tuned(tmp_path / "parent", russian, tmp_path / "run", new_symbols="add")
    assert refusal.value.allowed and refusal.value.fix
    assert not (tmp_path / "run").exists()


def test_words_grow_by_the_words_of_the_training_part(russian: Path, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(text(170))
    fixed = overrides()
    fixed["data"] = {"level": "word"}
    list(start([tmp_path / "book.txt"], tmp_path / "parent", Budget(steps=1), fixed, device="cpu"))
    (remark,) = tuned(tmp_path / "parent", russian, tmp_path / "run", new_symbols="add")
    assert "7 symbols are added" in remark and "'мама'" in remark
    assert unroll.info(tmp_path / "run")["parts"]["train"]["unknown"] == 0


def test_growing_needs_a_model_and_a_text(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="to no model"):
        unroll.train("x", new_symbols="add")
    with pytest.raises(UserError, match="new_symbols is 'all'"):
        unroll.train("x", base=parent, new_symbols="all")  # type: ignore[arg-type]
    corpus = make_corpus(tmp_path / "corpus", [RUSSIAN * 60])
    with pytest.raises(UserError, match="another vocabulary"):
        tuned(parent, corpus, tmp_path / "run", new_symbols="add")

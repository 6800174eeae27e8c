"""The directory of a tagger is opened as it was saved; one that is damaged, foreign or mixed is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifact.saved import change, save_model
from nn.test_encoder import randomised
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.open import open_model
from unroll.artifact.tagger import (
    CONTEXT,
    TaggerInfo,
    as_tagger,
    context_digest,
    copied_context,
    open_tagger,
    save_tagger,
)
from unroll.artifact.vocabularies import digests_of, save_reader
from unroll.data.reader import Reader
from unroll.data.tokenizer import CharTokenizer
from unroll.data.words import UnicodeWordTokenizer
from unroll.errors import UserError
from unroll.nn.tagger import Tagger
from unroll.nn.tagger_config import TaggerConfig

READER = Reader(UnicodeWordTokenizer(("cat", "the", "10 000")), CharTokenizer.learn("acehtCT"), lowercase=True)
CONFIG = TaggerConfig(
    vocab_size=5, chars=9, embedding_size=4, hidden_size=5, char_embedding_size=2, char_hidden_size=3, tags=3, crf=True
)
SENTENCES = [("The", "cat"), ("10 000", "x", "cat")]


def save(path: Path, config: TaggerConfig = CONFIG, context: str | None = None) -> None:
    """Write what a directory needs to be opened."""
    info = TaggerInfo(config, ("O", "B-X", "I-X"), "upos", 1, "bio", True, *digests_of(READER), context, None)
    path.mkdir(exist_ok=True)
    save_tagger(path, info)
    save_reader(path, READER)
    save_tensors(path / WEIGHTS, dict(randomised(Tagger(config)).float().named_parameters()), {"step": 7})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    save(tmp_path / "model")
    return tmp_path / "model"


def test_it_is_opened_as_it_was_saved(directory: Path) -> None:
    opened = open_tagger(directory)
    assert opened.info.tags == ("O", "B-X", "I-X") and opened.info.crf and opened.info.column == "upos"
    assert opened.weights_info["step"] == 7 and opened.context is None and as_tagger(opened) is opened
    reading = opened.read(SENTENCES)
    assert reading.units.lengths.tolist() == [2, 3] and reading.units.values.tolist() == [3, 2, 4, 0, 2]
    assert opened.network.best(opened.network.scores(reading), reading.units.lengths).shape == (5,)


def test_its_language_model_is_in_it(tmp_path: Path) -> None:
    save_model(tmp_path / "lm")
    context = tmp_path / "model" / CONTEXT
    context.mkdir(parents=True)
    files = copied_context(tmp_path / "lm")
    for name, content in files.items():
        (context / name).write_bytes(content)
    size = json.loads(files["model.json"])["model"]["hidden_size"]
    save(tmp_path / "model", replace(CONFIG, context_size=size), context_digest(files))
    opened = open_tagger(tmp_path / "model")
    contexts = opened.read(SENTENCES).contexts
    assert contexts is not None and contexts.values.shape == (5, size) and np.isfinite(contexts.values).all()
    (context / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"cannot read .*tokenizer\.json"):
        open_tagger(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tags": ["O", "O", "B-X"]}, "2 different tags of 3"),
        ({"tags": ["O"]}, "1 different tags of 1"),
        ({"tags": 3}, "tags in"),
        ({"scheme": "iob"}, "scheme"),
        ({"column": None}, "column"),
        ({"context_digest": "ab"}, "contexts of 0 numbers"),
        ({"tokenizer_digest": "ab"}, "vocabularies"),
        ({"result": {}}, "protocol"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(changes: dict[str, Any], message: str, directory: Path) -> None:
    change(directory, **changes)
    with pytest.raises(UserError, match=message) as refusal:
        open_tagger(directory)
    assert refusal.value.allowed or refusal.value.fix


def test_other_kinds_are_refused(directory: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "lm")
    with pytest.raises(UserError, match="is a language model"):
        open_tagger(tmp_path / "lm")
    with pytest.raises(UserError, match="is a tagger"):
        open_model(directory)

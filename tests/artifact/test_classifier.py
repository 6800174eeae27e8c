"""The directory of a classifier is opened as it was saved; one that is damaged, foreign or mixed is refused."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifact.saved import change, damage, save_model
from nn.test_encoder import randomised
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.classifier import (
    ClassifierInfo,
    as_classifier,
    label_ids,
    open_classifier,
    save_classifier,
)
from unroll.artifact.directory import WEIGHTS, read_description
from unroll.artifact.open import load
from unroll.artifact.vocabularies import CHARACTERS, save_reader
from unroll.data.reader import Reader
from unroll.data.tokenizer import CharTokenizer, WordTokenizer
from unroll.errors import UserError
from unroll.nn.encoder import Classifier
from unroll.nn.encoder_config import ClassifierConfig, classifier_shapes

READER = Reader(WordTokenizer(("meow", "says", "the", "woof")), CharTokenizer.learn("eghmostwy"), max_units=50)
CONFIG = ClassifierConfig(
    vocab_size=6, chars=11, embedding_size=4, hidden_size=5, char_embedding_size=2, char_hidden_size=3, labels=3,
    pooling="last,max,attention", attention_size=2,
)  # fmt: skip
TEXTS = ["the cat says meow", "", "woof"]


def save(path: Path, config: ClassifierConfig = CONFIG, reader: Reader = READER) -> Classifier:
    """Write what a directory needs to be opened."""
    path.mkdir()
    digests = reader.tokenizer.digest, None if reader.characters is None else reader.characters.digest
    info = ClassifierInfo(config, ("cat", "dog", "owl"), ("text",), "label", False, reader.max_units, *digests, None)
    model: Classifier = randomised(Classifier(config)).float()
    save_classifier(path, info, reader)
    save_reader(path, reader)
    save_tensors(path / WEIGHTS, dict(model.named_parameters()), {"step": 7})
    return model


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    save(tmp_path / "model")
    return tmp_path / "model"


def refused(path: Path, message: str = "") -> UserError:
    with pytest.raises(UserError) as refusal:
        open_classifier(path)
    assert message in str(refusal.value), str(refusal.value)
    return refusal.value


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    model = save(tmp_path / "model")
    opened = open_classifier(tmp_path / "model")
    assert (opened.info.config, opened.reader, opened.weights_info) == (CONFIG, READER, {"step": 7})
    assert opened.path == tmp_path / "model" and as_classifier(opened) is opened
    assert opened.info.labels == ("cat", "dog", "owl") and label_ids(opened.info, ["owl", "cat"]) == [2, 0]
    for name, weight in model.named_parameters():
        assert np.array_equal(opened.network._weights[name], weight.detach().numpy())


@pytest.mark.parametrize("options", [{"char_hidden_size": 0, "chars": 0}, {"bidirectional": False, "arch": "mingru"}])
def test_other_shapes_come_back(options: dict[str, Any], tmp_path: Path) -> None:
    config = replace(CONFIG, **options)
    reader = READER if config.char_hidden_size else replace(READER, characters=None)
    save(tmp_path / "model", config, reader)
    opened = open_classifier(tmp_path / "model")
    assert (opened.info.config, opened.reader) == (config, reader)
    assert (tmp_path / "model" / CHARACTERS).exists() == bool(config.char_hidden_size)


def test_a_damaged_one_opens_or_is_refused(directory: Path) -> None:
    chance, fine = random.Random(0), 0
    for file in sorted(directory.iterdir()):
        content = file.read_bytes()
        for _ in range(100):
            file.write_bytes(damage(content, chance))
            try:
                opened = open_classifier(directory)
            except UserError as error:
                assert error.what
            else:
                assert len(opened.network.logits(opened.reader.read(TEXTS))) == 3
                fine += 1
        file.write_bytes(content)
    open_classifier(directory)
    assert 10 < fine < 200


@pytest.mark.parametrize("file", ["model.json", "tokenizer.json", CHARACTERS, WEIGHTS])
def test_a_missing_file_is_named(file: str, directory: Path) -> None:
    (directory / file).unlink()
    refused(directory, file)


ENTRIES: dict[str, dict[str, Any]] = {
    "labels": {"labels": ["cat", "dog"]},
    "the same labels": {"labels": ["cat", "cat", "dog"]},
    "no list": {"labels": "cat"},
    "no texts": {"labels": ["cat", "dog", 3]},
    "no columns": {"text_columns": []},
    "units": {"max_units": 0},
    "a shape": {"model": {"hidden_size": 6}},
    "a key": {"model": {"hiden_size": 6}},
    "many layers": {"model": {"num_layers": 10**6}},
    "characters of none": {"model": {"chars": 0}},
    "a level": {"level": "words"},
    "a digest": {"characters_digest": None},
    "a version": {"format_version": 2},
    "a result": {"result": {"steps": 3}},
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_wrong_entry_is_refused(entry: str, directory: Path) -> None:
    change(directory, **ENTRIES[entry])
    assert refused(directory).fix


OTHERS = {
    "words": replace(READER, tokenizer=WordTokenizer(("meow", "says", "the", "moo"))),
    "characters": replace(READER, characters=CharTokenizer.learn("abcdefghi")),
}


@pytest.mark.parametrize("other", OTHERS)
def test_vocabularies_of_another_are_refused(other: str, directory: Path) -> None:
    """Also those of the same sizes, with which it would open and say something else."""
    save_reader(directory, OTHERS[other])
    refused(directory, "vocabularies")


def test_weights_of_another_are_refused(directory: Path, tmp_path: Path) -> None:
    save(tmp_path / "other", replace(CONFIG, hidden_size=6))
    shutil.copy(tmp_path / "other" / WEIGHTS, directory)
    refused(directory, WEIGHTS)


def test_other_kinds_are_refused(directory: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "language")
    error = refused(tmp_path / "language", "is a language model")
    assert "unroll classify train" in error.allowed and "unroll --help" in error.fix
    for read in (load, read_description):
        with pytest.raises(UserError, match="is a classifier") as refusal:
            read(directory)
        assert "unroll train" in refusal.value.allowed and "unroll classify --help" in refusal.value.fix
    change(directory, kind="something else")
    refused(directory, "does not describe an unroll model")
    refused(tmp_path / "nowhere", "no model directory")


def test_all_that_it_holds_is_in_the_page_on_the_format(directory: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    missing = [name for name in json.loads((directory / "model.json").read_text()) if f"`{name}`" not in page]
    assert not missing and all(f"`{file.name}`" in page for file in directory.iterdir())
    parts = {name if name.startswith(("head", "attention", "embedding")) else name.partition(".")[0]
             for name in classifier_shapes(CONFIG)}  # fmt: skip
    assert all(f"`{part}" in page for part in parts)


@pytest.mark.parametrize("label", ["dogs", "DOG"])
def test_a_label_that_it_never_saw_has_a_near_one(directory: Path, label: str) -> None:
    with pytest.raises(UserError, match=f"never saw the label '{label}'") as refusal:
        label_ids(open_classifier(directory).info, ["cat", label])
    assert refusal.value.allowed == "cat, dog, owl" and "'dog'" in refusal.value.fix

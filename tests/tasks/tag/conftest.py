"""Tagged sentences so few and simple that a tagger learns them in a moment."""

import random
from pathlib import Path

import pytest

from tasks.tag.toy import sentences, written
from tiny import begin_training, overrides
from toys import Toys


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("tag") / "toy.tsv", sentences(random.Random(0), 120))


@pytest.fixture(scope="session")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("tag") / "unseen.tsv", sentences(random.Random(1), 40))


@pytest.fixture(scope="session")
def toy(toys: Toys) -> Path:
    """The directory of a trained tagger."""
    return toys.tagger


@pytest.fixture(scope="session")
def characters(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a language model of the characters of the same sentences."""
    folder = tmp_path_factory.mktemp("tag")
    tokens = [line.split("\t")[0] for line in file.read_text().splitlines()]
    text = folder / "text.txt"
    text.write_text(" ".join(tokens).replace("  ", "\n") + "\n")
    for _ in begin_training(text, folder / "model", overrides()):
        pass
    return folder / "model"

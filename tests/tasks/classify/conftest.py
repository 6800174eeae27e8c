"""Labelled texts so few and simple that a classifier learns them in a moment."""

import random
from pathlib import Path

import pytest

from tasks.classify.toy import rows, written
from toys import Toys


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("classify") / "toy.tsv", rows(random.Random(0), 120))


@pytest.fixture(scope="session")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("classify") / "unseen.tsv", rows(random.Random(1), 40))


@pytest.fixture(scope="session")
def toy(toys: Toys) -> Path:
    """The directory of a trained classifier."""
    return toys.classifier

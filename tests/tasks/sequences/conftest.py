"""Sequences so few and simple that a model learns them in a moment."""

from pathlib import Path

import pytest

from tasks.sequences import toy
from toys import Toys


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.written(tmp_path_factory.mktemp("sequences") / "toy.csv")


@pytest.fixture(scope="session")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.written(tmp_path_factory.mktemp("sequences") / "unseen.csv", 80, seed=1)


@pytest.fixture(scope="session")
def sides(toys: Toys) -> Path:
    """The directory of a model that tells labels."""
    return toys.sides


@pytest.fixture(scope="session")
def slopes(toys: Toys) -> Path:
    """The directory of a model that predicts numbers."""
    return toys.slopes

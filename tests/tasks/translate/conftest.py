"""Pairs so few and simple that a translator learns them in a moment."""

import random
from pathlib import Path

import pytest

from tasks.translate.toy import sources, written
from toys import Toys


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two files with a pair in each line."""
    return written(tmp_path_factory.mktemp("translate"), sources(random.Random(0), 240))


@pytest.fixture(scope="session")
def toy(toys: Toys) -> Path:
    """The directory of a trained translator."""
    return toys.translator

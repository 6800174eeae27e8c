"""A tiny model of two columns of labels, trained once."""

from pathlib import Path

import pytest

from training.steered.toy import rows, trained, written


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("words") / "words.tsv", rows(90))


@pytest.fixture(scope="session")
def steered(words: Path) -> Path:
    return trained(words, words.with_name("model"))

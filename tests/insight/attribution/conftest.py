"""Models for the tests of attribution."""

from pathlib import Path

import pytest

from tiny import (
    begin_training,
    make_corpus,
    overrides,
    text,
)
from unroll.artifact.ngram import write_ngram


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An LSTM of a few steps and an n-gram."""
    folder = tmp_path_factory.mktemp("attribution")
    list(begin_training(make_corpus(folder / "corpus", [text(200)]), folder / "model", overrides(), 4))
    list(write_ngram([folder / "corpus" / "text0.txt"], folder / "ngram", 2, {"level": "char"}, valid=None, test=None))
    return folder

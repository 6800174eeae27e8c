"""What the tests of the verbs share: tiny corpora, made once, and a process that training leaves as it was."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lm.tiny import make_corpus, text
from unroll.data.corpus import DataConfig


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what training sets for its whole process, and do not wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one text of about 6,000 characters, split 90/10."""
    return make_corpus(tmp_path_factory.mktemp("corpus"), [text(170)])


@pytest.fixture(scope="session")
def documents_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of nine short documents, so that most windows hold the start of one."""
    texts = [text(3, seed) for seed in range(8)] + [text(20, 8)]
    return make_corpus(tmp_path_factory.mktemp("documents"), texts, DataConfig(split="80/20", documents=True))

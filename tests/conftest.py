"""What all tests share: tiny corpora and models, made once, and a process that each test leaves as it was."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from tiny import make_corpus, text
from toys import Toys
from unroll.data.corpus import DataConfig

for ignored in (
    signal.SIGHUP,
    signal.SIGINT,
):  # as nohup and background jobs have them: what the tests start inherits it
    if signal.getsignal(ignored) == signal.SIG_IGN:
        signal.signal(ignored, signal.SIG_DFL)

hypothesis.settings.register_profile("no deadline", deadline=None)  # a busy machine is no fault of a property
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def process_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Do not wait for the disk, use one thread, as these tensors are small, and undo what training sets."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
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


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    """A model of each task."""
    return Toys(tmp_path_factory.mktemp("toys"))

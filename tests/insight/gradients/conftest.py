"""Fixtures of the tests of gradients."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny import begin_training, make_corpus, overrides, text


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These matrices are so small that a second thread costs more than it brings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gradients")
    corpus = make_corpus(folder / "corpus", [text(250)])
    fixed: dict[str, dict[str, Any]] = {"optim": {"grad_clip": 0.2}, "training": {"log_every": 1}}
    for arch in ("lstm", "rnn", "window"):
        list(begin_training(corpus, folder / arch, overrides({"arch": arch}, **fixed), 12))
    return {arch: folder / arch for arch in ("lstm", "rnn", "window")}

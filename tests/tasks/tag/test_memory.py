"""What the training of a tagger takes of memory grows with its longest sentence; contexts have to fit."""

import numpy as np
import pytest
import torch

from unroll.data.ragged import Epochs
from unroll.errors import UserError
from unroll.tasks.tag import memory
from unroll.tasks.tag.memory import announcement, check_contexts
from unroll.tasks.tag.recipe import TABLES, Sizes, TokensConfig, choose
from unroll.training.memory import Memory
from unroll.training.request import overrides_of

RECIPE = choose(TokensConfig(), Sizes(100, 20, 3, 50), 10, overrides_of(None, (), {}, TABLES))


def test_the_longest_sentence_counts() -> None:
    device = torch.device("cpu")
    assert announcement(RECIPE, Epochs(np.ones(50, np.int64), 32, 0), device) is None
    assert "GB of memory" in str(announcement(RECIPE, Epochs(np.array([10**6]), 32, 0), device))


def test_contexts_have_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_of", lambda device: Memory(2 * 1000 * 64, 10**9))
    check_contexts(1000, 64)
    with pytest.raises(UserError, match="1,001 tokens with contexts of 64 numbers"):
        check_contexts(1001, 64)

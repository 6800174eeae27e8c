"""What a training takes of memory grows with the longest text."""

import numpy as np
import torch

from unroll.tasks.classify.memory import announcement
from unroll.tasks.classify.recipe import TABLES, Sizes, TextsConfig, choose
from unroll.training.request import overrides_of


def test_the_longest_text_counts() -> None:
    recipe = choose(
        TextsConfig(), Sizes(100, 20, 3, 50, 500, multi_label=False), 10, overrides_of(None, (), {}, TABLES)
    )
    short, long = (np.full(50, length) for length in (1, 10**6))
    assert announcement(recipe, short, torch.device("cpu")) is None
    assert "GB of memory" in (announcement(recipe, long, torch.device("cpu")) or "")

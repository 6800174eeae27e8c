"""What a training takes of memory grows with the longest text, and with as many as are read side by side."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from unroll.tasks.classify.memory import announcement
from unroll.tasks.classify.recipe import TABLES, ClassifierRecipe, Sizes, TextsConfig, choose
from unroll.training.request import overrides_of

CPU = torch.device("cpu")
RECIPE = choose(TextsConfig(), Sizes(100, 20, 3, 50, 500, multi_label=False), 10, overrides_of(None, (), {}, TABLES))


def gigabytes(*lengths: int, recipe: ClassifierRecipe = RECIPE) -> float:
    sentence = announcement(recipe, np.array(lengths), CPU)
    return float(re.findall("takes about (.*) GB of memory", sentence or "takes about 0 GB of memory")[0])


def test_the_longest_text_counts() -> None:
    assert gigabytes(*[1] * 50) == 0 < gigabytes(10**6)


def test_texts_count_as_far_as_they_are_read_side_by_side() -> None:
    """A batch has at most 65,536 units with its padding, or a single text."""
    assert gigabytes(*[10**6] * 50) == gigabytes(10**6)
    assert gigabytes(*[2**16] * 50) == gigabytes(*[2**15] * 50) == gigabytes(2**16)


def test_what_a_perturbed_batch_keeps_of_both_passes_counts() -> None:
    """Measured with 60,000 units, more than before the first step: 2.31 GB, and 1.63 GB without a perturbation."""
    plain = replace(RECIPE, model=replace(RECIPE.model, perturbation=0.0))
    assert gigabytes(60_000) == pytest.approx(2.31, rel=0.1)
    assert gigabytes(60_000, recipe=plain) == pytest.approx(gigabytes(60_000) / 2, abs=0.1)

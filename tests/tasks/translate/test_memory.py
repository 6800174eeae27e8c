"""What a training takes of memory grows with the longest pairs, the vocabulary, and what attention compares."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from unroll.data.ragged import Ragged
from unroll.tasks.translate.memory import announcement
from unroll.tasks.translate.recipe import TABLES, PairsConfig, Sizes, choose
from unroll.tasks.translate.store import Read
from unroll.training import memory
from unroll.training.request import overrides_of

RECIPE = choose(PairsConfig(), Sizes(4000, 0, 64), 10, overrides_of(None, (), {}, TABLES))


@pytest.fixture(autouse=True)
def _announce_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LARGE", 0)


def gigabytes(length: int, **shape: Any) -> float:
    rows = Ragged.of([range(length)] * 64)
    recipe = replace(RECIPE, model=replace(RECIPE.model, **shape))
    sentence = announcement(recipe, Read(rows, rows), torch.device("cpu"))
    assert sentence is not None
    return float(re.findall("takes about (.*) GB of memory", sentence)[0])


def test_what_grows_takes_more() -> None:
    assert gigabytes(5) < gigabytes(120)
    assert gigabytes(100) < gigabytes(100, vocab_size=40_000)
    assert gigabytes(100) < gigabytes(100, attention="additive")
    assert gigabytes(100) < gigabytes(100, num_layers=4)


def test_pairs_count_as_far_as_they_are_read_side_by_side() -> None:
    """A batch has at most 8,192 symbols of one side with its padding, or a single pair."""
    assert gigabytes(255) == pytest.approx(gigabytes(511), rel=0.2)

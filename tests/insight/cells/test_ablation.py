"""Clamping a planted cell harms what it counts, and a model without cells says so."""

from pathlib import Path

import pytest
import torch

from insight.planted import COUNTER, planted, save
from unroll.errors import UserError
from unroll.insight.cells.ablation import ablate
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model


def test_ablating_the_planted_cell_harms_the_brackets_it_counts(there: Path) -> None:
    ablated = ablate(there / "model", 0, COUNTER, file=there / "text.txt").figures()
    neighbour = ablate(there / "model", 0, COUNTER + 1, file=there / "text.txt").figures()
    assert ablated["held_nats"] - ablated["nats"] > 10 * abs(neighbour["held_nats"] - neighbour["nats"])


def test_what_has_no_cell_to_hold_says_so(there: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    window = Model(ModelConfig(vocab_size=planted().config.vocab_size, arch="window", hidden_size=8)).eval()
    save(window, tmp_path / "window")
    with pytest.raises(UserError, match="a window has no cells"):
        ablate(tmp_path / "window", 0, 1, file=there / "text.txt")

"""The cost of a translator's int8 weights: that of its held-out pairs, kept and shown."""

import shutil
from pathlib import Path

import pytest

import unroll
from unroll.artifact.quantize import FILE
from unroll.errors import UserError
from unroll.tasks.translate.quantize import quantize_translator


def test_the_cost_is_that_of_the_held_out_pairs_and_is_kept(toy: Path, tmp_path: Path) -> None:
    model = shutil.copytree(toy, tmp_path / "model")
    before = unroll.info(model)
    cost = quantize_translator(model)
    assert before["int8"] is None and unroll.info(model)["int8"] == cost
    assert cost["float32_nats"] == pytest.approx(before["valid_nats"], rel=1e-5)
    assert cost["symbols"] == before["valid_symbols"]
    assert cost["cost_nats"] == cost["int8_nats"] - cost["float32_nats"] != 0


def test_without_its_pairs_nothing_is_written(toy: Path, tmp_path: Path) -> None:
    model = shutil.copytree(toy, tmp_path / "model")
    shutil.rmtree(model / "resume")
    with pytest.raises(UserError):
        quantize_translator(model)
    assert not (model / FILE).exists()

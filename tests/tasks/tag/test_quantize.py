"""The cost of a tagger's eight-bit weights: small, kept beside the model, and shown by its description."""

import shutil
from pathlib import Path

import pytest

from unroll.artifact.info import info
from unroll.errors import UserError
from unroll.tasks.tag.quantize import quantize_tagger
from unroll.tasks.tag.store import VALID


def test_the_cost_is_measured_and_kept(toy: Path, tmp_path: Path) -> None:
    path = shutil.copytree(toy, tmp_path / "model")
    cost = quantize_tagger(path)
    described = info(path)
    assert described["kind"] == "tagger" and described["int8"] == cost
    assert cost["tokens"] == described["valid_tokens"]
    assert cost["float32_nats"] == pytest.approx(described["valid_nats"], rel=1e-4)
    assert cost["float32_accuracy"] == pytest.approx(described["valid_accuracy"], abs=1e-9)
    assert abs(cost["cost_nats"]) < 0.05
    (path / VALID).unlink()
    with pytest.raises(UserError, match="cannot read"):
        quantize_tagger(path)

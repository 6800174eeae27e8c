"""A model directory for each test."""

from pathlib import Path

import pytest

from artifact.saved import save_model


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    save_model(tmp_path / "model")
    return tmp_path / "model"

"""Waves so simple that a forecaster learns them in a moment."""

from pathlib import Path

import pytest

from tasks.forecast.toy import trained, written


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("forecast") / "waves.csv")


@pytest.fixture(scope="session")
def toy(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a trained forecaster."""
    return trained(table, tmp_path_factory.mktemp("forecast") / "toy", steps=120)

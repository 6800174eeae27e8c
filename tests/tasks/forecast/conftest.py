"""Waves so simple that a forecaster learns them in a moment."""

from pathlib import Path

import pytest

from tasks.forecast.toy import written
from toys import Toys


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("forecast") / "waves.csv")


@pytest.fixture(scope="session")
def toy(toys: Toys) -> Path:
    """The directory of a trained forecaster."""
    return toys.waves

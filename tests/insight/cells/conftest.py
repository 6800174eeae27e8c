"""A planted cell and what the search finds."""

from pathlib import Path

import pytest

from insight.planted import bracketed, planted, save
from unroll.insight.cells.findings import Tracking
from unroll.insight.cells.measure import cells


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    save(planted(), folder / "model")
    (folder / "text.txt").write_text(bracketed(12_000))
    return folder


@pytest.fixture(scope="module")
def found(there: Path) -> Tracking:
    return cells(there / "model", there / "text.txt", property="depth", top=3)

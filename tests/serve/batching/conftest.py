"""A model, and a server of it with few slots."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.batching.streaming import ENDLESS
from serve.live import Live, make_model, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("batched") / "char")


@pytest.fixture
def live(folder: Path) -> Iterator[Live]:
    with serving(folder, max_tokens=ENDLESS, write_seconds=2.0, slots=64, queue=64) as served:
        yield served

"""A folder of trained models, and a studio of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from page.conftest import Running, runs, studio  # noqa: F401 - fixtures
from serve.studio.asking import Ask
from unroll.artifact.open import Opened, open_model


@pytest.fixture(scope="session")
def book(runs: Path) -> Opened:  # noqa: F811
    return open_model(runs / "book")


@pytest.fixture
def ask(studio: Running) -> Iterator[Ask]:  # noqa: F811
    """Ask the studio as the page does."""
    with httpx.Client(base_url=studio.url, headers={"Authorization": f"Bearer {studio.token}"}, timeout=30) as client:

        def send(path: str, body: Any = None) -> httpx.Response:
            return client.get(f"/api/{path}") if body is None else client.post(f"/api/{path}", json=body)

        yield send

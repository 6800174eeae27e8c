"""Networks of every architecture, and a studio of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serve.inside.looking import Studio
from serve.quoted import latch, other, save
from unroll.artifact.open import Opened, open_model
from unroll.serve.app import create_app
from unroll.serve.models import Models
from unroll.serve.settings import Settings

NAMES = ("latch", "rnn", "gru", "mingru", "window")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inside")
    save(latch(), folder / "latch")
    save(other("rnn", num_layers=2), folder / "rnn")
    save(other("gru", num_layers=2, skip="residual"), folder / "gru")
    save(other("mingru", num_layers=2, skip="sum"), folder / "mingru")
    save(other("window", window=4), folder / "window")
    return folder


@pytest.fixture(scope="session")
def opened(folder: Path) -> dict[str, Opened]:
    return {name: open_model(folder / name) for name in NAMES}


@pytest.fixture(scope="session")
def studio(folder: Path) -> Iterator[Studio]:
    models = Models(folder / name for name in NAMES)
    app = create_app(models, Settings(port=8000, page_token="secret"), studio=True)
    with TestClient(app, base_url="http://127.0.0.1:8000", headers={"Authorization": "Bearer secret"}) as client:
        yield Studio(client)

"""One server of tiny models for all tests that do not change it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sklearn.ensemble  # noqa: F401 - in a thread of the server, pytest's own import hook fails on it

from serve.live import TOKENIZERS, Live, make_model, serving
from tasks.classify import toy


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model directories of the four levels."""
    folder = tmp_path_factory.mktemp("served")
    return {level: make_model(folder / level, tokenizer) for level, tokenizer in TOKENIZERS.items()}


@pytest.fixture(scope="session")
def live(folders: dict[str, Path]) -> Iterator[Live]:
    """A server of them."""
    with serving(*folders.values()) as served:
        yield served


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a classifier."""
    return toy.animals(tmp_path_factory.mktemp("labelled"))


@pytest.fixture
def eventually() -> Callable[..., None]:
    """What waits until something is so, and fails where it never is."""

    def wait(condition: Callable[[], bool], seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never came to be so"
            time.sleep(0.005)

    return wait

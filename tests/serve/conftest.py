"""One server of tiny models for all tests that do not change it."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sklearn.ensemble  # noqa: F401 - in a thread of the server, pytest's own import hook fails on it

from serve.live import TOKENIZERS, Live, make_model, serving
from tasks.translate import toy as translate_toy
from toys import Toys


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
def animals(toys: Toys) -> Path:
    """The directory of a classifier."""
    return toys.animals


@pytest.fixture(scope="session")
def tagger(toys: Toys) -> Path:
    """The directory of a tagger."""
    return toys.tagger


@pytest.fixture(scope="session")
def translator(toys: Toys) -> Path:
    """The directory of a translator."""
    return toys.translator


@pytest.fixture(scope="session")
def blind_translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a translator without attention, hardly trained."""
    folder = tmp_path_factory.mktemp("blind")
    pairs = translate_toy.written(folder, translate_toy.sources(random.Random(0), 60))
    return translate_toy.trained(pairs, folder / "blind", steps=5, attention="none")


@pytest.fixture(scope="session")
def sequences(toys: Toys) -> dict[str, Path]:
    """The directories of models of sequences, by their tasks."""
    return {"classify": toys.sides, "regress": toys.slopes, "forecast": toys.waves}


@pytest.fixture
def eventually() -> Callable[..., None]:
    """What waits until something is so, and fails where it never is."""

    def wait(condition: Callable[[], bool], seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never came to be so"
            time.sleep(0.005)

    return wait

"""One server of tiny models for all tests that do not change it."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sklearn.ensemble  # noqa: F401 - in a thread of the server, pytest's own import hook fails on it

from serve.live import TOKENIZERS, Live, make_model, serving
from tasks.classify import toy
from tasks.forecast import toy as forecast_toy
from tasks.sequences import toy as sequences_toy
from tasks.tag import toy as tag_toy
from tasks.translate import toy as translate_toy


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


@pytest.fixture(scope="session")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tagger."""
    folder = tmp_path_factory.mktemp("tagged")
    rows = tag_toy.sentences(random.Random(0), 120)
    return tag_toy.trained(tag_toy.written(folder / "toy.tsv", rows), folder / "tagger", steps=60)


@pytest.fixture(scope="session")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a translator."""
    folder = tmp_path_factory.mktemp("translated")
    pairs = translate_toy.written(folder, translate_toy.sources(random.Random(0), 240))
    return translate_toy.trained(pairs, folder / "translator", steps=300)


@pytest.fixture(scope="session")
def blind_translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a translator without attention, hardly trained."""
    folder = tmp_path_factory.mktemp("blind")
    pairs = translate_toy.written(folder, translate_toy.sources(random.Random(0), 60))
    return translate_toy.trained(pairs, folder / "blind", steps=5, attention="none")


@pytest.fixture(scope="session")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directories of models of sequences, by their tasks."""
    folder = tmp_path_factory.mktemp("sequences")
    table = sequences_toy.written(folder / "toy.csv")
    return {
        "classify": sequences_toy.trained(table, folder / "sides"),
        "regress": sequences_toy.trained_slopes(table, folder / "slopes"),
        "forecast": forecast_toy.trained(forecast_toy.written(folder / "waves.csv"), folder / "waves"),
    }


@pytest.fixture
def eventually() -> Callable[..., None]:
    """What waits until something is so, and fails where it never is."""

    def wait(condition: Callable[[], bool], seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never came to be so"
            time.sleep(0.005)

    return wait

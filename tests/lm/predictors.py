"""Predictors for tests: known distributions, small networks and n-grams, and planted faults."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tiny import TOKENIZER, model_config, random_model
from unroll.data.tokenizer import CharTokenizer
from unroll.predict.ngram import NgramConfig, NgramPredictor, Tables
from unroll.predict.ngram_counts import count
from unroll.predict.predictor import Nats, Predictor, Window, log_probabilities
from unroll.predict.torch import TorchPredictor
from unroll.progress import result
from unroll.state import State


class Known(Predictor):
    """A predictor with the same distribution everywhere."""

    def __init__(self, probabilities: Iterable[float], sharpness: float = 1.0) -> None:
        self.log_p = log_probabilities(sharpness * np.log(np.array([*probabilities])))
        self.vocab_size = len(self.log_p)

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        return -self.log_p[targets], ()

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Nats, State]:
        return np.tile(self.log_p, (len(inputs), 1)), ()


class Shifted(Predictor):
    """Planted fault: the target of each step is its input, which is off by one."""

    vocab_size = 0

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.vocab_size = predictor.vocab_size

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        return self.predictor.nats(inputs, inputs, state)

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Nats, State]:
        return self.predictor.logits(inputs, state)


class Forgetful(Shifted):
    """Planted fault: a state is returned, and ignored."""

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        return self.predictor.nats(inputs, targets)

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Nats, State]:
        return self.predictor.logits(inputs)


def network(arch: str = "lstm") -> TorchPredictor:
    return TorchPredictor(random_model(model_config(arch)))


def counted(file: Path, order: int, tokenizer: CharTokenizer = TOKENIZER) -> NgramPredictor:
    """Return the n-gram of a text."""
    ids = tokenizer.lookup(file.read_text())
    tables = result(count(ids, NgramConfig(tokenizer.vocab_size, order, tokenizer.start_id)))
    assert isinstance(tables, Tables)
    return NgramPredictor(tables)


def write_letters(folder: Path) -> Path:
    """Write a text of independent letters."""
    file = folder / "letters.txt"
    rng = np.random.default_rng(0)
    file.write_text("".join("abcdefghij\n"[k] for k in rng.integers(0, 11, 3011)))
    return file

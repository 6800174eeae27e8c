"""Classifiers with random weights, read in both directions, by words with their characters or by characters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from artifact.test_classifier import CONFIG, READER, save
from unroll.artifact.classifier import OpenClassifier, open_classifier
from unroll.data.reader import Reader
from unroll.data.tokenizer import CharTokenizer

TEXT = "the woof says meow the gnu , ehm says says woof"
"""Words that are known and words that are not."""
LETTERS = Reader(CharTokenizer.learn("eghmnostuwy ,"), max_units=50)


def made(path: Path, **shape: Any) -> OpenClassifier:
    """Return a classifier of words and their characters or, with `chars=0`, of characters."""
    if shape.get("chars") == 0:
        config = replace(CONFIG, vocab_size=LETTERS.tokenizer.vocab_size, char_hidden_size=0, **shape)
        save(path, config, LETTERS)
    else:
        save(path, replace(CONFIG, **shape), READER)
    return open_classifier(path)


def log_p(opened: OpenClassifier, texts: Any) -> Any:
    """Return the log-probabilities (B, K) of texts as they are read, by the engine's logits."""
    logits = opened.network.logits(texts)
    if opened.info.config.multi_label:
        return -np.log1p(np.exp(-logits))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


SHAPES: dict[str, dict[str, Any]] = {
    "words": {},
    "letters": {"chars": 0},
    "deep": {"num_layers": 2, "skip": "residual", "pooling": "mean"},
    "forwards": {"bidirectional": False, "pooling": "last"},
    "gru": {"arch": "gru", "num_layers": 2, "skip": "sum"},
    "mingru": {"arch": "mingru", "pooling": "mean"},
    "rnn": {"arch": "rnn", "multi_label": True},
}

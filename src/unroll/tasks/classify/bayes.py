"""The labels of texts by Bayes' rule, from a language model that labels steer; without torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.classifier import AnyClassifier, OpenClassifier, open_classifier
from unroll.artifact.directory import KIND, read_kind
from unroll.artifact.open import Opened, open_model
from unroll.artifact.steering import Starts
from unroll.engine.network import Precision
from unroll.errors import UserError, check_choice
from unroll.predict.protocols import lines
from unroll.progress import Progress, Work

Floats = NDArray[np.float64]

ROWS = 2048
"""Pairs of a text and a label that are read before progress is reported."""


@dataclass(frozen=True)
class BayesInfo:
    """What there is to predict, as `ClassifierInfo` says it of a classifier."""

    labels: tuple[str, ...]
    text_columns: tuple[str, ...]
    label_column: str
    multi_label: bool = False


@dataclass(frozen=True)
class BayesClassifier:
    """A language model that labels steer, asked for the labels of one of its columns; the others are not named."""

    model: Opened
    starts: Starts
    column: int = 0

    @property
    def info(self) -> BayesInfo:
        """What there is to predict."""
        steering, column = self.starts.steering, self.starts.steering.columns[self.column]
        return BayesInfo(column.labels, steering.text_columns, column.name)

    def of_column(self, name: str | None) -> "BayesClassifier":
        """Return the same for a column of labels; as it is where the model has no such column."""
        names = [column.name for column in self.starts.steering.columns]
        return replace(self, column=names.index(name)) if name in names else self

    @property
    def prior(self) -> Floats:
        """ln P(label) for each label (K,): its frequency in training, with one more text of each (Laplace)."""
        counts = np.array(self.starts.steering.columns[self.column].counts) + 1.0
        return np.asarray(np.log(counts / counts.sum()))

    def logits(self, texts: Sequence[str]) -> Work[Floats]:
        """Return ln P(text, its end, label) for each text and label (N, K): their softmax is P(label | text)."""
        tokenizer, count = self.model.tokenizer, len(self.prior)
        assert tokenizer.end_id is not None  # training gave it one
        logits = np.tile(self.prior, (len(texts), 1))
        size = max(1, ROWS // count)
        for first in range(0, len(texts), size):
            ids = [np.append(tokenizer.encode(text), tokenizer.end_id) for text in texts[first : first + size]]
            labels = np.full((len(ids) * count, len(self.starts.tables)), -1)
            labels[:, self.column] = np.tile(np.arange(count), len(ids))
            repeated = (text for text in ids for _ in range(count))
            pieces = lines(self.model.predictor, repeated, tokenizer.start_id, self.starts.state(labels))
            nats = np.array([row.sum() for row in chain.from_iterable(pieces)])
            logits[first : first + size] -= nats.reshape(len(ids), count)
            yield Progress("classifying", first + len(ids), len(texts), "texts")
        return logits


AnyLabeller = AnyClassifier | Opened | BayesClassifier
"""What gives texts their labels, as a caller may name it: a classifier, or a language model that labels steer."""


def as_labeller(
    model: AnyLabeller, precision: Precision = "float32", label: str | None = None
) -> OpenClassifier | BayesClassifier:
    """Open what gives texts their labels; `label` names the column of a model with several, by default the first.

    Raises UserError for another column, and for a language model without labels.
    """
    if isinstance(model, BayesClassifier):
        if label is None:
            return model
        model = model.model
    if not isinstance(model, Opened | OpenClassifier):
        description = read_kind(Path(model))
        steered = description["kind"] == KIND and description.get("steering") is not None
        model = open_model(model, precision) if steered else open_classifier(model, precision)
    if isinstance(model, OpenClassifier):
        if label is not None:
            check_choice("the column of labels", label, [model.info.label_column])
        return model
    if model.starts is None:
        raise UserError(
            f"{model.path} is a language model without labels",
            allowed="a classifier, or a model trained with `unroll train FILE --text COL --label COL`",
            fix="name another directory",
        )
    if label is not None:
        check_choice("the column of labels", label, [column.name for column in model.starts.steering.columns])
    return BayesClassifier(model, model.starts).of_column(label)

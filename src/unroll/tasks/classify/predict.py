"""The labels of texts, with their probabilities; without torch."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.classifier import OpenClassifier
from unroll.data.reader import Reading, left_out
from unroll.engine.network import Precision
from unroll.errors import check_positive
from unroll.progress import Progress, Work, result
from unroll.tasks.classify.bayes import AnyLabeller, BayesClassifier, as_labeller

Floats = NDArray[np.float64]

TOGETHER = 1024
"""Texts that are sorted by length."""


def classify(
    model: AnyLabeller,
    texts: Sequence[str],
    *,
    top: int | None = None,
    label: str | None = None,
    precision: Precision = "float32",
) -> list[dict[str, Any]]:
    """Return for each text its labels with their probabilities, the most probable first.

    Each is `{"text", "labels": [{"label", "probability"}]}`, with all labels or the `top` ones. The probabilities of
    one label of all sum to 1; where a text may have several, each is by itself. A language model that labels steer
    gives them by Bayes' rule; `label` names the column of one with several. Raises UserError.
    """
    if top is not None:
        check_positive("top", top, "leave it out for all labels")
    opened = as_labeller(model, precision, label)
    predicted = result(probabilities(opened, texts)).probabilities
    return [prediction(opened, text, row, top) for text, row in zip(texts, predicted, strict=True)]


def prediction(
    model: OpenClassifier | BayesClassifier, text: str, probability: Floats, top: int | None = None
) -> dict[str, Any]:
    """Return the labels of one text as JSON."""
    order = np.argsort(-probability, kind="stable")[:top].tolist()
    labels = [{"label": model.info.labels[id], "probability": float(probability[id])} for id in order]
    return {"text": text, "labels": labels}


class Predicted(NamedTuple):
    """What a classifier says of some texts."""

    probabilities: Floats
    """(N, K) of all labels."""
    cut: int
    """Number of units left out behind the most that is read of a text."""
    most: int
    """Units that are read of a text, at most."""

    @property
    def remark(self) -> str:
        """What a person should know; empty where there is nothing."""
        return f"{left_out(self.cut)}: the first {self.most:,} are read" if self.cut else ""


def probabilities(model: OpenClassifier | BayesClassifier, texts: Sequence[str]) -> Work[Predicted]:
    """Return the probabilities of all labels for each text; a text's do not depend on the others."""
    if isinstance(model, BayesClassifier):
        logits = yield from model.logits(texts)
        return Predicted(of_logits(logits, multi_label=False), cut=0, most=0)
    rows, cut = np.zeros((len(texts), len(model.info.labels))), 0
    for first, batch in chunks(texts, TOGETHER):
        reading = model.reader.read(batch)
        cut += reading.cut
        done = first
        for numbers, part in reading.batches():
            rows[first + numbers] = probabilities_of(model, part)
            done += len(numbers)
            yield Progress("classifying", done, len(texts), "texts")
    return Predicted(rows, cut, model.info.max_units)


def probabilities_of(model: OpenClassifier, reading: Reading) -> Floats:
    """Return the probabilities (B, K) of all labels for texts that have been read."""
    return of_logits(model.network.logits(reading), multi_label=model.info.multi_label)


def of_logits(logits: NDArray[np.floating], *, multi_label: bool) -> Floats:
    """Return probabilities (B, K) of logits: a softmax or, where a text may have several labels, sigmoids."""
    logits = logits.astype(np.float64)
    if multi_label:
        return np.asarray(np.exp(-np.logaddexp(0, -logits)))  # exact, however small
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def chunks(texts: Sequence[str], size: int) -> Iterator[tuple[int, list[str]]]:
    """Yield texts in pieces, each with the number of its first one."""
    following, first = iter(texts), 0
    while piece := list(islice(following, size)):
        yield first, piece
        first += len(piece)

"""How good a classifier is: accuracy and its interval, precision and recall by label, confusion, calibration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.classifier import OpenClassifier, label_ids
from unroll.artifact.series import OpenSeries
from unroll.data.labelled import check_labels, read_examples
from unroll.engine.network import Precision
from unroll.files import StrPath
from unroll.lm.intervals import wilson
from unroll.progress import Work, result
from unroll.tasks.classify.bayes import AnyLabeller, BayesClassifier, as_labeller
from unroll.tasks.classify.predict import Floats, probabilities
from unroll.tasks.figures import Counts, confusion, share

Marks = NDArray[np.bool_]
AnyOpened = OpenClassifier | BayesClassifier | OpenSeries
"""What gives labels probabilities."""

BINS = 15
"""Bins of equal width by the probability of what is predicted: as many as Guo et al. (2017) take."""


def evaluate_classifier(
    model: AnyLabeller,
    file: StrPath,
    *,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    precision: Precision = "float32",
) -> dict[str, Any]:
    """Return how good a classifier is on the examples of a file, as `measure_classifier` does. Raises UserError."""
    opened = as_labeller(model, precision)
    columns = (text,) if isinstance(text, str) else text
    return result(measure_classifier(opened, Path(file), columns, label))


def measure_classifier(
    model: OpenClassifier | BayesClassifier, file: Path, text: Sequence[str] | None = None, label: str | None = None
) -> Work[dict[str, Any]]:
    """Classify the examples of a file; its columns are those of training, unless others are named.

    Of a language model with several columns of labels it is the named one that is predicted, or the first.
    `accuracy` is the share of texts whose label or, where there may be several, whose whole set of labels is predicted;
    `interval` is Wilson's of 95 %. Macro figures are means over the labels that occur, micro ones count all decisions.
    `confusion` has a row for each true label and a column for each predicted one, null with several labels.
    `calibration_error` is the mean distance between the probability of what is predicted and how often it is right
    (Guo et al. 2017), in bins whose figures are in `calibration`. Raises UserError for a label that training never saw.
    """
    if isinstance(model, BayesClassifier):
        model = model.of_column(label)
    info = model.info
    examples = yield from read_examples(
        file, text or info.text_columns, (label or info.label_column,), multi=info.multi_label
    )
    check_labels(examples, (info.labels,), "the model")
    truth = marks_of(model, examples.labels)
    predicted = yield from probabilities(model, examples.texts)
    return figures(model, truth, predicted.probabilities) | {
        "units_cut": predicted.cut,
        "notes": [predicted.remark] if predicted.cut else [],
    }


def marks_of(model: AnyOpened, rows: Sequence[Sequence[str]]) -> Marks:
    """Return which labels each example has, (N, K), given their names. Raises UserError for one never seen."""
    truth = np.zeros((len(rows), len(model.info.labels)), np.bool_)
    for row, labels in enumerate(rows):
        truth[row, label_ids(model.info, labels)] = True
    return truth


def figures(model: AnyOpened, truth: Marks, predicted: Floats) -> dict[str, Any]:
    """Return the figures of `measure_classifier`, given true labels and probabilities, both (N, K)."""
    labels, several = model.info.labels, model.info.multi_label
    chosen = predicted >= 0.5 if several else one_mark(predicted)
    right = (chosen == truth).all(axis=1)
    hits, count = int(right.sum()), len(truth)
    low, high = wilson(np.array([hits]), np.array([count]))
    counts = Counts((chosen & truth).sum(axis=0), chosen.sum(axis=0), truth.sum(axis=0))
    pairs = None if several else confusion(truth.argmax(axis=1), chosen.argmax(axis=1), len(labels))
    probable = np.where(truth, predicted, 1 - predicted) if several else predicted[truth]
    return {
        "count": count,
        "accuracy": hits / count,
        "interval": [float(low[0]), float(high[0])],
        "nats": float(-np.log(np.maximum(probable, 1e-300)).sum() / count),
        "macro": {"accuracy": counts.macro["recall"]} | counts.macro,
        "micro_f1": counts.micro["f1"],
        "per_class": counts.by_label(labels),
        "labels": list(labels),
        "confusion": None if pairs is None else pairs.tolist(),
        **calibration(predicted, truth, several=several),
    }


def one_mark(predicted: Floats) -> Marks:
    """Return a mark for the most probable label of each row, (N, K)."""
    marks = np.zeros(predicted.shape, np.bool_)
    marks[np.arange(len(predicted)), predicted.argmax(axis=1)] = True
    return marks


def calibration(predicted: Floats, truth: Marks, *, several: bool) -> dict[str, Any]:
    """Return the calibration error and its bins, of the predicted label or, of several, of each decision."""
    sure = np.maximum(predicted, 1 - predicted).ravel() if several else predicted.max(axis=1)
    right = ((predicted >= 0.5) == truth).ravel() if several else truth[one_mark(predicted)]
    place = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    mean = share(np.bincount(place, sure, BINS), counts)
    observed = share(np.bincount(place, right, BINS), counts)
    return {
        "calibration_error": float((counts * np.abs(mean - observed)).sum() / max(1, counts.sum())),
        "calibration": [
            {"count": int(counts[k]), "predicted": float(mean[k]), "observed": float(observed[k])}
            for k in range(BINS)
            if counts[k]
        ],
    }

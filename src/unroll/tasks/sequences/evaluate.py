"""How good a model of sequences is: its labels, or its numbers beside the mean of the training."""

from typing import Any

import numpy as np

from unroll.artifact.series import AnySeries, OpenSeries, as_series
from unroll.data.series import Floats, Series
from unroll.data.series_files import read_series
from unroll.engine.network import Precision
from unroll.files import StrPath
from unroll.progress import Work, result
from unroll.tasks.classify.evaluate import figures, marks_of
from unroll.tasks.sequences.predict import answers, columns_of


def evaluate_sequences(model: AnySeries, file: StrPath | Series, *, precision: Precision = "float32") -> dict[str, Any]:
    """Return how good a model is on the sequences of a file, or on some in memory.

    Of labels the figures are those of `unroll.tasks.classify.evaluate.measure_classifier`, of numbers those of
    `number_figures`. Raises UserError, also for a label that training never saw.
    """
    return result(measure_sequences(as_series(model, precision), file))


def measure_sequences(model: OpenSeries, file: StrPath | Series) -> Work[dict[str, Any]]:
    """Do what `evaluate_sequences` does, yielding progress."""
    series = file if isinstance(file, Series) else (yield from read_series(file, columns_of(model, required=True)))
    answered = yield from answers(model, series.rows)
    if model.info.config.task == "regress":
        return number_figures(series.numbers, answered[:, 0], model.info.goals.means[0])
    return figures(model, marks_of(model, [(label,) for label in series.labels]), answered)


def number_figures(truth: Floats, predicted: Floats, mean: float) -> dict[str, Any]:
    """Return how far predicted numbers (N,) are from the true ones.

    `mae` is the mean absolute error, `rmse` the root of the mean squared one, and `r2` the share of the variance that
    is explained, null where all true numbers are equal. `baseline` has the first two of the `mean` of the training.
    """
    errors, variance = predicted - truth, float(((truth - truth.mean()) ** 2).sum())
    return {
        "count": len(truth),
        **_distances(errors),
        "r2": 1 - float((errors**2).sum()) / variance if variance else None,
        "baseline": {"mean": mean} | _distances(mean - truth),
        "true": truth.tolist(),
        "predicted": predicted.tolist(),
    }


def _distances(errors: Floats) -> dict[str, float]:
    return {"mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt((errors**2).mean()))}

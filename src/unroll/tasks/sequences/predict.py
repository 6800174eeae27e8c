"""The label or the number of each sequence, without torch."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.series import AnySeries, OpenSeries, as_series
from unroll.data.ragged import Vectors, side_by_side
from unroll.data.series import Floats, Series
from unroll.data.series_files import read_series
from unroll.data.series_reading import Columns
from unroll.engine.network import Precision
from unroll.errors import check_positive
from unroll.files import StrPath
from unroll.progress import Progress, Work, result
from unroll.tasks.classify.predict import of_logits

ROWS = 64
"""Most sequences that are read side by side."""


def predict_sequences(
    model: AnySeries, file: StrPath | Series, *, top: int | None = None, precision: Precision = "float32"
) -> list[dict[str, Any]]:
    """Return what a model predicts for each sequence of a file, or of some in memory.

    Each is `{"id", "labels": [{"label", "probability"}]}`, the most probable first, all of them or the `top` ones; or
    `{"id", "prediction"}` where a number is predicted. Raises UserError.
    """
    if top is not None:
        check_positive("top", top, "leave it out for all labels")
    opened = as_series(model, precision)
    series = file if isinstance(file, Series) else result(read_series(file, columns_of(opened, required=False)))
    return predictions(opened, series.ids, result(answers(opened, series.rows)), top)


def columns_of(model: OpenSeries, *, required: bool) -> Columns:
    """Return the columns of the training; whether targets are `required`."""
    return replace(model.info.columns, required=required)


def answers(model: OpenSeries, rows: Vectors) -> Work[Floats]:
    """Return the probabilities (B, K) of all labels, or the numbers (B, 1), each by its own sequence alone."""
    outputs = np.empty((len(rows), model.info.config.outputs))
    done = 0
    for numbers in side_by_side(rows.lengths, np.argsort(rows.lengths, kind="stable"), ROWS):
        outputs[numbers] = answer(model, rows if len(rows) == 1 else rows.select(numbers))
        done += len(numbers)
        yield Progress("reading sequences", done, len(rows), "sequences")
    return outputs


def answer(model: OpenSeries, rows: Vectors) -> Floats:
    """Return the same for a few sequences, without progress."""
    info = model.info
    outputs = model.network.outputs(info.scaling.read(rows, marks=info.config.marks))
    if info.config.task == "classify":
        return of_logits(outputs, multi_label=False)
    return np.asarray(np.array(info.goals.means) + np.array(info.goals.deviations) * outputs)


def predictions(model: OpenSeries, ids: tuple[str, ...], answered: Floats, top: int | None) -> list[dict[str, Any]]:
    """Return answers as JSON."""
    if model.info.config.task == "regress":
        return [{"id": id, "prediction": float(row[0])} for id, row in zip(ids, answered, strict=True)]
    return [{"id": id, "labels": _ranked(model, row)[:top]} for id, row in zip(ids, answered, strict=True)]


def _ranked(model: OpenSeries, row: NDArray[np.float64]) -> list[dict[str, Any]]:
    order = np.argsort(-row, kind="stable").tolist()
    return [{"label": model.info.labels[id], "probability": float(row[id])} for id in order]

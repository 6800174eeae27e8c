"""The cost of eight-bit weights for a model of sequences: measured on those held out, and kept beside it."""

from pathlib import Path
from typing import Any

import numpy as np

from unroll.artifact.quantize import keep_cost
from unroll.artifact.series import open_series, read_series_info
from unroll.engine.network import Precision
from unroll.files import Folder, StrPath
from unroll.progress import Work, result
from unroll.tasks.classify.evaluate import figures
from unroll.tasks.sequences.evaluate import number_figures
from unroll.tasks.sequences.predict import answers
from unroll.tasks.sequences.store import load


def quantize_sequences(path: StrPath) -> dict[str, Any]:
    """Measure what eight-bit weights cost a model on its held-out sequences, and keep it beside the model.

    Returns `count`, `float32_accuracy`, `int8_accuracy` or, of numbers, `float32_mae`, `int8_mae`, and `float32_nats`,
    `int8_nats` and their difference `cost_nats`, each per sequence: of numbers half the squared error in deviations of
    the training, which are the nats of a normal distribution but for a constant. Raises UserError.
    """
    return result(measure_sequences_cost(Path(path)))


def measure_sequences_cost(path: Path) -> Work[dict[str, Any]]:
    """Do what `quantize_sequences` does, yielding progress."""
    info = read_series_info(path)
    valid = load(path).valid

    def measure(precision: Precision, folder: Folder) -> Work[dict[str, float]]:
        opened = open_series(path, precision)
        answered = yield from answers(opened, valid.rows)
        if info.config.task == "regress":
            found = number_figures(valid.targets, answered[:, 0], info.goals.means[0])
            return {"mae": found["mae"], "nats": 0.5 * (found["rmse"] / info.goals.deviations[0]) ** 2}
        truth = np.eye(info.config.outputs, dtype=np.bool_)[valid.targets]
        found = figures(opened, truth, answered)
        return {name: found[name] for name in ("accuracy", "nats")}

    return (yield from keep_cost(path, {"protocol": "rows", "count": len(valid)}, measure))

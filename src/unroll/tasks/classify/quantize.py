"""The cost of a classifier's eight-bit weights: measured on its held-out examples, and kept beside it."""

from pathlib import Path
from typing import Any

from unroll.artifact.classifier import open_classifier, read_classifier
from unroll.artifact.quantize import keep_cost
from unroll.engine.network import Precision
from unroll.errors import UserError
from unroll.files import Folder, StrPath
from unroll.progress import Work, result
from unroll.tasks.classify.evaluate import figures, marks_of
from unroll.tasks.classify.predict import probabilities
from unroll.tasks.classify.store import held_out


def quantize_classifier(path: StrPath) -> dict[str, Any]:
    """Measure what eight-bit weights cost a classifier on its held-out examples, and keep it beside the model.

    Returns `count`, `float32_accuracy`, `int8_accuracy`, and `float32_nats`, `int8_nats` and their difference
    `cost_nats`, each per example. Raises UserError.
    """
    return result(measure_classifier_cost(Path(path)))


def measure_classifier_cost(path: Path) -> Work[dict[str, Any]]:
    """Do what `quantize_classifier` does, yielding progress."""
    read_classifier(path)
    examples = held_out(path)
    if not examples:
        raise UserError(
            f"{path} has no held-out examples",
            allowed="a classifier trained with some",
            fix="compare `unroll classify eval DIR FILE` with and without --precision int8",
        )

    def measure(precision: Precision, folder: Folder) -> Work[dict[str, float]]:
        opened = open_classifier(path, precision)
        truth = marks_of(opened, [example["labels"] for example in examples])
        predicted = yield from probabilities(opened, [example["text"] for example in examples])
        found = figures(opened, truth, predicted.probabilities)
        return {name: found[name] for name in ("accuracy", "nats")}

    return (yield from keep_cost(path, {"protocol": "rows", "count": len(examples)}, measure))

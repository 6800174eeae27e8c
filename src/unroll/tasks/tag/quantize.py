"""The cost of a tagger's eight-bit weights: measured on its held-out sentences, and kept beside it."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from unroll.artifact.quantize import keep_cost
from unroll.artifact.tagger import open_tagger, read_tagger
from unroll.engine.network import Precision
from unroll.files import Folder, StrPath
from unroll.progress import Work, result
from unroll.tasks.tag.predict import predicted_tags
from unroll.tasks.tag.store import VALID, read_part


def quantize_tagger(path: StrPath) -> dict[str, Any]:
    """Measure what eight-bit weights cost a tagger on its held-out sentences, and keep it beside the model.

    Returns `tokens`, `float32_accuracy`, `int8_accuracy`, and `float32_nats`, `int8_nats` and their difference
    `cost_nats`, each per token. Raises UserError.
    """
    return result(measure_tagger_cost(Path(path)))


def measure_tagger_cost(path: Path) -> Work[dict[str, Any]]:
    """Do what `quantize_tagger` does, yielding progress."""
    ids = {tag: id for id, tag in enumerate(read_tagger(path).tags)}
    part = read_part(path / VALID)
    true = np.array([ids[tag] for tag in chain.from_iterable(part.tags)])

    def measure(precision: Precision, folder: Folder) -> Work[dict[str, float]]:
        predicted = yield from predicted_tags(open_tagger(path, precision), part.sentences, true)
        return {
            "accuracy": float((predicted.ids == true).mean()),
            "nats": float(-np.log(np.maximum(predicted.true, 1e-300)).mean()),
        }

    return (yield from keep_cost(path, {"protocol": "rows", "tokens": len(true)}, measure))

"""The cost of eight-bit weights: measured on the model's own validation part, and kept beside it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unroll.artifact.directory import check_trained, check_types, data_path, locked, read_description
from unroll.artifact.open import open_model
from unroll.data.corpus import load_corpus
from unroll.engine.network import Precision
from unroll.errors import UserError
from unroll.files import Folder, StrPath, read_json
from unroll.predict.protocols import stream
from unroll.progress import Progress, Work, result

FILE = "int8.json"
COST: dict[str, Any] = {"tokens": int, "float32_nats": float, "int8_nats": float, "cost_nats": float}
CLASSIFIER_COST: dict[str, Any] = {
    "count": int,
    "float32_accuracy": float,
    "int8_accuracy": float,
    "float32_nats": float,
    "int8_nats": float,
    "cost_nats": float,
}
"""Fields of the cost of a classifier."""
TAGGER_COST = {name: kind for name, kind in CLASSIFIER_COST.items() if name != "count"} | {"tokens": int}
"""Fields of the cost of a tagger, by its tokens."""
TRANSLATOR_COST: dict[str, Any] = {"symbols": int, "float32_nats": float, "int8_nats": float, "cost_nats": float}
"""Fields of the cost of a translator."""
SERIES_COSTS: dict[str, dict[str, Any]] = {
    "classify": CLASSIFIER_COST,
    "regress": {"count": int, "float32_mae": float, "int8_mae": float},
}
"""Fields of the cost of a model of sequences, by its task."""


def quantize(path: StrPath) -> dict[str, Any]:
    """Measure what eight-bit weights cost a model on its validation part, and keep it beside the model.

    Returns `tokens` and, per symbol, `float32_nats`, `int8_nats` and their difference `cost_nats`. Raises UserError.
    """
    return result(measure_cost(Path(path)))


def measure_cost(path: Path) -> Work[dict[str, Any]]:
    """Score the validation part with float32 and with int8 weights, carried state, and write int8.json.

    Yields progress; returns what was written: `tokens`, `float32_nats`, `int8_nats` and `cost_nats`, each per symbol.
    Raises UserError where there is no validation text.
    """
    check_trained(path, read_description(path))
    text = data_path(path)
    corpus = load_corpus(text) if text.exists() else None
    if corpus is None or not len(corpus.valid):
        raise UserError(
            f"the validation text is not beside {path}",
            allowed="a model whose text is there",
            fix="compare `unroll eval DIR FILE` with and without --precision int8",
        )

    def measure(precision: Precision, folder: Folder) -> Work[dict[str, float]]:
        opened, count = open_model(path, precision=precision), len(corpus.valid)
        total, read = 0.0, (precision == "int8") * count
        for nats, _ in stream(opened.predictor, corpus.valid, opened.tokenizer.start_id):
            total += float(nats.sum())
            read += len(nats)
            folder.check()
            yield Progress("measuring", read, 2 * count, "symbols")
        return {"nats": total / count}

    return (yield from keep_cost(path, {"protocol": "stream", "tokens": len(corpus.valid)}, measure))


def keep_cost(
    path: Path, known: dict[str, Any], measure: Callable[[Precision, Folder], Work[dict[str, float]]]
) -> Work[dict[str, Any]]:
    """Write int8.json: what is `known`, what `measure` gives with both precisions, and the difference of the nats.

    Raises UserError where the directory cannot be written.
    """
    if not os.access(path, os.W_OK):
        raise UserError(
            f"{path} cannot be written, and the cost is kept there, in {FILE}",
            allowed="a model in a folder that you may write to",
            fix="measure a copy of the folder",
        )
    precisions: tuple[Precision, ...] = ("float32", "int8")
    cost = dict(known)
    with locked(path) as folder:  # so that the weights stay the same meanwhile
        for precision in precisions:
            measured = yield from measure(precision, folder)
            cost |= {f"{precision}_{name}": figure for name, figure in measured.items()}
        if "int8_nats" in cost:
            cost["cost_nats"] = cost["int8_nats"] - cost["float32_nats"]
        folder.write(FILE, (json.dumps(cost, indent=2) + "\n").encode())
    return cost


def read_cost(path: Path, fields: dict[str, Any] = COST) -> dict[str, Any] | None:
    """Return the measured cost of eight-bit weights, with these `fields`; None where it was not measured."""
    if not (path / FILE).exists():
        return None
    cost = read_json(path / FILE, "cost of int8 weights")
    if not isinstance(cost, dict):
        raise UserError(f"{path / FILE} is damaged", fix="remove it, and run `unroll quantize` again")
    check_types(cost, fields, str(path / FILE))
    return cost

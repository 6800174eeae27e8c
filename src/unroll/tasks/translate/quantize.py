"""The cost of a translator's eight-bit weights: measured on its held-out pairs, and kept beside it."""

from pathlib import Path
from typing import Any

from unroll.artifact.quantize import keep_cost
from unroll.artifact.translator import open_translator, read_translator
from unroll.engine.network import Precision
from unroll.files import Folder, StrPath
from unroll.progress import Work, result
from unroll.tasks.translate.evaluate import nats_of
from unroll.tasks.translate.store import load


def quantize_translator(path: StrPath) -> dict[str, Any]:
    """Measure what eight-bit weights cost a translator on its held-out pairs, and keep it beside the model.

    Returns `symbols`, and `float32_nats`, `int8_nats` and their difference `cost_nats`, each per symbol of the targets.
    Raises UserError.
    """
    return result(measure_translator_cost(Path(path)))


def measure_translator_cost(path: Path) -> Work[dict[str, Any]]:
    """Do what `quantize_translator` does, yielding progress."""
    read_translator(path)
    valid = load(path).valid
    symbols = len(valid.targets.values) + len(valid)

    def measure(precision: Precision, _: Folder) -> Work[dict[str, float]]:
        nats, _symbols = yield from nats_of(open_translator(path, precision), valid.sources, valid.targets)
        return {"nats": float(nats.sum()) / symbols}

    cost = yield from keep_cost(path, {"protocol": "rows", "symbols": symbols}, measure)
    return cost

"""Models side by side on one text: their figures, and whether they differ by more than chance."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import open_model
from unroll.errors import UserError
from unroll.files import Files, StrPath, as_paths
from unroll.lm.evaluate import Evaluation, Protocol, evaluate_predictors, nats_of_lines
from unroll.progress import Work, renamed, result

GROUPS = 1000
"""Most stretches of whole lines that are compared; lines within a stretch may depend on each other."""
FEWEST_GROUPS = 20
RESAMPLES = 4000


@dataclass(frozen=True)
class Difference:
    """How much a text costs one model more than another, in nats, over stretches of whole lines."""

    total: float
    low: float
    high: float
    """A 95 % interval of the total, by bootstrap over the stretches (Efron & Tibshirani 1993, chapter 13)."""
    p: float
    """How often chance alone does as much, flipping the stretches' signs at random (Fisher's permutation test)."""
    stretches: int


def compare(models: Sequence[StrPath], files: Files, *, protocol: Protocol = "stream") -> dict[str, Any]:
    """Return models side by side on one text, as JSON: size, figures, speed, context.

    Each pair is tested on the same lines: the difference, its 95 % interval, and how often chance does as much.
    Raises UserError.
    """
    return result(compare_models(as_paths(models), as_paths(files), protocol))


def compare_models(
    models: Sequence[Path], files: Sequence[Path], protocol: Protocol = "stream"
) -> Work[dict[str, Any]]:
    """Evaluate models on one text, one after another, yielding progress; returns the table, as JSON.

    Each pair is compared on the same lines by the cost of the text, if both are lossless or share a vocabulary. Raises
    UserError.
    """
    if protocol == "crops":
        raise UserError(
            "the protocol crops cuts lines, which a comparison needs whole",
            allowed="stream, lines",
            fix="use `unroll eval --protocol crops` for each",
        )
    rows: list[dict[str, Any]] = []
    evaluations: list[Evaluation] = []
    for path in models:
        opened = open_model(path)
        started = time.perf_counter()
        evaluations += yield from renamed(
            evaluate_predictors([opened.predictor], opened.tokenizer, files, protocol), path.name
        )
        seconds = time.perf_counter() - started
        rows.append(
            {
                "model": str(path),
                "arch": opened.description["model"]["arch"],
                "level": opened.description["level"],
                "parameters": opened.description["parameters"],
                "context": context(opened.description["model"]),
                "tokens_per_second": round(evaluations[-1].tokens / seconds),
                **evaluations[-1].figures(),
            }
        )
    pairs = [
        {"models": [rows[i]["model"], rows[j]["model"]], **_compared(evaluations[i], evaluations[j])}
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
    ]
    return {"files": [str(file) for file in files], "protocol": protocol, "models": rows, "pairs": pairs}


def context(model: dict[str, Any]) -> int | None:
    """Return how many symbols a model can see, given its part of model.json; None if there is no limit."""
    match model["arch"]:
        case "window":
            return int(model["window"])
        case "ngram":
            return int(model["order"]) - 1
        case _:
            return None


def _compared(first: Evaluation, second: Evaluation) -> dict[str, Any]:
    """Return two models' difference as JSON, in bits per byte or nats per symbol; None and a note if undefined."""
    lossless = all(evaluation.figures()["bits_per_byte"] is not None for evaluation in (first, second))
    unit, count = ("bits_per_byte", first.bytes) if lossless else ("nats_per_token", first.tokens)
    empty = {"unit": unit, "difference": None, "interval": None, "p": None}
    if not lossless and first.tokenizer.digest != second.tokenizer.digest:
        return empty | {"note": "their vocabularies differ, and one is not lossless"}
    a, b = nats_of_lines(first.line_nats), nats_of_lines(second.line_nats)
    if len(a) != len(b):
        return empty | {"note": "they see different lines"}
    if len(a) < FEWEST_GROUPS:
        return empty | {"note": f"too few lines for a test: {len(a)}"}
    result = difference(a, b)
    scale = count * (math.log(2) if lossless else 1.0)
    return {
        "unit": unit,
        "difference": result.total / scale,
        "interval": [result.low / scale, result.high / scale],
        "p": result.p,
        "stretches": result.stretches,
    }


def difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    """Return how much more N lines cost the first model, given the nats (N,) of each model."""
    groups = min(GROUPS, len(first))
    gaps = np.add.reduceat(first - second, np.arange(groups) * len(first) // groups)
    random = np.random.Generator(np.random.Philox(0))
    total = float(gaps.sum())
    sums = np.array([gaps[random.integers(0, groups, groups)].sum() for _ in range(RESAMPLES)])
    flipped = np.array([(gaps * random.choice((-1.0, 1.0), groups)).sum() for _ in range(RESAMPLES)])
    # The observed signs are one of the outcomes, so p is never zero (Phipson & Smyth 2010).
    p = (1 + np.count_nonzero(np.abs(flipped) >= abs(total) * (1 - 1e-12))) / (1 + RESAMPLES)
    low, high = np.quantile(sums, (0.025, 0.975))
    return Difference(total, float(low), float(high), float(p), groups)

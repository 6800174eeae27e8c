"""How far back models remember: the loss by context, the gradient by lag, and the causes of one prediction."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch

from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.insight.attribution.measure import (
    Prediction,
    gradients,
    scored,
)
from unroll.insight.cells.properties import Ids, Text
from unroll.insight.memory.contexts import MOST, checked_limit, plan_of
from unroll.insight.memory.measure import Memory, read, reported
from unroll.insight.trace import in_float64, network_of
from unroll.lm.compare import context
from unroll.progress import Work
from unroll.serve.texts import names

Method = Literal["size", "gradient", "integrated", "leave-out"]
METHODS: tuple[Method, ...] = get_args(Method)

QUICK_TARGETS, QUICK_LIMIT, QUICK_SYMBOLS = 120, 128, 10_000
TARGETS, LIMIT = 1000, 512
BACK = 256
"""Symbols before a prediction that are scored; the state stands for earlier ones."""
STEPS = 32
"""Points on the path of integrated gradients."""


def remembered(models: Sequence[Opened], texts: Sequence[Ids], name: str, *, full: bool) -> Work[dict[str, Any]]:
    """Measure what `unroll memory` does on the ids (N,) of a text for each model, yielding progress; returns JSON."""
    texts = [ids[:MOST] for ids in texts]
    contexts = [context(model.description["model"]) for model in models]
    shortest = min(map(len, texts))
    limit = min(LIMIT if full else QUICK_LIMIT, checked_limit(None, shortest, name))
    plans = {
        model.tokenizer.digest: plan_of(ids, limit, contexts, "fresh", TARGETS if full else QUICK_TARGETS, 0)
        for model, ids in zip(models, texts, strict=True)
    }
    measured = []
    for number, (model, model_context) in enumerate(zip(models, contexts, strict=True), 1):
        plan = plans[model.tokenizer.digest]
        phase = f"reading with {model.path.name}, {number} of {len(models)}:"
        measured.append((yield from reported(phase, plan.symbols, read(model, plan, model_context))))
    differ = "The models have different vocabularies: their bits per symbol do not compare"
    memory = Memory(None, tuple(measured), 0, (differ,) if len(plans) > 1 else ())
    return memory.figures() | {"file": name, "quick": not full}


def depends(opened: Opened, text: Text, at: int, method: str) -> Work[dict[str, Any]]:
    """Return what the prediction of symbol `at` of a text depends on, as JSON: a score for each symbol before it.

    `size` is ‖∂L/∂x‖, in nats per unit of embedding; the others are nats of log P(the symbol), signed. Up to `BACK`
    symbols are scored, read from the true state before them.
    """
    ids = text.ids
    if method not in METHODS:
        raise UserError(f"the method is {method!r}", allowed=", ".join(METHODS), fix="choose one of them")
    if not 1 <= at < len(ids):
        raise UserError(
            f"symbol {at} of {len(ids):,} has no symbols before it, or does not exist",
            allowed=f"1 to {len(ids) - 1:,}" if len(ids) > 1 else "a text of two symbols or more",
            fix="choose a symbol that others precede",
        )
    first = max(0, at - BACK)
    whole = torch.from_numpy(np.concatenate([[opened.tokenizer.start_id], ids[: at + 1]]).astype(np.int64))
    double = in_float64(network_of(opened))
    with torch.no_grad():
        _, state = double(whole[None, : first + 1])
        x = double.embedding(whole[first + 1 : -1])
        prediction = Prediction(double, state, int(ids[at]), None)
        value = float(prediction(x[:, None]))
    agreement: float | None = None
    if method == "size":
        scores = np.asarray(gradients(prediction, x[:, None])[:, 0].norm(dim=1).numpy())
    else:
        scores, _, agreement = yield from scored(prediction, x, method, STEPS)
        scores = scores.round(12)  # smaller differences are rounding: symbols outside a window score 0
    written = names(opened.tokenizer)
    return {
        "model": opened.path.name,
        "arch": opened.description["model"]["arch"],
        "context": context(opened.description["model"]),
        "method": method,
        "at": at,
        "first": first,
        "target": written[int(ids[at])],
        "nats": -value,
        "scores": [float(score) for score in scores],
        "agreement": agreement,
    }

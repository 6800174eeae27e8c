"""Models, plans and made-up memories for the tests of memory."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tiny import (
    TOKENIZER,
    model_config,
    random_ids,
    random_model,
)
from unroll.artifact.open import Opened
from unroll.insight.memory.contexts import (
    Context,
    Plan,
    plan_of,
)
from unroll.insight.memory.measure import Memory, ModelMemory, read
from unroll.nn.model import Model
from unroll.predict.predictor import Nats, Predictor, Window, log_probabilities
from unroll.predict.torch import TorchPredictor
from unroll.state import State

Floats = NDArray[np.float64]


N = 4
"""The length of the windows."""


def opened(model: Model, predictor: Predictor | None = None) -> Opened:
    config = model.config
    description = {"model": {"arch": config.arch, "window": config.window}}
    return Opened(Path("runs") / config.arch, predictor or TorchPredictor(model), TOKENIZER, description)


def finish(reading: Any) -> Any:
    """Run a reading to its end and return what it returns."""
    while True:
        try:
            assert next(reading) > 0
        except StopIteration as ended:
            return ended.value


def found_of(arch: str, plan: Plan, predictor: Predictor | None = None, **options: Any) -> tuple[Model, ModelMemory]:
    model = random_model(model_config(arch, window=N, **options))
    return model, finish(read(opened(model, predictor), plan, N if arch == "window" else None))


def small_plan(count: int = 120, limit: int = 22, targets: int = 4, context: Context = "fresh", seed: int = 3) -> Plan:
    return plan_of(random_ids(count), limit, [N], context, targets, seed)


# ---- what is read


@torch.no_grad()
def slow(model: Model, symbols: list[int], target: int, before: list[int] | None = None) -> float:
    """Return the nats of a target, one symbol read after another from zero; `before` are read before them."""
    state = model.fresh_state(1)
    for symbol in [*(before or []), *symbols]:
        logits, state = model(torch.tensor([[symbol]]), state, engine="stepwise")
    return float(-torch.log_softmax(logits[0, -1], dim=-1)[target])


def step_by_step(predictor: Predictor, inputs: Window, targets: Window, state: State | None) -> tuple[Nats, State]:
    """Return what `nats` of a predictor does, given its `logits`."""
    nats = np.zeros(inputs.shape)
    for step in range(inputs.shape[1]):
        logits, state = predictor.logits(inputs[:, step : step + 1], state)
        nats[:, step] = -log_probabilities(logits)[np.arange(len(logits)), targets[:, step]]
    assert state is not None
    return nats, state


# ---- spans


def made(curve: Any, contexts: Any = (1, 2, 4, 8, 16, 32), targets: int = 50, spread: float = 0.0) -> ModelMemory:
    """Return a memory whose mean loss after k symbols is `curve(k)`, that of all at infinity."""
    contexts = np.array(contexts)
    noise = spread * np.random.default_rng(0).standard_normal((targets, len(contexts) + 1))
    nats = np.array([*map(curve, contexts), curve(math.inf)]) + noise
    plan = replace(small_plan(targets=targets), contexts=contexts, distances=contexts)
    disturbed = nats[:, : len(contexts)]
    return ModelMemory("a/made", "lstm", "char", None, plan, nats[:, -1], disturbed, disturbed, disturbed, None)


def octaves(k: float) -> float:
    """Return a loss that falls by 1 for each doubling, down to 1 after 16."""
    return 1 + max(0.0, 4 - math.log2(k))


# ---- pictures, readings and the page


def memory_of(*models: ModelMemory, name: str = "test.txt") -> Memory:
    return Memory(Path(name), models, 0, ())

"""Models of every kind, and the engine's ways of running them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from laws.cases import CASES, ROWS, STEPS, VOCAB, Case, config, start_state
from laws.laws import Run, Subject
from unroll.engine import native
from unroll.engine.network import Network, Precision
from unroll.nn.model import Model
from unroll.state import State

MODELS = [
    *(case for case in CASES if case.engine == "fused" and case.dtype == torch.float64 and case.config.window != 40),
    Case("lstm-adaptive", config("lstm", 2, adaptive_softmax="3,5", hidden_size=16)),
    Case("gru-adaptive", config("gru", 1, adaptive_softmax="2", layers_after=1)),
    Case("window-adaptive", config("window", 2, adaptive_softmax="1,6", hidden_size=16)),
]
"""All cells, depths, ways of joining layers, and adaptive softmaxes; of each the torch model in double."""

SETS = native.instruction_sets()
Way = tuple[str, bool | str, int]
WAYS: list[Way] = [
    ("numpy", False, 1),
    *((name, name, 1) for name in SETS),
    *((f"{name}, a team of 3", name, 3) for name in SETS[:1]),
]
"""The engine's ways: its name, the kernel, the number of threads."""


def weights_of(model: Model, kind: Any = np.float32) -> dict[str, NDArray[Any]]:
    """Return a model's weights as the engine reads them."""
    return {name: weight.detach().numpy().astype(kind) for name, weight in model.named_parameters()}


def network(model: Model, way: Way, precision: Precision = "float32") -> Network:
    """Return the engine's network: numpy in the model's own type, kernels in float32."""
    _, kernel, threads = way
    kind = weights_of(model)["embedding.weight"].dtype if kernel else model.embedding.weight.detach().numpy().dtype
    return Network(model.config, weights_of(model, kind), precision=precision, threads=threads, kernel=kernel)


def runner(engine: Network) -> Run:
    """Return the engine behind the contract of every model, with torch tensors."""

    def run(ids: Tensor, state: State | None = None, resets: Tensor | None = None) -> tuple[Tensor, State]:
        assert resets is None
        arrays = None if state is None else tuple(tuple(part.numpy() for part in layer) for layer in state)
        y, after = engine.hidden(ids.numpy(), arrays)
        logits = torch.from_numpy(engine.logits_after(y))
        return logits, tuple(tuple(torch.from_numpy(part) for part in layer) for layer in after)

    return run


def subject(case: Case, way: Way) -> Subject:
    """Return a model run by the engine, for the laws."""
    model, tolerance = case.model(), 1e-9
    if way[1]:
        model, tolerance = model.float(), 1e-5
    return Subject(runner(network(model, way)), case.ids(), start_state(model), VOCAB, tolerance)


Rows = Callable[[int], NDArray[np.int64]]

__all__ = ["MODELS", "ROWS", "SETS", "STEPS", "VOCAB", "WAYS", "Way", "config", "network", "runner", "subject"]

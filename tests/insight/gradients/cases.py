"""Networks, ids and random numbers for the tests of gradients."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tiny import model_config, random_ids, random_model
from unroll.nn.arch import RECURRENT
from unroll.nn.model import Model

ROWS, LAGS = 3, 24


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- networks, against the slow way

CASES: dict[str, dict[str, Any]] = {
    f"{arch}-{skip}": {"arch": arch, "skip": skip}
    for arch in RECURRENT
    for skip in ("none", "residual", "sum")
} | {
    "lstm-3": {"arch": "lstm", "num_layers": 3, "skip": "sum", "layers_before": 1, "layers_after": 1},
    "gru-tied": {"arch": "gru", "tie_weights": True, "layers_before": 2},
    "rnn-1": {"arch": "rnn", "num_layers": 1},
}  # fmt: skip


def network(name: str = "lstm-none") -> Model:
    return random_model(model_config(**CASES[name]))


def some_ids(steps: int, rows: int = ROWS) -> Tensor:
    return torch.from_numpy(random_ids(rows * steps).astype(np.int64).reshape(rows, steps))

"""The engine computes what torch does: numpy in double to 1e-9, kernels to 1e-5. Swapped gates are caught."""

import numpy as np
import pytest
import torch

from engine.networks import MODELS, WAYS, Way, network, runner, weights_of
from laws.cases import Case, start_state
from laws.laws import close
from unroll.engine.network import Network


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[0])
def test_the_engine_agrees_with_torch(case: Case, way: Way) -> None:
    model = case.model()
    tolerance = 1e-5 if way[1] else 1e-9
    model = model.float() if way[1] else model
    with torch.no_grad():
        logits, state = model(case.ids(), start_state(model))
    ours, after = runner(network(model, way))(case.ids(), start_state(model))
    close(ours, logits.double(), tolerance)
    close(after, state, tolerance)


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (2, 3)])
def test_swapped_gates_are_caught(one: int, other: int) -> None:
    (lstm,) = (case for case in MODELS if case.name == "lstm-2")
    model = lstm.model()
    weights, hidden = weights_of(model, np.float64), model.config.hidden_size
    for name in list(weights):
        if "weight_" in name or "bias_" in name:
            gates = list(np.split(weights[name], 4))
            gates[one], gates[other] = gates[other], gates[one]
            weights[name] = np.concatenate(gates)
            assert len(weights[name]) == 4 * hidden
    swapped = Network(model.config, weights, kernel=False)
    with torch.no_grad():
        logits, _ = model(lstm.ids(), start_state(model))
    ours, _ = runner(swapped)(lstm.ids(), start_state(model))
    with pytest.raises(AssertionError):
        close(ours, logits, 1e-9)

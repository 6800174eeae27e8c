"""The laws hold for the engine, by numpy and by every set of kernels, and it agrees with torch; planted faults fail."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from engine.networks import MODELS, WAYS, Way, network, runner, subject, weights_of
from laws.cases import WINDOW, Case, start_state
from laws.laws import (
    Subject,
    close,
    law_causal,
    law_limit,
    law_memory,
    law_probabilities,
    law_rows,
    law_split,
)
from unroll.engine.network import Network
from unroll.engine.weights import shapes
from unroll.nn.model import Model

LAWS = [law_split, law_rows, law_causal, law_memory, law_probabilities]


@pytest.fixture(params=MODELS, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture(params=WAYS, ids=lambda way: way[0])
def way(request: pytest.FixtureRequest) -> Way:
    chosen: Way = request.param
    return chosen


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law: Callable[[Subject], None], case: Case, way: Way) -> None:
    law(subject(case, way))


@pytest.mark.parametrize("name", ["window-1", "window-2"])
def test_a_window_is_a_hard_limit(name: str, way: Way) -> None:
    (chosen,) = (case for case in MODELS if case.name == name)
    law_limit(subject(chosen, way), WINDOW)


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
    (chosen,) = (case for case in MODELS if case.name == "lstm-2")
    model = chosen.model()
    weights, hidden = weights_of(model, np.float64), model.config.hidden_size
    for name in list(weights):
        if "weight_" in name or "bias_" in name:
            gates = list(np.split(weights[name], 4))
            gates[one], gates[other] = gates[other], gates[one]
            weights[name] = np.concatenate(gates)
            assert len(weights[name]) == 4 * hidden
    wrong = Network(model.config, weights, kernel=False)
    with torch.no_grad():
        logits, _ = model(chosen.ids(), start_state(model))
    ours, _ = runner(wrong)(chosen.ids(), start_state(model))
    with pytest.raises(AssertionError):
        close(ours, logits, 1e-9)


def test_the_names_and_shapes_of_the_weights_are_torchs(case: Case) -> None:
    named = {name: tuple(weight.shape) for name, weight in Model(case.config).named_parameters()}
    assert shapes(case.config) == named

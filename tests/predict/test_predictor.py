"""What any predictor can do: logits after each symbol, nats, symbols drawn, hidden states; all held to its step."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from engine.networks import weights_of
from tiny import ARCHS, SMALL, Stepping, model_config, random_ids, random_model
from unroll.engine.draw import Drawing, Step
from unroll.engine.network import Network
from unroll.insight.hold import Cell, ClampedPredictor, Held
from unroll.predict.cache import CacheOptions, CachePredictor
from unroll.predict.predictor import Nats, Predictor, Window, log_probabilities, logits_along
from unroll.predict.torch import TorchPredictor
from unroll.state import State

ROWS, STEPS = 3, 20


def predictors(arch: str) -> dict[str, Predictor]:
    """Return predictors of one model."""
    model = random_model(model_config(arch), torch.float32)
    torch_model = TorchPredictor(model)
    engine = Network(model.config, weights_of(model))
    clamped = [] if arch == "window" else [Held(Cell(1, "h", 2), 0.4)]
    return {
        "torch": torch_model,
        "engine": engine,
        "numpy": Network(model.config, weights_of(model), kernel=False),
        "cache": CachePredictor(engine, CacheOptions(size=7)),
        "clamped": ClampedPredictor(model, clamped),
    }


def ids_of_rows() -> Window:
    return random_ids(ROWS * (STEPS + 1)).reshape(ROWS, -1).astype(np.int64)


def law_step(predictor: Predictor, step: Step) -> None:
    """Logits after each symbol, nats and drawn symbols are those of reading symbol by symbol with `step`."""
    ids = ids_of_rows()
    expected, after = logits_along(Stepping(step), ids[:, :-1])
    logits, state = logits_along(predictor, ids[:, :-1])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    nats, _ = predictor.nats(ids[:, :-1], ids[:, 1:])
    log_p = np.take_along_axis(log_probabilities(expected), ids[:, 1:, None], axis=2)[..., 0]
    np.testing.assert_allclose(nats, -log_p, atol=1e-4)
    drawing, numbers = Drawing(0.8, top_k=5), np.random.default_rng(0).random((ROWS, 15))
    symbols = predictor.generate(logits[:, -1], state, drawing, numbers)
    stepped = Stepping(step).generate(expected[:, -1], after, drawing, numbers)
    assert symbols[0].tolist() == stepped[0].tolist()
    np.testing.assert_allclose(symbols[1], stepped[1], atol=1e-4)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", ["torch", "engine", "numpy", "cache", "clamped"])
def test_all_that_it_can_do_agrees_with_its_step(arch: str, name: str) -> None:
    predictor = predictors(arch)[name]
    law_step(predictor, predictor.logits)


def stale(step: Step) -> Step:
    def broken(ids: Window, state: State | None) -> tuple[Nats, State]:
        logits, after = step(ids, state)
        return logits, after if state is None else state

    return broken


def rows_mixed(step: Step) -> Step:
    def broken(ids: Window, state: State | None) -> tuple[Nats, State]:
        logits, after = step(ids, state)
        return np.roll(logits, 1, axis=0), after

    return broken


@pytest.mark.parametrize("fault", [stale, rows_mixed])
def test_the_law_of_the_step_fails_on_faults(fault: Callable[[Step], Step]) -> None:
    predictor = predictors("lstm")["engine"]
    with pytest.raises(AssertionError):
        law_step(predictor, fault(predictor.logits))


def test_only_networks_have_hidden_states_and_only_torch_has_gates() -> None:
    by_name = predictors("gru")
    networks = {name: predictor.network for name, predictor in by_name.items()}
    assert {name for name, network in networks.items() if network is not None} == {"torch", "engine", "numpy"}
    assert {name for name, network in networks.items() if network and network.torch_model is not None} == {"torch"}
    for network in filter(None, networks.values()):
        y, _ = network.hidden(ids_of_rows())
        assert y.shape == (ROWS, STEPS + 1, SMALL["hidden_size"])

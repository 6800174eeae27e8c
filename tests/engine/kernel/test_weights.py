"""Networks larger than a core's cache are kept in three bytes a weight: as exact as float32, the same for any rows."""

import numpy as np
import pytest

from engine.networks import SETS, config
from unroll.engine.network import Network
from unroll.engine.weights import Weights, shapes
from unroll.nn.config import ModelConfig

pytestmark = pytest.mark.skipif(not SETS, reason="no kernels: there was no compiler when unroll was installed")

VOCAB = 41
LARGE = [
    config("lstm", 2, vocab_size=VOCAB, embedding_size=12, hidden_size=401),
    config("gru", 2, vocab_size=VOCAB, embedding_size=12, hidden_size=470, skip="sum"),
    config("rnn", 3, vocab_size=VOCAB, embedding_size=12, hidden_size=601, skip="residual", layers_after=1),
    config("window", 2, vocab_size=VOCAB, embedding_size=24, hidden_size=997, window=30),
]
"""More than six million bytes in float32, and sizes that are no multiple of a vector."""


def random_weights(of: ModelConfig, seed: int = 0) -> Weights:
    random = np.random.default_rng(seed)
    return {
        name: (random.normal(size=shape) * (0.1 if len(shape) == 1 else shape[-1] ** -0.5)).astype(np.float32)
        for name, shape in shapes(of).items()
    }


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("large", LARGE, ids=lambda one: one.arch)
def test_they_are_as_exact_as_float32(large: ModelConfig, instructions: str) -> None:
    weights, random = random_weights(large), np.random.default_rng(1)
    ids = random.integers(0, VOCAB, (2, 40))
    double = {name: weight.astype(np.float64) for name, weight in weights.items()}
    exact, state = Network(large, double, kernel=False).logits(ids)
    ours, our_state = Network(large, weights, kernel=instructions).logits(ids)
    np.testing.assert_allclose(ours, exact, atol=1e-5)
    for layer, expected in zip(our_state, state, strict=True):
        for part, target in zip(layer, expected, strict=True):
            np.testing.assert_allclose(part, target, atol=1e-5)
    # What would be lost in 16 bits, this would show.
    coarse = {
        name: np.rint(w / (top := np.abs(w).max(axis=-1, keepdims=True)) * 2**15) * top / 2**15
        for name, w in double.items()
    }
    assert np.abs(Network(large, coarse, kernel=False).logits(ids)[0] - exact).max() > 1e-5


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("large", LARGE, ids=lambda one: one.arch)
def test_a_row_does_not_depend_on_the_others(large: ModelConfig, instructions: str) -> None:
    weights, random = random_weights(large), np.random.default_rng(2)
    ids = random.integers(0, VOCAB, (14, 9))
    network = Network(large, weights, kernel=instructions, threads=1)
    logits, state = network.logits(ids)
    for threads in (1, 2):
        engine = Network(large, weights, kernel=instructions, threads=threads)
        for rows in (slice(0, 1), slice(3, 5), slice(9, 14)):
            ours, our_state = engine.logits(ids[rows])
            assert (ours == logits[rows]).all()
            for layer, expected in zip(our_state, state, strict=True):
                for part, target in zip(layer, expected, strict=True):
                    assert (part == target[rows]).all()


@pytest.mark.parametrize("instructions", SETS)
def test_a_weight_loses_what_the_largest_of_its_unit_may_in_float32(instructions: str) -> None:
    words = ModelConfig(arch="rnn", vocab_size=8_000, embedding_size=9, hidden_size=203, num_layers=1)
    few = ModelConfig(arch="rnn", vocab_size=800, embedding_size=9, hidden_size=203, num_layers=1)
    for kind in (words, few):
        weights = random_weights(kind)
        weights["head.weight"][5] = 0  # a unit without weights has no scale
        weights["head.weight"][6] *= 1e-20
        unit = np.eye(203, dtype=np.float32)[:, None]  # what a unit vector makes of the output layer is a column of it
        weights["head.bias"][:] = 0
        columns = Network(kind, weights, kernel=instructions).logits_after(unit)[:, 0].T
        expected = weights["head.weight"].astype(np.float64)
        top = np.abs(expected).max(axis=1, keepdims=True)
        error = np.abs(columns - expected)
        assert (error <= top * 2.0**-23).all()  # half a step, and the rounding of what comes out
        if kind is words and instructions != "plain":
            assert (error > 0).mean() > 0.5  # three bytes they are
        else:
            assert not error.any()

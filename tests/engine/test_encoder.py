"""The encoder without torch: equal to torch's for every cell and pooling; a text's result is its own."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from nn.test_encoder import CELLS, config, randomised, spelt
from unroll.data.ragged import Ragged
from unroll.data.reader import Reading
from unroll.engine import layers
from unroll.engine.encoder import ClassifierNetwork
from unroll.nn.encoder import Classifier, Units
from unroll.nn.encoder_config import ClassifierConfig

LENGTHS = [23, 1, 30, 0, 7]
CASES = [
    *product(CELLS, ("none",), (True,), (False,)),
    ("lstm", "sum", True, True),
    ("lstm", "residual", True, True),
    ("gru", "none", False, True),
    ("mingru", "sum", False, False),
]


def reading(shape: ClassifierConfig, lengths: list[int] = LENGTHS) -> Reading:
    random = np.random.default_rng(5)
    ids = Ragged.of([random.integers(shape.vocab_size, size=length) for length in lengths])
    if not shape.char_hidden_size:
        return Reading(ids, Ragged.of([np.zeros(length, np.int64) for length in lengths]), Ragged.of([]))
    words = Ragged.of([random.integers(shape.chars, size=length) for length in (4, 1, 9, 2)])
    return Reading(ids, Ragged.of([random.integers(4, size=length) for length in lengths]), words)


def network(model: Classifier, kind: Any = np.float64, **options: Any) -> ClassifierNetwork:
    weights = {name: w.detach().numpy().astype(kind) for name, w in model.named_parameters()}
    options = {"kernel": kind is np.float32} | options
    return ClassifierNetwork(model.config, weights, **options)


def expected(model: Classifier, texts: Reading) -> np.ndarray[Any, Any]:
    arrays = {name: None if a is None else torch.from_numpy(a) for name, a in texts.arrays().items()}
    with torch.no_grad():
        return model(Units(**arrays)).numpy()  # type: ignore[arg-type, no-any-return]


@pytest.mark.parametrize(("arch", "skip", "bidirectional", "characters"), CASES)
def test_it_equals_torch(arch: str, skip: str, bidirectional: bool, characters: bool) -> None:
    shape = (spelt if characters else config)(arch=arch, skip=skip, bidirectional=bidirectional)
    model = randomised(Classifier(shape))
    texts = reading(shape)
    np.testing.assert_allclose(network(model).logits(texts), expected(model, texts), rtol=1e-9, atol=1e-9)
    single = network(model, np.float32).logits(texts)
    np.testing.assert_allclose(single, expected(model, texts), rtol=1e-5, atol=1e-5)


def law_of_texts(net: ClassifierNetwork, texts: Reading) -> None:
    """Hold each text's logits to those that it has alone, and in another order."""
    together = net.logits(texts)
    alone = np.concatenate([net.logits(texts.select(np.array([row]))) for row in range(len(texts))])
    np.testing.assert_allclose(alone, together, rtol=1e-6, atol=1e-6)
    order = np.array([4, 2, 0, 3, 1])
    np.testing.assert_allclose(net.logits(texts.select(order)), together[order], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("arch", "precision"), [*product(CELLS, ("float32", "int8"))])
def test_a_text_depends_on_nothing_beside_it(arch: str, precision: Any) -> None:
    model = randomised(Classifier(spelt(arch=arch)))
    law_of_texts(network(model, np.float32, precision=precision), reading(model.config))


def test_the_law_catches_rows_that_are_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mixed(layers.Order):
        def __init__(self, lengths: Any, *, reverse: bool) -> None:
            super().__init__(lengths, reverse=reverse)
            self.rows = self.rows[::-1]

    model = randomised(Classifier(spelt()))
    monkeypatch.setattr(layers, "Order", Mixed)
    with pytest.raises(AssertionError):
        law_of_texts(network(model), reading(model.config))


def test_int8_is_near_and_not_the_same() -> None:
    model = randomised(Classifier(spelt()), 0.3)
    texts = reading(model.config)
    exact, rounded = (
        network(model, np.float32).logits(texts),
        network(model, np.float32, precision="int8").logits(texts),
    )
    assert 0 < np.abs(exact - rounded).max() < 0.05


def test_no_texts_have_no_logits() -> None:
    model = randomised(Classifier(config()))
    assert network(model).logits(reading(model.config, [])).shape == (0, 3)


def test_weights_of_another_network_are_refused() -> None:
    model = randomised(Classifier(config()))
    weights = {name: w.detach().numpy() for name, w in model.named_parameters() if name != "head.bias"}
    with pytest.raises(ValueError, match=r"head\.bias"):
        ClassifierNetwork(model.config, weights)

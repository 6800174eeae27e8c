"""A network of which it is known where it keeps a person, and patching of it."""

from pathlib import Path
from typing import Any

import torch

from tiny import (
    TOKENIZER,
)
from unroll.artifact.open import Opened
from unroll.data.tokenizer import Tokenizer, WordTokenizer
from unroll.insight.patching.measure import (
    Patched,
    patching,
)
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.predict.torch import TorchPredictor
from unroll.progress import result

WORDS = WordTokenizer(("Alice", "Bob", "Bert", "she", "he", "reads", "and", "and_on"))


CARRIER = 4
"""The unit that carries the person: its cell is 1 after Alice, -1 after Bob, and nothing else ever writes to it."""


def planted() -> Model:
    model = Model(ModelConfig(WORDS.vocab_size, embedding_size=3, hidden_size=6)).double().eval()
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=random, dtype=torch.float64))
        layer: Any = model.recurrent.layers[0]
        size = 6
        i, f, g, o = (n * size + CARRIER for n in range(4))
        alice, bob, she, he = (int(WORDS.encode(word)[0]) for word in ("Alice", "Bob", "she", "he"))
        model.embedding.weight[:, 0] = 0
        model.embedding.weight[alice, 0], model.embedding.weight[bob, 0] = 1, -1
        model.embedding.weight[:, 1] = 0
        model.embedding.weight[[alice, bob], 1] = 1
        for row in (i, f, g, o):
            layer.weight_ih[row], layer.weight_hh[row], layer.bias_ih[row], layer.bias_hh[row] = 0, 0, 0, 0
        layer.weight_ih[i, 1], layer.bias_ih[i] = 80, -40  # open at a name, shut otherwise
        layer.weight_ih[f, 1], layer.bias_ih[f] = -80, 40  # the other way round
        layer.weight_ih[g, 0] = 40
        layer.bias_ih[o] = 40
        layer.weight_hh[:, CARRIER] = 0  # the others do not see it
        model.head.weight[[she, he]] = 0
        model.head.bias[[she, he]] = 0
        model.head.weight[she, CARRIER], model.head.weight[he, CARRIER] = 1, -1
    return model


def opened(model: Model, tokenizer: Tokenizer = TOKENIZER) -> Opened:
    return Opened(Path("model"), TorchPredictor(model), tokenizer, {})


def asked(model: Opened, first: str, second: str, **options: Any) -> Patched:
    patched = result(patching(model, first, second, **({"target": "she", "against": "he"} | options)))
    assert isinstance(patched, Patched)
    return patched

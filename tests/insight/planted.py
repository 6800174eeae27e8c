"""A network whose weights are set by hand so that one unit counts brackets, and a text for it."""

from pathlib import Path

import numpy as np
import torch

from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS, save_description
from unroll.data.tokenizer import CharTokenizer
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.nn.recurrent import RecurrentLayer

LETTERS = "abcdefghij"
TOKENIZER = CharTokenizer.learn(LETTERS + "()")
OPEN, CLOSE = (int(TOKENIZER.encode(mark)[0]) for mark in "()")
COUNTER = 5
"""The unit that counts."""
HIDDEN = 16
ENDS = ((0.017, 0.0), (0.014, 0.05), (0.01, 0.27), (0.0, 0.33))
"""How probable "(" and ")" are by the number of open brackets, as the network has it."""
HARD = 30.0
"""A sigmoid or a tanh of it is 1."""


def bracketed(symbols: int, seed: int = 0) -> str:
    """Return letters with stretches in brackets, most of them longer than 8, some within others."""
    random = np.random.default_rng(seed)
    parts, depth = list[str](), 0
    while len(parts) < symbols:
        opens, closes = ENDS[depth]
        chance = random.random()
        mark = ")" if chance < closes else "(" if chance < closes + opens else LETTERS[random.integers(len(LETTERS))]
        depth += (mark == "(") - (mark == ")")
        parts.append(mark)
    return "".join(parts)


def planted(seed: int = 0) -> Model:
    """Return an LSTM of random weights but for the unit `COUNTER`: c = c₋₁ + 1 at "(", - 1 at ")", which ")" needs.

    Its forget and input gates stand open, its candidate sees the two brackets alone, and it shows tanh c.
    """
    vocab = TOKENIZER.vocab_size
    model = Model(ModelConfig(vocab_size=vocab, embedding_size=vocab, hidden_size=HIDDEN))
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=random))
        model.embedding.weight.copy_(torch.eye(vocab))
        layer = model.recurrent.layers[0]
        assert isinstance(layer, RecurrentLayer)
        i, f, g, o = (k * HIDDEN + COUNTER for k in range(4))
        for weight in layer.parameters():
            weight[[i, f, g, o]] = 0.0
        layer.weight_hh[:, COUNTER] = 0.0
        layer.bias_ih[[i, f, o]] = HARD
        layer.weight_ih[g, OPEN], layer.weight_ih[g, CLOSE] = HARD, -HARD
        model.head.weight.mul_(0.25)
        model.head.weight[:, COUNTER], model.head.weight[[OPEN, CLOSE]] = 0.0, 0.0
        # Beside ten letters of logits about 0: tanh 0, 1, 2, 3 = 0, 0.76, 0.96, 0.995 gives ENDS.
        model.head.weight[CLOSE, COUNTER], model.head.bias[CLOSE] = 9.66, -8.0
        model.head.bias[OPEN], model.head.bias[[0, TOKENIZER.newline_id]] = -1.75, -9.0
    return model.eval()


def save(model: Model, folder: Path) -> Path:
    """Write a model directory."""
    folder.mkdir()
    TOKENIZER.save(folder / "tokenizer.json")
    info = {"step": 0, "tokens_seen": None, "valid_nats": None, "averaged": False}
    save_tensors(folder / WEIGHTS, dict(model.named_parameters()), info)
    save_description(folder, model.config, TOKENIZER)
    return folder

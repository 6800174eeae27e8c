"""Networks for the page's tests: an LSTM whose unit 0 is set by hand to latch on quotation marks, and small others."""

from pathlib import Path

import numpy as np
import torch

from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS, save_description
from unroll.data.tokenizer import CharTokenizer
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.nn.recurrent import RecurrentLayer

LETTERS = "abcdefghij "
TOKENIZER = CharTokenizer.learn(LETTERS + "“”.\n")
OPEN, CLOSE = (int(TOKENIZER.encode(mark)[0]) for mark in "“”")
HIDDEN = 16
HARD = 30.0
"""A sigmoid or a tanh of it is 1."""
OPENS, CLOSES = 0.02, 0.04
"""How probable the marks are outside and inside, as the network has it."""


def quoted(symbols: int, seed: int = 0) -> str:
    """Return lines of letters, some of them within quotation marks that are far apart."""
    random = np.random.default_rng(seed)
    parts, inside = list[str](), False
    while len(parts) < symbols:
        chance = random.random()
        if chance < (CLOSES if inside else OPENS):
            parts.append("”" if inside else "“")
            inside = not inside
        elif not inside and chance > 0.98:
            parts += [".", "\n"]
        else:
            parts.append(LETTERS[random.integers(len(LETTERS))])
    return "".join(parts)


def latch(seed: int = 0) -> Model:
    """Return an LSTM of random weights but for unit 0: c = 1 from “ on and 0 from ” on, which the guesses use.

    Its input gate opens at “ alone, its forget gate closes at ” alone, its candidate is 1, and it shows tanh c.
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
        i, f, g, o = (k * HIDDEN for k in range(4))
        for weight in layer.parameters():
            weight[[i, f, g, o]] = 0.0
        layer.weight_hh[:, 0] = 0.0
        layer.bias_ih[i], layer.weight_ih[i, OPEN] = -HARD * 4, HARD * 8
        layer.bias_ih[f], layer.weight_ih[f, CLOSE] = HARD * 4, -HARD * 8
        layer.bias_ih[[g, o]] = HARD
        model.head.weight.mul_(0.1)
        model.head.weight[[OPEN, CLOSE]] = 0.0
        model.head.weight[:, 0] = 0.0
        # Beside eleven letters of logits about 0: tanh c is 0 or 0.76.
        activation = float(np.tanh(1.0))
        model.head.bias[OPEN], model.head.weight[OPEN, 0] = float(np.log(11 * OPENS)), -9.0 / activation
        model.head.bias[CLOSE], model.head.weight[CLOSE, 0] = -9.0, (9.0 + float(np.log(11 * CLOSES))) / activation
    return model.eval()


def other(arch: str, seed: int = 0, **options: object) -> Model:
    """Return a small network of random weights and of another kind."""
    torch.manual_seed(seed)
    fields: dict[str, object] = {"vocab_size": TOKENIZER.vocab_size, "embedding_size": 8, "hidden_size": 12, **options}
    return Model(ModelConfig(arch=arch, **fields)).eval()  # type: ignore[arg-type]


def save(model: Model, folder: Path) -> Path:
    """Write a model directory."""
    folder.mkdir(parents=True)
    TOKENIZER.save(folder / "tokenizer.json")
    info = {"step": 0, "tokens_seen": None, "valid_nats": None, "averaged": False}
    save_tensors(folder / WEIGHTS, dict(model.named_parameters()), info)
    save_description(folder, model.config, TOKENIZER)
    return folder

"""The probability of a piece of a translation as a function of the vectors of its source's units."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.translator import OpenTranslator
from unroll.nn.encoder import Encoder
from unroll.nn.translator import Translator


@dataclass(frozen=True)
class PieceQuantity:
    """F, the attributed quantity: log p of a translation's last symbol, given those before it, in nats."""

    translator: Translator
    """A network whose weights need no gradients."""
    inputs: Tensor
    """(T,) the symbols that are read, the start symbol first."""
    target: int

    @property
    def network(self) -> Encoder:
        """What reads the source."""
        return self.translator.encoder

    @property
    def width(self) -> int:
        """Numbers of one kind that a graph of gradients holds for a vector."""
        config = self.translator.config
        return config.num_layers * (config.memory_size + config.hidden_size) + len(self.inputs)

    def __call__(self, x: Tensor) -> Tensor:
        """Return F (B,) of sources of equal length as vectors (S, B, E), which the encoder's first layer reads."""
        lengths = torch.full((x.shape[1],), len(x))
        memory, state = self.translator.remember(*self.network.read(x, lengths), lengths)
        readouts, _, _ = self.translator.decode(self.inputs.expand(x.shape[1], -1), memory, state, "stepwise")
        return torch.log_softmax(self.translator.logits(readouts[:, -1]), 1)[:, self.target]


def quantity_of(opened: OpenTranslator, ids: NDArray[np.int64]) -> PieceQuantity:
    """Return F of the last of a translation's symbols `ids` (T,), of the network in float64."""
    network = Translator(opened.info.config)
    copy_weights(network, load_tensors(opened.path / WEIGHTS), opened.path / WEIGHTS)
    read = torch.from_numpy(np.concatenate([[opened.end], ids[:-1]]))
    return PieceQuantity(network.eval().double().requires_grad_(False), read, int(ids[-1]))

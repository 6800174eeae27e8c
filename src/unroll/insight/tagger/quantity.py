"""The probability of a token's tag as a function of the vectors of a sentence's tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unroll.nn.crf import Crf
from unroll.nn.tagger import Tagger


@dataclass(frozen=True)
class TagQuantity:
    """F, the attributed quantity: log p(tag) of a token, or less log p(against), in nats.

    Of a CRF a tag's probability is the share of all paths that have it there.
    """

    network: Tagger
    """A network whose weights need no gradients."""
    token: int
    tag: int
    against: int | None

    @property
    def width(self) -> int:
        """Numbers of one kind that a graph of gradients holds for a vector."""
        config = self.network.config
        return config.output_size * config.num_layers + (config.tags**2 if config.crf else 0)

    def __call__(self, x: Tensor) -> Tensor:
        """Return F (B,) of sentences of equal length as vectors (T, B, I), which the first layer reads."""
        y, _ = self.network.read(x, torch.full((x.shape[1],), len(x)))
        logits = self.network.head(y)
        return self._log_p(logits, self.tag) - (0 if self.against is None else self._log_p(logits, self.against))

    def _log_p(self, logits: Tensor, tag: int) -> Tensor:
        if not self.network.config.crf:
            return torch.log_softmax(logits[self.token], 1)[:, tag]
        lengths, others = torch.full((logits.shape[1],), len(logits)), torch.zeros_like(logits, dtype=torch.bool)
        others[self.token] = True
        others[self.token, :, tag] = False
        crf: Crf = self.network.crf
        through = crf.log_partition(logits.masked_fill(others, -torch.inf), lengths)
        return through - crf.log_partition(logits, lengths)

"""A tagger: an encoder with a head that gives every unit of a row the logits of its tags, and a softmax or a CRF."""

import torch
from torch import Tensor, nn

from unroll.nn.crf import Crf
from unroll.nn.dropout import drop
from unroll.nn.encoder import Encoder, Units
from unroll.nn.layers import Run
from unroll.nn.pooling import inside
from unroll.nn.recurrent import Engine
from unroll.nn.tagger_config import TaggerConfig
from unroll.state import State


class Tagger(Encoder):
    """An encoder and a head over the outputs of both directions at each unit."""

    config: TaggerConfig

    def __init__(self, config: TaggerConfig) -> None:
        super().__init__(config)
        self.head = nn.Linear(config.output_size, config.tags)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        if config.crf:
            self.crf = Crf(config.tags)

    def forward(self, units: Units, engine: Engine | Run = "fused") -> Tensor:
        """Return the logits (T, B, K) of the tags of each unit: of a CRF its emissions."""
        return self.logits(self.inputs(units, engine), units.lengths, engine)

    def logits(self, x: Tensor, lengths: Tensor, engine: Engine | Run = "fused") -> Tensor:
        """Return the same for vectors `x` (T, B, I)."""
        y, _ = self.read(x, lengths, engine)
        logits: Tensor = self.head(drop(y, self.config.dropout, variational=False, training=self.training))
        return logits

    def nats(self, logits: Tensor, tags: Tensor, lengths: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return -ln P(tags) (B,) of each row, in nats, given logits (T, B, K) and tags (T, B).

        Of a softmax it may be `smoothing` of the way to the mean over all tags (Szegedy et al. 2016).
        """
        if self.config.crf:
            return self.crf.nats(logits, tags, lengths)
        logs = torch.log_softmax(logits, 2)
        nats = -logs.gather(2, tags.unsqueeze(2)).squeeze(2)
        if smoothing:
            nats = (1 - smoothing) * nats - smoothing * logs.mean(2)
        return (nats * inside(lengths, len(tags))).sum(0)

    def loss(
        self,
        ids: Tensor,
        lengths: Tensor,
        tags: Tensor,
        characters: Tensor | None = None,
        word_lengths: Tensor | None = None,
        word_of: Tensor | None = None,
        contexts: Tensor | None = None,
        smoothing: Tensor | None = None,
        state: State = (),
    ) -> tuple[Tensor, State]:
        """Return the mean nats per unit of rows of `Units` with tags (B, T); `smoothing`, a scalar, as in `nats`."""
        units = Units(ids, lengths, characters, word_lengths, word_of, contexts)
        logits = self(units)
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits if logits.dtype.itemsize >= 4 else logits.float()
            share = 0.0 if smoothing is None else float(smoothing)
            return self.nats(logits, tags.T, lengths, share).sum() / lengths.sum().clamp(min=1), state

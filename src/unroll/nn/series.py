"""A network over sequences of vectors: recurrent layers, pooling, and a head for a label or a number."""

import torch
import torch.nn.functional as F
from torch import Tensor

from unroll.nn.dropout import drop
from unroll.nn.layers import PooledLayers, Run
from unroll.nn.recurrent import Engine
from unroll.nn.series_config import SeriesConfig
from unroll.state import State


class SeriesNetwork(PooledLayers):
    """Recurrent layers over standardised vectors, pooling, and a head with an output for each label or number."""

    config: SeriesConfig

    def __init__(self, config: SeriesConfig) -> None:
        super().__init__(config)
        self.add_layers()
        self.add_head(config.outputs)

    def forward(self, vectors: Tensor, lengths: Tensor, engine: Engine | Run = "fused") -> Tensor:
        """Return the outputs (B, K) for rows of vectors (B, T, I); what stands behind a row's end does not matter."""
        x = self.inputs(vectors)
        return self.logits(*self.read(x, lengths, engine), lengths)

    def inputs(self, vectors: Tensor) -> Tensor:
        """Return what the first layer reads, (T, B, I): in training with noise, and without what is dropped."""
        config, x = self.config, vectors.transpose(0, 1)
        if not self.training:
            return x
        values, marks = x[:, :, : config.channels], x[:, :, config.channels :]
        if config.noise:
            values = values + config.noise * torch.randn_like(values)
        values = drop(values, config.channel_dropout, variational=True, training=True)
        return torch.cat([drop(values, config.input_dropout, variational=False, training=True), marks], dim=2)

    def loss(
        self, vectors: Tensor, lengths: Tensor, targets: Tensor, weights: Tensor, state: State = ()
    ) -> tuple[Tensor, State]:
        """Return the mean loss of rows with targets (B, K), each times its weight (B,).

        Targets of labels are probabilities, and the loss is their cross-entropy in nats; those of numbers are
        standardised, and it is half the squared error.
        """
        outputs = self(vectors, lengths)
        with torch.autocast(outputs.device.type, enabled=False):
            outputs = outputs if outputs.dtype.itemsize >= 4 else outputs.float()
            losses = row_losses(outputs, targets.to(outputs.dtype), self.config)
            return (losses * weights).mean(), state


def row_losses(outputs: Tensor, targets: Tensor, config: SeriesConfig) -> Tensor:
    """Return the loss (B,) of outputs (B, K) beside targets (B, K), as `SeriesNetwork.loss` has it."""
    if config.task == "classify":
        return F.cross_entropy(outputs, targets, reduction="none")
    return 0.5 * F.mse_loss(outputs, targets, reduction="none").sum(1)

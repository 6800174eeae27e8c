"""The probability of a label as a function of the vectors of a sequence, and scores of numbers by its gradients."""

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.artifact.checkpoint import copy_weights, load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.series import OpenSeries
from unroll.insight.attribution.measure import gradient_parts, integrated_parts
from unroll.insight.attribution.scores import Floats, Method
from unroll.nn.series import SeriesNetwork
from unroll.progress import Work


@dataclass(frozen=True)
class LabelQuantity:
    """F, the attributed quantity: log p(label), or less log p(against), in nats."""

    network: SeriesNetwork
    """A network whose weights need no gradients."""
    label: int
    against: int | None

    @property
    def width(self) -> int:
        """Numbers of one kind that a graph of gradients holds for a vector."""
        return self.network.config.output_size * self.network.config.num_layers

    def __call__(self, x: Tensor) -> Tensor:
        """Return F (B,) of sequences of equal length as vectors (T, B, I), which the first layer reads."""
        lengths = torch.full((x.shape[1],), len(x))
        log_p = torch.log_softmax(self.network.logits(*self.network.read(x, lengths), lengths), 1)
        return log_p[:, self.label] - (0 if self.against is None else log_p[:, self.against])


def scored(
    opened: OpenSeries,
    label: int,
    against: int | None,
    vectors: tuple[NDArray[Any], NDArray[Any]],
    method: Method,
    steps: int,
) -> Work[Floats]:
    """Return the scores (T, I) of the numbers of a sequence by gradients, given its vectors and those of the origin."""
    network = SeriesNetwork(opened.info.config)
    copy_weights(network, load_tensors(opened.path / WEIGHTS), opened.path / WEIGHTS)
    quantity = LabelQuantity(network.eval().double().requires_grad_(False), label, against)
    x, origin = (torch.from_numpy(part).double() for part in vectors)
    if method == "gradient":
        return gradient_parts(quantity, x, origin)
    return (yield from integrated_parts(quantity, x, steps, origin))

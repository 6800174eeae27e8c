"""The probability of a label as a function of the vectors of a text's units, and their scores by its gradients."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from unroll.data.reader import Reading
from unroll.insight.attribution.measure import Quantity, gradient_times_input, integrated_gradients
from unroll.insight.attribution.scores import Floats, Method
from unroll.insight.classifier.network import units_of
from unroll.nn.encoder import Classifier, Encoder
from unroll.progress import Work


@dataclass(frozen=True)
class LabelQuantity:
    """F, the attributed quantity: log p(label), or less log p(against), in nats."""

    network: Classifier
    """A network whose weights need no gradients."""
    label: int
    against: int | None

    @property
    def width(self) -> int:
        """Numbers of one kind that a graph of gradients holds for a vector."""
        return self.network.config.output_size * self.network.config.num_layers

    def __call__(self, x: Tensor) -> Tensor:
        """Return F (B,) of texts of equal length as vectors (T, B, I), which the first layer reads."""
        lengths = torch.full((x.shape[1],), len(x))
        logits = self.network.logits(*self.network.read(x, lengths), lengths)
        log_p = F.logsigmoid(logits) if self.network.config.multi_label else torch.log_softmax(logits, 1)
        return log_p[:, self.label] - (0 if self.against is None else log_p[:, self.against])


class UnitQuantity(Quantity, Protocol):
    """F, the attributed quantity, as a function of the vectors of a text's units."""

    @property
    def network(self) -> Encoder:
        """What reads the units, with weights that need no gradients."""


def scored(quantity: UnitQuantity, reading: Reading, unknown: Reading, method: Method, steps: int) -> Work[Floats]:
    """Return the scores (T,) of the units of one text by gradients, from the same text with all of them unknown."""
    with torch.no_grad():
        x, origin = (quantity.network.inputs(units_of(texts))[:, 0] for texts in (reading, unknown))  # (T, I)
    if method == "gradient":
        return gradient_times_input(quantity, x, origin)
    return (yield from integrated_gradients(quantity, x, steps, origin))

"""Dynamic evaluation: a network whose weights follow the text that it reads (Krause et al. 2018)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.data.batches import Streams
from unroll.errors import check_fields
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.predict.predictor import Nats, Predictor, Window
from unroll.predict.protocols import STREAM_WINDOW, Ids, stream
from unroll.predict.torch import TorchPredictor, to_numpy, to_torch
from unroll.state import State, detach


@dataclass(frozen=True)
class DynamicOptions:
    """How far the weights follow the text."""

    learning_rate: float = 3e-4
    """η: the step along the gradient divided by its usual size."""
    decay: float = 2e-3
    """λ: how strongly each step pulls the weights back to the trained ones."""
    seq_len: int = 16
    """Symbols between two steps, scored before the weights learn from them."""

    def __post_init__(self) -> None:
        # So that steps fall on the same symbols, however the text is cut into windows.
        even = self.seq_len >= 1 and STREAM_WINDOW % self.seq_len == 0
        check_fields(
            self,
            ("learning_rate", 0 <= self.learning_rate < float("inf"), "0 or more", "try 0.0003"),
            ("decay", 0 <= self.decay <= 1, "0 to 1", "try 0.002"),
            ("seq_len", even, f"a power of two up to {STREAM_WINDOW}", "try 16, or 4 for words"),
        )


SIZE_STEPS = 150
SIZE_ROWS = 16
DAMPING = 0.1
"""Share of the mean gradient size added to each: rarely used weights would leap otherwise."""


def gradient_sizes(model: Model, ids: Ids, start_id: int, seq_len: int) -> list[Tensor]:
    """Return the root mean square of every weight's gradient on the training text (Krause et al. 2018, section 4).

    The mean is over windows evenly spaced over the text; the state is carried from one to the next.
    """
    rows = min(SIZE_ROWS, len(ids))
    streams = Streams(ids, rows, start_id)
    weights: list[Tensor] = list(model.parameters())
    squares = [torch.zeros_like(weight) for weight in weights]
    stride, state = max(1, len(ids) // rows // SIZE_STEPS), None
    for step in range(SIZE_STEPS):
        batch = streams.batch(step * stride, seq_len)
        logits, after = model(torch.from_numpy(batch.inputs), state)
        gradients = torch.autograd.grad(cross_entropy(logits, torch.from_numpy(batch.targets)), weights)
        torch._foreach_addcmul_(squares, list(gradients), list(gradients), 1 / SIZE_STEPS)
        state = detach(after)
    return [square.sqrt_() for square in squares]


class DynamicPredictor(Predictor):
    """A model whose weights learn from every few symbols once these are scored; one row only.

    The only predictor with a memory: the model's weights are its own while `dynamic` lasts.
    """

    def __init__(self, model: Model, sizes: Sequence[Tensor], options: DynamicOptions) -> None:
        self.model = model
        self.options = options
        self.vocab_size = model.config.vocab_size
        self._weights: list[Tensor] = list(model.parameters())
        self._trained = [weight.detach().clone() for weight in self._weights]
        mean = float(torch.cat([size.flatten() for size in sizes]).mean())
        self._sizes = [size + DAMPING * mean for size in sizes]
        self._pulls = [(options.decay * size / mean).clamp_(max=1.0) for size in sizes]

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        """Read `inputs` (1, T); return -ln P(target) after each of them (1, T), in nats, and the state."""
        if len(inputs) != 1:
            raise ValueError("dynamic evaluation reads one row: rows side by side would learn from each other")
        carried = None if state is None else to_torch(state, torch.device("cpu"))
        pieces = []
        for first in range(0, inputs.shape[1], self.options.seq_len):
            window = slice(first, first + self.options.seq_len)
            logits, after = self.model(torch.from_numpy(inputs[:, window]), carried)
            nats = cross_entropy(logits, torch.from_numpy(targets[:, window]), "none")
            self._learn(torch.autograd.grad(nats.mean(), self._weights))
            carried = detach(after)
            pieces.append(nats.detach().double().numpy())
        assert carried is not None
        return np.concatenate(pieces, axis=1), to_numpy(carried)

    def logits(self, inputs: Window, state: State | None = None) -> tuple[NDArray[np.float64], State]:
        """Read `inputs` (1, T) without learning; return the logits (1, V) of what follows, and the state."""
        return TorchPredictor(self.model).logits(inputs, state)

    def _learn(self, gradients: Sequence[Tensor]) -> None:
        """Take a step: θ ← θ − η g / (RMS + ε) + min(1, λ RMS / mean RMS) (θ₀ − θ) (Krause et al. 2018, equation 7)."""
        with torch.no_grad():
            torch._foreach_addcdiv_(self._weights, list(gradients), self._sizes, value=-self.options.learning_rate)
            back = [trained - weight for trained, weight in zip(self._trained, self._weights, strict=True)]
            torch._foreach_addcmul_(self._weights, back, self._pulls)

    def forget(self) -> None:
        """Set the weights back to the trained ones, bit for bit."""
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self._trained)


@contextmanager
def dynamic(model: Model, sizes: Sequence[Tensor], options: DynamicOptions) -> Iterator[DynamicPredictor]:
    """Provide the model as a predictor that learns while it reads; restore its weights bit for bit afterwards."""
    predictor = DynamicPredictor(model.eval(), sizes, options)
    try:
        yield predictor
    finally:
        predictor.forget()


# ---- options, fitted on validation text only

LEARNING_RATES = (1e-4, 2e-4, 4e-4, 8e-4)
DECAYS = (0.0, 5e-4, 2e-3, 1e-2)
TRIALS = len(LEARNING_RATES) + len(DECAYS) - 1


def fit_dynamic(
    model: Model, sizes: Sequence[Tensor], ids: Ids, start_id: int, seq_len: int
) -> Iterator[tuple[DynamicOptions, float]]:
    """Yield options and their nats per symbol on `ids` as they are tried: rates, then decays at the best rate."""
    tried: dict[DynamicOptions, float] = {}

    def nats_with(options: DynamicOptions) -> float:
        if options not in tried:
            with dynamic(model, sizes, options) as predictor:
                tried[options] = sum(float(nats.sum()) for nats, _ in stream(predictor, ids, start_id)) / len(ids)
        return tried[options]

    start = DynamicOptions(seq_len=seq_len)
    for rate in LEARNING_RATES:
        options = replace(start, learning_rate=rate)
        yield options, nats_with(options)
    best = min(tried, key=tried.__getitem__)
    for decay in DECAYS:
        options = replace(best, decay=decay)
        if options not in tried:
            yield options, nats_with(options)

"""Adaptation while reading: dynamic evaluation (Krause et al. 2018) and the continuous cache (Grave et al. 2017)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.data.batches import Streams, stream_windows
from unroll.errors import UserError
from unroll.lm.mix import fit_weights
from unroll.lm.predict import Nats, State, Window, log_probabilities
from unroll.lm.score import STREAM_WINDOW, Ids, stream
from unroll.lm.torch_predictor import Hidden, TorchPredictor, to_numpy, to_torch
from unroll.nn.loss import cross_entropy
from unroll.nn.model import Model
from unroll.nn.state import detach


@dataclass(frozen=True)
class DynamicOptions:
    """How far the weights follow the text that is read."""

    learning_rate: float = 3e-4
    """η: of the gradient divided by its usual size."""
    decay: float = 2e-3
    """λ: how strongly the weights are pulled back to the trained ones after each step."""
    seq_len: int = 16
    """Symbols between two steps; they are scored before the weights learn from them."""

    def __post_init__(self) -> None:
        if not 0 <= self.learning_rate < float("inf"):
            raise UserError(f"learning_rate is {self.learning_rate}", allowed="0 or more", fix="try 0.0003")
        if not 0 <= self.decay <= 1:
            raise UserError(f"decay is {self.decay}", allowed="0 to 1", fix="try 0.002")
        if self.seq_len < 1 or STREAM_WINDOW % self.seq_len:
            # So that the steps fall on the same symbols, however the text comes.
            raise UserError(
                f"seq_len is {self.seq_len}",
                allowed=f"a power of two up to {STREAM_WINDOW}",
                fix="try 16, or 4 for words",
            )


@dataclass(frozen=True)
class CacheOptions:
    """How much what was read before is expected to come again."""

    size: int = 2000
    """How many symbols back it reaches."""
    weight: float = 0.1
    """λ: of the cache in the mixture with the model."""
    flatness: float = 0.3
    """θ: how much more a state counts that is like the present one; 0 counts all alike."""

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 2**20:
            raise UserError(f"size is {self.size}", allowed=f"1 to {2**20:,}", fix="try 2000")
        if not 0 <= self.weight < 1:
            raise UserError(f"weight is {self.weight}", allowed="0 up to, not including, 1", fix="try 0.1")
        if not 0 <= self.flatness < float("inf"):
            raise UserError(f"flatness is {self.flatness}", allowed="0 or more", fix="try 0.3")


# ---- dynamic evaluation

SIZE_STEPS = 150
SIZE_ROWS = 16
DAMPING = 0.1
"""Of the mean gradient size, added to each: rarely used weights would leap otherwise."""


def gradient_sizes(model: Model, ids: Ids, start_id: int, seq_len: int) -> list[Tensor]:
    """Return the root mean square of every weight's gradient on the training text (Krause et al. 2018, section 4).

    It is taken over windows evenly spaced over the text, the state carried from one to the next.
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


class DynamicPredictor:
    """A model whose weights learn from each few symbols after these were scored; one row only.

    The one predictor that remembers: its weights belong to it while `dynamic` lasts.
    """

    def __init__(self, model: Model, sizes: Sequence[Tensor], options: DynamicOptions) -> None:
        self.model = model
        self.options = options
        self._weights: list[Tensor] = list(model.parameters())
        self._trained = [weight.detach().clone() for weight in self._weights]
        mean = float(torch.cat([size.flatten() for size in sizes]).mean())
        self._sizes = [size + DAMPING * mean for size in sizes]
        self._pulls = [(options.decay * size / mean).clamp_(max=1.0) for size in sizes]

    @property
    def vocab_size(self) -> int:
        """The number V of symbols."""
        return self.model.config.vocab_size

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        """Read `inputs` (1, T); return -ln P(target) after each of them (1, T), in nats, and the state."""
        if len(inputs) != 1:
            raise ValueError("dynamic evaluation reads one row: rows side by side would learn from each other")
        carried = None if state is None else to_torch(state, torch.device("cpu"))
        found = []
        for first in range(0, inputs.shape[1], self.options.seq_len):
            some = slice(first, first + self.options.seq_len)
            logits, after = self.model(torch.from_numpy(inputs[:, some]), carried)
            each = cross_entropy(logits, torch.from_numpy(targets[:, some]), "none")
            self._learn(torch.autograd.grad(each.mean(), self._weights))
            carried = detach(after)
            found.append(each.detach().double().numpy())
        assert carried is not None
        return np.concatenate(found, axis=1), to_numpy(carried)

    def logits(self, inputs: Window, state: State | None = None) -> tuple[NDArray[np.float64], State]:
        """Read `inputs` (1, T), learning nothing; return the logits (1, V) of what follows, and the state."""
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
    """Give the model as a predictor that learns while it reads; its weights are restored bit for bit afterwards."""
    predictor = DynamicPredictor(model.eval(), sizes, options)
    try:
        yield predictor
    finally:
        predictor.forget()


# ---- the continuous cache


class CachePredictor:
    """A model mixed with a cache: (1-λ) p(w) + λ Σ_i exp(θ h_t·h_i) [w_i = w] / Σ_i exp(θ h_t·h_i).

    h_i is the output that the symbol w_i followed, over the last `size` symbols (Grave et al. 2017, equations 2 and 3).
    They are part of the state: its last entry holds the outputs (B, N, H), and the symbols (B, N-1) that followed them,
    of which the newest is yet to come.
    """

    def __init__(self, predictor: TorchPredictor, options: CacheOptions) -> None:
        self.predictor = predictor
        self.options = options

    @property
    def vocab_size(self) -> int:
        """The number V of symbols."""
        return self.predictor.vocab_size

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        """Read `inputs` (B, T); return -ln P(target) after each of them (B, T), in nats, and the state."""
        model, cache, after = self.parts(inputs, targets, state)
        return with_cache(model, cache, self.options.weight), after

    def parts(self, inputs: Window, targets: Window, state: State | None) -> tuple[Nats, NDArray[np.float64], State]:
        """Return the model's nats (B, T), the cache's probability of each target, NaN while it is empty, the state."""
        y, keys, symbols, after = self._read(inputs, state)
        attention = self._attention(y, keys, keys.shape[1] - y.shape[1])
        followed = np.append(
            symbols, np.full((len(symbols), 1), -1), axis=1
        )  # what the newest is followed by is to come
        cache = (attention * (followed[:, None, :] == targets[:, :, None])).sum(-1)
        return self.predictor.nats_after(y, targets), cache, after

    def logits(self, inputs: Window, state: State | None = None) -> tuple[NDArray[np.float64], State]:
        """Read `inputs` (B, T); return the log-probabilities (B, V) of what follows the last, and the state."""
        y, keys, symbols, after = self._read(inputs, state)
        model = np.exp(log_probabilities(self.predictor.logits_after(y[:, -1:])[:, 0]))
        attention = self._attention(y[:, -1:], keys, keys.shape[1] - 1)[:, 0]
        if np.isnan(attention).any():
            return np.log(model), after
        cache = np.zeros_like(model)
        np.add.at(cache, (np.arange(len(inputs))[:, None], symbols), attention[:, :-1])
        return np.log((1 - self.options.weight) * model + self.options.weight * cache), after

    def _read(self, inputs: Window, state: State | None) -> tuple[Hidden, Hidden, Window, State]:
        """Return the outputs (B, T, H), all outputs in reach (B, N, H), the symbols that followed them, the state."""
        y, before = self.predictor.hidden(inputs, None if state is None else state[:-1])
        if state is None:
            keys, symbols = y, inputs[:, 1:]  # what is read first, the start symbol, followed nothing
        else:
            keys, symbols = (np.concatenate(pair, axis=1) for pair in zip(state[-1], (y, inputs), strict=True))
        reach = self.options.size
        return y, keys, symbols, (*before, (keys[:, -reach - 1 :], symbols[:, -reach:] if reach else symbols[:, :0]))

    def _attention(self, y: Hidden, keys: Hidden, first: int) -> NDArray[np.float64]:
        """Return exp(θ h_t·h_i) / Σ over the last `size` entries before each step, of which `first` is the first's."""
        steps, entries = np.arange(y.shape[1])[:, None] + first, np.arange(keys.shape[1])
        visible = (entries < steps) & (entries >= steps - self.options.size)
        scores = self.options.flatness * np.matmul(y, keys.transpose(0, 2, 1)).astype(np.float64)
        scores = np.where(visible, scores, -np.inf)
        with np.errstate(invalid="ignore"):
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            return np.asarray(scores / scores.sum(-1, keepdims=True))


def with_cache(model: Nats, cache: NDArray[np.float64], weight: float) -> Nats:
    """Return the nats of the mixture; before anything is in the cache (NaN), the model speaks alone."""
    return np.where(np.isnan(cache), model, -np.log((1 - weight) * np.exp(-model) + weight * cache))


# ---- options, fitted on validation text alone

LEARNING_RATES = (1e-4, 2e-4, 4e-4, 8e-4)
DECAYS = (0.0, 5e-4, 2e-3, 1e-2)
FLATNESSES = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
SIZES = (500, 2000)
DYNAMIC_TRIALS, CACHE_TRIALS = len(LEARNING_RATES) + len(DECAYS) - 1, len(FLATNESSES) * len(SIZES)


def fit_dynamic(
    model: Model, sizes: Sequence[Tensor], ids: Ids, start_id: int, seq_len: int
) -> Iterator[tuple[DynamicOptions, float]]:
    """Yield options and their nats per symbol on `ids`, as they are tried: rates, then decays at the best one."""
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


def fit_cache(predictor: TorchPredictor, ids: Ids, start_id: int) -> Iterator[tuple[CacheOptions, float]]:
    """Yield options and their nats per symbol on `ids`, as they are tried: the weight of each is its best."""
    for size in SIZES:
        for flatness in FLATNESSES:
            options = CacheOptions(size=size, flatness=flatness)
            model, cache = cache_parts(CachePredictor(predictor, options), ids, start_id)
            filled = ~np.isnan(cache)
            with np.errstate(divide="ignore"):
                weights = fit_weights(np.stack([model[filled], -np.log(cache[filled])]))
            options = replace(options, weight=float(weights[1]))
            yield options, float(with_cache(model, cache, options.weight).mean())


def cache_parts(predictor: CachePredictor, ids: Ids, start_id: int) -> tuple[Nats, NDArray[np.float64]]:
    """Return the model's nats (N,) and the cache's probabilities of `ids`, NaN while it is empty."""
    pieces, state = [], None
    for inputs, targets in stream_windows(ids, start_id, STREAM_WINDOW):
        model, cache, state = predictor.parts(inputs, targets, state)
        pieces.append((model[0], cache[0]))
    model, cache = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return model, cache

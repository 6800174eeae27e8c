"""The continuous cache (Grave et al. 2017): what was read recently is expected again. Without torch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unroll.data.batches import stream_windows
from unroll.errors import check_fields
from unroll.predict.mixture import fit_weights
from unroll.predict.predictor import Hidden, HiddenPredictor, Nats, Predictor, Window, log_probabilities
from unroll.predict.protocols import STREAM_WINDOW, Ids
from unroll.state import State


@dataclass(frozen=True)
class CacheOptions:
    """How strongly recent symbols are expected again."""

    size: int = 2000
    """Number of symbols remembered."""
    weight: float = 0.1
    """λ: the cache's weight in the mixture with the model."""
    flatness: float = 0.3
    """θ: how much more a similar state counts; at 0 all count the same."""

    def __post_init__(self) -> None:
        check_fields(
            self,
            ("size", 1 <= self.size <= 2**20, f"1 to {2**20:,}", "try 2000"),
            ("weight", 0 <= self.weight < 1, "0 up to, not including, 1", "try 0.1"),
            ("flatness", 0 <= self.flatness < float("inf"), "0 or more", "try 0.3"),
        )


class CachePredictor(Predictor):
    """A model mixed with a cache: (1-λ) p(w) + λ Σ_i exp(θ h_t·h_i) [w_i = w] / Σ_i exp(θ h_t·h_i).

    h_i is the output that the symbol w_i followed, over the last `size` symbols (Grave et al. 2017, equations 2 and 3).
    They are part of the state: its last entry holds the outputs (B, N, H) and the symbols (B, N-1) that followed them;
    what follows the newest output is yet to come.
    """

    def __init__(self, predictor: HiddenPredictor, options: CacheOptions) -> None:
        self.predictor = predictor
        self.options = options
        self.vocab_size = predictor.vocab_size

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        """Read `inputs` (B, T); return -ln P(target) after each of them (B, T), in nats, and the state."""
        model, cache, after = self.parts(inputs, targets, state)
        return with_cache(model, cache, self.options.weight), after

    def parts(self, inputs: Window, targets: Window, state: State | None) -> tuple[Nats, NDArray[np.float64], State]:
        """Return the model's nats (B, T), the cache's probability of each target (NaN: still empty), and the state."""
        y, keys, symbols, after = self._read(inputs, state)
        attention = self._attention(y, keys, keys.shape[1] - y.shape[1])
        followed = np.append(symbols, np.full((len(symbols), 1), -1), axis=1)  # what follows the newest is to come
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
    """Return the nats of the mixture; while the cache is empty (NaN), those of the model alone."""
    return np.where(np.isnan(cache), model, -np.log((1 - weight) * np.exp(-model) + weight * cache))


# ---- options, fitted on validation text only

FLATNESSES = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
SIZES = (500, 2000)
TRIALS = len(FLATNESSES) * len(SIZES)


def fit_cache(predictor: HiddenPredictor, ids: Ids, start_id: int) -> Iterator[tuple[CacheOptions, float]]:
    """Yield options and their nats per symbol on `ids` as they are tried, each with its best weight."""
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

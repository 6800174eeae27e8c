"""Recurrent layers over rows of vectors, without torch, and the pooling and head that make one answer of each row."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import AnyRows
from unroll.engine import native
from unroll.engine.layers import Layer
from unroll.engine.network import Precision, rounded
from unroll.engine.reference import Array, Weights
from unroll.nn.layers_config import LayersConfig, PoolingConfig
from unroll.threads import threads_up_to


class LayersNetwork:
    """The weights of recurrent layers and what is computed with them. It keeps no state, and threads may share it."""

    def __init__(
        self,
        config: LayersConfig,
        weights: Weights,
        symbols: Array | None = None,
        *,
        precision: Precision = "float32",
        kernel: bool | str = True,
    ) -> None:
        """Use `weights` by the names of the torch model; the first layer reads ids where there are `symbols` (V, I).

        `kernel`: False uses numpy, in the weights' type; a name, that instruction set; True the best. With int8 only
        the recurrent layers compute in eight bits.
        """
        self.config, self.precision = config, precision
        self._instructions = native.default_instructions() if kernel is True else kernel or None
        if precision == "int8" and self._instructions is None:
            weights = weights | rounded({name: w for name, w in weights.items() if "wards." in name})
        self._weights = weights
        self._layers = [
            self._layer([f"{way}.{k}." for way in config.directions], None if k else symbols)
            for k in range(config.num_layers)
        ]

    def _layer(self, prefixes: list[str], symbols: Array | None) -> Layer:
        """Return the layer whose directions have weights with these prefixes."""
        directions = [
            {name.removeprefix(prefix): w for name, w in self._weights.items() if name.startswith(prefix)}
            for prefix in prefixes
        ]
        return Layer(
            self.config.arch, directions, symbols, int8=self.precision == "int8", instructions=self._instructions,
            threads=threads_up_to(16),
        )  # fmt: skip

    def read(self, x: Array, rows: AnyRows) -> tuple[Array, Array]:
        """Return the outputs (N, D·H) over `x`, and the last of each direction (B, D·H).

        `x` has the vectors (N, I), or ids (N,), of all `rows`, whose lengths alone are read.
        """
        skip, lengths, total = self.config.skip, rows.lengths, None
        for k, layer in enumerate(self._layers):
            y, last = layer.read(x, lengths)
            if skip == "residual" and k:
                y = y + x
            if skip == "sum":
                total = y if total is None else total + y
            x = y
        if skip != "none":
            x = x if total is None else total
            last = self._ends(x, rows)
        return x, last

    def _ends(self, y: Array, rows: AnyRows) -> Array:
        """Return each direction's output at the step that it reads last, of every row (B, D·H); without steps, zero."""
        size, some = self.config.hidden_size, rows.lengths > 0
        last = np.zeros((len(rows), y.shape[1]), y.dtype)
        last[some, :size] = y[rows.ends[some] - 1, :size]
        last[some, size:] = y[rows.starts[some], size:]
        return last


class PooledNetwork(LayersNetwork):
    """Recurrent layers, pooling, and a head that reads the one vector of each row."""

    config: PoolingConfig

    def answers(self, x: Array, rows: AnyRows) -> NDArray[np.float64]:
        """Return the outputs (B, K) of the head for rows of `x`, as `read` takes them."""
        weight, bias = self._head
        return np.asarray(self.pool(*self.read(x, rows), rows).astype(np.float64) @ weight + bias)

    @cached_property
    def _head(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The head's weights (P, K) and bias (K,), in float64: rounded sums would depend on the rows of a batch."""
        weight, bias = self._weights["head.weight"].T, self._weights["head.bias"]
        return weight.astype(np.float64), bias.astype(np.float64)

    def pool(self, y: Array, last: Array, rows: AnyRows) -> Array:
        """Return the one vector (B, P) of each row, after what `read` gave."""
        pools = [self._pool(name, y, last, rows) for name in self.config.poolings]
        return pools[0] if len(pools) == 1 else np.concatenate(pools, axis=1)

    def attention(self, y: Array, rows: AnyRows) -> Array:
        """Return the weight (N,) of each step in its row's sum, of the pooling `attention`."""
        weights = self._weights
        hidden = np.tanh(y @ weights["attention.weight"].T + weights["attention.bias"])
        scores = hidden @ weights["attention.vector"]
        row = np.repeat(np.arange(len(rows)), rows.lengths)
        exponentials = np.exp(scores - _reduced(np.maximum, scores, rows, 0)[row])
        return np.asarray(exponentials / _reduced(np.add, exponentials, rows, 1)[row])

    def _pool(self, name: str, y: Array, last: Array, rows: AnyRows) -> Array:
        match name:
            case "last":
                return last
            case "mean":
                sums = _reduced(np.add, y, rows, 0)
                sums /= np.maximum(rows.lengths, 1)[:, None] if len(rows) > 1 else max(1, len(y))
                return sums
            case "max":
                return _reduced(np.maximum, y, rows, 0)
            case _:
                return _reduced(np.add, self.attention(y, rows)[:, None] * y, rows, 0)


def _reduced(function: np.ufunc, values: Array, rows: AnyRows, empty: float) -> Array:
    """Return what the values (N, …) of each row are together, (B, …); `empty` for a row without any."""
    if len(rows) == 1 and len(values):  # in a third of the time
        return np.asarray(function.reduce(values, axis=0, keepdims=True))
    result = np.full((len(rows), *values.shape[1:]), empty, values.dtype)
    some = rows.lengths > 0
    if some.any():
        result[some] = function.reduceat(values, rows.starts[some], axis=0)
    return result

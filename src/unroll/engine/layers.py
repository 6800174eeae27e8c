"""Recurrent layers over rows of vectors of different length, without torch: nothing is computed for padding."""

import numpy as np
from numpy.typing import NDArray

from unroll.engine.reference import STEPS, Array, Weights
from unroll.nn.arch import ARCHITECTURES

Lengths = NDArray[np.int64]


class Order:
    """Rows sorted by length, the longest first: at step t the first `alive[t]` of them still have units."""

    def __init__(self, lengths: Lengths, *, reverse: bool) -> None:
        """Lay out the steps of rows (B,); in `reverse` each row is read from its own end."""
        self.rows = np.argsort(-lengths, kind="stable")
        self.lengths = lengths[self.rows]
        starts = (np.cumsum(lengths) - lengths)[self.rows]
        longest = int(self.lengths[0]) if len(lengths) else 0
        self.alive = np.searchsorted(-self.lengths, -np.arange(longest), side="left")
        first, step = (starts + self.lengths - 1, -1) if reverse else (starts, 1)
        self.places = [first[:count] + step * t for t, count in enumerate(self.alive.tolist())]
        """Where the units of step t stand among all."""


class Layer:
    """The weights of one recurrent layer in one direction. It keeps no state, and threads may share it."""

    def __init__(self, arch: str, weights: Weights) -> None:
        """Use `weights` by torch's names, (G·H, I), (G·H, H) and two biases."""
        self.arch = arch
        self.hidden_size = len(weights["weight_ih"]) // len(ARCHITECTURES[arch].blocks)
        dtype = weights["weight_ih"].dtype
        self._input, self._bias = weights["weight_ih"].T, weights["bias_ih"]
        self._state = weights.get("weight_hh", np.zeros((0, self.hidden_size), dtype)).T
        self._state_bias = weights.get("bias_hh", np.zeros(0, dtype))

    def run(self, x: Array, order: Order) -> tuple[Array, Array]:
        """Read vectors `x` (N, I), all rows one after the other; return the outputs (N, H) and each row's last (B, H).

        Outputs stand where their units do. A row without units has zeros as its last output.
        """
        inputs = x @ self._input + self._bias
        outputs = np.empty((len(x), self.hidden_size), x.dtype)
        parts = ARCHITECTURES[self.arch].state
        state = tuple(np.zeros((len(order.rows), self.hidden_size), x.dtype) for _ in parts)
        last = state[0].copy()
        step = STEPS[self.arch]
        for count, places in zip(order.alive.tolist(), order.places, strict=True):
            last[count : len(state[0])] = state[0][count:]  # rows that have ended
            state = tuple(part[:count] for part in state)
            state = step(inputs[places], state[0] @ self._state + self._state_bias, state)
            outputs[places] = state[0]
        last[: len(state[0])] = state[0]
        ends = np.empty_like(last)
        ends[order.rows] = last
        return outputs, ends

"""Recurrent layers over rows of vectors of different length, without torch: nothing is computed for padding."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unroll.engine.native import Kernel
from unroll.engine.reference import STEPS, Array, Weights
from unroll.nn.arch import ARCHITECTURES, Cell

Lengths = NDArray[np.int64]


class Order:
    """Rows sorted by length, the longest first: at step t the first `alive[t]` of them still have units."""

    def __init__(self, lengths: Lengths, *, reverse: bool) -> None:
        """Lay out the steps of rows (B,); in `reverse` each row is read from its own end."""
        self.rows = np.argsort(-lengths, kind="stable")
        own = lengths[self.rows]
        self.count, self.longest = len(lengths), int(own[0]) if len(lengths) else 0
        starts = (np.cumsum(lengths) - lengths)[self.rows]
        self._first, self._way = (starts + own - 1, -1) if reverse else (starts, 1)
        ends = np.unique(own)
        self.stretches = [(int(a), int(b)) for a, b in pairwise([0, *ends[ends > 0]])]
        """Steps, from and up to, in which no row ends."""
        self._own = own

    def places(self, start: int, end: int) -> Lengths:
        """Return where the units of some steps stand among all, (B', T), of the rows that have them."""
        alive = int(np.searchsorted(-self._own, -end, side="right"))
        places: Lengths = self._first[:alive, None] + self._way * np.arange(start, end)
        return places


class Layer:
    """The weights of one recurrent layer in one direction. It keeps no state, and threads may share it."""

    def __init__(
        self, arch: Cell, weights: Weights, *, int8: bool = False, instructions: str | None = None, threads: int = 1
    ) -> None:
        """Use `weights` by torch's names, (G·H, I), (G·H, H) and two biases; `instructions` None is numpy."""
        self.arch, self.threads = arch, threads
        self.hidden_size = len(weights["weight_ih"]) // len(ARCHITECTURES[arch].blocks)
        dtype = weights["weight_ih"].dtype
        self._kernel = None
        if instructions is not None:
            self._kernel = Kernel.of_layer(arch, weights, int8=int8, instructions=instructions)
            return
        self._input, self._bias = weights["weight_ih"].T, weights["bias_ih"]
        self._state = weights.get("weight_hh", np.zeros((0, self.hidden_size), dtype)).T
        self._state_bias = weights.get("bias_hh", np.zeros(0, dtype))

    def run(self, x: Array, order: Order) -> tuple[Array, Array]:
        """Read vectors `x` (N, I), all rows one after the other; return the outputs (N, H) and each row's last (B, H).

        Outputs stand where their units do. A row without units has zeros as its last output.
        """
        outputs = np.empty((len(x), self.hidden_size), x.dtype)
        state = tuple(np.zeros((order.count, self.hidden_size), x.dtype) for _ in ARCHITECTURES[self.arch].state)
        inputs = x if self._kernel else x @ self._input + self._bias
        for start, end in order.stretches:
            places = order.places(start, end)
            own = tuple(part[: len(places)] for part in state)  # of the rows that have units; the others stay
            outputs[places] = self._read(inputs, places, own)
        last = np.empty_like(state[0])
        last[order.rows] = state[0]
        return outputs, last

    def _read(self, inputs: Array, places: Lengths, state: tuple[Array, ...]) -> Array:
        """Return the outputs (B', T, H) of some steps, and change `state` in place."""
        if self._kernel is not None:
            threads = self.threads if len(places) >= 4 * self.threads else 1
            return self._kernel.read_vectors(inputs, places, state, threads)
        step, after, outputs = STEPS[self.arch], state, []
        for column in places.T:
            after = step(inputs[column], after[0] @ self._state + self._state_bias, after)
            outputs.append(after[0])
        for part, new in zip(state, after, strict=True):
            part[...] = new
        return np.stack(outputs, axis=1)

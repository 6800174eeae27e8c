"""Recurrent layers over rows of vectors of different length, without torch: nothing is computed for padding."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unroll.engine.checks import FLOATS, check_array, check_ids
from unroll.engine.layer_kernel import LayerKernel, check_lengths
from unroll.engine.reference import STEPS, Array, Weights
from unroll.nn.arch import ARCHITECTURES, Cell

Lengths = NDArray[np.int64]

TABLE_BYTES = 2**22
"""Maximum size of a table of what symbols add to the sums: larger ones save little time."""
THREAD_WORK = 2**22
"""Products of weights that are worth a thread."""


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


class Direction:
    """The weights of a recurrent layer in one direction."""

    def __init__(self, arch: Cell, weights: Weights, *, reverse: bool) -> None:
        self.arch, self.reverse = arch, reverse
        self.hidden_size = len(weights["weight_ih"]) // len(ARCHITECTURES[arch].blocks)
        dtype = weights["weight_ih"].dtype
        self._input, self._bias = weights["weight_ih"].T, weights["bias_ih"]
        self._state = weights.get("weight_hh", np.zeros((0, self.hidden_size), dtype)).T
        self._state_bias = weights.get("bias_hh", np.zeros(0, dtype))

    def read(self, x: Array, lengths: Lengths) -> tuple[Array, Array]:
        """Read vectors `x` (N, I); return the outputs (N, H) and each row's last (B, H)."""
        order = Order(lengths, reverse=self.reverse)
        inputs = x @ self._input + self._bias
        state = tuple(np.zeros((len(lengths), self.hidden_size), x.dtype) for _ in ARCHITECTURES[self.arch].state)
        y, last = np.empty((len(x), self.hidden_size), x.dtype), np.zeros_like(state[0])
        step = STEPS[self.arch]
        for count, places in zip(order.alive.tolist(), order.places, strict=True):
            state = tuple(part[:count] for part in state)  # the others have ended
            state = step(inputs[places], state[0] @ self._state + self._state_bias, state)
            y[places] = last[order.rows[:count]] = state[0]
        return y, last


class Layer:
    """A recurrent layer that reads rows in one direction or both. It keeps no state, and threads may share it."""

    def __init__(
        self,
        arch: Cell,
        directions: Sequence[Weights],
        symbols: Array | None = None,
        *,
        int8: bool = False,
        instructions: str | None = None,
        threads: int = 1,
    ) -> None:
        """Use weights by torch's names, (G·H, I), (G·H, H) and two biases: read forwards and, if two, backwards.

        `symbols` (V, I) has the vectors of a vocabulary, whose ids are then read. `instructions` is a set of kernels,
        which compute in float32 or, with `int8`, in eight bits; None is numpy, in the weights' type.
        """
        rows, self._input_size = directions[0]["weight_ih"].shape
        self.hidden_size = rows // len(ARCHITECTURES[arch].blocks)
        self._size = sum(w.size for w in directions[0].values())
        self._threads, self._symbols = threads, symbols
        self._directions = [Direction(arch, w, reverse=k == 1) for k, w in enumerate(directions)]
        self._kernel: LayerKernel | None = None
        if instructions is None:
            return
        table = None
        if symbols is not None and 4 * len(symbols) * sum(len(w["bias_ih"]) for w in directions) <= TABLE_BYTES:
            table, self._symbols = symbols, None
        self._kernel = LayerKernel(arch, directions, table, int8=int8, instructions=instructions)

    def read(self, x: Array, lengths: Lengths) -> tuple[Array, Array]:
        """Read rows of `lengths` (B,), a row after the other: vectors `x` (N, I), or ids (N,) where there are symbols.

        Returns the outputs (N, D·H) of D directions, each at its unit, and the last of each row (B, D·H): backwards
        that at the first unit. A row without units has zeros. Raises ValueError for arrays that do not fit, IndexError
        for an id of no symbol.
        """
        if self._symbols is not None:
            x = self._symbols[check_ids(x, "x", len(self._symbols), ("N",))]
        if self._kernel is not None:
            threads = min(self._threads, len(lengths), len(x) * self._size // THREAD_WORK)
            return self._kernel.read(x, lengths, max(1, threads))
        check_array(x, "x", FLOATS, ("N", self._input_size))
        lengths = check_lengths(lengths, len(x))
        parts = [direction.read(x, lengths) for direction in self._directions]
        return np.concatenate([y for y, _ in parts], axis=1), np.concatenate([last for _, last in parts], axis=1)

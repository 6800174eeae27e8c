"""A decoder's recurrent layers, its readout and its output layer, with the kernels: many rows, a step at a time."""

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unroll.engine.checks import FLOATS, check_array, check_ids, packed
from unroll.engine.native import ARCHES, HEAD, PARTS, POINTER, READ, Engine, Floats, Job, Shape, address
from unroll.engine.reference import Weights
from unroll.nn.arch import ARCHITECTURES, Cell
from unroll.state import State, map_state, parts_of


class DecoderKernel:
    """Weights laid out for the kernels. They never change, and threads may share them."""

    def __init__(
        self,
        arch: Cell,
        layers: Sequence[Weights],
        combine: tuple[Floats, Floats],
        head: tuple[Floats, Floats],
        *,
        int8: bool,
        instructions: str,
    ) -> None:
        """Lay out recurrent layers by torch's names, each reading the one before; then the weight and bias of the
        readout tanh(W x + b), and of the output layer on it.

        Raises ValueError for instructions of another name, MemoryError.
        """
        rows, self.input_size = layers[0]["weight_ih"].shape
        self.hidden_size = rows // len(ARCHITECTURES[arch].blocks)
        self.readout_size, self.joined_size = combine[0].shape
        self.vocab_size = len(head[0])
        self._parts = len(ARCHITECTURES[arch].state)
        self._num_layers = len(layers)
        sizes = (ARCHES.index(arch), 0, self.input_size, self.hidden_size)
        recurrent = Shape(*sizes, layers=len(layers), window=1, int8=int8)
        weights = [weights.get(part) for weights in layers for part in PARTS]
        self._recurrent = Engine(recurrent, [None, *weights, None, None, None], instructions)
        # A network over windows of one vector is this readout: tanh(W x + b), and an output layer.
        sizes = (ARCHES.index("window"), self.vocab_size, self.joined_size, self.readout_size)
        output = Shape(*sizes, layers=1, window=1, head=self.readout_size, int8=int8)
        self._output = Engine(output, [None, *combine, None, *head], instructions)

    def step(self, x: Floats, state: State, threads: int) -> State:
        """Return the state after reading vectors (R, I): each layer's h, or h and c, (R, H); the last h is the output.

        Raises ValueError for arrays of another shape or type.
        """
        check_array(x, "x", FLOATS, ("R", self.input_size))
        x, after = packed(x, np.float32), map_state(lambda part: np.array(part, np.float32, order="C"), state)
        parts = parts_of(after)
        if len(parts) != self._num_layers * self._parts:
            raise ValueError(f"the state has {len(parts)} arrays; allowed: {self._num_layers * self._parts}")
        for k, part in enumerate(parts):
            check_array(part, f"state[{k}]", FLOATS, (len(x), self.hidden_size))
        job = Job(kind=READ, rows=len(x), steps=1, vectors=address(x))
        self._work(self._recurrent, job, parts, threads)
        return after

    def readout(self, joined: Floats, threads: int) -> Floats:
        """Return tanh(W x + b), (R, E), of vectors (R, J). Raises ValueError as `step` does."""
        check_array(joined, "joined", FLOATS, ("R", self.joined_size))
        joined, y = packed(joined, np.float32), np.empty((len(joined), self.readout_size), np.float32)
        job = Job(kind=READ, rows=len(joined), steps=1, vectors=address(joined), y=address(y), apart=self.readout_size)
        self._work(self._output, job, [np.empty((len(joined), 0), np.float32)], threads)  # of a window of one: nothing
        return y

    def logits(self, readout: Floats, threads: int) -> Floats:
        """Return the logits (R, V) after readouts (R, E). Raises ValueError as `step` does."""
        readout, job = self._head(readout)
        logits = np.empty((len(readout), self.vocab_size), np.float32)
        job.logits = address(logits)
        self._work(self._output, job, [], threads)
        return logits

    def nats(self, readout: Floats, targets: NDArray[np.int64], threads: int) -> NDArray[np.float64]:
        """Return -ln P of targets (R,), in nats, after readouts (R, E). Raises ValueError, and IndexError for an id."""
        readout, job = self._head(readout)
        targets, nats = check_ids(targets, "targets", self.vocab_size, (len(readout),)), np.empty(len(readout))
        job.targets, job.nats = address(targets), address(nats)
        self._work(self._output, job, [], threads)
        return nats

    def _head(self, readout: Floats) -> tuple[Floats, Job]:
        check_array(readout, "readout", FLOATS, ("R", self.readout_size))
        readout = packed(readout, np.float32)
        return readout, Job(kind=HEAD, rows=len(readout), steps=1, y=address(readout))

    @staticmethod
    def _work(engine: Engine, job: Job, state: Sequence[Floats], threads: int) -> None:
        pointers = (POINTER * max(1, len(state)))(*map(address, state))
        job.state = ctypes.addressof(pointers)
        engine.work(job, threads)

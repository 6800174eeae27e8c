"""A recurrent layer alone, with the kernels: it reads rows of vectors, or of symbols, of different length."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unroll.engine.checks import FLOATS, INTEGERS, check_array, check_ids, packed
from unroll.engine.native import ARCHES, PARTS, READ, Engine, Floats, Job, Shape, address, first_products
from unroll.engine.reference import Array, Weights
from unroll.nn.arch import ARCHITECTURES, Cell, layer_shapes


class LayerKernel:
    """A layer's weights in D directions, laid out for the kernels. It never changes, and threads may share it."""

    def __init__(
        self,
        arch: Cell,
        directions: Sequence[Weights],
        symbols: Array | None = None,
        *,
        int8: bool = False,
        instructions: str | None = None,
    ) -> None:
        """Lay out weights by torch's names: the first read forwards, a second backwards.

        With `symbols` (V, I) ids are read, by a table of what these vectors add to the sums. Raises ValueError for
        weights that do not fit each other or instructions of another name, MemoryError.
        """
        check_array(directions[0].get("weight_ih"), "weight_ih", FLOATS, ("G·H", "I"))
        rows, self.input_size = directions[0]["weight_ih"].shape
        self.hidden_size, self.vocab_size = rows // len(ARCHITECTURES[arch].blocks), 0
        if symbols is not None:
            check_array(symbols, "symbols", FLOATS, ("V", self.input_size))
            self.vocab_size = len(symbols)
        sizes = (ARCHES.index(arch), self.vocab_size, self.input_size, self.hidden_size)
        shape_of_net = Shape(*sizes, layers=1, window=1, table=symbols is not None, int8=int8)
        self._engines = []
        for weights in directions:
            for name, shape in layer_shapes(arch, self.input_size, self.hidden_size).items():
                check_array(weights.get(name), name, FLOATS, shape)
            first, parts = None, [weights.get(part) for part in PARTS]
            if symbols is not None:
                first, parts[0] = first_products(arch, symbols, weights), None
            self._engines.append(Engine(shape_of_net, [first, *parts, None, None, None], instructions))

    def read(self, x: Array, lengths: NDArray[np.int64], threads: int) -> tuple[Floats, Floats]:
        """Read rows of `lengths` (B,), a row after the other: vectors `x` (N, I) or, of a layer with symbols, ids (N,).

        Returns the outputs (N, D·H), each at its unit, and the last of each row (B, D·H): backwards that at the first
        unit, and of an empty row zero. Raises ValueError for arrays of another shape or type, IndexError for an id of
        no symbol.
        """
        if self.vocab_size:
            x = check_ids(x, "x", self.vocab_size, ("N",))
        else:
            check_array(x, "x", FLOATS, ("N", self.input_size))
            x = packed(x, np.float32)
        lengths = check_lengths(lengths, len(x))
        width = len(self._engines) * self.hidden_size
        outputs = np.empty((len(x) + len(lengths), width), np.float32)
        job = Job(kind=READ, rows=len(lengths), lengths=address(lengths), apart=width)
        if self.vocab_size:
            job.ids = address(x)
        else:
            job.vectors = address(x)
        first = address(outputs)
        for k, engine in enumerate(self._engines):
            job.backwards, job.y = k, first + 4 * k * self.hidden_size
            job.last = job.y + 4 * len(x) * width
            engine.work(job, threads)
        return outputs[: len(x)], outputs[len(x) :]


def check_lengths(lengths: NDArray[np.int64], units: int) -> NDArray[np.int64]:
    """Return `lengths` (B,) in int64; raises ValueError unless they are 0 or more, and `units` in all."""
    check_array(lengths, "lengths", INTEGERS, ("B",))
    lengths = packed(lengths, np.int64)
    each = lengths.tolist()
    total, least = sum(each), min(each, default=0)  # without overflow
    if total != units or least < 0:
        raise ValueError(f"lengths with the sum {total} and the least {least}; allowed: 0 or more, {units} in all")
    return lengths

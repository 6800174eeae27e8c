"""The kernels (folder kernel) behind a plain C interface, called through ctypes.

ctypes rather than nanobind, pybind11 or Numba: docs/lab-notes.md has the measurement.
"""

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.engine.checks import (
    FLOATS,
    check_array,
    check_drawing,
    check_ids,
    described,
    packed,
    state_shapes,
)
from unroll.engine.draw import Drawing
from unroll.engine.reference import Array, Weights, embeddings
from unroll.engine.weights import check_weights
from unroll.errors import UserError
from unroll.kernels import load
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig

LIBRARY = Path(__file__).with_name("libengine.so")
TABLE_BYTES = 2**24
"""Maximum size of the table of the first layer's products with all symbols, which is computed beforehand."""

Floats = NDArray[np.float32]
_INT, POINTER = ctypes.c_int64, ctypes.c_void_p


class Shape(ctypes.Structure):
    """The struct of that name in kernel/engine.h."""

    _fields_ = [(name, _INT) for name in (
        "arch", "vocab", "embedding", "hidden", "layers", "window", "after", "skip", "head", "table", "int8",
    )]  # fmt: skip


class Job(ctypes.Structure):
    """The struct of that name in kernel/engine.h."""

    _fields_ = [
        *((name, _INT) for name in ("kind", "rows", "steps")),
        ("lengths", POINTER),
        ("backwards", _INT),
        *((name, POINTER) for name in ("ids", "vectors", "state", "y", "last")),
        ("apart", _INT),
        *((name, POINTER) for name in ("logits", "targets", "nats")),
        *((name, POINTER) for name in ("temperature", "top_p", "min_p", "uniforms", "top_k")),
        ("never", _INT),
        ("drawn", POINTER),
        ("halt", POINTER),
        ("done", _INT),
        ("spans", POINTER),
        ("barrier", ctypes.c_int * 3),
        ("shared", POINTER),
        ("memory", POINTER),
        ("failed", ctypes.c_int),
    ]  # fmt: skip


_FLOAT32 = np.dtype(np.float32)
READ, HEAD, GENERATE = 0, 1, 2
ARCHES = tuple(ARCHITECTURES)
SKIPS = ("none", "residual", "sum")
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""The weights of a recurrent layer, in the kernels' order."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernels; None where they were not built, or, with a warning, were built from other sources."""
    loaded = load(LIBRARY, "unroll_engine_sources", "the engine runs with numpy")
    if loaded is None:
        return None
    loaded.unroll_engine_name.argtypes, loaded.unroll_engine_name.restype = [ctypes.c_int], ctypes.c_char_p
    loaded.unroll_engine_new.argtypes = [ctypes.c_char_p, ctypes.POINTER(Shape), ctypes.POINTER(POINTER)]
    loaded.unroll_engine_new.restype = POINTER
    loaded.unroll_engine_free.argtypes, loaded.unroll_engine_free.restype = [POINTER], None
    loaded.unroll_engine_work.argtypes = [POINTER, ctypes.POINTER(Job), ctypes.c_int]
    loaded.unroll_engine_work.restype = ctypes.c_int
    return loaded


def instruction_sets() -> list[str]:
    """Return the names of the instruction sets that this machine runs, best first."""
    kernels = library()
    names: list[str] = []
    while kernels is not None and (name := kernels.unroll_engine_name(len(names))):
        names.append(name.decode())
    return names


def default_instructions() -> str | None:
    """Return the instruction set of networks that name none, or None for numpy.

    It is the best that this machine runs; the environment variable UNROLL_INSTRUCTIONS chooses another of
    `instruction_sets()`, or `numpy`. Raises UserError where that names anything else.
    """
    names, chosen = instruction_sets(), os.environ.get("UNROLL_INSTRUCTIONS", "")
    if chosen and chosen not in (*names, "numpy"):
        raise UserError(
            f"the environment variable UNROLL_INSTRUCTIONS is {chosen!r}",
            allowed=f"on this machine {', '.join([*names, 'numpy'])}",
            fix="choose one of them, or unset the variable to use the best",
        )
    if chosen:
        return None if chosen == "numpy" else chosen
    return names[0] if names else None


class Engine:
    """Weights laid out for an instruction set. It never changes: any number of threads may use it."""

    def __init__(self, shape: Shape, arrays: Sequence[Floats | None], instructions: str | None) -> None:
        """Lay out weights in the order of kernel/engine.h. Raises ValueError for other instructions, MemoryError."""
        self._handle = None
        kernels, names = library(), instruction_sets()
        if kernels is None or (instructions is not None and instructions not in names):
            raise ValueError(f"no kernels {instructions or ''}; allowed: {', '.join(names) or 'numpy alone'}")
        dense = [None if array is None else np.ascontiguousarray(array, np.float32) for array in arrays]
        pointers = (POINTER * len(dense))(*(None if array is None else array.ctypes.data for array in dense))
        self._library = kernels
        self._handle = kernels.unroll_engine_new(
            None if instructions is None else instructions.encode(), ctypes.byref(shape), pointers
        )
        if not self._handle:
            raise MemoryError("the weights of a network")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.unroll_engine_free(self._handle)

    def work(self, job: Job, threads: int) -> None:
        """Do a job with up to `threads` threads. Raises ValueError for less than one, MemoryError."""
        if not 1 <= threads < 2**31:  # a C int
            raise ValueError(f"threads is {threads}; allowed: 1 or more")
        if self._library.unroll_engine_work(self._handle, ctypes.byref(job), threads):
            raise MemoryError(f"the states of {job.rows} rows")


class Kernel:
    """A network's weights, laid out for the kernels. It never changes: any number of threads may use it.

    Here arrays become addresses: the type, shape and layout of each is checked, whoever calls. An adaptive softmax has
    no kernel: of such a network this holds the recurrent layers, which can only `read`.
    """

    def __init__(
        self, config: ModelConfig, weights: Weights, *, int8: bool = False, instructions: str | None = None
    ) -> None:
        """Lay out float32 weights; `instructions` is one of `instruction_sets()`, by default the first.

        Raises ValueError for weights of another network or another name, MemoryError.
        """
        check_weights(weights, config)
        self.config, self._adaptive = config, bool(config.cutoffs)
        x = embeddings(config, weights).astype(np.float32, copy=False)
        rows = 4 * config.hidden_size
        table = config.arch != "window" and 4 * config.vocab_size * rows <= TABLE_BYTES
        arrays: list[Floats | None] = [x]
        for k in range(config.num_layers):
            name = f"recurrent.layers.{k}"
            if config.arch == "window":
                arrays += [weights[f"{name}.weight"], weights[f"{name}.bias"]]
                continue
            layer = {part: weights[f"{name}.{part}"] for part in PARTS if f"{name}.{part}" in weights}
            if k == 0 and table:
                arrays[0] = first_products(config.arch, x, layer)
                del layer["weight_ih"]
            arrays += map(layer.get, PARTS)
        layers_after = 0 if self._adaptive else config.layers_after
        for k in range(layers_after):
            arrays += [weights[f"after.{k}.weight"], weights[f"after.{k}.bias"]]
        if self._adaptive:
            head, output = 0, ["", "", ""]
        elif config.tie_weights:
            head, output = config.embedding_size, ["projection.weight", "embedding.weight", "bias"]
        else:
            head, output = config.hidden_size, ["", "head.weight", "head.bias"]
        arrays += [weights.get(name) for name in output]
        shape = Shape(
            ARCHES.index(config.arch),
            config.vocab_size,
            config.embedding_size,
            config.hidden_size,
            config.num_layers,
            config.window,
            layers_after,
            SKIPS.index(config.skip if config.arch != "window" else "none"),
            head,
            table,
            int8,
        )
        self._engine = Engine(shape, arrays, instructions)

    def read(self, ids: NDArray[np.int64], state: Sequence[Floats], threads: int) -> Floats:
        """Read ids (B, T); return the outputs (B, T, H), and change `state`, the arrays of all layers, in place.

        Raises ValueError for arrays of another shape, type or layout, IndexError for an id outside the vocabulary.
        """
        ids = check_ids(ids, "ids", self.config.vocab_size)  # named, so that it lives while the kernel reads it
        y = np.empty((*ids.shape, self.config.hidden_size), np.float32)
        job = Job(kind=READ, rows=ids.shape[0], steps=ids.shape[1], ids=address(ids), y=address(y))
        job.apart = self.config.hidden_size
        self._work(job, threads, state)
        return y

    def head(self, y: Floats, targets: NDArray[np.int64] | None, threads: int) -> NDArray[Any]:
        """Return the logits (N, V) after outputs (N, H) or, given `targets` (N,), the nats (N,) of those.

        Raises ValueError and IndexError as `read` does.
        """
        self._check_output()
        check_array(y, "y", FLOATS, ("N", self.config.hidden_size))
        y = packed(y, np.float32)
        job = Job(kind=HEAD, rows=len(y), steps=1, y=address(y))
        if targets is None:
            logits = np.empty((len(y), self.config.vocab_size), np.float32)
            job.logits = address(logits)
            self._work(job, threads)
            return logits
        targets, nats = check_ids(targets, "targets", self.config.vocab_size, (len(y),)), np.empty(len(y))
        job.targets, job.nats = address(targets), address(nats)
        self._work(job, threads)
        return nats

    def generate(
        self,
        logits: Floats,
        state: Sequence[Floats],
        drawing: Drawing,
        uniforms: NDArray[np.float64],
        threads: int,
        halt: NDArray[np.int32] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw and read a symbol for each of `uniforms` (B, N); changes `logits` and `state` in place.

        `halt` (1,): where another thread sets it to 1, generation ends after the current step. That works if all rows
        are stepped together, by one thread or a team, so always with a single row. Raises ValueError and IndexError
        as `read` does.
        """
        self._check_output()
        check_drawing(drawing, uniforms, halt, self.config.vocab_size)
        uniforms = packed(uniforms, np.float64)
        rows, steps = uniforms.shape
        _check_own(logits, "logits", (rows, self.config.vocab_size))
        ids, nats = np.empty((rows, steps), np.int64), np.empty((rows, steps))
        per_row = [
            _per_row(values, rows, kind)
            for values, kind in (
                (drawing.temperature, np.float64),
                (drawing.top_p, np.float64),
                (drawing.min_p, np.float64),
                (drawing.top_k, np.int64),
            )
        ]
        job = Job(kind=GENERATE, rows=rows, steps=steps, logits=address(logits), nats=address(nats))
        job.temperature, job.top_p, job.min_p, job.top_k = map(address, per_row)
        job.uniforms, job.drawn = address(uniforms), address(ids)
        job.never = -1 if drawing.never is None else int(drawing.never)
        if halt is not None:
            job.halt = address(halt)
        self._work(job, threads, state)
        return ids[:, : job.done], nats[:, : job.done]

    def _check_output(self) -> None:
        if self._adaptive:
            raise ValueError("an adaptive softmax has no kernel; allowed: the recurrent layers, which read")

    def _work(self, job: Job, threads: int, state: Sequence[Floats] = ()) -> None:
        if job.kind != HEAD:
            shapes = [shape for layer in state_shapes(self.config, job.rows) for shape in layer]
            if not isinstance(state, (list, tuple)) or len(state) != len(shapes):
                raise ValueError(f"the state is {described(state)}; allowed: {len(shapes)} arrays")
            for k, (part, shape) in enumerate(zip(state, shapes, strict=True)):
                _check_own(part, f"state[{k}]", shape)
        pointers = (POINTER * max(1, len(state)))(*map(address, state))
        job.state = ctypes.addressof(pointers)
        self._engine.work(job, threads)


def first_products(arch: str, x: Array, layer: Weights) -> Array:
    """Return what vectors `x` (V, I) add to the sums of a layer with these weights, its biases included, (V, G·H)."""
    first, second = layer["bias_ih"], layer.get("bias_hh")
    biases = first.copy() if second is None else first + second
    if apart := ARCHITECTURES[arch].apart:
        # That block takes its second bias with the state's part.
        hidden = len(first) // len(ARCHITECTURES[arch].blocks)
        at = ARCHITECTURES[arch].blocks.index(apart) * hidden
        biases[at : at + hidden] = first[at : at + hidden]
    return np.asarray(x @ layer["weight_ih"].T + biases)


def _per_row(values: Any, rows: int, kind: type[np.generic]) -> NDArray[Any]:
    """Return an array with one value for each row; an array is copied only to change its type or layout."""
    return packed(values, kind) if isinstance(values, np.ndarray) else np.full(rows, values, kind)


def _check_own(array: Floats, name: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the kernels can change the array in place."""
    if not (isinstance(array, np.ndarray) and array.shape == shape and array.dtype == _FLOAT32 and array.flags.carray):
        raise ValueError(f"{name} is {described(array)}; allowed: float32 of shape {shape}, contiguous and writable")


def address(array: NDArray[Any]) -> int:
    """Return where an array's numbers are."""
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]  # in half the time of array.ctypes

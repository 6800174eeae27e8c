"""The kernels (folder kernel) behind a plain C interface, called through ctypes; None where they were not built.

ctypes rather than nanobind, pybind11 or Numba: docs/lab-notes.md has the measurement.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.engine.plain import Weights, embeddings
from unroll.nn.config import ModelConfig

LIBRARY = Path(__file__).with_name("libengine.so")
TABLE_BYTES = 2**24
"""The first layer's products with all symbols are worked out beforehand, where they take no more than this."""

Floats = NDArray[np.float32]
_INT, _POINTER = ctypes.c_int64, ctypes.c_void_p


class _Shape(ctypes.Structure):
    _fields_ = [(name, _INT) for name in (
        "arch", "vocab", "embedding", "hidden", "layers", "window", "after", "skip", "head", "table", "int8",
    )]  # fmt: skip


class _Job(ctypes.Structure):
    _fields_ = [
        *((name, _INT) for name in ("kind", "rows", "steps")),
        *((name, _POINTER) for name in ("ids", "state", "y", "logits", "targets", "nats")),
        *((name, _POINTER) for name in ("temperature", "top_p", "min_p", "uniforms", "top_k")),
        ("never", _INT),
        ("drawn", _POINTER),
        ("halt", _POINTER),
        ("done", _INT),
        ("barrier", ctypes.c_int * 3),
        ("shared", _POINTER),
        ("failed", ctypes.c_int),
    ]  # fmt: skip


READ, HEAD, GENERATE = 0, 1, 2
ARCHES = ("rnn", "gru", "lstm", "window")
SKIPS = ("none", "residual", "sum")


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernels, or None where they were not built."""
    if not LIBRARY.exists():
        return None
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
    except OSError:  # built for another system
        return None
    loaded.unroll_engine_name.argtypes, loaded.unroll_engine_name.restype = [ctypes.c_int], ctypes.c_char_p
    loaded.unroll_engine_new.argtypes = [ctypes.c_char_p, ctypes.POINTER(_Shape), ctypes.POINTER(_POINTER)]
    loaded.unroll_engine_new.restype = _POINTER
    loaded.unroll_engine_free.argtypes, loaded.unroll_engine_free.restype = [_POINTER], None
    loaded.unroll_engine_work.argtypes = [_POINTER, ctypes.POINTER(_Job), ctypes.c_int]
    loaded.unroll_engine_work.restype = ctypes.c_int
    return loaded


def instruction_sets() -> list[str]:
    """Return the names of the instruction sets that this machine runs, best first."""
    kernels = library()
    names: list[str] = []
    while kernels is not None and (name := kernels.unroll_engine_name(len(names))):
        names.append(name.decode())
    return names


class Kernel:
    """A network's weights, laid out for the kernels. It never changes: any number of threads may use it."""

    def __init__(
        self, config: ModelConfig, weights: Weights, *, int8: bool = False, instructions: str | None = None
    ) -> None:
        """Lay out float32 weights; `instructions` is one of `instruction_sets()`. Raises MemoryError."""
        kernels = library()
        assert kernels is not None
        self._library, self.config = kernels, config
        self._handle = None
        x = embeddings(config, weights).astype(np.float32, copy=False)
        rows = 4 * config.hidden_size
        table = config.arch != "window" and 4 * config.vocab_size * rows <= TABLE_BYTES
        arrays: list[Floats | None] = [x]
        for k in range(config.num_layers):
            name = f"recurrent.layers.{k}"
            if config.arch == "window":
                arrays += [weights[f"{name}.weight"], weights[f"{name}.bias"]]
                continue
            of_input, first, second = (weights[f"{name}.{part}"] for part in ("weight_ih", "bias_ih", "bias_hh"))
            if k == 0 and table:
                # A GRU's candidate takes its second bias with the state's part.
                both = first + second
                if config.arch == "gru":
                    both[2 * config.hidden_size :] = first[2 * config.hidden_size :]
                arrays[0] = x @ of_input.T + both
            arrays += [None if k == 0 and table else of_input, weights[f"{name}.weight_hh"], first, second]
        for k in range(config.layers_after):
            arrays += [weights[f"after.{k}.weight"], weights[f"after.{k}.bias"]]
        arrays.append(weights.get("projection.weight"))
        tied = config.tie_weights
        arrays += (
            [weights["embedding.weight"], weights["bias"]] if tied else [weights["head.weight"], weights["head.bias"]]
        )
        shape = _Shape(
            ARCHES.index(config.arch),
            config.vocab_size,
            config.embedding_size,
            config.hidden_size,
            config.num_layers,
            config.window,
            config.layers_after,
            SKIPS.index(config.skip if config.arch != "window" else "none"),
            config.embedding_size if tied else config.hidden_size,
            table,
            int8,
        )
        kept = [None if array is None else np.ascontiguousarray(array, np.float32) for array in arrays]
        pointers = (_POINTER * len(kept))(*(None if array is None else array.ctypes.data for array in kept))
        self._handle = kernels.unroll_engine_new(
            None if instructions is None else instructions.encode(), ctypes.byref(shape), pointers
        )
        if not self._handle:
            raise MemoryError("the weights of a network")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.unroll_engine_free(self._handle)

    def read(self, ids: NDArray[np.int64], state: Sequence[Floats], threads: int, *, outputs: bool) -> Floats | None:
        """Read ids (B, T); changes `state`, all layers' arrays, in place. Returns the outputs (B, T, H) if asked."""
        y = np.empty((*ids.shape, self.config.hidden_size), np.float32) if outputs else None
        ids = self._checked(ids)  # held by a name for as long as the kernel reads them
        job = _Job(kind=READ, rows=ids.shape[0], steps=ids.shape[1], ids=_address(ids))
        if y is not None:
            job.y = _address(y)
        self._work(job, threads, state)
        return y

    def head(
        self, y: Floats, targets: NDArray[np.int64] | None, threads: int
    ) -> tuple[Floats | None, NDArray[np.float64] | None]:
        """Return the logits (N, V) after outputs (N, H); with `targets` (N,) the nats (N,) of those instead."""
        y = np.ascontiguousarray(y, np.float32)
        job = _Job(kind=HEAD, rows=len(y), steps=1, y=_address(y))
        if targets is None:
            logits = np.empty((len(y), self.config.vocab_size), np.float32)
            job.logits = _address(logits)
            self._work(job, threads)
            return logits, None
        targets, nats = self._checked(targets), np.empty(len(y))
        job.targets, job.nats = _address(targets), _address(nats)
        self._work(job, threads)
        return None, nats

    def generate(
        self,
        logits: Floats,
        state: Sequence[Floats],
        drawing: Any,
        uniforms: NDArray[np.float64],
        threads: int,
        halt: NDArray[np.int32] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw and read as often as there are `uniforms` (B, N); changes `logits` and `state` in place.

        `halt` (1,): another thread that sets it to 1 ends it sooner, after the step at hand. It is heeded where one
        thread or a team steps all rows together, so always with a single row.
        """
        uniforms = np.ascontiguousarray(uniforms, np.float64)
        rows, steps = uniforms.shape
        drawn, nats = np.empty((rows, steps), np.int64), np.empty((rows, steps))
        given = [
            _of_rows(values, rows, kind)
            for values, kind in (
                (drawing.temperature, np.float64),
                (drawing.top_p, np.float64),
                (drawing.min_p, np.float64),
                (drawing.top_k, np.int64),
            )
        ]
        job = _Job(kind=GENERATE, rows=rows, steps=steps, logits=_address(logits), nats=_address(nats))
        job.temperature, job.top_p, job.min_p, job.top_k = map(_address, given)
        job.uniforms, job.drawn = _address(uniforms), _address(drawn)
        job.never = -1 if drawing.never is None else drawing.never
        if halt is not None:
            job.halt = _address(halt)
        self._work(job, threads, state)
        return drawn[:, : job.done], nats[:, : job.done]

    def _checked(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return ids as the kernel reads them; raises IndexError for one that is no symbol's."""
        ids = np.ascontiguousarray(ids, np.int64)
        if ids.size and not (ids.min() >= 0 and ids.max() < self.config.vocab_size):
            raise IndexError(f"ids from {ids.min()} to {ids.max()} for {self.config.vocab_size} symbols")
        return ids

    def _work(self, job: _Job, threads: int, state: Sequence[Floats] = ()) -> None:
        pointers = (_POINTER * max(1, len(state)))(*map(_address, state))
        job.state = ctypes.addressof(pointers)
        if self._library.unroll_engine_work(self._handle, ctypes.byref(job), threads):
            raise MemoryError("the states of so many rows")


def _of_rows(values: Any, rows: int, kind: type[np.generic]) -> NDArray[Any]:
    """Return one value for each row; what is so already is not copied."""
    if isinstance(values, np.ndarray):
        return np.ascontiguousarray(np.broadcast_to(values, rows), kind)
    return np.full(rows, values, kind)


def _address(array: NDArray[Any]) -> int:
    assert array.flags.c_contiguous
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]  # in half the time of array.ctypes

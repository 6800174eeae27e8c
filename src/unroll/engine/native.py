"""The kernels (folder kernel) behind a plain C interface, called through ctypes.

ctypes rather than nanobind, pybind11 or Numba: docs/lab-notes.md has the measurement.
"""

import ctypes
import hashlib
import os
import warnings
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
from unroll.engine.reference import Weights, embeddings
from unroll.engine.weights import check_weights
from unroll.errors import UserError
from unroll.nn.arch import ARCHITECTURES, Cell, layer_shapes
from unroll.nn.config import ModelConfig

LIBRARY = Path(__file__).with_name("libengine.so")
TABLE_BYTES = 2**24
"""Maximum size of the table of the first layer's products with all symbols, which is computed beforehand."""

Floats = NDArray[np.float32]
_INT, _POINTER = ctypes.c_int64, ctypes.c_void_p


class _Shape(ctypes.Structure):
    _fields_ = [(name, _INT) for name in (
        "arch", "vocab", "embedding", "hidden", "layers", "window", "after", "skip", "head", "table", "int8",
    )]  # fmt: skip


class _Job(ctypes.Structure):
    _fields_ = [
        *((name, _INT) for name in ("kind", "rows", "steps")),
        *((name, _POINTER) for name in ("ids", "vectors", "state", "y", "logits", "targets", "nats")),
        *((name, _POINTER) for name in ("temperature", "top_p", "min_p", "uniforms", "top_k")),
        ("never", _INT),
        ("drawn", _POINTER),
        ("halt", _POINTER),
        ("done", _INT),
        ("barrier", ctypes.c_int * 3),
        ("shared", _POINTER),
        ("failed", ctypes.c_int),
    ]  # fmt: skip


_FLOAT32 = np.dtype(np.float32)
READ, HEAD, GENERATE = 0, 1, 2
ARCHES = tuple(ARCHITECTURES)
SKIPS = ("none", "residual", "sum")


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernels; None where they were not built, or, with a warning, were built from other sources."""
    if not LIBRARY.exists():
        return None
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
    except OSError:  # built for another system
        return None
    if not built_from_sources(loaded):
        warnings.warn(
            f"{LIBRARY} was built from other sources: the engine runs with numpy, slower, until `make setup` builds it",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    loaded.unroll_engine_name.argtypes, loaded.unroll_engine_name.restype = [ctypes.c_int], ctypes.c_char_p
    loaded.unroll_engine_new.argtypes = [ctypes.c_char_p, ctypes.POINTER(_Shape), ctypes.POINTER(_POINTER)]
    loaded.unroll_engine_new.restype = _POINTER
    loaded.unroll_engine_free.argtypes, loaded.unroll_engine_free.restype = [_POINTER], None
    loaded.unroll_engine_work.argtypes = [_POINTER, ctypes.POINTER(_Job), ctypes.c_int]
    loaded.unroll_engine_work.restype = ctypes.c_int
    return loaded


def built_from_sources(loaded: ctypes.CDLL) -> bool:
    """Return whether a library was built from the sources beside it, if there are any: another may compute nonsense."""
    if not hasattr(loaded, "unroll_engine_sources"):
        return False
    loaded.unroll_engine_sources.restype = ctypes.c_char_p
    sources = LIBRARY.with_name("kernel")
    return not sources.is_dir() or loaded.unroll_engine_sources().decode() == source_digest(sources)


def source_digest(folder: Path) -> str:
    """Return what tells the kernel's sources from any others, as hatch_build.py does."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.cpp"), *folder.glob("*.h")]):
        digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


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
        self._handle = None
        kernels, names = library(), instruction_sets()
        if kernels is None or (instructions is not None and instructions not in names):
            raise ValueError(f"no kernels {instructions or ''}; allowed: {', '.join(names) or 'numpy alone'}")
        check_weights(weights, config)
        self._library, self.config, self._adaptive = kernels, config, bool(config.cutoffs)
        x = embeddings(config, weights).astype(np.float32, copy=False)
        rows = 4 * config.hidden_size
        table = config.arch != "window" and 4 * config.vocab_size * rows <= TABLE_BYTES
        arrays: list[Floats | None] = [x]
        for k in range(config.num_layers):
            name = f"recurrent.layers.{k}"
            if config.arch == "window":
                arrays += [weights[f"{name}.weight"], weights[f"{name}.bias"]]
                continue
            of_input, first = weights[f"{name}.weight_ih"], weights[f"{name}.bias_ih"]
            of_state, second = weights.get(f"{name}.weight_hh"), weights.get(f"{name}.bias_hh")
            if k == 0 and table:
                biases = first.copy() if second is None else first + second
                if apart := ARCHITECTURES[config.arch].apart:
                    # That block takes its second bias with the state's part.
                    at = ARCHITECTURES[config.arch].blocks.index(apart) * config.hidden_size
                    biases[at : at + config.hidden_size] = first[at : at + config.hidden_size]
                arrays[0] = x @ of_input.T + biases
            arrays += [None if k == 0 and table else of_input, of_state, first, second]
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
        shape = _Shape(
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
        self._lay_out(shape, arrays, instructions)

    @classmethod
    def of_layer(cls, arch: Cell, weights: Weights, *, int8: bool = False, instructions: str | None = None) -> "Kernel":
        """Lay out one recurrent layer alone, which can only `read` vectors; its weights have torch's names.

        Raises ValueError for another name of instructions, MemoryError.
        """
        kernels, names = library(), instruction_sets()
        if kernels is None or (instructions is not None and instructions not in names):
            raise ValueError(f"no kernels {instructions or ''}; allowed: {', '.join(names) or 'numpy alone'}")
        rows, inputs = weights["weight_ih"].shape
        hidden = rows // len(ARCHITECTURES[arch].blocks)
        for name, expected in layer_shapes(arch, inputs, hidden).items():
            check_array(weights.get(name), name, FLOATS, expected)
        layer = cls.__new__(cls)
        layer._handle, layer._library, layer._adaptive = None, kernels, True
        layer.config = ModelConfig(1, arch=arch, embedding_size=inputs, hidden_size=hidden)
        shape = _Shape(ARCHES.index(arch), 1, inputs, hidden, 1, 1, 0, 0, 0, 0, int8)
        names_of = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        nothing: list[Floats | None] = [None] * 3
        arrays = [np.zeros((1, inputs), np.float32), *map(weights.get, names_of), *nothing]
        layer._lay_out(shape, arrays, instructions)
        return layer

    def _lay_out(self, shape: _Shape, arrays: Sequence[Floats | None], instructions: str | None) -> None:
        dense = [None if array is None else np.ascontiguousarray(array, np.float32) for array in arrays]
        pointers = (_POINTER * len(dense))(*(None if array is None else array.ctypes.data for array in dense))
        self._handle = self._library.unroll_engine_new(
            None if instructions is None else instructions.encode(), ctypes.byref(shape), pointers
        )
        if not self._handle:
            raise MemoryError("the weights of a network")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.unroll_engine_free(self._handle)

    def read(self, ids: NDArray[np.int64], state: Sequence[Floats], threads: int) -> Floats:
        """Read ids (B, T); return the outputs (B, T, H), and change `state`, the arrays of all layers, in place.

        Raises ValueError for arrays of another shape, type or layout, IndexError for an id outside the vocabulary.
        """
        ids = check_ids(ids, "ids", self.config.vocab_size)  # named, so that it lives while the kernel reads it
        y = np.empty((*ids.shape, self.config.hidden_size), np.float32)
        job = _Job(kind=READ, rows=ids.shape[0], steps=ids.shape[1], ids=_address(ids), y=_address(y))
        self._work(job, threads, state)
        return y

    def read_vectors(self, vectors: Floats, places: NDArray[np.int64], state: Sequence[Floats], threads: int) -> Floats:
        """Read the rows of `vectors` (N, I) at `places` (B, T) in place of embedded ids; all else is as in `read`.

        Raises ValueError too where a table of first products stands for the embedding.
        """
        check_array(vectors, "vectors", FLOATS, ("N", self.config.embedding_size))
        if not self._adaptive:
            raise ValueError("a whole network reads ids; allowed: a kernel made by `of_layer`")
        vectors = packed(vectors, np.float32)
        places = check_ids(places, "places", len(vectors))
        y = np.empty((*places.shape, self.config.hidden_size), np.float32)
        job = _Job(kind=READ, rows=places.shape[0], steps=places.shape[1], ids=_address(places), y=_address(y))
        job.vectors = _address(vectors)
        self._work(job, threads, state)
        return y

    def head(self, y: Floats, targets: NDArray[np.int64] | None, threads: int) -> NDArray[Any]:
        """Return the logits (N, V) after outputs (N, H) or, given `targets` (N,), the nats (N,) of those.

        Raises ValueError and IndexError as `read` does.
        """
        self._check_output()
        check_array(y, "y", FLOATS, ("N", self.config.hidden_size))
        y = packed(y, np.float32)
        job = _Job(kind=HEAD, rows=len(y), steps=1, y=_address(y))
        if targets is None:
            logits = np.empty((len(y), self.config.vocab_size), np.float32)
            job.logits = _address(logits)
            self._work(job, threads)
            return logits
        targets, nats = check_ids(targets, "targets", self.config.vocab_size, (len(y),)), np.empty(len(y))
        job.targets, job.nats = _address(targets), _address(nats)
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
        job = _Job(kind=GENERATE, rows=rows, steps=steps, logits=_address(logits), nats=_address(nats))
        job.temperature, job.top_p, job.min_p, job.top_k = map(_address, per_row)
        job.uniforms, job.drawn = _address(uniforms), _address(ids)
        job.never = -1 if drawing.never is None else int(drawing.never)
        if halt is not None:
            job.halt = _address(halt)
        self._work(job, threads, state)
        return ids[:, : job.done], nats[:, : job.done]

    def _check_output(self) -> None:
        if self._adaptive:
            raise ValueError("an adaptive softmax has no kernel; allowed: the recurrent layers, which read")

    def _work(self, job: _Job, threads: int, state: Sequence[Floats] = ()) -> None:
        if job.kind != HEAD:
            shapes = [shape for layer in state_shapes(self.config, job.rows) for shape in layer]
            if not isinstance(state, (list, tuple)) or len(state) != len(shapes):
                raise ValueError(f"the state is {described(state)}; allowed: {len(shapes)} arrays")
            for k, (part, shape) in enumerate(zip(state, shapes, strict=True)):
                _check_own(part, f"state[{k}]", shape)
        if not 1 <= threads < 2**31:  # a C int
            raise ValueError(f"threads is {threads}; allowed: 1 or more")
        pointers = (_POINTER * max(1, len(state)))(*map(_address, state))
        job.state = ctypes.addressof(pointers)
        if self._library.unroll_engine_work(self._handle, ctypes.byref(job), threads):
            raise MemoryError(f"the states of {job.rows} rows")


def _per_row(values: Any, rows: int, kind: type[np.generic]) -> NDArray[Any]:
    """Return an array with one value for each row; an array is copied only to change its type or layout."""
    return packed(values, kind) if isinstance(values, np.ndarray) else np.full(rows, values, kind)


def _check_own(array: Floats, name: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the kernels can change the array in place."""
    if not (isinstance(array, np.ndarray) and array.shape == shape and array.dtype == _FLOAT32 and array.flags.carray):
        raise ValueError(f"{name} is {described(array)}; allowed: float32 of shape {shape}, contiguous and writable")


def _address(array: NDArray[Any]) -> int:
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]  # in half the time of array.ctypes

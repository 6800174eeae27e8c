"""Random calls of a decoder's step, readout and output layer: each gives the right result or raises."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.engine import native
from unroll.engine.decoder_kernel import DecoderKernel
from unroll.engine.draw import nats_of_rows
from unroll.engine.reference import STEPS
from unroll.nn.arch import ARCHITECTURES, RECURRENT, Cell, layer_shapes

Array = NDArray[Any]
Change = Callable[[str, Array, np.random.Generator], Any]
VOCAB = 23
SIZES = ((6, 18, 21, 9), (40, 70, 33, 65), (1, 1, 1, 1))
"""Inputs and units of layers, and what the readout reads and gives."""


@dataclass
class Subject:
    """A decoder on a set of kernels, and its weights in double for numpy; of eight bits there are none."""

    arch: Cell
    kernel: DecoderKernel
    layers: list[dict[str, Array]] | None
    combine: tuple[Array, Array]
    head: tuple[Array, Array]

    def expected(self, method: str, inputs: dict[str, Any]) -> list[Array]:
        """Return what numpy makes of the arguments in double."""
        if method == "step":
            x, parts = inputs["x"].astype(np.float64), list[Array]()
            size = len(ARCHITECTURES[self.arch].state)
            for k, weights in enumerate(self.layers or ()):
                state = tuple(part.astype(np.float64) for part in inputs["state"][k * size : (k + 1) * size])
                recurrent = state[0] @ weights["weight_hh"].T + weights["bias_hh"] if "weight_hh" in weights else 0.0
                after = STEPS[self.arch](x @ weights["weight_ih"].T + weights["bias_ih"], np.asarray(recurrent), state)
                x, parts = after[0], [*parts, *after]
            return parts
        weight, bias = self.combine if method == "readout" else self.head
        sums = inputs["joined" if method == "readout" else "readout"].astype(np.float64) @ weight.T + bias
        if method == "nats":
            return [nats_of_rows(sums, inputs["targets"].astype(np.int64))]
        return [np.tanh(sums) if method == "readout" else sums]


def subjects(random: np.random.Generator) -> list[Subject]:
    """Return decoders of every cell, of one layer and two, on every set of kernels."""
    all_subjects = []

    def drawn(*shape: int) -> Array:
        return np.asarray(random.normal(size=shape) * 0.5 * shape[-1] ** -0.5, np.float32)

    for number, (arch, (inputs, hidden, joined, readout)) in enumerate(product(RECURRENT, SIZES)):
        layers = [
            {name: drawn(*shape) for name, shape in layer_shapes(arch, width, hidden).items()}
            for width in (inputs, hidden)[: 1 + number % 2]
        ]
        combine, head = (drawn(readout, joined), drawn(readout)), (drawn(VOCAB, readout), drawn(VOCAB))
        for instructions, int8 in product(native.instruction_sets(), (False, True)):
            kernel = DecoderKernel(arch, layers, combine, head, int8=int8, instructions=instructions)
            exact = None if int8 else [{name: w.astype(np.float64) for name, w in own.items()} for own in layers]
            all_subjects.append(Subject(arch, kernel, exact, combine, head))
    return all_subjects


def shapes(kernel: DecoderKernel, method: str) -> dict[str, int]:
    """Return the columns of each argument of a method, all of whose arrays have as many rows; 0 of what has none."""
    sizes = {"x": kernel.input_size, "joined": kernel.joined_size, "readout": kernel.readout_size, "targets": 0}
    names = {"step": ("x",), "readout": ("joined",), "logits": ("readout",), "nats": ("readout", "targets")}[method]
    parts = kernel._num_layers * kernel._parts if method == "step" else 0
    return {name: sizes[name] for name in names} | {f"state{k}": kernel.hidden_size for k in range(parts)}


def call(kernel: DecoderKernel, method: str, inputs: dict[str, Any], threads: int) -> list[Array]:
    """Call a method; return all arrays of its result."""
    if method != "step":
        return [getattr(kernel, method)(*inputs.values(), threads)]
    _, *parts = inputs.values()
    size = kernel._parts
    state = tuple(tuple(parts[k : k + size]) for k in range(0, len(parts), size))
    return [part for layer in kernel.step(inputs["x"], state, threads) for part in layer]


def fits(wanted: dict[str, int], inputs: dict[str, Any]) -> bool:
    """Return whether a call with these arguments is right."""
    arrays = inputs.values()
    if inputs.keys() != wanted.keys() or not all(isinstance(array, np.ndarray) and array.ndim for array in arrays):
        return False
    if len({len(array) for array in arrays}) > 1:
        return False
    if any(inputs[name].shape[1:] != ((columns,) if columns else ()) for name, columns in wanted.items()):
        return False
    if any(inputs[name].dtype.kind not in ("f" if columns else "iu") for name, columns in wanted.items()):
        return False
    return all(0 <= id < VOCAB for id in inputs["targets"].tolist()) if "targets" in wanted else True


def fuzz(subject: Subject, random: np.random.Generator, changed: Change) -> str:
    """Call a decoder at random, one argument `changed`; return how that ended."""
    kernel = subject.kernel
    method = ("step", "readout", "logits", "nats")[int(random.integers(4))]
    wanted, rows = shapes(kernel, method), int(random.choice([0, 1, 1, 2, 5, 9, 14, 120]))
    inputs: dict[str, Any] = {
        name: random.normal(size=(rows, columns)).astype(np.float32) if columns else random.integers(0, VOCAB, rows)
        for name, columns in wanted.items()
    }
    name = list(inputs)[int(random.integers(len(inputs)))]
    variant = changed(name, inputs[name], random)
    # A state is copied into float32, from whatever holds numbers: only its shape may be wrong.
    if not name.startswith("state") or (isinstance(variant, np.ndarray) and variant.dtype.kind == "f"):
        inputs[name] = variant
    if name.startswith("state") and random.random() < 0.1:
        del inputs[name]
    right = fits(wanted, inputs)
    try:
        result = call(kernel, method, inputs, 1)
    except (ValueError, IndexError, TypeError) as error:
        if right:
            raise AssertionError(f"a decoder refused: {error}") from error
        return "refused"
    if not right:
        raise AssertionError(f"a decoder accepted: {method}, { {n: np.shape(v) for n, v in inputs.items()} }")
    for ours, theirs in zip(call(kernel, method, inputs, int(random.integers(2, 5))), result, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if len(result[0]):
        row = int(random.integers(len(result[0])))
        alone = call(kernel, method, {name: array[row : row + 1] for name, array in inputs.items()}, 1)
        for ours, theirs in zip(alone, result, strict=True):
            np.testing.assert_array_equal(ours[0], theirs[row])
    if subject.layers is not None:
        for ours, theirs in zip(result, subject.expected(method, as_read(inputs)), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
    return "accepted"


def as_read(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by name, those of the state in a row."""
    state = [array for name, array in inputs.items() if name.startswith("state")]
    return {name: array for name, array in inputs.items() if not name.startswith("state")} | {"state": state}

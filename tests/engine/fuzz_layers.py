"""Random calls of layers that read rows of different length: each gives the right result or raises."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.engine import native
from unroll.engine.layer_kernel import LayerKernel
from unroll.engine.layers import Layer
from unroll.nn.arch import RECURRENT, layer_shapes

Array = NDArray[Any]
SYMBOLS = 23
SIZES = ((6, 18), (40, 70), (1, 1))
"""Inputs and units of layers."""


@dataclass
class Subject:
    """A layer on a set of kernels, and numpy in double for its results; of eight bits there is none."""

    kernel: LayerKernel
    reference: Layer | None


def subjects(random: np.random.Generator) -> list[Subject]:
    """Return layers of every cell, in one direction and two, of vectors and of symbols, on every set of kernels."""
    all_subjects = []
    for number, (arch, (inputs, hidden)) in enumerate(product(RECURRENT, SIZES)):
        shapes = layer_shapes(arch, inputs, hidden)
        weights = [
            {name: (random.normal(size=shape) * 0.5 * shape[-1] ** -0.5).astype(np.float32)
             for name, shape in shapes.items()} for _ in range(1 + number % 2)
        ]  # fmt: skip
        exact = [{name: w.astype(np.float64) for name, w in own.items()} for own in weights]
        for symbols in (None, random.normal(size=(SYMBOLS, inputs)).astype(np.float32)):
            reference = Layer(arch, exact, None if symbols is None else symbols.astype(np.float64))
            for instructions, int8 in product(native.instruction_sets(), (False, True)):
                kernel = LayerKernel(arch, weights, symbols, int8=int8, instructions=instructions)
                all_subjects.append(Subject(kernel, None if int8 else reference))
    return all_subjects


def arguments(kernel: LayerKernel, random: np.random.Generator) -> dict[str, Array]:
    lengths = random.integers(0, int(random.choice([2, 9, 40])), int(random.choice([0, 1, 1, 2, 5, 9, 14, 120])))
    total = int(lengths.sum())
    if kernel.vocab_size:
        return {"x": random.integers(0, SYMBOLS, total), "lengths": lengths}
    return {"x": random.normal(size=(total, kernel.input_size)).astype(np.float32), "lengths": lengths}


def fits(kernel: LayerKernel, x: Any, lengths: Any) -> bool:
    """Return whether a call with these arguments is right."""
    if not (isinstance(x, np.ndarray) and isinstance(lengths, np.ndarray)):
        return False
    if lengths.dtype.kind not in "iu" or lengths.ndim != 1 or x.ndim != 2 - bool(kernel.vocab_size):
        return False
    if any(length < 0 for length in lengths.tolist()) or sum(lengths.tolist()) != len(x):
        return False
    if kernel.vocab_size:
        return bool(x.dtype.kind in "iu") and all(0 <= symbol < kernel.vocab_size for symbol in x.tolist())
    return bool(x.dtype.kind == "f") and bool(x.shape[1] == kernel.input_size)


def check_results(subject: Subject, x: Array, lengths: Array, random: np.random.Generator) -> None:
    """Compare a call with itself in another number of threads, with a row by itself, and with numpy in double."""
    kernel = subject.kernel
    y, last = kernel.read(x, lengths, 1)
    for ours, theirs in zip(kernel.read(x, lengths, int(random.integers(1, 5))), (y, last), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    if len(lengths):
        row = int(random.integers(len(lengths)))
        end = int(lengths[: row + 1].sum())
        own = slice(end - int(lengths[row]), end)
        alone, alone_last = kernel.read(x[own], lengths[row : row + 1], 1 + row % 3)
        np.testing.assert_array_equal(alone, y[own])
        np.testing.assert_array_equal(alone_last[0], last[row])
    if subject.reference is not None and len(lengths):
        exact = x if kernel.vocab_size else x.astype(np.float64)
        for ours, theirs in zip((y, last), subject.reference.read(exact, lengths), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)

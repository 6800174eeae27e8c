"""Layers over rows of different length: the kernels equal numpy on every instruction set, bit for bit by themselves."""

from itertools import product
from typing import Any, get_args

import numpy as np
import pytest

from unroll.engine import native
from unroll.engine.layers import Layer, Order
from unroll.nn.arch import Cell, layer_shapes

LENGTHS = np.array([7, 0, 33, 1, 33, 12, 21])
CELLS = get_args(Cell)


def weights(arch: Cell, inputs: int = 9, hidden: int = 21, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    shapes = layer_shapes(arch, inputs, hidden).items()
    return {name: random.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes}


def rows(lengths: Any = LENGTHS, inputs: int = 9) -> Any:
    return np.random.default_rng(1).normal(size=(int(lengths.sum()), inputs)).astype(np.float32)


def one_by_one(layer: Layer, x: Any, lengths: Any, *, reverse: bool) -> tuple[Any, Any]:
    """Return what rows give by themselves."""
    ends = np.cumsum(lengths)
    alone = [layer.run(x[end - length : end], Order(np.array([length]), reverse=reverse))
             for end, length in zip(ends, lengths, strict=True)]  # fmt: skip
    return np.concatenate([y for y, _ in alone]), np.concatenate([last for _, last in alone])


@pytest.mark.parametrize(("arch", "reverse", "int8"), [*product(CELLS, (False, True), (False, True))])
def test_a_rows_result_is_its_own_bit_for_bit(arch: Cell, reverse: bool, int8: bool) -> None:
    for instructions in native.instruction_sets():
        layer = Layer(arch, weights(arch), int8=int8, instructions=instructions, threads=2)
        together = layer.run(rows(), Order(LENGTHS, reverse=reverse))
        for ours, alone in zip(together, one_by_one(layer, rows(), LENGTHS, reverse=reverse), strict=True):
            assert np.array_equal(ours, alone), instructions


@pytest.mark.parametrize(("arch", "reverse"), [*product(CELLS, (False, True))])
def test_the_kernels_equal_numpy(arch: Cell, reverse: bool) -> None:
    order = Order(LENGTHS, reverse=reverse)
    expected = Layer(arch, weights(arch)).run(rows(), order)
    for instructions in native.instruction_sets():
        for ours, theirs in zip(Layer(arch, weights(arch), instructions=instructions).run(rows(), order), expected,
                                strict=True):  # fmt: skip
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", CELLS)
def test_numpy_steps_as_its_equation(arch: Cell) -> None:
    """Held to a loop over one row of float64, forwards and, of the reversed row, backwards."""
    own = {name: w.astype(np.float64) for name, w in weights(arch).items()}
    x = rows(np.array([25])).astype(np.float64)
    layer = Layer(arch, own)
    forwards, last = layer.run(x, Order(np.array([25]), reverse=False))
    backwards, first = layer.run(x[::-1], Order(np.array([25]), reverse=True))
    np.testing.assert_allclose(backwards[::-1], forwards, rtol=1e-12)
    assert np.array_equal(last[0], forwards[-1]) and np.array_equal(first[0], backwards[0])


def test_no_rows_and_empty_ones() -> None:
    for instructions in (None, *native.instruction_sets()):
        layer = Layer("lstm", weights("lstm"), instructions=instructions)
        y, last = layer.run(rows()[:0], Order(np.zeros(0, np.int64), reverse=False))
        assert y.shape == (0, 21) and last.shape == (0, 21)
        y, last = layer.run(rows()[:0], Order(np.zeros(3, np.int64), reverse=True))
        assert y.shape == (0, 21) and not last.any() and last.shape == (3, 21)


@pytest.mark.skipif(not native.instruction_sets(), reason="no kernels were built")
def test_arrays_that_do_not_fit_are_refused() -> None:
    kernel = native.Kernel.of_layer("gru", weights("gru"))
    state, places = [np.zeros((1, 21), np.float32)], np.zeros((1, 3), np.int64)
    kernel.read_vectors(rows(), places, state, 1)
    with pytest.raises(ValueError, match="vectors"):
        kernel.read_vectors(rows(inputs=8), places, state, 1)
    with pytest.raises(IndexError):
        kernel.read_vectors(rows()[:2], places + 2, state, 1)
    with pytest.raises(ValueError, match="state"):
        kernel.read_vectors(rows(), places, [np.zeros((1, 20), np.float32)], 1)
    with pytest.raises(ValueError, match="weight_hh"):
        native.Kernel.of_layer("gru", weights("gru") | {"weight_hh": np.zeros((3, 3), np.float32)})
    with pytest.raises(ValueError, match="no kernels"):
        native.Kernel.of_layer("gru", weights("gru"), instructions="none")

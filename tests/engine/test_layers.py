"""Layers over rows of different length equal torch's; a row's result is its own, bit for bit with the kernels."""

from collections.abc import Callable
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.networks import SETS
from unroll.engine import layers
from unroll.engine.layers import Layer, Order
from unroll.nn.arch import ARCHITECTURES, Cell, layer_shapes
from unroll.nn.cells import CellWeights
from unroll.nn.recurrent import run_stepwise

Array = NDArray[Any]
Read = Callable[[Array, Array], tuple[Array, Array]]
LENGTHS = np.array([7, 0, 33, 1, 33, 12, 21, 0])
CELLS = get_args(Cell)
SYMBOLS, INPUTS = 50, 9


def weights(arch: Cell, inputs: int = INPUTS, hidden: int = 21, kind: Any = np.float32) -> list[dict[str, Array]]:
    """Return random weights of both directions."""
    random = np.random.default_rng(hidden)
    scale = hidden**-0.5
    shapes = layer_shapes(arch, inputs, hidden)
    return [{name: random.normal(0, scale, shape).astype(kind) for name, shape in shapes.items()} for _ in range(2)]


def vectors(size: int, inputs: int = INPUTS) -> Array:
    return np.random.default_rng(1).normal(size=(size, inputs)).astype(np.float32)


def ids(size: int) -> Array:
    return np.random.default_rng(2).integers(SYMBOLS, size=size)


def by_torch(arch: Cell, directions: list[dict[str, Array]], x: Array, lengths: Array) -> tuple[Array, Array]:
    """Return what the cell's equation gives for each row by itself, and for each row turned round."""
    outputs, last = [], []
    for row in np.split(x, np.cumsum(lengths)[:-1]):
        both = []
        for own, turn in zip(directions, (1, -1), strict=True):
            hidden = own["weight_ih"].shape[0] // len(ARCHITECTURES[arch].blocks)
            empty = {"weight_hh": np.zeros((0, hidden)), "bias_hh": np.zeros(0)}
            named = {name: torch.from_numpy(w.astype(np.float64)) for name, w in (empty | own).items()}
            state = tuple(torch.zeros(1, hidden, dtype=torch.float64) for _ in ARCHITECTURES[arch].state)
            y = np.zeros((0, hidden))
            if len(row):
                steps = torch.from_numpy(row[::turn].astype(np.float64)[:, None])
                y = run_stepwise(arch, steps, state, CellWeights(**named))[0][:, 0].numpy()
            both.append((y[::turn], y[-1] if len(y) else np.zeros(hidden)))
        outputs.append(np.concatenate([y for y, _ in both], axis=1))
        last.append(np.concatenate([end for _, end in both]))
    return np.concatenate(outputs), np.stack(last)


@pytest.mark.parametrize("instructions", [None, *SETS])
@pytest.mark.parametrize("arch", CELLS)
def test_layers_equal_torch(arch: Cell, instructions: str | None) -> None:
    tolerance, kind = (1e-5, np.float32) if instructions else (1e-9, np.float64)
    own, embedding = weights(arch, kind=kind), vectors(SYMBOLS).astype(kind)
    x, symbols = vectors(LENGTHS.sum()).astype(kind), ids(LENGTHS.sum())
    layer, reader = (Layer(arch, own, table, instructions=instructions) for table in (None, embedding))
    for results, expected in (
        (layer.read(x, LENGTHS), by_torch(arch, own, x, LENGTHS)),
        (reader.read(symbols, LENGTHS), by_torch(arch, own, embedding[symbols], LENGTHS)),
    ):
        for ours, theirs in zip(results, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
    one_way = Layer(arch, own[:1], instructions=instructions).read(x, LENGTHS)
    for ours, theirs in zip(one_way, layer.read(x, LENGTHS), strict=True):
        np.testing.assert_allclose(ours, theirs[:, :21], rtol=0, atol=0)


def law_of_rows(read: Read, x: Array, lengths: Array = LENGTHS, tolerance: float = 0.0) -> None:
    """Hold each row's result to what it has by itself, and among the same rows in another order."""
    y, last = read(x, lengths)
    rows, ends = np.split(x, np.cumsum(lengths)[:-1]), np.split(y, np.cumsum(lengths)[:-1])
    for row, own, end in zip(rows, ends, last, strict=True):
        for ours, alone in zip((own, end[None]), read(row, np.array([len(row)])), strict=True):
            np.testing.assert_allclose(ours, alone, rtol=0, atol=tolerance)
    turned, turned_last = read(np.concatenate(rows[::-1]), lengths[::-1])
    np.testing.assert_allclose(turned, np.concatenate(ends[::-1]), rtol=0, atol=tolerance)
    np.testing.assert_allclose(turned_last, last[::-1], rtol=0, atol=tolerance)


@pytest.mark.parametrize(("arch", "int8"), [*product(CELLS, (False, True))])
def test_a_rows_result_is_its_own_bit_for_bit(arch: Cell, int8: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "THREAD_WORK", 1)  # so that threads share even a few rows
    for instructions, threads in product(SETS, (1, 3)):
        layer = Layer(arch, weights(arch), int8=int8, instructions=instructions, threads=threads)
        law_of_rows(layer.read, vectors(LENGTHS.sum()))
        reader = Layer(arch, weights(arch), vectors(SYMBOLS), int8=int8, instructions=instructions, threads=threads)
        law_of_rows(reader.read, ids(LENGTHS.sum()))


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize(
    ("arch", "hidden", "lengths"),
    [
        ("lstm", 40, np.r_[np.arange(260) % 7, 3]),  # more rows than are read together
        ("gru", 21, np.array([2100, 5, 1300])),  # more steps than sums are computed ahead for
        ("lstm", 700, np.r_[np.arange(9), 30]),  # weights of three bytes
        ("rnn", 1500, np.r_[np.arange(9), 30]),
    ],
)
def test_the_law_holds_for_large_layers_and_many_rows(arch: Cell, hidden: int, lengths: Array, int8: bool) -> None:
    own = weights(arch, hidden=hidden)
    for instructions in SETS:
        layer = Layer(arch, own, int8=int8, instructions=instructions, threads=2)
        law_of_rows(layer.read, vectors(lengths.sum()), lengths)
        if not int8 and hidden >= 700:
            y, _ = layer.read(vectors(lengths.sum()), lengths)
            exact = [{name: w.astype(np.float64) for name, w in direction.items()} for direction in own]
            expected, _ = Layer(arch, exact).read(vectors(lengths.sum()).astype(np.float64), lengths)
            np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("instructions", [None, *SETS[:1]])
def test_the_law_catches_padding_that_is_read(instructions: str | None) -> None:
    """Each row is filled up with zeros to the longest, and read with them."""
    layer = Layer("gru", weights("gru"), instructions=instructions)

    def padded(x: Array, lengths: Array) -> tuple[Array, Array]:
        inside = np.arange(lengths.max()) < lengths[:, None]
        full = np.zeros((*inside.shape, x.shape[1]), x.dtype)
        full[inside] = x
        y, last = layer.read(full.reshape(-1, x.shape[1]), np.full(len(lengths), lengths.max()))
        return y[inside.ravel()], last

    law_of_rows(layer.read, vectors(LENGTHS.sum()), tolerance=1e-6)
    with pytest.raises(AssertionError):
        law_of_rows(padded, vectors(LENGTHS.sum()), tolerance=1e-6)


def test_the_law_catches_rows_that_are_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mixed(Order):
        def __init__(self, lengths: Any, *, reverse: bool) -> None:
            super().__init__(lengths, reverse=reverse)
            self.rows = self.rows[::-1]

    monkeypatch.setattr(layers, "Order", Mixed)
    with pytest.raises(AssertionError):
        law_of_rows(Layer("lstm", weights("lstm")).read, vectors(LENGTHS.sum()), tolerance=1e-6)


@pytest.mark.parametrize("instructions", [None, *SETS])
def test_no_rows_and_empty_ones(instructions: str | None) -> None:
    layer = Layer("lstm", weights("lstm"), instructions=instructions, threads=2)
    for rows in (0, 3):
        y, last = layer.read(vectors(0), np.zeros(rows, np.int64))
        assert y.shape == (0, 42) and last.shape == (rows, 42) and not last.any()


@pytest.mark.parametrize("instructions", [None, *SETS[:1]])
@pytest.mark.parametrize("table", [2**22, 0])
def test_arrays_that_do_not_fit_are_refused(
    instructions: str | None, table: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "TABLE_BYTES", table)
    layer, reader = (Layer("gru", weights("gru"), symbols, instructions=instructions)
                     for symbols in (None, vectors(SYMBOLS)))  # fmt: skip
    for x in (vectors(5, INPUTS - 1), vectors(5)[0], ids(5), vectors(5).tolist()):
        with pytest.raises(ValueError, match="x is"):
            layer.read(x, np.array([5]))
    for lengths in (np.array([4]), np.array([6, -1]), np.array([2**62, 2**62, 2**62, 2**62, 5]), np.array([-1, 6])):
        with pytest.raises(ValueError, match="lengths"):
            layer.read(vectors(5), lengths)
    others: list[Any] = [np.array([5.0]), np.array([[5]]), [5]]
    for other in others:
        with pytest.raises(ValueError, match="lengths"):
            layer.read(vectors(5), other)
    for x in (np.array([0, SYMBOLS]), np.array([-1, 0])):
        with pytest.raises(IndexError):
            reader.read(x, np.array([2]))


@pytest.mark.skipif(not SETS, reason="no kernels were built")
def test_weights_that_do_not_fit_are_refused() -> None:
    first, second = weights("gru")
    others: list[dict[str, Any]] = [
        {"weight_hh": np.zeros((3, 3), np.float32)},
        {"bias_hh": None},
        {"weight_ih": vectors(63, 8)},
    ]
    for other in others:
        with pytest.raises(ValueError, match=next(iter(other))):
            Layer("gru", [first, second | other], instructions=SETS[0])
    with pytest.raises(ValueError, match="symbols"):
        Layer("gru", [first, second], vectors(SYMBOLS, 8), instructions=SETS[0])
    with pytest.raises(ValueError, match="no kernels"):
        Layer("gru", [first, second], instructions="none")

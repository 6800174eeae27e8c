"""The table of architectures against the equations, the networks and the kernels that exist: it names what is there."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

import unroll.engine.native as engine
from laws.cases import config, randomised
from unroll.engine.checks import state_shapes
from unroll.engine.weights import shapes
from unroll.nn.arch import ARCHITECTURES, DEFAULT, RECURRENT, Arch, Architecture, Cell, layer_shapes
from unroll.nn.cells import STEPS, CellWeights, state_after
from unroll.nn.config import parameter_count
from unroll.nn.model import Model

HEADER = Path(engine.__file__).parent / "kernel" / "cells.h"


def law_cell(arch: Cell, table: Architecture) -> None:
    """A step of the cell has the signals, the gates, the blocks and the state that the table says."""
    rows, hidden = len(table.blocks) * 4, 4
    random = torch.Generator().manual_seed(1)
    state_rows = rows if table.reads_state else 0
    sizes = [(rows, 3), (state_rows, hidden), (rows,), (state_rows,)]
    w = CellWeights(*(3 * torch.randn(size, generator=random) for size in sizes))
    x, *state = (torch.randn(64, size, generator=random) for size in (3, *[hidden] * len(table.state)))
    step = STEPS[arch](x, tuple(state), w)
    assert step._fields == tuple(table.signals), "the signals are the step's fields"
    after = state_after(step)
    assert len(after) == len(table.state)
    assert all(part is getattr(step, name) for part, name in zip(after, table.state, strict=True)), "the state's order"
    bounded = {name for name in step._fields if getattr(step, name).min() >= 0 and getattr(step, name).max() <= 1}
    assert bounded == set(table.gates), "gates, and nothing else, lie between 0 and 1"
    assert set(table.gates) <= set(table.blocks) <= set(table.signals)
    # A block's own bias moves the signal of its name, or its sum is split: each block is where the table says.
    for k, name in enumerate(table.blocks):
        bias = w.bias_ih.clone()
        bias[k * hidden : (k + 1) * hidden] += 50
        shifted = STEPS[arch](x, tuple(state), w._replace(bias_ih=bias))
        diff = {signal for signal in step._fields if not torch.equal(getattr(shifted, signal), getattr(step, signal))}
        assert diff & set(table.blocks) == {name} | (diff & {"n"} if name == "r" else set()), "the blocks' order"
    if table.forget is not None:
        # With the forget gate at its end, the state is what it was, plus what is written.
        gate, sign = table.forget
        first, bias = table.blocks.index(gate) * hidden, torch.full((rows,), -100.0)
        bias[first : first + hidden] = 100.0 * sign
        output = state_after(STEPS[arch](x, tuple(state), w._replace(bias_ih=bias)))[-1]
        torch.testing.assert_close(output, state[-1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("arch", RECURRENT)
def test_the_table_agrees_with_the_cells(arch: Cell) -> None:
    law_cell(arch, ARCHITECTURES[arch])


Change = Callable[[Architecture], Architecture]


@pytest.mark.parametrize(
    ("arch", "change"),
    [
        ("lstm", lambda table: replace(table, signals=dict(reversed(table.signals.items())))),
        ("lstm", lambda table: replace(table, state=("c", "h"))),
        ("lstm", lambda table: replace(table, state=("h",))),
        ("lstm", lambda table: replace(table, gates=("i", "o"))),
        ("lstm", lambda table: replace(table, gates=("i", "f", "o", "g"))),
        ("lstm", lambda table: replace(table, blocks=("f", "i", "g", "o"))),
        ("lstm", lambda table: replace(table, forget=("i", 1))),
        ("lstm", lambda table: replace(table, forget=("f", -1))),
        ("gru", lambda table: replace(table, blocks=("z", "r", "n"))),
        ("gru", lambda table: replace(table, signals={"z": "update gate", "n": "candidate", "h": "output"})),
        ("rnn", lambda table: replace(table, gates=("h",))),
    ],
)
def test_a_planted_disagreement_is_caught(arch: Cell, change: Change) -> None:
    with pytest.raises((AssertionError, ValueError)):
        law_cell(arch, change(ARCHITECTURES[arch]))


def test_every_architecture_is_complete() -> None:
    assert tuple(ARCHITECTURES) == get_args(Arch) and tuple(STEPS) and set(STEPS) == set(RECURRENT)
    assert tuple(name for name, table in ARCHITECTURES.items() if table.blocks) == RECURRENT
    assert DEFAULT in ARCHITECTURES
    for table in ARCHITECTURES.values():
        assert table.article.endswith(table.label) and table.about and table.peak_rate > 0 and table.trial_rates


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_floor_reads_the_same_shapes(arch: str) -> None:
    shape = config(arch, 2)
    model = randomised(Model(shape))
    weights = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    assert weights == shapes(shape) and list(weights)[1:3] == list(shapes(shape))[1:3]
    assert parameter_count(shape) == sum(weight.numel() for weight in model.parameters())
    assert [[tuple(part.shape) for part in layer] for layer in model.fresh_state(3)] == [
        list(layer) for layer in state_shapes(shape, 3)
    ]
    _, _, inside = model.eval().trace(torch.zeros(1, 2, dtype=torch.int64))
    assert [tuple(layer) for layer in inside] == [tuple(ARCHITECTURES[arch].signals)] * 2
    if arch in RECURRENT:
        layer = dict(model.recurrent.layers[1].named_parameters())
        assert {name: tuple(weight.shape) for name, weight in layer.items()} == layer_shapes(arch, 8, 8)
        assert list(layer) == list(layer_shapes(arch, 8, 8))


def test_the_kernels_number_architectures_as_the_table_orders_them() -> None:
    (names,) = re.findall(r"enum Arch : int64_t \{ (.*?) \}", HEADER.read_text())
    assert names.lower().split(", ") == list(ARCHITECTURES) == list(engine.ARCHES)

"""Recurrent layers over padded rows in a graph, as `unroll.nn.layers` has them, and how a row becomes one vector."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unroll.export.graph import Graph, Weights, linear, operator, scan
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.layers_config import LayersConfig, PoolingConfig


class Rows(NamedTuple):
    """Rows of different length in a graph, padded at their ends."""

    lengths: str
    """(B,), as ONNX's operators take them."""
    inside: str
    """Whether a step lies within its row, (T, B, 1)."""
    last: str
    """Whether it is the row's last, (T, B, 1)."""
    counts: str
    """The lengths, (B, 1) in float32."""


def rows_of(graph: Graph, x: str, lengths: str) -> Rows:
    """Add what is known of the rows of `x` (B, T, …) with `lengths` (B,)."""
    zero, one = (graph.constant(name, np.array(value)) for name, value in (("zero", 0), ("one", 1)))
    steps = graph.add("Range", zero, graph.add("Squeeze", graph.add("Shape", x, start=1, end=2)), one)
    steps = graph.add("Unsqueeze", steps, graph.axes(1, 2))  # (T, 1, 1)
    column = graph.add("Unsqueeze", lengths, graph.axes(1))  # (B, 1)
    return Rows(
        lengths=graph.add("Cast", lengths, to=6),  # INT32
        inside=graph.add("Less", steps, column),
        last=graph.add("Equal", steps, graph.add("Sub", column, one)),
        counts=graph.add("Cast", column, to=1),  # FLOAT
    )


def recurrent(graph: Graph, x: str, config: LayersConfig, weights: Weights, rows: Rows) -> str:
    """Add the recurrent layers over `x` (T, B, I); returns the outputs (T, B, D·H), zero behind a row's end."""
    total = ""
    for k in range(config.num_layers):
        directions = [part(weights, f"{name}.{k}.") for name in config.directions]
        y = layer(graph, x, config.arch, f"layer{k}", directions, rows)
        if config.skip == "residual" and k > 0:
            y = graph.add("Add", y, x)
        total = graph.add("Add", total, y) if total else y
        x = y
    return masked(graph, total if config.skip == "sum" else x, rows.inside)


def part(weights: Weights, prefix: str) -> Weights:
    """Return the weights whose names begin so, by the rest of them."""
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}


def layer(graph: Graph, x: str, arch: str, name: str, directions: Sequence[Weights], rows: Rows) -> str:
    """Add a layer over `x` (T, B, I) in one direction or two; returns the outputs (T, B, D·H)."""
    if arch != "mingru":
        y, _ = operator(graph, x, arch, name, directions, rows.lengths)
        y = graph.add("Transpose", y, perm=[0, 2, 1, 3])
        return str(graph.add("Reshape", y, graph.constant("joined", np.array([0, 0, -1]))))
    hidden = graph.constant(f"{name}_size", np.array([len(directions[0]["bias_ih"]) // 2]))
    size = graph.add("Concat", graph.add("Shape", x, start=1, end=2), hidden, axis=0)
    before, inside = graph.add("ConstantOfShape", size), graph.add("Cast", rows.inside, to=1)
    outputs = [
        scan(graph, x, f"{name}{way}", weights, before, inside, reverse=bool(way))[0]
        for way, weights in zip(("", "_back"), directions, strict=False)
    ]
    return str(graph.add("Concat", *outputs, axis=-1)) if len(outputs) > 1 else outputs[0]


def stateful_layer(graph: Graph, x: str, arch: str, name: str, weights: Weights) -> str:
    """Add a layer over `x` (T, B, I) from its state, inputs such as `layer0_h`, and outputs such as `layer0_h_after`.

    Returns the outputs (T, B, H).
    """
    parts = [f"{name}_{part}" for part in ARCHITECTURES[arch].state]
    if arch == "mingru":
        y, state = scan(graph, x, name, weights, *parts)
        graph.add("Identity", state, name=f"{parts[0]}_after")
        return y
    before = [graph.add("Unsqueeze", part, graph.axes(0)) for part in parts]
    y, after = operator(graph, x, arch, name, [weights], before=before)
    for part, value in zip(parts, after, strict=True):
        graph.add("Squeeze", value, graph.axes(0), name=f"{part}_after")
    return str(graph.add("Squeeze", y, graph.axes(1)))


def masked(graph: Graph, y: str, where: str, otherwise: float = 0.0) -> str:
    """Add `y` (T, B, …) `where` that holds, and a number elsewhere."""
    return str(graph.add("Where", where, y, graph.scalar("lowest" if otherwise else "nought", otherwise)))


def ends(graph: Graph, y: str, directions: int, rows: Rows) -> str:
    """Add each direction's output at the unit that it reads last, (B, D·H), of `y` (T, B, D·H), zero behind the end."""
    parts = graph.add("Split", y, axis=-1, results=2) if directions == 2 else [y]
    last = [graph.add("ReduceSum", masked(graph, parts[0], rows.last), graph.axes(0), keepdims=0)]
    first = graph.constant("zero", np.array(0))
    last += [graph.add("Gather", backwards, first, axis=0) for backwards in parts[1:]]
    return str(graph.add("Concat", *last, axis=-1))


def pooled(graph: Graph, y: str, config: PoolingConfig, weights: Weights, rows: Rows) -> str:
    """Add the one vector (B, P) of each row of the outputs `y` (T, B, D·H), which are zero behind its end."""
    pools = [pool(graph, name, y, config, weights, rows) for name in config.poolings]
    return str(graph.add("Concat", *pools, axis=-1)) if len(pools) > 1 else pools[0]


def pool(graph: Graph, name: str, y: str, config: PoolingConfig, weights: Weights, rows: Rows) -> str:
    """Add the vector (B, D·H) of each row that one way of pooling makes of the outputs."""
    lowest = float(np.finfo(np.float32).min)
    match name:
        case "last":
            return ends(graph, y, len(config.directions), rows)
        case "mean":
            count = graph.add("Max", rows.counts, graph.scalar("least", 1.0))
            return str(graph.add("Div", graph.add("ReduceSum", y, graph.axes(0), keepdims=0), count))
        case "max":
            largest = graph.add("ReduceMax", masked(graph, y, rows.inside, lowest), axes=[0], keepdims=0)
            return masked(graph, largest, graph.add("Greater", rows.counts, graph.scalar("nought", 0.0)))
        case _:
            hidden = graph.add("Tanh", linear(graph, y, weights, "attention"))
            vector = graph.constant("attention_vector", weights["attention.vector"][:, None])
            scores = masked(graph, graph.add("MatMul", hidden, vector), rows.inside, lowest)
            shares = graph.add("Softmax", scores, axis=0)
            return str(graph.add("ReduceSum", graph.add("Mul", shares, y), graph.axes(0), keepdims=0))

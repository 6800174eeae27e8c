"""A network as an ONNX graph: ids and a state in, logits and the state after out."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig

OPSET, IR_VERSION = 17, 8
"""Of 2022: every operation that is used is in them, and runtimes of that year on read them."""

ORDER = {"rnn": "h", "gru": "zrn", "lstm": "iofg"}
"""Our blocks in the order of ONNX's operators (GRU: z r h; LSTM: i o f c)."""

Weights = Mapping[str, NDArray[np.float32]]
"""By the names of the torch model's parameters."""


def state_shapes(config: ModelConfig) -> list[tuple[str, tuple[int, ...]]]:
    """Return the parts of the state in order, each with its name and shape but for the batch, which comes first."""
    if config.arch == "window":
        return [("layer0_inputs", (config.window - 1, config.embedding_size))]
    parts = ARCHITECTURES[config.arch].state
    return [(f"layer{k}_{part}", (config.hidden_size,)) for k in range(config.num_layers) for part in parts]


class Graph:
    """Nodes and constants in the order they are added; values are named."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(self, operator: str, *inputs: str, name: str = "", results: int = 1, **options: Any) -> Any:
        """Add a node and return the name of its result, or the names of several."""
        from onnx import helper

        outputs = [name or f"value{len(self.nodes)}"]
        outputs += [f"{outputs[0]}_{k}" for k in range(1, results)]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=f"node{len(self.nodes)}", **options))
        return outputs[0] if results == 1 else outputs

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant, once under its name."""
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def axes(self, *axes: int) -> str:
        """Add axes as a constant."""
        return self.constant(f"axes{'_'.join(map(str, axes))}", np.array(axes, np.int64))


def build(config: ModelConfig, weights: Weights, about: Mapping[str, str]) -> bytes:
    """Return the network as an ONNX file; equal weights make equal bytes."""
    from onnx import TensorProto, checker, helper

    graph = Graph()
    x = graph.add("Gather", graph.constant("embedding", weights["embedding.weight"]), "ids")  # (B, T, E)
    x = graph.add("Transpose", x, perm=[1, 0, 2])  # (T, B, E), as in our own network
    for k in range(config.layers_before):
        x = gelu(graph, linear(graph, x, weights, f"before.{k}"))
    y = window(graph, x, config, weights) if config.arch == "window" else recurrent(graph, x, config, weights)
    for k in range(config.layers_after):
        y = gelu(graph, linear(graph, y, weights, f"after.{k}"))
    if config.tie_weights:
        if "projection.weight" in weights:
            y = graph.add("MatMul", y, graph.constant("projection", weights["projection.weight"].T))
        y = graph.add("MatMul", y, graph.add("Transpose", "embedding", perm=[1, 0]))
        y = graph.add("Add", y, graph.constant("bias", weights["bias"]))
    elif config.cutoffs:
        y = adaptive(graph, y, config, weights)
    else:
        y = linear(graph, y, weights, "head")
    graph.add("Transpose", y, name="logits", perm=[1, 0, 2])

    def value(name: str, kind: int, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    states = state_shapes(config)
    inputs = [value("ids", TensorProto.INT64, "batch", "length")]
    inputs += [value(name, TensorProto.FLOAT, "batch", *shape) for name, shape in states]
    outputs = [value("logits", TensorProto.FLOAT, "batch", "length", config.vocab_size)]
    outputs += [value(f"{name}_after", TensorProto.FLOAT, "batch", *shape) for name, shape in states]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "unroll", inputs, outputs, list(graph.constants.values())),
        producer_name="unroll",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        doc_string="A recurrent language model: ids and a state in, logits of what follows each and the state out.",
    )
    helper.set_model_props(model, dict(about))
    checker.check_model(model, full_check=True)
    return cast(bytes, model.SerializeToString(deterministic=True))


def linear(graph: Graph, x: str, weights: Weights, name: str) -> str:
    """Add W x + b of the layer `name` over the last axis."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    flat = name.replace(".", "_")
    x = graph.add("MatMul", x, graph.constant(f"{flat}_weight", weight.T))
    return str(graph.add("Add", x, graph.constant(f"{flat}_bias", bias)))


def adaptive(graph: Graph, y: str, config: ModelConfig, weights: Weights) -> str:
    """Add ln P of all symbols by an adaptive softmax: that of the frequent ones, and of each cluster times its own."""

    def product(x: str, name: str) -> str:
        return str(graph.add("MatMul", x, graph.constant(name.replace(".", "_"), weights[name].T)))

    def part(x: str, start: int, end: int) -> str:
        bounds = (graph.constant(f"at{place}", np.array([place], np.int64)) for place in (start, end))
        return str(graph.add("Slice", x, *bounds, graph.axes(2)))

    first = config.cutoffs[0]
    head = graph.add("LogSoftmax", product(y, "adaptive.head.weight"), axis=-1)
    parts = [part(head, 0, first)]
    for k in range(len(config.cutoffs)):
        narrow = product(product(y, f"adaptive.tail.{k}.0.weight"), f"adaptive.tail.{k}.1.weight")
        within = graph.add("LogSoftmax", narrow, axis=-1)
        parts.append(graph.add("Add", within, part(head, first + k, first + k + 1)))
    return str(graph.add("Concat", *parts, axis=-1))


def gelu(graph: Graph, x: str) -> str:
    """Add x/2 (1 + erf(x / √2)); an operation of its own only in later versions of ONNX."""
    half, one, root = (
        graph.constant(name, np.array(value, np.float32))
        for name, value in (("half", 0.5), ("one", 1.0), ("root", 2**0.5))
    )
    share = graph.add("Add", graph.add("Erf", graph.add("Div", x, root)), one)
    return str(graph.add("Mul", graph.add("Mul", x, half), share))


def recurrent(graph: Graph, x: str, config: ModelConfig, weights: Weights) -> str:
    """Add the recurrent layers over `x` (T, B, E) and the states after them."""
    total = ""
    for k in range(config.num_layers):
        parts = [name for name, _ in state_shapes(config) if name.startswith(f"layer{k}_")]
        add_layer = scan if config.arch == "mingru" else operator
        y = add_layer(graph, x, config, weights, k, parts)
        if config.skip == "residual" and k > 0:
            y = graph.add("Add", y, x)
        total = graph.add("Add", total, y) if total else y
        x = y
    return total if config.skip == "sum" else x


def operator(graph: Graph, x: str, config: ModelConfig, weights: Weights, k: int, parts: list[str]) -> str:
    """Add layer `k` over `x` (T, B, I) as ONNX's own operator, and its state's `parts` after; returns the outputs."""
    options: dict[str, Any] = {"hidden_size": config.hidden_size}
    if config.arch == "gru":
        options["linear_before_reset"] = 1  # reset after the product, as in cuDNN
    w, r, b_w, b_r = (
        in_their_order(weights[f"recurrent.layers.{k}.{name}"], config.arch)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    constants = [
        graph.constant(f"layer{k}_{name}", value[None])  # one direction
        for name, value in (("W", w), ("R", r), ("B", np.concatenate([b_w, b_r])))
    ]
    before = [graph.add("Unsqueeze", part, graph.axes(0)) for part in parts]
    # The empty name is that of the rows' lengths: all are as long as the input.
    kind = ARCHITECTURES[config.arch].label
    y, *after = graph.add(kind, x, *constants, "", *before, results=1 + len(parts), **options)
    y = graph.add("Squeeze", y, graph.axes(1))  # (T, B, H)
    for part, value in zip(parts, after, strict=True):
        graph.add("Squeeze", value, graph.axes(0), name=f"{part}_after")
    return str(y)


def scan(graph: Graph, x: str, config: ModelConfig, weights: Weights, k: int, parts: list[str]) -> str:
    """Add layer `k` over `x` (T, B, I) as a loop of h = h₋₁ + z (n - h₋₁): a minGRU, for which ONNX has no operator."""
    from onnx import TensorProto, helper

    name, hidden = f"recurrent.layers.{k}", config.hidden_size
    blocks = graph.add("MatMul", x, graph.constant(f"layer{k}_W", weights[f"{name}.weight_ih"].T))
    blocks = graph.add("Add", blocks, graph.constant(f"layer{k}_B", weights[f"{name}.bias_ih"]))
    z, n = graph.add("Split", blocks, axis=-1, results=2)
    shape = ("batch", hidden)
    (before, z_t, n_t, after, output) = (
        helper.make_tensor_value_info(value, TensorProto.FLOAT, shape) for value in ("before", "z", "n", "after", "y")
    )
    body = [
        helper.make_node("Sub", ["n", "before"], ["way"]),
        helper.make_node("Mul", ["z", "way"], ["step"]),
        helper.make_node("Add", ["before", "step"], ["after"]),
        helper.make_node("Identity", ["after"], ["y"]),
    ]
    step = helper.make_graph(body, f"layer{k}_step", [before, z_t, n_t], [after, output])
    state, y = graph.add("Scan", *parts, graph.add("Sigmoid", z), n, body=step, num_scan_inputs=2, results=2)
    graph.add("Identity", state, name=f"{parts[0]}_after")
    return str(y)


def in_their_order(weight: NDArray[np.float32], arch: str) -> NDArray[np.float32]:
    """Return a weight or bias, (G·H, …), with its blocks in ONNX's order."""
    blocks = dict(zip(ARCHITECTURES[arch].blocks, np.split(weight, len(ORDER[arch])), strict=True))
    return np.concatenate([blocks[name] for name in ORDER[arch]])


def window(graph: Graph, x: str, config: ModelConfig, weights: Weights) -> str:
    """Add the layers of a window over `x` (T, B, E), the first of them a convolution, and the last inputs after it."""
    (name, _), *_ = state_shapes(config)
    x = graph.add("Transpose", x, perm=[1, 0, 2])
    inputs = graph.add("Concat", name, x, axis=1)  # (B, n-1+T, E)
    length = graph.add("Shape", "ids", start=1, end=2)
    end = graph.constant("end", np.array([2**62], np.int64))
    graph.add("Slice", inputs, length, end, graph.axes(1), name=f"{name}_after")
    first = weights["recurrent.layers.0.weight"].reshape(config.hidden_size, config.window, config.embedding_size)
    kernel = graph.constant("layer0_kernel", first.transpose(0, 2, 1))  # (H, E, n), oldest first
    bias = graph.constant("layer0_bias", weights["recurrent.layers.0.bias"])
    y = graph.add("Conv", graph.add("Transpose", inputs, perm=[0, 2, 1]), kernel, bias)  # (B, H, T)
    y = graph.add("Tanh", graph.add("Transpose", y, perm=[2, 0, 1]))
    for k in range(1, config.num_layers):
        y = graph.add("Tanh", linear(graph, y, weights, f"recurrent.layers.{k}"))
    return str(y)

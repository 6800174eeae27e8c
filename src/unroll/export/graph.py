"""ONNX graphs: nodes and constants, the layers that our networks share, and what is needed to export one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from unroll.nn.arch import ARCHITECTURES

OPSET, IR_VERSION = 17, 8
"""Of 2022: every operation that is used is in them, and runtimes of that year on read them."""

ORDER = {"rnn": "h", "gru": "zrn", "lstm": "iofg"}
"""Our blocks in the order of ONNX's operators (GRU: z r h; LSTM: i o f c)."""

Weights = Mapping[str, NDArray[np.float32]]
"""By the names of the torch model's parameters."""
Case = tuple[dict[str, NDArray[Any]], list[NDArray[np.floating]]]
"""Inputs of a graph by name, and our own network's outputs in the order of the graph's."""


@dataclass(frozen=True)
class Network:
    """A graph, and what it is held to."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    build: Callable[[Weights, Mapping[str, str]], bytes]
    """Returns the ONNX file of weights, with metadata."""
    cases: Callable[[], Iterator[Case]]
    """Opens the model, which checks its weights, and yields what the graph is held to."""


@dataclass(frozen=True)
class Source:
    """What a model directory gives to an export."""

    parameters: int
    vocabularies: Mapping[str, bytes]
    """The files of its vocabularies by name."""
    about: Mapping[str, Any]
    """What else a program must know, as JSON."""
    network: Network
    beside: Mapping[str, Network] = field(default_factory=dict)
    """By the names of their files: what is run before the network."""


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
            self.constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def scalar(self, name: str, value: float) -> str:
        """Add a number in float32 as a constant."""
        return self.constant(name, np.array(value, np.float32))

    def axes(self, *axes: int) -> str:
        """Add axes as a constant."""
        return self.constant(f"axes{'_'.join(map(str, axes))}", np.array(axes, np.int64))

    def file(self, inputs: Sequence[Any], outputs: Sequence[Any], about: Mapping[str, str], doc: str) -> bytes:
        """Return the whole as an ONNX file; equal weights make equal bytes."""
        from onnx import checker, helper

        model = helper.make_model(
            helper.make_graph(self.nodes, "unroll", inputs, outputs, list(self.constants.values())),
            producer_name="unroll",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            doc_string=doc,
        )
        helper.set_model_props(model, dict(about))
        checker.check_model(model, full_check=True)
        return cast(bytes, model.SerializeToString(deterministic=True))


def integers(name: str, *shape: int | str) -> Any:
    """Return the description of an input of integers."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.INT64, shape)


def floats(name: str, *shape: int | str | None) -> Any:
    """Return the description of an input or output in float32."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def doubles(name: str, *shape: int | str) -> Any:
    """Return the description of an input or output in float64."""
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)


def linear(graph: Graph, x: str, weights: Weights, name: str) -> str:
    """Add W x + b of the layer `name` over the last axis."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    flat = name.replace(".", "_")
    x = graph.add("MatMul", x, graph.constant(f"{flat}_weight", weight.T))
    return str(graph.add("Add", x, graph.constant(f"{flat}_bias", bias)))


def operator(
    graph: Graph,
    x: str,
    arch: str,
    layer: str,
    directions: Sequence[Weights],
    lengths: str = "",
    before: Sequence[str] = (),
) -> tuple[str, list[str]]:
    """Add a recurrent layer over `x` (T, B, I) as ONNX's own operator, read forwards and, with two weights, backwards.

    Without `lengths` (B,) all rows are as long as the input. Returns the outputs (T, D, B, H) of D directions and, of
    each part of the state, the last (D, B, H).
    """
    options: dict[str, Any] = {"hidden_size": directions[0]["weight_hh"].shape[1]}
    if arch == "gru":
        options["linear_before_reset"] = 1  # reset after the product, as in cuDNN
    if len(directions) == 2:
        options["direction"] = "bidirectional"
    w, r, b_w, b_r = (
        np.stack([in_their_order(weights[name], arch) for weights in directions])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    constants = [
        graph.constant(f"{layer}_{name}", value)
        for name, value in (("W", w), ("R", r), ("B", np.concatenate([b_w, b_r], axis=1)))
    ]
    architecture = ARCHITECTURES[arch]
    y, *after = graph.add(
        architecture.label, x, *constants, lengths, *before, results=1 + len(architecture.state), **options
    )
    return y, after


def scan(
    graph: Graph, x: str, layer: str, weights: Weights, before: str, inside: str = "", *, reverse: bool = False
) -> tuple[str, str]:
    """Add a layer over `x` (T, B, I) as a loop of h = h₋₁ + z (n - h₋₁): a minGRU, for which ONNX has no operator.

    Where `inside` (T, B, 1) is 0 the state stays as it is; `reverse` begins at the last step. Returns the outputs
    (T, B, H) and the last state (B, H).
    """
    from onnx import helper

    blocks = graph.add("MatMul", x, graph.constant(f"{layer}_W", weights["weight_ih"].T))
    blocks = graph.add("Add", blocks, graph.constant(f"{layer}_B", weights["bias_ih"]))
    z, n = graph.add("Split", blocks, axis=-1, results=2)
    z = graph.add("Sigmoid", z)
    if inside:
        z = graph.add("Mul", z, inside)
    hidden = len(weights["bias_ih"]) // 2
    h, z_t, n_t, after, output = (floats(name, None, hidden) for name in ("before", "z", "n", "after", "y"))
    body = [
        helper.make_node("Sub", ["n", "before"], ["way"]),
        helper.make_node("Mul", ["z", "way"], ["step"]),
        helper.make_node("Add", ["before", "step"], ["after"]),
        helper.make_node("Identity", ["after"], ["y"]),
    ]
    step = helper.make_graph(body, f"{layer}_step", [h, z_t, n_t], [after, output])
    way = int(reverse)
    state, y = graph.add(
        "Scan", before, z, n, body=step, num_scan_inputs=2, scan_input_directions=[way, way],
        scan_output_directions=[way], results=2,
    )  # fmt: skip
    return y, state


def in_their_order(weight: NDArray[np.float32], arch: str) -> NDArray[np.float32]:
    """Return a weight or bias, (G·H, …), with its blocks in ONNX's order."""
    blocks = dict(zip(ARCHITECTURES[arch].blocks, np.split(weight, len(ORDER[arch])), strict=True))
    return np.concatenate([blocks[name] for name in ORDER[arch]])

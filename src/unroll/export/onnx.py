"""A network as one ONNX file: its state as named inputs and outputs, held against ours before it is there."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from unroll._version import __version__
from unroll.artifact.directory import WEIGHTS, read_config, read_description, read_tokenizer
from unroll.artifact.open import open_model
from unroll.errors import UserError
from unroll.files import explained, write_atomically
from unroll.nn.config import ModelConfig, parameter_count
from unroll.predict.ngram_config import NgramConfig
from unroll.predict.predictor import State, Window
from unroll.settings import to_mapping

OPSET, IR_VERSION = 17, 8
"""Of 2022: every operation that is used is in them, and runtimes of that year on read them."""

MOST_BYTES = 2**31 - 2**20
"""What one file may have: protobuf counts to two gigabytes."""

TOKENIZER = "tokenizer.json"
TOLERANCE = 1e-4
"""How far a logit may be from ours, as a share of the largest one: float32 in another order of sums."""

CHECKED = ((1, 1), (3, 24), (2, 40))
"""Rows and lengths at which an export is run; none of them is built into it."""

ORDER = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
"""Where ONNX's gates (GRU: z r h; LSTM: i o f c) stand among ours (r z n; i f g o)."""

OPERATORS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was run and agreed."""

    path: Path
    tokenizer: Path
    """The vocabulary, beside it."""
    about: Path
    """What its metadata say, beside it as JSON: not every runtime hands metadata out."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bytes: int
    difference: float
    """The largest one between its logits or state and ours."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {
            "path": str(self.path), "tokenizer": str(self.tokenizer), "about": str(self.about), "opset": OPSET
        }  # fmt: skip


def export_onnx(model: str | PathLike[str], out: str | PathLike[str] | None = None) -> Exported:
    """Write a network as the ONNX file `out`, by default onnx/model.onnx in its directory.

    Beside it lie the vocabulary, and its start symbol, unknown symbol and the shapes of its state as JSON.
    `ids` (batch, length) and a state go in, `logits` (batch, length, symbols) and the state after come out: of the
    input `layer0_h` it is `layer0_h_after`. Batch and length are free, all is float32. Before it is written it is run
    by ONNX Runtime and held against our own network from random states. Raises UserError.
    """
    require_onnx()
    path = Path(model)
    file = path / "onnx" / "model.onnx" if out is None else Path(out)
    description = read_description(path)
    config = read_config(description, str(path / "model.json"))
    if isinstance(config, NgramConfig):
        raise UserError(
            f"{path} is an n-gram: counts, not a network, and ONNX has no operations for them",
            allowed="a model made by `unroll train`",
            fix="train a network on the same text, and export that",
        )
    if file.suffix != ".onnx" or file.is_dir():
        raise UserError(f"{file} is no name for an ONNX file", allowed="a file that ends in .onnx", fix="name another")
    if 4 * parameter_count(config) > MOST_BYTES:
        raise UserError(
            f"{path} has {parameter_count(config):,} weights, more than one ONNX file holds",
            allowed=f"{MOST_BYTES // 4:,} weights",
            fix="train a smaller one",
        )
    tokenizer = read_tokenizer(path, description)
    vocabulary = tokenizer.to_json().encode()
    beside = file.with_name(TOKENIZER)
    if beside.exists() and beside.read_bytes() != vocabulary:
        raise UserError(
            f"{beside} is another vocabulary, and would have to lie beside {file.name}",
            allowed="a folder of its own for each model",
            fix="name another folder with --out, or remove what lies there",
        )

    ours = cast("Network", open_model(path).predictor)  # also checks the weights
    about = {
        "unroll": __version__,
        "tokenizer": TOKENIZER,
        "tokenizer_digest": tokenizer.digest,
        "level": tokenizer.level,
        "start_id": str(tokenizer.start_id),
        "unknown_id": "" if tokenizer.unknown_id is None else str(tokenizer.unknown_id),
        "model": json.dumps(to_mapping(config), sort_keys=True),
    }
    data = build(config, read_weights(path), about)
    difference = verify(data, config, ours)
    shapes = state_shapes(config)
    told = about | {
        "start_id": tokenizer.start_id,
        "unknown_id": tokenizer.unknown_id,
        "vocab_size": config.vocab_size,
        "state": {name: list(shape) for name, shape in shapes},
        "model": to_mapping(config),
    }
    described = file.with_name(f"{file.name}.json")
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    before = {path: path.read_bytes() if path.exists() else None for path in (beside, described)}
    try:
        write_atomically(beside, vocabulary)
        write_atomically(described, (json.dumps(told, indent=2) + "\n").encode())
        write_atomically(file, data)
    except BaseException:
        with suppress(OSError, UserError):  # what went wrong first is what is reported
            for path, content in before.items():
                if content is None:
                    path.unlink(missing_ok=True)
                else:
                    write_atomically(path, content)
        raise
    names = [name for name, _ in shapes]
    outputs = ("logits", *(f"{name}_after" for name in names))
    return Exported(file, beside, described, ("ids", *names), outputs, len(data), difference)


def require_onnx() -> None:
    """Raise UserError where the packages are not installed."""
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxruntime"):
            raise
        raise UserError(
            f"exporting needs the package {error.name}, which is not installed",
            allowed="onnx, and onnxruntime to check what was made",
            fix='pip install "unroll-lm[export]"',
        ) from None
    assert onnx.defs.onnx_opset_version() >= OPSET


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the weights of a model directory by name."""
    from safetensors.numpy import load_file

    return load_file(path / WEIGHTS)


def state_shapes(config: ModelConfig) -> list[tuple[str, tuple[int, ...]]]:
    """Return the parts of the state in order, each with its name and shape but for the batch, which comes first."""
    if config.arch == "window":
        return [("layer0_inputs", (config.window - 1, config.embedding_size))]
    parts = "hc" if config.arch == "lstm" else "h"
    return [(f"layer{k}_{part}", (config.hidden_size,)) for k in range(config.num_layers) for part in parts]


class Graph:
    """Nodes and constants as they are added; a value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(self, operator: str, *inputs: str, name: str = "", results: int = 1, **options: Any) -> Any:
        """Add a node and return the name of its result, or the names of several."""
        from onnx import helper

        made = [name or f"value{len(self.nodes)}"]
        made += [f"{made[0]}_{k}" for k in range(1, results)]
        self.nodes.append(helper.make_node(operator, inputs, made, name=f"node{len(self.nodes)}", **options))
        return made[0] if results == 1 else made

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant, once under its name."""
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def axes(self, *axes: int) -> str:
        """Add axes as a constant."""
        return self.constant(f"axes{'_'.join(map(str, axes))}", np.array(axes, np.int64))


def build(config: ModelConfig, weights: Mapping[str, NDArray[np.float32]], about: Mapping[str, str]) -> bytes:
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
    made = helper.make_model(
        helper.make_graph(graph.nodes, "unroll", inputs, outputs, list(graph.constants.values())),
        producer_name="unroll",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        doc_string="A recurrent language model: ids and a state in, logits of what follows each and the state out.",
    )
    helper.set_model_props(made, dict(about))
    checker.check_model(made, full_check=True)
    return cast(bytes, made.SerializeToString(deterministic=True))


def linear(graph: Graph, x: str, weights: Mapping[str, NDArray[np.float32]], name: str) -> str:
    """Add W x + b of the layer `name` over the last axis."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    flat = name.replace(".", "_")
    x = graph.add("MatMul", x, graph.constant(f"{flat}_weight", weight.T))
    return str(graph.add("Add", x, graph.constant(f"{flat}_bias", bias)))


def adaptive(graph: Graph, y: str, config: ModelConfig, weights: Mapping[str, NDArray[np.float32]]) -> str:
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


def recurrent(graph: Graph, x: str, config: ModelConfig, weights: Mapping[str, NDArray[np.float32]]) -> str:
    """Add the recurrent layers over `x` (T, B, E) and the states after them."""
    options: dict[str, Any] = {"hidden_size": config.hidden_size}
    if config.arch == "gru":
        options["linear_before_reset"] = 1  # reset after the product, as in cuDNN
    total = ""
    for k in range(config.num_layers):
        w, r, b_w, b_r = (
            in_their_order(weights[f"recurrent.layers.{k}.{name}"], config.arch)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        constants = [
            graph.constant(f"layer{k}_{name}", value[None])  # one direction
            for name, value in (("W", w), ("R", r), ("B", np.concatenate([b_w, b_r])))
        ]
        parts = [name for name, _ in state_shapes(config) if name.startswith(f"layer{k}_")]
        before = [graph.add("Unsqueeze", part, graph.axes(0)) for part in parts]
        # The empty name is that of the rows' lengths: all are as long as the input.
        made = graph.add(OPERATORS[config.arch], x, *constants, "", *before, results=1 + len(parts), **options)
        y = graph.add("Squeeze", made[0], graph.axes(1))  # (T, B, H)
        for part, after in zip(parts, made[1:], strict=True):
            graph.add("Squeeze", after, graph.axes(0), name=f"{part}_after")
        if config.skip == "residual" and k > 0:
            y = graph.add("Add", y, x)
        total = graph.add("Add", total, y) if total else y
        x = y
    return total if config.skip == "sum" else x


def in_their_order(weight: NDArray[np.float32], arch: str) -> NDArray[np.float32]:
    """Return a weight or bias, (G·H, …), with its gates in ONNX's order."""
    gates = np.split(weight, len(ORDER[arch]))
    return np.concatenate([gates[place] for place in ORDER[arch]])


def window(graph: Graph, x: str, config: ModelConfig, weights: Mapping[str, NDArray[np.float32]]) -> str:
    """Add the layers of a window over `x` (T, B, E), the first of them a convolution, and the last inputs after it."""
    (name, _), *_ = state_shapes(config)
    x = graph.add("Transpose", x, perm=[1, 0, 2])
    seen = graph.add("Concat", name, x, axis=1)  # (B, n-1+T, E)
    length = graph.add("Shape", "ids", start=1, end=2)
    end = graph.constant("end", np.array([2**62], np.int64))
    graph.add("Slice", seen, length, end, graph.axes(1), name=f"{name}_after")
    first = weights["recurrent.layers.0.weight"].reshape(config.hidden_size, config.window, config.embedding_size)
    kernel = graph.constant("layer0_kernel", first.transpose(0, 2, 1))  # (H, E, n), oldest first
    bias = graph.constant("layer0_bias", weights["recurrent.layers.0.bias"])
    y = graph.add("Conv", graph.add("Transpose", seen, perm=[0, 2, 1]), kernel, bias)  # (B, H, T)
    y = graph.add("Tanh", graph.add("Transpose", y, perm=[2, 0, 1]))
    for k in range(1, config.num_layers):
        y = graph.add("Tanh", linear(graph, y, weights, f"recurrent.layers.{k}"))
    return str(y)


class Network(Protocol):
    """Our own network: what an export is held against."""

    def hidden(self, inputs: Window, state: State | None = None) -> tuple[NDArray[np.floating], State]:
        """Read `inputs` (B, T) from a state; return what the last recurrent layer hands on, and the state."""

    def logits_after(self, y: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the logits (B, T, V) after it."""


class Session:
    """An ONNX file in use, with the contract of our networks: ids (B, T) and a state to logits (B, T, V) and one."""

    def __init__(self, data: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.inputs = [(value.name, value.shape) for value in self._session.get_inputs()][1:]

    def fresh_state(self, rows: int) -> dict[str, NDArray[np.float32]]:
        """Return the state of rows that have read nothing: zeros."""
        return {name: np.zeros((rows, *shape[1:]), np.float32) for name, shape in self.inputs}

    def run(
        self, ids: Window, state: Mapping[str, NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """Return the logits after every symbol and the state after the last, by the names of the inputs."""
        names = ["logits", *(f"{name}_after" for name, _ in self.inputs)]
        logits, *after = self._session.run(names, {"ids": ids, **state})
        return logits, dict(zip(state, after, strict=True))


def verify(data: bytes, config: ModelConfig, ours: Network) -> float:
    """Run an ONNX file beside our own network; returns the largest difference, raises UserError for one that counts."""
    session, largest = Session(data), 0.0
    for mine, theirs in runs(session, config, ours):
        difference = float(np.abs(mine - theirs).max(initial=0.0)) if mine.shape == theirs.shape else np.inf
        if not difference <= TOLERANCE * max(1.0, float(np.abs(mine).max(initial=0.0))):
            raise UserError(
                f"the ONNX network differs from ours by {difference:.2g}, and was not written",
                allowed=f"{TOLERANCE:g} of the largest value, what float32 rounds",
                fix="another version of onnxruntime may help; please report it as a fault of unroll",
            )
        largest = max(largest, difference)
    return largest


def runs(
    session: Session, config: ModelConfig, ours: Network
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
    """Yield what our network and the exported one say and leave behind, at several shapes, from random states."""
    random = np.random.default_rng(0)
    for rows, length in CHECKED:
        ids = random.integers(config.vocab_size, size=(rows, length))
        state = {name: random.normal(0, 0.5, (rows, *shape)).astype(np.float32) for name, shape in state_shapes(config)}
        y, after = ours.hidden(ids, as_layers(state, config))
        logits, theirs = session.run(ids, state)
        yield np.asarray(ours.logits_after(y)), logits
        parts = [part for layer in after for part in layer]
        yield from zip(parts, theirs.values(), strict=True)


def as_layers(state: Mapping[str, NDArray[np.float32]], config: ModelConfig) -> State:
    """Return named parts of a state as our networks take them: a tuple for each layer."""
    parts = list(state.values())
    size = 2 if config.arch == "lstm" else 1
    return tuple(tuple(parts[first : first + size]) for first in range(0, len(parts), size))

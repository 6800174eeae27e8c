"""A language model as an ONNX graph: ids and a state in, logits and the state after out."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.directory import read_config, read_description, read_tokenizer
from unroll.artifact.open import open_model
from unroll.errors import WrongKind
from unroll.export.graph import Case, Graph, Network, Source, Weights, floats, integers, linear
from unroll.export.layers import part, stateful_layer
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig, parameter_count
from unroll.predict.ngram import NgramConfig
from unroll.settings import to_mapping
from unroll.state import State, parts_of

CHECKED = ((1, 1), (3, 24), (2, 40))
"""Rows and lengths at which an export is run; none of them is built into it."""


def language_source(path: Path) -> Source:
    """Return what an export needs of a language model; raises UserError for an n-gram."""
    description = read_description(path)
    config = read_config(description, str(path / "model.json"))
    if isinstance(config, NgramConfig):
        raise WrongKind(
            path,
            "ngram",
            "counts, not a network, and ONNX has no operations for them",
            allowed="a model made by `unroll train`",
            fix="train a network on the same text, and export that",
        )
    tokenizer = read_tokenizer(path, description)
    shapes = state_shapes(config)
    about = {
        "tokenizer_digest": tokenizer.digest,
        "level": tokenizer.level,
        "start_id": tokenizer.start_id,
        "unknown_id": tokenizer.unknown_id,
        "end_id": tokenizer.end_id,
        "vocab_size": config.vocab_size,
        "state": {name: list(shape) for name, shape in shapes},
        "model": to_mapping(config),
    }
    return Source(
        parameters=parameter_count(config),
        vocabularies={"tokenizer": tokenizer.to_json().encode()},
        about=about,
        network=Network(
            inputs=("ids", *(name for name, _ in shapes)),
            outputs=("logits", *(f"{name}_after" for name, _ in shapes)),
            build=partial(build, config),
            cases=partial(cases, path, config),
        ),
    )


def cases(path: Path, config: ModelConfig) -> Iterator[Case]:
    """Yield what goes in and comes out of our own network, at several shapes, from random states."""
    network = open_model(path).predictor.network
    assert network is not None
    random = np.random.default_rng(0)
    for rows, length in CHECKED:
        ids = random.integers(config.vocab_size, size=(rows, length))
        state = {name: random.normal(0, 0.5, (rows, *shape)).astype(np.float32) for name, shape in state_shapes(config)}
        y, after = network.hidden(ids, as_layers(state, config))
        yield {"ids": ids, **state}, [np.asarray(network.logits_after(y)), *parts_of(after)]


def as_layers(state: Mapping[str, NDArray[np.float32]], config: ModelConfig) -> State:
    """Return named parts of a state as a tuple for each layer, as our networks take them."""
    parts = list(state.values())
    size = len(ARCHITECTURES[config.arch].state) or 1
    return tuple(tuple(parts[first : first + size]) for first in range(0, len(parts), size))


def state_shapes(config: ModelConfig) -> list[tuple[str, tuple[int, ...]]]:
    """Return the parts of the state in order, each with its name and shape but for the batch, which comes first."""
    if config.arch == "window":
        return [("layer0_inputs", (config.window - 1, config.embedding_size))]
    parts = ARCHITECTURES[config.arch].state
    return [(f"layer{k}_{part}", (config.hidden_size,)) for k in range(config.num_layers) for part in parts]


def build(config: ModelConfig, weights: Weights, about: Mapping[str, str]) -> bytes:
    """Return the network as an ONNX file."""
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

    states = state_shapes(config)
    inputs = [integers("ids", "batch", "length"), *(floats(name, "batch", *shape) for name, shape in states)]
    outputs = [floats("logits", "batch", "length", config.vocab_size)]
    outputs += [floats(f"{name}_after", "batch", *shape) for name, shape in states]
    doc = "A recurrent language model: ids and a state in, logits of what follows each and the state out."
    return graph.file(inputs, outputs, about, doc)


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
    half, one, root = (graph.scalar(name, value) for name, value in (("half", 0.5), ("one", 1.0), ("root", 2**0.5)))
    share = graph.add("Add", graph.add("Erf", graph.add("Div", x, root)), one)
    return str(graph.add("Mul", graph.add("Mul", x, half), share))


def recurrent(graph: Graph, x: str, config: ModelConfig, weights: Weights) -> str:
    """Add the recurrent layers over `x` (T, B, E) and the states after them."""
    total = ""
    for k in range(config.num_layers):
        y = stateful_layer(graph, x, config.arch, f"layer{k}", part(weights, f"recurrent.layers.{k}."))
        if config.skip == "residual" and k > 0:
            y = graph.add("Add", y, x)
        total = graph.add("Add", total, y) if total else y
        x = y
    return total if config.skip == "sum" else x


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

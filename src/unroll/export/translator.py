"""A translator as two ONNX graphs: one reads sources to their ends, the other is a step of what writes translations."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from unroll.artifact.translator import SOURCE, open_translator, read_readers, read_translator
from unroll.data.ragged import Vectors
from unroll.export.encoder import described, encoded, inputs_of, read_by, readings
from unroll.export.graph import Case, Graph, Network, Source, Weights, floats, integers, linear
from unroll.export.layers import ends, masked, part, stateful_layer
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.translator_config import TranslatorConfig, translator_parameters
from unroll.settings import to_mapping
from unroll.state import parts_of

CHECKED = ((1,), (24, 3, 1, 7), (3, 40))
"""Lengths of the sources at which an export is run: none is empty."""


def translator_source(path: Path) -> Source:
    """Return what an export needs of a translator."""
    info = read_translator(path)
    config, readers = info.config, read_readers(path, info)
    vocabularies, about = read_by(readers.target)
    if not readers.shared:
        vocabularies[Path(SOURCE).stem] = readers.source.tokenizer.to_json().encode()
    about |= {
        "max_units": info.max_units,
        "state": {name: list(shape) for name, shape in state_shapes(config).items()},
        "model": to_mapping(config),
    }
    state = tuple(state_shapes(config))
    encoder = Network(
        inputs=inputs_of(config.encoder),
        outputs=(*memory_shapes(config), *state),
        build=partial(build_encoder, config),
        cases=partial(encoder_cases, path),
    )
    decoder = Network(
        inputs=("ids", *(["lengths"] if memory_shapes(config) else []), *memory_shapes(config), *state),
        outputs=("logits", *(["attention"] if memory_shapes(config) else []), *(f"{name}_after" for name in state)),
        build=partial(build_decoder, config),
        cases=partial(decoder_cases, path),
    )
    return Source(translator_parameters(config), vocabularies, about, decoder, {"encoder": encoder})


def state_shapes(config: TranslatorConfig) -> dict[str, tuple[int, ...]]:
    """Return the parts of the decoder's state in order, each with its shape but for the batch, which comes first."""
    parts = ARCHITECTURES[config.arch].state
    layers: dict[str, tuple[int, ...]] = {
        f"layer{k}_{part}": (config.hidden_size,) for k in range(config.num_layers) for part in parts
    }
    return layers | ({"readout": (config.embedding_size,)} if config.input_feeding else {})


def memory_shapes(config: TranslatorConfig) -> Mapping[str, tuple[int, ...]]:
    """Return what the decoder reads of each unit of a source, with its size; nothing without attention."""
    if config.attention == "none":
        return {}
    keys = config.hidden_size if config.attention == "dot" else config.attention_size
    return {"memory": (config.memory_size,), "keys": (keys,)}


def encoder_cases(path: Path) -> Iterator[Case]:
    """Yield sources, what our own network reads of them, and the states in which their translations begin."""
    network = open_translator(path).network
    for reading, inputs in readings(network.config.encoder, CHECKED):
        memory = network.read(reading.units)
        read = [memory.outputs, memory.keys] if memory.keys is not None else []
        yield inputs, [*(Vectors(y, memory.ends).padded()[0] for y in read), *parts_of(memory.start)]


def decoder_cases(path: Path) -> Iterator[Case]:
    """Yield what goes in and comes out of a step of our own network, from random states."""
    network, random = open_translator(path).network, np.random.default_rng(1)
    names = state_shapes(network.config)
    for reading, source in readings(network.config.encoder, CHECKED):
        memory, count = network.read(reading.units), len(reading)
        state = tuple(
            tuple(random.normal(0, 0.5, part.shape).astype(np.float32) for part in layer) for layer in memory.start
        )
        ids = random.integers(network.config.vocab_size, size=count)
        inputs = {"ids": ids, **dict(zip(names, parts_of(state), strict=True))}
        step = network.step(ids, state, memory, np.arange(count))
        outputs = [step.logits]
        if memory.keys is not None and step.attention is not None:
            inputs["lengths"] = source["lengths"]
            behind = np.arange(reading.units.lengths.max()) >= source["lengths"][:, None]
            for name, values in (("memory", memory.outputs), ("keys", memory.keys)):
                inputs[name], _ = Vectors(values, memory.ends).padded()
                inputs[name][behind] = random.normal(size=(behind.sum(), 1))
            weights = Vectors(np.concatenate(step.attention)[:, None], memory.ends)
            outputs.append(weights.padded()[0][:, :, 0])
        yield inputs, [*outputs, *parts_of(step.state)]


def build_encoder(config: TranslatorConfig, weights: Weights, about: Mapping[str, str]) -> bytes:
    """Return the encoder as an ONNX file: padded sources and their lengths in, memory and the first state out."""
    graph = Graph()
    y, rows = encoded(graph, config.encoder, part(weights, "encoder."))
    outputs = [floats(name, "batch", "length", *shape) for name, shape in memory_shapes(config).items()]
    if config.attention != "none":
        graph.add("Transpose", y, name="memory", perm=[1, 0, 2])
        keys = graph.add("MatMul", y, graph.constant("key", weights["attention.key"].T))
        if config.attention == "additive":
            keys = masked(graph, graph.add("Add", keys, graph.constant("bias", weights["attention.bias"])), rows.inside)
        graph.add("Transpose", keys, name="keys", perm=[1, 0, 2])
    start = linear(graph, ends(graph, y, 2, rows), weights, "start")  # (B, L·H)
    layers = graph.add("Split", start, axis=-1, results=config.num_layers) if config.num_layers > 1 else [start]
    for k, u in enumerate(layers):
        graph.add("Tanh", u, name=f"layer{k}_h")
        if "c" in ARCHITECTURES[config.arch].state:
            graph.add("Identity", u, name=f"layer{k}_c")
    if config.input_feeding:
        size = graph.constant("embedding_size", np.array([config.embedding_size]))
        graph.add("ConstantOfShape", graph.add("Concat", graph.add("Shape", "lengths"), size, axis=0), name="readout")
    outputs += [floats(name, "batch", *shape) for name, shape in state_shapes(config).items()]
    doc = "The encoder of a translator: rows of units and their lengths in, memory and the decoder's first state out."
    return graph.file(described(config.encoder), outputs, about, doc)


def build_decoder(config: TranslatorConfig, weights: Weights, about: Mapping[str, str]) -> bytes:
    """Return a step of the decoder as an ONNX file: symbols, memory and a state in, logits and the state after out."""
    graph, memory, states = Graph(), memory_shapes(config), state_shapes(config)
    table = "embedding.weight" if config.source_size else "encoder.embedding.weight"
    embedding = graph.constant("embedding", weights[table])
    x = graph.add("Gather", embedding, "ids")  # (B, E)
    if config.input_feeding:
        x = graph.add("Concat", x, "readout", axis=-1)
    x = graph.add("Unsqueeze", x, graph.axes(0))  # (1, B, I)
    for k in range(config.num_layers):
        x = stateful_layer(graph, x, config.arch, f"layer{k}", part(weights, f"decoder.{k}."))
    joined = graph.add("Squeeze", x, graph.axes(0))  # (B, H)
    if memory:
        joined = graph.add("Concat", attended(graph, joined, config, weights), joined, axis=-1)
    readout = graph.add("Tanh", linear(graph, joined, weights, "combine"))
    if config.input_feeding:
        graph.add("Identity", readout, name="readout_after")
    rows = graph.add("Transpose", embedding, perm=[1, 0]) if config.tie_weights else graph.constant(
        "head", weights["head.weight"].T
    )  # fmt: skip
    graph.add(
        "Add", graph.add("MatMul", readout, rows), graph.constant("head_bias", weights["head.bias"]), name="logits"
    )
    inputs, outputs = [integers("ids", "batch")], [floats("logits", "batch", config.vocab_size)]
    if memory:
        inputs.append(integers("lengths", "batch"))
        inputs += [floats(name, "batch", "length", *shape) for name, shape in memory.items()]
        outputs.append(floats("attention", "batch", "length"))
    inputs += [floats(name, "batch", *shape) for name, shape in states.items()]
    outputs += [floats(f"{name}_after", "batch", *shape) for name, shape in states.items()]
    doc = "A step of the decoder of a translator: symbols, memory and a state in, logits of what follows out."
    return graph.file(inputs, outputs, about, doc)


def attended(graph: Graph, h: str, config: TranslatorConfig, weights: Weights) -> str:
    """Add what is attended to (B, M) by the decoder's outputs `h` (B, H), and the weights of a source's units."""
    if config.attention == "dot":
        scores = graph.add("MatMul", "keys", graph.add("Unsqueeze", h, graph.axes(2)))
    else:
        query = graph.add("MatMul", h, graph.constant("query", weights["attention.query"].T))
        hidden = graph.add("Tanh", graph.add("Add", graph.add("Unsqueeze", query, graph.axes(1)), "keys"))
        scores = graph.add("MatMul", hidden, graph.constant("vector", weights["attention.vector"][:, None]))
    scores = graph.add("Squeeze", scores, graph.axes(2))  # (B, S)
    zero, one = (graph.constant(name, np.array(value)) for name, value in (("zero", 0), ("one", 1)))
    units = graph.add("Range", zero, graph.add("Squeeze", graph.add("Shape", "keys", start=1, end=2)), one)
    inside = graph.add("Less", units, graph.add("Unsqueeze", "lengths", graph.axes(1)))
    shares = graph.add(
        "Softmax", masked(graph, scores, inside, float(np.finfo(np.float32).min)), name="attention", axis=-1
    )
    context = graph.add("MatMul", graph.add("Unsqueeze", shares, graph.axes(1)), "memory")
    return str(graph.add("Squeeze", context, graph.axes(1)))

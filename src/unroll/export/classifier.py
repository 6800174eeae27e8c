"""A classifier as an ONNX graph: padded rows of units and their lengths in, logits and probabilities out."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unroll.artifact.classifier import open_classifier, read_classifier, read_reader
from unroll.data.ragged import Ragged
from unroll.data.reader import LONGEST_WORD, Reading
from unroll.export.graph import Case, Graph, Source, Weights, floats, integers, linear, operator, scan
from unroll.nn.encoder_config import ClassifierConfig, classifier_parameters
from unroll.settings import to_mapping
from unroll.tasks.classify.predict import of_logits

CHECKED = ((1,), (24, 0, 1, 7), (3, 40))
"""Lengths of the rows at which an export is run; none of them is built into it."""
WORDS = (5, 0, 1, 9, 3)
"""Numbers of characters of the words in them."""
INPUTS = {
    "ids": ("batch", "length"),
    "lengths": ("batch",),
    "characters": ("words", "characters"),
    "word_lengths": ("words",),
    "word_of": ("batch", "length"),
}
"""The names and shapes of `unroll.nn.encoder.Units`; the last three only where words are read by their characters."""


def inputs_of(config: ClassifierConfig) -> tuple[str, ...]:
    """Return the names of what a classifier reads."""
    return tuple(INPUTS) if config.char_hidden_size else ("ids", "lengths")


def classifier_source(path: Path) -> Source:
    """Return what an export needs of a classifier."""
    info = read_classifier(path)
    config, reader = info.config, read_reader(path, info)
    vocabularies, tokenizer = {"tokenizer": reader.tokenizer.to_json().encode()}, reader.tokenizer
    about = {
        "tokenizer_digest": info.tokenizer_digest,
        "level": tokenizer.level,
        "start_id": tokenizer.start_id,
        "unknown_id": tokenizer.unknown_id,
        "lowercase": info.lowercase,
        "max_units": info.max_units,
        "labels": list(info.labels),
        "text_columns": list(info.text_columns),
        "label_column": info.label_column,
        "model": to_mapping(config),
    }
    if reader.characters is not None:
        vocabularies["characters"] = reader.characters.to_json().encode()
        about |= {"characters_digest": info.characters_digest, "longest_word": LONGEST_WORD}
    return Source(
        parameters=classifier_parameters(config),
        vocabularies=vocabularies,
        about=about,
        inputs=inputs_of(config),
        outputs=("logits", "probabilities"),
        build=partial(build, config),
        cases=partial(cases, path),
    )


def cases(path: Path) -> Iterator[Case]:
    """Yield what goes in and comes out of our own network, for rows of several lengths, padded with random ids."""
    network = open_classifier(path).network
    config, random = network.config, np.random.default_rng(0)
    words = Ragged.of([random.integers(config.chars, size=size) for size in WORDS] if config.char_hidden_size else [])
    for lengths in CHECKED:
        rows, word_of = (
            Ragged.of([random.integers(most, size=length) for length in lengths])
            for most in (config.vocab_size, len(WORDS))
        )
        reading = Reading(rows, word_of, words)
        inputs = {name: array for name, array in reading.arrays().items() if array is not None}
        for name, lengths_of, most in (
            ("ids", "lengths", config.vocab_size),
            ("word_of", "lengths", len(WORDS)),
            ("characters", "word_lengths", config.chars),
        ):
            if name in inputs:
                behind = np.arange(inputs[name].shape[1]) >= inputs[lengths_of][:, None]
                inputs[name][behind] = random.integers(most, size=behind.sum())
        logits = network.logits(reading)
        yield inputs, [logits, of_logits(logits, multi_label=config.multi_label)]


def build(config: ClassifierConfig, weights: Weights, about: Mapping[str, str]) -> bytes:
    """Return the network as an ONNX file."""
    graph = Graph()
    rows = rows_of(graph, "ids", "lengths")
    x = embedded(graph, "embedding", "ids", weights)
    if config.char_hidden_size:
        x = graph.add("Concat", x, spelt(graph, config, weights), axis=-1)
    y = recurrent(graph, x, config, weights, rows)
    pools = [pooled(graph, name, y, config, weights, rows) for name in config.poolings]
    x = graph.add("Concat", *pools, axis=-1) if len(pools) > 1 else pools[0]
    graph.add("Identity", linear(graph, x, weights, "head"), name="logits")
    if config.multi_label:
        graph.add("Sigmoid", "logits", name="probabilities")
    else:
        graph.add("Softmax", "logits", name="probabilities", axis=-1)
    inputs = [integers(name, *INPUTS[name]) for name in inputs_of(config)]
    outputs = [floats(name, "batch", config.labels) for name in ("logits", "probabilities")]
    doc = "A classifier: rows of units and their lengths in, logits and probabilities of the labels out."
    return graph.file(inputs, outputs, about, doc)


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


def rows_of(graph: Graph, ids: str, lengths: str) -> Rows:
    """Add what is known of the rows of `ids` (B, T) with `lengths` (B,)."""
    zero, one = (graph.constant(name, np.array(value)) for name, value in (("zero", 0), ("one", 1)))
    steps = graph.add("Range", zero, graph.add("Squeeze", graph.add("Shape", ids, start=1)), one)
    steps = graph.add("Unsqueeze", steps, graph.axes(1, 2))  # (T, 1, 1)
    column = graph.add("Unsqueeze", lengths, graph.axes(1))  # (B, 1)
    return Rows(
        lengths=graph.add("Cast", lengths, to=6),  # INT32
        inside=graph.add("Less", steps, column),
        last=graph.add("Equal", steps, graph.add("Sub", column, one)),
        counts=graph.add("Cast", column, to=1),  # FLOAT
    )


def embedded(graph: Graph, name: str, ids: str, weights: Weights) -> str:
    """Add the vectors (T, B, E) of `ids` (B, T), as the weight `name` has them."""
    table = graph.constant(name.replace(".", "_"), weights[f"{name}.weight"])
    return str(graph.add("Gather", table, graph.add("Transpose", ids, perm=[1, 0])))


def spelt(graph: Graph, config: ClassifierConfig, weights: Weights) -> str:
    """Add what the characters of each unit's word make of it, (T, B, 2C)."""
    rows = rows_of(graph, "characters", "word_lengths")
    x = embedded(graph, "characters.embedding", "characters", weights)
    directions = [part(weights, f"characters.{name}.") for name in ("forwards", "backwards")]
    y = layer(graph, x, config.arch, "characters", directions, rows)
    words = ends(graph, masked(graph, y, rows.inside), 2, rows)  # (W, 2C)
    return str(graph.add("Gather", words, graph.add("Transpose", "word_of", perm=[1, 0])))


def recurrent(graph: Graph, x: str, config: ClassifierConfig, weights: Weights, rows: Rows) -> str:
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


def pooled(graph: Graph, name: str, y: str, config: ClassifierConfig, weights: Weights, rows: Rows) -> str:
    """Add one vector (B, D·H) for each row of the outputs `y` (T, B, D·H), which are zero behind its end."""
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

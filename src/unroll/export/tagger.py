"""A tagger as an ONNX graph: padded sentences and their lengths in, the logits of every token's tags out."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.directory import read_config, read_description
from unroll.artifact.tagger import CONTEXT, TaggerInfo, open_tagger, read_reader, read_tagger
from unroll.data.ragged import Vectors
from unroll.engine.crf import Chain
from unroll.engine.tagger import chain_of
from unroll.errors import UserError
from unroll.export.encoder import described, encoded, inputs_of, read_by, readings
from unroll.export.graph import Case, Graph, Network, Source, Weights, floats, linear
from unroll.export.layers import masked
from unroll.nn.config import ModelConfig
from unroll.nn.tagger_config import tagger_parameters
from unroll.settings import to_mapping

MOVES = ("start", "transitions", "end")
"""What the moves of a path of tags score: outputs that depend on no input."""
RULED_OUT = -1e9
"""Score of a move that no path may take: exact in float32, and less than any path's."""


def tagger_source(path: Path) -> Source:
    """Return what an export needs of a tagger; raises UserError where its contexts come from no state."""
    info = read_tagger(path)
    vocabularies, about = read_by(read_reader(path, info))
    about |= {
        "tags": list(info.tags),
        "column": info.column,
        "token_column": info.token_column,
        "scheme": info.scheme,
        "context": context_of(path) if info.config.context_size else None,
        "model": to_mapping(info.config),
    }
    return Source(
        parameters=tagger_parameters(info.config),
        vocabularies=vocabularies,
        about=about,
        network=Network(
            inputs=(*inputs_of(info.config), *(["contexts"] if info.config.context_size else [])),
            outputs=outputs_of(info),
            build=partial(build, info),
            cases=partial(cases, path),
        ),
    )


def context_of(path: Path) -> dict[str, Any]:
    """Return the parts of a language model's state whose sum is a token's context, and the digest of its vocabulary."""
    place = path / CONTEXT
    description = read_description(place)
    config = read_config(description, str(place / "model.json"))
    if not isinstance(config, ModelConfig) or config.arch == "window":
        raise UserError(
            f"{place} has no state that other programs could give its tagger",
            allowed="a tagger whose language model is recurrent",
            fix="train the language model with --arch lstm, and a tagger on it",
        )
    layers = range(config.num_layers) if config.skip != "none" else [config.num_layers - 1]
    return {"states": [f"layer{k}_h_after" for k in layers], "tokenizer_digest": description["tokenizer_digest"]}


def outputs_of(info: TaggerInfo) -> tuple[str, ...]:
    """Return the names of what a tagger gives: the moves of a path where the best tags are not each by itself."""
    return ("logits", *(MOVES if info.crf or info.scheme != "none" else ()))


def cases(path: Path) -> Iterator[Case]:
    """Yield what goes in and comes out of our own network."""
    opened = open_tagger(path)
    network, moves = opened.network, "start" in outputs_of(opened.info)
    size, random = network.config.context_size, np.random.default_rng(1)
    for reading, inputs in readings(network.config):
        if size:
            inputs["contexts"] = random.normal(0, 0.5, (*inputs["ids"].shape, size)).astype(np.float32)
            inside = np.arange(inputs["ids"].shape[1]) < inputs["lengths"][:, None]
            contexts = Vectors(inputs["contexts"][inside].astype(np.float16), reading.units.ends)
            reading = replace(reading, contexts=contexts)
        logits, _ = Vectors(network.scores(reading), reading.units.ends).padded()
        yield inputs, [logits, *(moves_of(network.chain).values() if moves else ())]


def moves_of(chain: Chain) -> dict[str, NDArray[np.float32]]:
    """Return what moves score as the graph gives it."""
    return {name: np.maximum(getattr(chain, name), RULED_OUT).astype(np.float32) for name in MOVES}


def build(info: TaggerInfo, weights: Weights, about: Mapping[str, str]) -> bytes:
    """Return the network as an ONNX file."""
    graph, tags, inputs = Graph(), info.config.tags, described(info.config)
    if size := info.config.context_size:
        inputs.append(floats("contexts", "batch", "length", size))
    y, rows = encoded(graph, info.config, weights, "contexts" if size else "")
    y = masked(graph, linear(graph, y, weights, "head"), rows.inside)
    graph.add("Transpose", y, name="logits", perm=[1, 0, 2])
    outputs = [floats("logits", "batch", "length", tags)]
    if "start" in outputs_of(info):
        chain = chain_of(info.config, dict(weights), info.tags, info.scheme)
        for name, scores in moves_of(chain).items():
            graph.add("Identity", graph.constant(f"crf_{name}", scores), name=name)
            outputs.append(floats(name, *scores.shape))
    doc = "A tagger: rows of tokens and their lengths in, logits of the tags of each token out."
    return graph.file(inputs, outputs, about, doc)

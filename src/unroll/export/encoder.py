"""An encoder in a graph: rows of units and their lengths in, outputs at every unit out; how units are read."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.ragged import Ragged
from unroll.data.reader import LONGEST_WORD, Reader, Reading
from unroll.export.graph import Graph, Weights, integers
from unroll.export.layers import Rows, ends, layer, masked, part, recurrent, rows_of
from unroll.nn.encoder_config import EncoderConfig

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
"""The names and shapes of `unroll.nn.encoder.Units` but contexts; the last three only where words are read by their
characters."""


def inputs_of(config: EncoderConfig) -> tuple[str, ...]:
    """Return the names of what an encoder reads."""
    return tuple(INPUTS) if config.char_hidden_size else ("ids", "lengths")


def described(config: EncoderConfig) -> list[Any]:
    """Return the descriptions of these inputs."""
    return [integers(name, *INPUTS[name]) for name in inputs_of(config)]


def read_by(reader: Reader) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the files of a reader's vocabularies by name, and what else a program must know to read as it does."""
    tokenizer = reader.tokenizer
    vocabularies = {"tokenizer": tokenizer.to_json().encode()}
    about = {
        "tokenizer_digest": tokenizer.digest,
        "level": tokenizer.level,
        "start_id": tokenizer.start_id,
        "unknown_id": tokenizer.unknown_id,
        "lowercase": reader.lowercase,
    }
    if reader.characters is not None:
        vocabularies["characters"] = reader.characters.to_json().encode()
        about |= {"characters_digest": reader.characters.digest, "longest_word": LONGEST_WORD}
    return vocabularies, about


def readings(
    config: EncoderConfig, checked: tuple[tuple[int, ...], ...] = CHECKED
) -> Iterator[tuple[Reading, dict[str, NDArray[Any]]]]:
    """Yield random rows of several lengths, and the same as a graph reads them: padded with random ids."""
    random = np.random.default_rng(0)
    words = Ragged.of([random.integers(config.chars, size=size) for size in WORDS] if config.char_hidden_size else [])
    for lengths in checked:
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
        yield reading, inputs


def encoded(graph: Graph, config: EncoderConfig, weights: Weights, contexts: str = "") -> tuple[str, Rows]:
    """Add an encoder over its inputs; returns the outputs (T, B, D·H), zero behind a row's end, and the rows.

    `contexts` (B, T, C) are read beside the units, as numbers of 16 bits.
    """
    rows = rows_of(graph, "ids", "lengths")
    x = embedded(graph, "embedding", "ids", weights)
    if config.char_hidden_size:
        x = graph.add("Concat", x, spelt(graph, config, weights), axis=-1)
    if contexts:
        short = graph.add("Cast", graph.add("Transpose", contexts, perm=[1, 0, 2]), to=10)  # FLOAT16
        x = graph.add("Concat", x, graph.add("Cast", short, to=1), axis=-1)  # FLOAT
    return recurrent(graph, x, config, weights, rows), rows


def embedded(graph: Graph, name: str, ids: str, weights: Weights) -> str:
    """Add the vectors (T, B, E) of `ids` (B, T), as the weight `name` has them."""
    table = graph.constant(name.replace(".", "_"), weights[f"{name}.weight"])
    return str(graph.add("Gather", table, graph.add("Transpose", ids, perm=[1, 0])))


def spelt(graph: Graph, config: EncoderConfig, weights: Weights) -> str:
    """Add what the characters of each unit's word make of it, (T, B, 2C)."""
    rows = rows_of(graph, "characters", "word_lengths")
    x = embedded(graph, "characters.embedding", "characters", weights)
    directions = [part(weights, f"characters.{name}.") for name in ("forwards", "backwards")]
    y = layer(graph, x, config.arch, "characters", directions, rows)
    words = ends(graph, masked(graph, y, rows.inside), 2, rows)  # (W, 2C)
    return str(graph.add("Gather", words, graph.add("Transpose", "word_of", perm=[1, 0])))

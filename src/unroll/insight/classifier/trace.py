"""Every gate, cell and output of a classifier at every unit of a text, both directions, by name, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unroll.artifact.classifier import AnyClassifier, OpenClassifier, as_classifier
from unroll.data.reader import Reading
from unroll.errors import UserError, did_you_mean
from unroll.files import StrPath
from unroll.insight.arrays import ArrayFiles, Floats, Ids
from unroll.insight.classifier.network import network_of, recorder, units_of
from unroll.insight.trace import LayerUse, Use
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.encoder import Classifier
from unroll.nn.encoder_config import ClassifierConfig
from unroll.progress import Progress, Work, result

MOST = 2**28
"""Most values of all signals together."""


@dataclass(frozen=True)
class ClassifierTrace:
    """The trace of a text: the ids of its units, the arrays kept, and the use of gates."""

    ids: Ids
    """(T,)"""
    pieces: tuple[str, ...]
    """The text that is read cut before each unit."""
    names: tuple[str, ...]
    """Of the arrays asked for; `ids` is the last."""
    arrays: dict[str, NDArray[Any]]
    layers: tuple[LayerUse, ...]
    """The use of each recurrent layer, in each direction."""


def trace_classifier(
    model: AnyClassifier,
    text: str,
    *,
    layers: Sequence[int] | None = None,
    signals: Sequence[str] | None = None,
    out: StrPath | None = None,
) -> ClassifierTrace:
    """Trace a text through a classifier: `forwards0/c` (T, H), `backwards0/h`, … `pooled` (P,), `logits` (K,).

    Row t is the network at unit t: forwards after the units up to it, backwards after those from the end down to it, so
    that `backwards0/c` of t continues that of t + 1. `attention` (T,) has the weights of that pooling. Words that are
    read by characters also have `characters/forwards/c` and so on, a row for each character of one unit after the
    other; unit t ends before row `characters/ends` (T,) of t. With `out` the arrays are written to that .npz file, with
    `ids` (T,). Raises UserError.
    """
    opened, target = as_classifier(model), None if out is None else Path(out)
    whole = result(tracing(opened, text, layers=layers, signals=signals, out=target))
    return replace(whole, arrays={name: whole.arrays[name] for name in whole.names})


def tracing(
    opened: OpenClassifier,
    text: str,
    *,
    layers: Sequence[int] | None = None,
    signals: Sequence[str] | None = None,
    out: Path | None = None,
) -> Work[ClassifierTrace]:
    """Do what `trace_classifier` does, yielding progress; returns the result, with all arrays."""
    config, reading = opened.info.config, opened.reader.read([text])
    if not text:
        raise UserError("there is nothing to trace", allowed="a text of at least one unit", fix="give a text")
    names = chosen_names(config, layers, signals)
    values = len(reading.units.values) * len(chosen_names(config)) * config.hidden_size
    if values > MOST:
        raise UserError(
            f"the text has {len(reading.units.values):,} units, with {values:,} values of all signals",
            allowed=f"at most {MOST:,}",
            fix="take a part of the text",
        )
    yield Progress("tracing", 0, 1)
    arrays = traced(network_of(opened), reading)
    use = Use(
        config.arch, config.hidden_size, [f"{way}{k}" for k in range(config.num_layers) for way in config.directions]
    )
    use.add(arrays)
    ids: dict[str, Ids] = {}
    if any(name.startswith("characters/") for name in names):
        ids["characters/ends"] = reading.words.select(reading.word_of.values).ends
    ids["ids"] = reading.units.values.astype(np.int64)
    with ArrayFiles(out, {name: arrays[name].shape for name in names}, ids) as files:
        for name in names if out is not None else ():
            files.append(name, arrays[name])
        files.finish()
    return ClassifierTrace(
        ids["ids"], tuple(opened.reader.pieces(text)), (*names, *ids), {**arrays, **ids}, use.layers()
    )


def chosen_names(
    config: ClassifierConfig, layers: Sequence[int] | None = None, signals: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the names of the requested arrays; raises UserError for layers and signals that do not exist."""
    own = ARCHITECTURES[config.arch].signals
    outside = (*(["attention"] if "attention" in config.poolings else []), "pooled", "logits")
    if absent := [k for k in layers or () if not 0 <= k < config.num_layers]:
        raise UserError(
            f"there is no layer {absent[0]}",
            allowed="0" if config.num_layers == 1 else f"0 to {config.num_layers - 1}",
            fix="layers are counted from 0",
        )
    for name in signals or ():
        if name not in (*own, *outside):
            raise UserError(
                f"this classifier, {ARCHITECTURES[config.arch].article}, has no signal {name}",
                allowed=", ".join((*own, *outside)),
                fix=did_you_mean(name, (*own, *outside), "leave out --signal for all"),
            )
    requested = signals or (*own, *outside)
    recurrent = [f"{way}{k}" for k in layers or range(config.num_layers) for way in config.directions]
    spelling = ["characters/forwards", "characters/backwards"] if config.char_hidden_size and not layers else []
    inside = [f"{layer}/{name}" for layer in (*recurrent, *spelling) for name in requested if name in own]
    return (*inside, *(name for name in outside if name in requested))


@torch.inference_mode()
def traced(network: Classifier, reading: Reading) -> dict[str, Floats]:
    """Return all arrays of one text by their names, read by the equation of the cell, step by step."""
    units, arch, inside = units_of(reading), network.config.arch, dict[str, Tensor]()
    y, last = network.encode(units, recorder(arch, units, tuple(ARCHITECTURES[arch].signals), inside))
    pooled = network.pooled(y, last, units.lengths)
    arrays = {"pooled": pooled[0].numpy(), "logits": network.head(pooled)[0].numpy()}
    if "attention" in network.config.poolings:
        arrays["attention"] = network.attention.weights(y, units.lengths)[:, 0].numpy()
    word_of = reading.word_of.values
    words = reading.words.select(word_of) if len(reading.words) else reading.words
    # The characters of each unit: those of its distinct word, once more.
    places = np.arange(len(words.values)) - np.repeat(words.starts, words.lengths)
    for name, values in inside.items():
        spelt = name.startswith("characters/")
        arrays[name] = values.numpy()[places, np.repeat(word_of, words.lengths)] if spelt else values[:, 0].numpy()
    return arrays

"""Every gate, cell and output of a classifier at every unit of a text, both directions, by name, and what it says."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from unroll.artifact.classifier import AnyClassifier, OpenClassifier, as_classifier
from unroll.data.reader import Reading
from unroll.errors import UserError
from unroll.files import StrPath
from unroll.insight.arrays import Floats
from unroll.insight.classifier.network import network_of
from unroll.insight.recorded import EncoderTrace, check_size, chosen_names, kept, recorded
from unroll.nn.encoder import Classifier
from unroll.nn.encoder_config import ClassifierConfig
from unroll.progress import Progress, Work, result


def trace_classifier(
    model: AnyClassifier,
    text: str,
    *,
    layers: Sequence[int] | None = None,
    signals: Sequence[str] | None = None,
    out: StrPath | None = None,
) -> EncoderTrace:
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
) -> Work[EncoderTrace]:
    """Do what `trace_classifier` does, yielding progress; returns the result, with all arrays."""
    config, reading = opened.info.config, opened.reader.read([text])
    if not text:
        raise UserError("there is nothing to trace", allowed="a text of at least one unit", fix="give a text")
    outside = outside_layers(config)
    names = chosen_names(config, outside, layers, signals)
    check_size(config, len(reading.units.values), len(chosen_names(config, outside)))
    yield Progress("tracing", 0, 1)
    return kept(config, reading, opened.reader.pieces(text), traced(network_of(opened), reading), names, out)


def outside_layers(config: ClassifierConfig) -> tuple[str, ...]:
    """Return the names of the arrays that are not of a layer."""
    return (*(["attention"] if "attention" in config.poolings else []), "pooled", "logits")


@torch.inference_mode()
def traced(network: Classifier, reading: Reading) -> dict[str, Floats]:
    """Return all arrays of one text by their names, read by the equation of the cell, step by step."""
    y, last, arrays = recorded(network, reading)
    lengths = torch.from_numpy(reading.units.lengths)
    pooled = network.pooled(y, last, lengths)
    arrays |= {"pooled": pooled[0].numpy(), "logits": network.head(pooled)[0].numpy()}
    if "attention" in network.config.poolings:
        arrays["attention"] = network.attention.weights(y, lengths)[:, 0].numpy()
    return arrays

"""Every gate and cell of a tagger at every token of a sentence, both directions, by name, and what it says of each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unroll.artifact.tagger import AnyTagger, OpenTagger, as_tagger
from unroll.data.reader import Reading
from unroll.files import StrPath
from unroll.insight.arrays import Floats
from unroll.insight.recorded import EncoderTrace, chosen_names, kept, recorded
from unroll.insight.tagger.network import network_of
from unroll.insight.tagger.sentences import sentence_of
from unroll.nn.tagger import Tagger
from unroll.progress import Progress, Work, result

OUTSIDE = ("logits", "probabilities")


def trace_tagger(
    model: AnyTagger,
    text: str,
    *,
    layers: Sequence[int] | None = None,
    signals: Sequence[str] | None = None,
    out: StrPath | None = None,
) -> EncoderTrace:
    """Trace a sentence through a tagger: `forwards0/c` (T, H), `backwards0/h`, … `logits`, `probabilities` (T, K).

    Rows are as those of `trace_classifier`. Of a CRF `logits` are its emissions, and a probability is the share of all
    paths. Raises UserError.
    """
    target = None if out is None else Path(out)
    whole = result(tracing_tagger(as_tagger(model), text, layers=layers, signals=signals, out=target))
    return replace(whole, arrays={name: whole.arrays[name] for name in whole.names})


def tracing_tagger(
    opened: OpenTagger,
    text: str,
    *,
    layers: Sequence[int] | None = None,
    signals: Sequence[str] | None = None,
    out: Path | None = None,
) -> Work[EncoderTrace]:
    """Do what `trace_tagger` does, yielding progress; returns the result, with all arrays."""
    config, sentence = opened.info.config, sentence_of(opened, text)
    names = chosen_names(config, OUTSIDE, layers, signals)
    yield Progress("tracing", 0, 1)
    arrays, reading = traced(network_of(opened), sentence.reading), sentence.reading
    arrays["probabilities"] = opened.network.probabilities(arrays["logits"].astype(np.float64), reading.units.lengths)
    return kept(config, reading, sentence.pieces, arrays, names, out)


@torch.inference_mode()
def traced(network: Tagger, reading: Reading) -> dict[str, Floats]:
    """Return all arrays of one sentence by their names but its probabilities, by the equation of the cell."""
    y, _, arrays = recorded(network, reading)
    return arrays | {"logits": network.head(y)[:, 0].numpy()}

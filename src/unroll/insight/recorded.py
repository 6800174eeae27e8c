"""The states and gates of an encoder at every unit of one row: recorded by the cell's equation, chosen, and written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unroll.data.reader import Reading
from unroll.errors import UserError, did_you_mean
from unroll.insight.arrays import ArrayFiles, Floats, Ids
from unroll.insight.classifier.network import recorder, units_of
from unroll.insight.trace import LayerUse, Use
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.encoder import Encoder
from unroll.nn.encoder_config import EncoderConfig

MOST = 2**28
"""Most values of all signals together."""


@dataclass(frozen=True)
class EncoderTrace:
    """The trace of a row: the ids of its units, the arrays kept, and the use of gates."""

    ids: Ids
    """(T,)"""
    pieces: tuple[str, ...]
    """The text that is read cut before each unit."""
    names: tuple[str, ...]
    """Of the arrays asked for; `ids` is the last."""
    arrays: dict[str, NDArray[Any]]
    layers: tuple[LayerUse, ...]
    """The use of each recurrent layer, in each direction."""


def chosen_names(
    config: EncoderConfig,
    outside: Sequence[str],
    layers: Sequence[int] | None = None,
    signals: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Return the names of the requested arrays, `outside` the layers those of these names; raises UserError for layers
    and signals that do not exist."""
    own = ARCHITECTURES[config.arch].signals
    if absent := [k for k in layers or () if not 0 <= k < config.num_layers]:
        raise UserError(
            f"there is no layer {absent[0]}",
            allowed="0" if config.num_layers == 1 else f"0 to {config.num_layers - 1}",
            fix="layers are counted from 0",
        )
    for name in signals or ():
        if name not in (*own, *outside):
            raise UserError(
                f"this network, {ARCHITECTURES[config.arch].article}, has no signal {name}",
                allowed=", ".join((*own, *outside)),
                fix=did_you_mean(name, (*own, *outside), "leave out --signal for all"),
            )
    requested = signals or (*own, *outside)
    recurrent = [f"{way}{k}" for k in layers or range(config.num_layers) for way in config.directions]
    spelling = ["characters/forwards", "characters/backwards"] if config.char_hidden_size and not layers else []
    inside = [f"{layer}/{name}" for layer in (*recurrent, *spelling) for name in requested if name in own]
    return (*inside, *(name for name in outside if name in requested))


def check_size(config: EncoderConfig, units: int, names: int) -> None:
    """Raise UserError for a row of so many units that all arrays, by their number, take more than is kept."""
    if (values := units * names * config.hidden_size) > MOST:
        raise UserError(
            f"the text has {units:,} units, with {values:,} values of all signals",
            allowed=f"at most {MOST:,}",
            fix="take a part of the text",
        )


def recorded(network: Encoder, reading: Reading) -> tuple[Tensor, Tensor, dict[str, Floats]]:
    """Return the outputs of one row as `encode` does, and the signals of all layers by their names, read step by step.

    Those of characters have a row for each character of one unit after the other.
    """
    units, arch, inside = units_of(reading), network.config.arch, dict[str, Tensor]()
    y, last = network.encode(units, recorder(arch, units, tuple(ARCHITECTURES[arch].signals), inside))
    word_of, arrays = reading.word_of.values, dict[str, Floats]()
    words = reading.words.select(word_of) if len(reading.words) else reading.words
    # The characters of each unit: those of its distinct word, once more.
    places = np.arange(len(words.values)) - np.repeat(words.starts, words.lengths)
    for name, values in inside.items():
        spelt = name.startswith("characters/")
        arrays[name] = values.numpy()[places, np.repeat(word_of, words.lengths)] if spelt else values[:, 0].numpy()
    return y, last, arrays


def kept(
    config: EncoderConfig,
    reading: Reading,
    pieces: Sequence[str],
    arrays: dict[str, Floats],
    names: tuple[str, ...],
    out: Path | None,
) -> EncoderTrace:
    """Write the arrays of these names with `out`, and return all of them with the use of gates."""
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
    return EncoderTrace(ids["ids"], tuple(pieces), (*names, *ids), {**arrays, **ids}, use.layers())

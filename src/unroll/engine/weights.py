"""The weights of a network as numpy arrays: read from their file, checked against the configuration first."""

import json
import struct
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.engine.checks import FLOATS, check_array
from unroll.errors import UserError
from unroll.files import unreadable
from unroll.nn.arch import layer_shapes
from unroll.nn.config import ModelConfig, parameter_count

Array = NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]
"""By the names of weights."""
Weights = dict[str, Array]
"""By the names of the torch model's parameters."""

MAX_HEADER_BYTES = 16 * 2**20


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every weight of a model, as `unroll.nn.model.Model` has them."""
    vocab, emb, hidden = config.vocab_size, config.embedding_size, config.hidden_size
    named: dict[str, tuple[int, ...]] = {"embedding.weight": (vocab, emb)}
    for k in range(config.layers_before):
        named |= {f"before.{k}.weight": (emb, emb), f"before.{k}.bias": (emb,)}
    for k in range(config.num_layers):
        layer = f"recurrent.layers.{k}"
        if config.arch == "window":
            inputs = hidden if k else config.window * emb
            named |= {f"{layer}.weight": (hidden, inputs), f"{layer}.bias": (hidden,)}
            continue
        of_layer = layer_shapes(config.arch, hidden if k else emb, hidden)
        named |= {f"{layer}.{name}": shape for name, shape in of_layer.items()}
    for k in range(config.layers_after):
        named |= {f"after.{k}.weight": (hidden, hidden), f"after.{k}.bias": (hidden,)}
    if config.tie_weights:
        if hidden != emb:
            named["projection.weight"] = (emb, hidden)
        return named | {"bias": (vocab,)}
    if cuts := config.cutoffs:
        # The head has the frequent symbols and one output for each cluster of rarer ones.
        named["adaptive.head.weight"] = (cuts[0] + len(cuts), hidden)
        for k, (start, end) in enumerate(pairwise((*cuts, vocab))):
            narrow = hidden >> 2 * (k + 1)  # a quarter, a sixteenth …
            named[f"adaptive.tail.{k}.0.weight"] = (narrow, hidden)
            named[f"adaptive.tail.{k}.1.weight"] = (end - start, narrow)
        return named
    return named | {"head.weight": (vocab, hidden), "head.bias": (vocab,)}


def check_weights(weights: Mapping[str, NDArray[Any]], config: ModelConfig) -> None:
    """Raise ValueError unless all weights of a model are there, of their shapes; other names are ignored."""
    check_shapes(weights, shapes(config))


def check_shapes(weights: Mapping[str, NDArray[Any]], expected: Shapes) -> None:
    """Raise ValueError unless weights of these names and shapes are there; other names are ignored."""
    for name, shape in expected.items():
        check_array(weights.get(name), name, FLOATS, shape)


def read_weights(file: Path, config: ModelConfig) -> Weights:
    """Read the weights of a model from its safetensors file; raises as `read_tensors` does."""
    return read_tensors(file, parameter_count(config), lambda: shapes(config))


RESTORE = "restore the directory from one source, or train again"


def read_tensors(file: Path, count: int, shapes_of: Callable[[], Shapes]) -> Weights:
    """Read the tensors of some names and shapes, `count` weights in all, from a safetensors file.

    Raises UserError for a file that is missing, damaged or of another model. The header is checked first: nothing is
    allocated for tensors that do not fit the configuration.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with open(file, "rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(0)
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > min(MAX_HEADER_BYTES, size):
                raise ValueError("its header is too long")
            header = json.loads(opened.read(length))
        if size < 4 * count:  # before shapes are listed: a configuration may claim any number of layers
            raise UserError(
                f"{file} is smaller than the model that model.json describes",
                allowed=f"{count:,} weights",
                fix=RESTORE,
            )
        expected = shapes_of()
        for name, shape in expected.items():
            entry = header.get(name)
            actual = "missing" if entry is None else f"{tuple(entry['shape'])} {entry['dtype']}"
            if actual != f"{shape} F32":
                raise UserError(f"{file}: {name} is {actual}", allowed=f"{shape} F32", fix=RESTORE)
        with safe_open(file, framework="numpy") as tensors:
            weights: Weights = {name: tensors.get_tensor(name) for name in expected}
    except FileNotFoundError:
        raise UserError(f"no {file.name} in {file.parent}", fix="is this a model directory?") from None
    except OSError as error:
        raise unreadable(file, error) from None
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise UserError(
            f"{file} is damaged: {error}", allowed="a safetensors file written by unroll", fix=RESTORE
        ) from None
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise UserError(f"{file}: {name} holds values that are not numbers", fix="restore it, or train again")
    return weights

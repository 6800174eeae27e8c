"""Describes the directory of a translator: the model, its training, its figures."""

from pathlib import Path
from typing import Any

from unroll.artifact.directory import TRANSLATOR, read_kind
from unroll.artifact.quantize import TRANSLATOR_COST, read_cost
from unroll.artifact.task_info import task_info
from unroll.artifact.translator import read_translator
from unroll.files import StrPath
from unroll.settings import to_mapping

SHAPE = ("vocab_size", "source_size", "embedding_size", "encoder_size", "hidden_size", "attention", "input_feeding")


def translator_info(path: StrPath) -> dict[str, Any]:
    """Return a description of a translator and its training as JSON; figures that are unknown are None.

    Raises UserError for a foreign or damaged directory.
    """
    path = Path(path)
    info, common = read_translator(path), task_info(path, read_kind(path, TRANSLATOR))
    recipe, result, shape = common.pop("recipe"), info.result or {}, to_mapping(info.config)
    return common | {
        "layers": info.config.num_layers,
        **{name: shape[name] for name in SHAPE},
        "valid_nats": result.get("valid_nats"),
        "valid_symbols": result.get("valid_symbols"),
        "valid_count": result.get("valid_count"),
        "int8": read_cost(path, TRANSLATOR_COST),
        "recipe": recipe,
    }

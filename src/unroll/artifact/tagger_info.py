"""Describes the directory of a tagger: the model, its training, its tags, its figures."""

from pathlib import Path
from typing import Any

from unroll.artifact.directory import TAGGER, read_kind
from unroll.artifact.quantize import TAGGER_COST, read_cost
from unroll.artifact.tagger import read_tagger
from unroll.artifact.task_info import task_info
from unroll.files import StrPath
from unroll.settings import to_mapping

SHAPE = ("hidden_size", "embedding_size", "char_hidden_size", "bidirectional", "crf", "context_size", "vocab_size")
FIGURES = ("valid_accuracy", "valid_nats", "valid_tokens", "valid_sentences")


def tagger_info(path: StrPath) -> dict[str, Any]:
    """Return a description of a tagger and its training as JSON; figures that are unknown are None.

    Raises UserError for a foreign or damaged directory.
    """
    path = Path(path)
    info, common = read_tagger(path), task_info(path, read_kind(path, TAGGER))
    recipe, result, shape = common.pop("recipe"), info.result or {}, to_mapping(info.config)
    return common | {
        "tags": list(info.tags),
        "column": info.column,
        "token_column": info.token_column,
        "scheme": info.scheme,
        "layers": info.config.num_layers,
        **{name: shape[name] for name in SHAPE},
        **{name: result.get(name) for name in FIGURES},
        "int8": read_cost(path, TAGGER_COST),
        "recipe": recipe,
    }

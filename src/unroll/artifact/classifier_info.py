"""Describes the directory of a classifier: the model, its training, its labels, its figures."""

from pathlib import Path
from typing import Any

from unroll.artifact.classifier import read_classifier
from unroll.artifact.directory import CLASSIFIER, read_kind
from unroll.artifact.quantize import CLASSIFIER_COST, read_cost
from unroll.artifact.task_info import task_info
from unroll.files import StrPath
from unroll.settings import to_mapping


def classifier_info(path: StrPath) -> dict[str, Any]:
    """Return a description of a classifier and its training as JSON; figures that are unknown are None.

    Raises UserError for a foreign or damaged directory.
    """
    path = Path(path)
    info, common = read_classifier(path), task_info(path, read_kind(path, CLASSIFIER))
    recipe, result, shape = common.pop("recipe"), info.result or {}, to_mapping(info.config)
    return common | {
        "labels": list(info.labels),
        "text_columns": list(info.text_columns),
        "label_column": info.label_column,
        "layers": info.config.num_layers,
        **{name: shape[name] for name in ("hidden_size", "embedding_size", "bidirectional", "pooling", "vocab_size")},
        "valid_accuracy": result.get("valid_accuracy"),
        "valid_nats": result.get("valid_nats"),
        "valid_count": result.get("valid_count"),
        "int8": read_cost(path, CLASSIFIER_COST),
        "recipe": recipe,
    }

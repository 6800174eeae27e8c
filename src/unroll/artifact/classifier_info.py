"""Describes the directory of a classifier: the model, its training, its labels, its figures."""

from pathlib import Path
from statistics import median
from typing import Any

from unroll.artifact.classifier import read_classifier
from unroll.artifact.directory import CLASSIFIER, WEIGHTS, read_kind, read_weights_info
from unroll.artifact.events import METRICS, read_events
from unroll.artifact.quantize import CLASSIFIER_COST, read_cost
from unroll.files import StrPath
from unroll.settings import read_toml, to_mapping


def classifier_info(path: StrPath) -> dict[str, Any]:
    """Return a description of a classifier and its training as JSON; figures that are unknown are None.

    Raises UserError for a foreign or damaged directory.
    """
    path = Path(path)
    info, description = read_classifier(path), read_kind(path, CLASSIFIER)
    kept, events = read_weights_info(path), read_events(path / METRICS)
    recipe = read_toml(path / "recipe.toml")
    about = recipe.pop("about", {})
    last, result = (events[-1] if events else {}), info.result or {}
    rates = [event["tokens_per_second"] for event in events if event.get("tokens_per_second") is not None]
    shape = to_mapping(info.config)
    return {
        "path": str(path),
        "kind": "classifier",
        "arch": info.config.arch,
        "order": None,
        "level": description.get("level"),
        "labels": list(info.labels),
        "text_columns": list(info.text_columns),
        "label_column": info.label_column,
        "layers": info.config.num_layers,
        **{name: shape[name] for name in ("hidden_size", "embedding_size", "bidirectional", "pooling", "vocab_size")},
        "parameters": description.get("parameters"),
        "weights_bytes": (path / WEIGHTS).stat().st_size,
        "finished": bool(result),
        "steps": result.get("steps", last.get("step", kept.get("step"))),
        "planned_steps": recipe.get("training", {}).get("steps"),
        "best_step": kept.get("step"),
        "tokens_seen": result.get("tokens_seen", last.get("tokens_seen")),
        "train_seconds": last.get("seconds"),
        "tokens_per_second": round(median(rates)) if rates else None,
        "valid_accuracy": result.get("valid_accuracy"),
        "valid_nats": result.get("valid_nats"),
        "valid_count": result.get("valid_count"),
        "int8": read_cost(path, CLASSIFIER_COST),
        "made_with": {name: about[name] for name in ("unroll", "torch", "python", "device") if name in about},
        "recipe": recipe,
    }

"""Describes the directory of a task's model: what the descriptions of all tasks have in common."""

from pathlib import Path
from statistics import median
from typing import Any

from unroll.artifact.directory import WEIGHTS, kind_of, read_weights_info
from unroll.artifact.events import METRICS, read_events
from unroll.settings import read_toml


def task_info(path: Path, description: dict[str, Any]) -> dict[str, Any]:
    """Return what model.json, the recipe and the events say of a task's model and its training, as JSON.

    `description` is that of model.json. Figures that are unknown are None. Raises UserError for a damaged directory.
    """
    kept, events, recipe = read_weights_info(path), read_events(path / METRICS), read_toml(path / "recipe.toml")
    about = recipe.pop("about", {})
    last, result = (events[-1] if events else {}), description.get("result") or {}
    rates = [event["tokens_per_second"] for event in events if event.get("tokens_per_second") is not None]
    return {
        "path": str(path),
        "kind": kind_of(description),
        "arch": description["model"].get("arch"),
        "order": None,
        "level": description.get("level"),
        "parameters": description.get("parameters"),
        "weights_bytes": (path / WEIGHTS).stat().st_size,
        "finished": bool(result),
        "steps": result.get("steps", last.get("step", kept.get("step"))),
        "planned_steps": recipe.get("training", {}).get("steps"),
        "best_step": kept.get("step"),
        "tokens_seen": result.get("tokens_seen", last.get("tokens_seen")),
        "train_seconds": last.get("seconds"),
        "tokens_per_second": round(median(rates)) if rates else None,
        "made_with": {name: about[name] for name in ("unroll", "torch", "python", "device") if name in about},
        "recipe": recipe,
    }

"""The directory of a model of sequences: its description, written and read, and opened for use without torch."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unroll.artifact.directory import FORMAT_VERSION, SEQUENCE, WEIGHTS, check_types, read_kind, read_weights_info
from unroll.artifact.snapshot import pinned
from unroll.data.scaling import Scaling
from unroll.data.series_reading import Columns
from unroll.engine.network import Precision
from unroll.engine.series import SeriesEngine, load_series
from unroll.errors import UserError
from unroll.files import Folder, StrPath, write_into
from unroll.nn.series_config import SeriesConfig, series_parameters
from unroll.settings import check, from_mapping, to_mapping

RESULT: dict[str, Any] = {
    "protocol": str,
    "valid_loss": float,
    "valid_count": int,
    "best_step": int,
    "steps": int,
    "tokens_seen": int,
}
"""Fields of the result of a finished training."""
RESULTS: dict[str, dict[str, Any]] = {
    "classify": {"valid_accuracy": float},
    "regress": {"valid_mae": float, "valid_baseline_mae": float},
}
"""Those of a task."""
COLUMNS: dict[str, Any] = {"target_column": str | None, "id_column": str | None, "time_column": str | None}


@dataclass(frozen=True)
class SeriesInfo:
    """What model.json says of a model that tells a label or a number of each sequence."""

    config: SeriesConfig
    columns: Columns
    """Which columns were read, and the channels of the training."""
    labels: tuple[str, ...]
    """By their ids; none where numbers are predicted."""
    scaling: Scaling
    """Of the channels."""
    goals: Scaling
    """Of the numbers that are predicted, as one channel; of labels, of no channel."""
    result: dict[str, Any] | None
    """Of a finished training."""

    @property
    def multi_label(self) -> bool:
        """Whether a sequence has any number of labels: never."""
        return False


def save_series(folder: Path | Folder, info: SeriesInfo, result: dict[str, Any] | None = None) -> None:
    """Write model.json."""
    description = {
        "format_version": FORMAT_VERSION,
        "kind": SEQUENCE,
        "task": info.config.task,
        "parameters": series_parameters(info.config),
        "model": to_mapping(info.config),
        "channels": list(info.columns.channels or ()),
        "target_column": info.columns.target,
        "id_column": info.columns.id,
        "time_column": info.columns.time,
        "labels": list(info.labels),
        "scaling": to_mapping(info.scaling),
        "goals": to_mapping(info.goals),
        "result": result,
    }
    write_into(folder, "model.json", (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode())


def read_task(path: Path) -> str:
    """Return the task of a model of sequences. Raises UserError for another directory."""
    return str(check(read_kind(path, SEQUENCE).get("task"), str, f"task in {path / 'model.json'}"))


def read_series_info(path: Path) -> SeriesInfo:
    """Read model.json of a model of sequences; raises UserError unless it is ours, of a known version, and complete."""
    description, place = read_kind(path, SEQUENCE), str(path / "model.json")
    check_types(description, COLUMNS | {"task": str, "parameters": int}, place)
    if description["task"] == "forecast":
        raise UserError(
            f"{path} is a forecaster, and tells no labels or numbers of whole sequences",
            allowed="a model that was trained to classify or regress",
            fix="ask it how series continue: `unroll sequences predict DIR FILE`",
        )
    config = from_mapping(SeriesConfig, description["model"], place)
    labels, channels = (_texts(description, name, place) for name in ("labels", "channels"))
    scaling = _scaling(description, "scaling", config.channels, place)
    goals = _scaling(description, "goals", 0 if config.task == "classify" else config.outputs, place)
    wrong = len({*labels}) != len(labels) or (config.task == "classify" and len(labels) != config.outputs)
    if wrong or len(channels) != config.channels:
        raise UserError(
            f"{place} has {len({*labels})} different labels of {len(labels)}, and {len(channels)} channels",
            allowed=f"{config.outputs} outputs and {config.channels} channels, as the network has",
            fix="restore it, or train again",
        )
    result = description.get("result")
    if result is not None:
        check_types(check(result, dict, f"result in {place}"), RESULT | RESULTS[config.task], f"the result in {place}")
    target, id, time = (description.get(name) for name in COLUMNS)
    columns = Columns(config.task, target, id, time, channels=channels)
    return SeriesInfo(config, columns, labels, scaling, goals, result)


def _texts(description: dict[str, Any], name: str, place: str) -> tuple[str, ...]:
    values = check(description.get(name), list, f"{name} in {place}")
    return tuple(check(value, str, f"{name} in {place}") for value in values)


def _scaling(description: dict[str, Any], name: str, size: int, place: str) -> Scaling:
    table = check(description.get(name), dict, f"{name} in {place}")
    parts = []
    for key in ("means", "deviations"):
        values = check(table.get(key), list, f"{key} of {name} in {place}")
        parts.append(tuple(check(value, float, f"{key} of {name} in {place}") for value in values))
    if {len(part) for part in parts} != {size} or not np.isfinite(parts).all() or min(parts[1], default=0.0) < 0:
        raise UserError(
            f"{name} in {place} is not that of {size} channels",
            allowed="a mean and a deviation of each",
            fix="restore it, or train again",
        )
    return Scaling(*parts)


@dataclass(frozen=True)
class OpenSeries:
    """A model of sequences in use, without torch."""

    path: Path
    info: SeriesInfo
    network: SeriesEngine
    weights_info: dict[str, Any]


def open_series(path: StrPath, precision: Precision = "float32") -> OpenSeries:
    """Open the directory of a model of sequences; raises UserError when it is foreign, damaged or of another kind."""
    path = Path(path)
    with pinned(path) as here:
        info = read_series_info(here)
        network = load_series(here / WEIGHTS, info.config, precision=precision)
        return replace(OpenSeries(here, info, network, read_weights_info(here)), path=path)


AnySeries = StrPath | OpenSeries
"""A model of sequences as a caller may name it."""


def as_series(model: AnySeries, precision: Precision = "float32") -> OpenSeries:
    """Return a model of sequences opened, whatever it is named by. Raises UserError."""
    return model if isinstance(model, OpenSeries) else open_series(model, precision)

"""The directory of a forecaster: its description, written and read, and opened for use without torch."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unroll.artifact.directory import FORMAT_VERSION, SEQUENCE, WEIGHTS, check_types, read_kind
from unroll.artifact.snapshot import pinned
from unroll.artifact.task_info import task_info
from unroll.engine.forecast import ForecastNetwork, load_forecaster
from unroll.errors import UserError
from unroll.files import Folder, StrPath, write_into
from unroll.nn.forecast_config import ForecastConfig, forecast_parameters
from unroll.settings import check, from_mapping, to_mapping

RESULT: dict[str, Any] = {
    "protocol": str,
    "valid_loss": float,
    "valid_mae": float,
    "valid_last_mae": float,
    "valid_seasonal_mae": float | None,
    "valid_count": int,
    "best_step": int,
    "steps": int,
    "tokens_seen": int,
}
"""Fields of the result of a finished training: errors in the units of the series, of the model and of two rules."""
TYPES: dict[str, Any] = {
    "target_column": str | None,
    "id_column": str | None,
    "time_column": str | None,
    "sha256": str,
}
"""Fields of model.json that are taken as they are."""


@dataclass(frozen=True)
class ForecasterInfo:
    """What model.json says of a forecaster."""

    config: ForecastConfig
    target_column: str | None
    """The column of the values."""
    id_column: str | None
    time_column: str | None
    sha256: str
    """Of the file that it was trained on."""
    result: dict[str, Any] | None
    """Of a finished training."""


def save_forecaster(folder: Path | Folder, info: ForecasterInfo, result: dict[str, Any] | None = None) -> None:
    """Write model.json."""
    description = {
        "format_version": FORMAT_VERSION,
        "kind": SEQUENCE,
        "task": "forecast",
        **{name: getattr(info, name) for name in TYPES},
        "parameters": forecast_parameters(info.config),
        "model": to_mapping(info.config),
        "result": result,
    }
    write_into(folder, "model.json", (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode())


def read_forecaster(path: Path) -> ForecasterInfo:
    """Read model.json of a forecaster; raises UserError unless it is ours, of a known version, and complete."""
    description, place = read_kind(path, SEQUENCE), str(path / "model.json")
    task = description.get("task")
    if task != "forecast":
        raise UserError(
            f"{path} is a model of sequences for the task {task}, and no forecaster", allowed="a forecaster",
            fix="train one: `unroll sequences train FILE --target COL --task forecast --horizon H`",
        )  # fmt: skip
    check_types(description, TYPES | {"task": Literal["forecast"], "parameters": int}, place)
    config = from_mapping(ForecastConfig, check(description.get("model"), dict, f"model in {place}"), place)
    found = description.get("result")
    if found is not None:
        check_types(check(found, dict, f"result in {place}"), RESULT, f"the result in {place}")
    named: dict[str, Any] = {name: description[name] for name in TYPES}
    return ForecasterInfo(config=config, result=found, **named)


@dataclass(frozen=True)
class OpenForecaster:
    """A forecaster in use, without torch."""

    path: Path
    info: ForecasterInfo
    network: ForecastNetwork


def open_forecaster(path: StrPath) -> OpenForecaster:
    """Open the directory of a forecaster; raises UserError when it is foreign, damaged or of another kind."""
    path = Path(path)
    with pinned(path) as here:
        info = read_forecaster(here)
        return replace(OpenForecaster(here, info, load_forecaster(here / WEIGHTS, info.config)), path=path)


def forecaster_info(path: StrPath) -> dict[str, Any]:
    """Return a description of a forecaster and its training as JSON; figures that are unknown are None.

    Raises UserError for a foreign or damaged directory.
    """
    path = Path(path)
    info, description = read_forecaster(path), read_kind(path, SEQUENCE)
    shape, result = to_mapping(info.config), info.result or {}
    return task_info(path, description) | {
        "task": "forecast",
        **{name: getattr(info, name) for name in ("target_column", "id_column", "time_column")},
        **{name: shape[name] for name in ("horizon", "season", "lags", "context", "quantiles", "hidden_size")},
        "layers": info.config.num_layers,
        **{name: result.get(name) for name in RESULT if name.startswith("valid_")},
    }

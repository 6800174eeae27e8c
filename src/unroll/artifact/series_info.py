"""Describes the directory of a model of sequences: the model, its training, its figures."""

from pathlib import Path
from typing import Any

from unroll.artifact.directory import SEQUENCE, read_kind
from unroll.artifact.forecaster import forecaster_info
from unroll.artifact.quantize import SERIES_COSTS, read_cost
from unroll.artifact.series import read_series_info, read_task
from unroll.artifact.task_info import task_info
from unroll.files import StrPath
from unroll.settings import to_mapping

SHAPE = ("hidden_size", "bidirectional", "pooling", "task", "marks")
RESULT = ("valid_loss", "valid_accuracy", "valid_mae", "valid_baseline_mae", "valid_count")


def series_info(path: StrPath) -> dict[str, Any]:
    """Return a description of a model of sequences and its training as JSON; figures that are unknown are None.

    Raises UserError for a foreign or damaged directory.
    """
    path = Path(path)
    if read_task(path) == "forecast":
        return forecaster_info(path)
    info, common = read_series_info(path), task_info(path, read_kind(path, SEQUENCE))
    recipe, shape = common.pop("recipe"), to_mapping(info.config)
    return common | {
        "layers": info.config.num_layers,
        **{name: shape[name] for name in SHAPE},
        "channels": list(info.columns.channels or ()),
        "labels": list(info.labels),
        "target_column": info.columns.target,
        "id_column": info.columns.id,
        "time_column": info.columns.time,
        "means": list(info.scaling.means),
        "deviations": list(info.scaling.deviations),
        **{name: (info.result or {}).get(name) for name in RESULT},
        "int8": read_cost(path, SERIES_COSTS[info.config.task]),
        "recipe": recipe,
    }

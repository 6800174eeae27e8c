"""A toy problem: waves of different height and level, each with a trend."""

from pathlib import Path
from typing import Any

import numpy as np

from unroll.tasks.forecast.request import train_forecaster

SEASON, HORIZON = 6, 4
SMALL = {"hidden_size": 6, "batch_size": 16, "context": 8, "learning_rate": 0.02, "valid_every": 10, "save_every": 10}


def written(path: Path, series: int = 3, steps: int = 60, missing: int = 0) -> Path:
    """Write waves as a table of days; in each of them some values are missing."""
    chance = np.random.default_rng(0)
    days = np.datetime64("2026-01-01") + np.arange(steps)
    lines = ["shop,day,sold,note"]
    for k in range(series):
        wave = np.sin(2 * np.pi * (np.arange(steps) + k) / SEASON) + 0.02 * np.arange(steps)
        values = 10.0**k * (wave + 0.05 * chance.normal(size=steps)) + 100 * k
        empty = set(chance.choice(np.arange(1, steps), missing, replace=False).tolist())
        cells = ["" if step in empty else f"{value:.4f}" for step, value in enumerate(values)]
        lines += [f"shop{k},{day},{cell},open" for day, cell in zip(days, cells, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def training(table: Path, out: Path, **options: Any) -> Any:
    """Begin to train a tiny forecaster."""
    options["settings"] = SMALL | options.get("settings", {})
    columns: dict[str, Any] = {"target": "sold", "id": "shop", "time": "day", "horizon": HORIZON}
    return train_forecaster(table, **columns | options, out=out, device="cpu")


def trained(table: Path, out: Path, **options: Any) -> Path:
    """Train a tiny forecaster; return its directory."""
    for _ in training(table, out, **{"steps": 60} | options):
        pass
    return out

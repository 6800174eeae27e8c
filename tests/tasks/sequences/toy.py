"""A toy problem: a rise in one channel or in the other decides the label, and how steep it is the number."""

from pathlib import Path
from typing import Any

import numpy as np

from unroll.tasks.sequences.request import train_sequences

SMALL = {"hidden_size": 8, "learning_rate": 0.02, "valid_every": 10, "save_every": 10, "noise": 0.1, "dropout": 0.1}
LABELS = ("left", "none", "right")


def written(path: Path, count: int = 240, seed: int = 0) -> Path:
    """Write sequences of two channels as a table, with the label `side` and the number `slope` in all of their rows."""
    chance = np.random.default_rng(seed)
    lines = ["id,t,a,b,side,slope"]
    for k in range(count):
        side, slope = int(chance.integers(3)), float(chance.uniform(0.5, 2.0))
        steps = np.arange(int(chance.integers(4, 12)))
        a = slope * steps * (side == 0) + chance.normal(size=len(steps))
        b = slope * steps * (side == 2) + chance.normal(size=len(steps))
        lines += [f"s{k},{t},{x:.4f},{y:.4f},{LABELS[side]},{slope:.4f}" for t, x, y in zip(steps, a, b, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def without(table: Path, *columns: str) -> Path:
    """Write a table without some of its columns beside it; return its path."""
    rows = [line.split(",") for line in table.read_text().splitlines()]
    kept = [k for k, name in enumerate(rows[0]) if name not in columns]
    path = table.with_stem(f"{table.stem}-{'-'.join(columns)}")
    path.write_text("".join(",".join(row[k] for k in kept) + "\n" for row in rows))
    return path


def training(table: Path, out: Path, **options: Any) -> Any:
    """Begin to train a tiny model of the label."""
    options["settings"] = SMALL | options.get("settings", {})
    options.setdefault("target", "side")
    return train_sequences(without(table, "slope"), **options, id="id", time="t", out=out, device="cpu")


def trained(table: Path, out: Path, **options: Any) -> Path:
    """Train a tiny model; return its directory."""
    for _ in training(table, out, **{"steps": 100} | options):
        pass
    return out


def trained_slopes(table: Path, out: Path, **options: Any) -> Path:
    """Train a tiny model of the number; return its directory."""
    chosen: dict[str, Any] = {"steps": 100, "settings": SMALL, "out": out, "device": "cpu"} | options
    table = without(table, "side")
    for _ in train_sequences(table, target="slope", task="regress", id="id", time="t", **chosen):
        pass
    return out

"""A toy problem: the place of a word decides its letters, and its kind how long it is."""

import csv
import random
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from unroll.progress import Progress
from unroll.training.report import Report
from unroll.training.request import train

LETTERS = {"north": "bcdfg", "south": "aeiou", "west": "xyzvw"}
LENGTHS = {"short": (1, 4), "long": (9, 23)}
SMALL = {"embedding_size": 6, "hidden_size": 10, "num_layers": 2, "dropout": 0.1, "batch_size": 7, "seq_len": 6,
         "learning_rate": 0.03, "valid_every": 5, "save_every": 3, "log_every": 4, "sample_length": 9,
         "threads": 1, "averaging": 0.9, "reset_probability": 0.2}  # fmt: skip
HEADER = ("word", "place", "kind")
STEPS = 12


def rows(count: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """Return words with their labels."""
    chance, made = random.Random(seed), []
    for _ in range(count):
        place, kind = chance.choice(list(LETTERS)), chance.choice(list(LENGTHS))
        made.append(("".join(chance.choices(LETTERS[place], k=chance.randint(*LENGTHS[kind]))), place, kind))
    return made


def written(path: Path, examples: Sequence[tuple[str, ...]], header: Sequence[str] = HEADER) -> Path:
    """Write a table with tabs between its columns."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows([header, *examples])
    return path


def begin(
    table: Path, out: Path, label: Sequence[str] = ("place", "kind"), steps: int | None = STEPS, **options: Any
) -> Generator[Report, None, None]:
    """Begin to train a tiny model; yields its reports, not its progress before them."""
    options["settings"] = SMALL | options.get("settings", {})
    with closing(train(table, text="word", label=label, out=out, steps=steps, device="cpu", **options)) as reports:
        for report in reports:
            if not isinstance(report, Progress):
                yield report


def trained(table: Path, out: Path, **options: Any) -> Path:
    """Train a tiny model; return its directory."""
    for _ in begin(table, out, **options):
        pass
    return out

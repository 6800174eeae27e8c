"""A toy problem: what an animal says decides its label; the rest of the text does not matter."""

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unroll.tasks.classify.request import train_classifier

SAYS = {"cat": ("meow", "purr"), "dog": ("woof", "growl"), "owl": ("hoot", "shriek")}
FILLERS = ["the", "old", "animal", "in", "my", "garden", "often", "says", "at", "night", "and", "again"]
SMALL = {"hidden_size": 8, "embedding_size": 8, "char_hidden_size": 4, "char_embedding_size": 4, "batch_size": 16,
         "perturbation": 0.2, "input_dropout": 0.1, "dropout": 0.1, "learning_rate": 0.03, "valid_every": 10,
         "save_every": 10}  # fmt: skip


def rows(chance: random.Random, count: int) -> list[tuple[str, str]]:
    """Return texts with their labels."""
    made = []
    for _ in range(count):
        label = chance.choice(list(SAYS))
        words = [chance.choice(FILLERS) for _ in range(chance.randint(2, 9))]
        words.insert(chance.randint(0, len(words)), chance.choice(SAYS[label]))
        made.append((" ".join(words), label))
    return made


def written(path: Path, examples: Sequence[tuple[str, str]], header: tuple[str, str] = ("text", "label")) -> Path:
    """Write a table with tabs between its columns."""
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([header, *examples])
    return path


def training(table: Path, out: Path, **options: Any) -> Any:
    """Begin to train a tiny classifier."""
    options["settings"] = SMALL | options.get("settings", {})
    return train_classifier(table, text="text", label="label", out=out, device="cpu", **options)


def trained(table: Path, out: Path, **options: Any) -> Path:
    """Train a tiny classifier; return its directory."""
    for _ in training(table, out, **options):
        pass
    return out


def animals(folder: Path) -> Path:
    """Train a classifier in `folder`/animals; an example in eight has a wrong label, so it errs about some."""
    labels = list(SAYS)
    examples = [
        (text, labels[labels.index(label) - 1] if k % 8 == 0 else label)
        for k, (text, label) in enumerate(rows(random.Random(0), 240))
    ]
    return trained(written(folder / "animals.tsv", examples), folder / "animals", steps=100)

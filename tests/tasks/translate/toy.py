"""A toy language pair: each word has its translation, and the order of the words is reversed."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unroll.tasks.translate.request import train_translator

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "red": "rot", "blue": "blau", "cat": "katze", "dog": "hund"}
SMALL = {"hidden_size": 24, "encoder_size": 12, "embedding_size": 16, "attention_size": 8, "batch_size": 16,
         "input_dropout": 0.0, "dropout": 0.0, "learning_rate": 0.03, "valid_every": 10, "save_every": 10,
         "min_count": 1, "precision": "float32"}  # fmt: skip


def translated(source: str) -> str:
    """Return the translation of a text."""
    return " ".join(WORDS[word] for word in reversed(source.split()))


def sources(chance: random.Random, count: int, most: int = 5) -> list[str]:
    """Return texts to be translated."""
    return [" ".join(chance.choice([*WORDS]) for _ in range(chance.randint(1, most))) for _ in range(count)]


def written(folder: Path, texts: Sequence[str]) -> tuple[Path, Path]:
    """Write texts and their translations."""
    files = folder / "toy.en", folder / "toy.de"
    for file, lines in zip(files, (texts, [translated(text) for text in texts]), strict=True):
        file.write_text("".join(line + "\n" for line in lines))
    return files


def training(pairs: tuple[Path, Path], out: Path, **options: Any) -> Any:
    """Begin to train a tiny translator of words."""
    options["settings"] = SMALL | options.get("settings", {})
    return train_translator(*pairs, out=out, device="cpu", **{"level": "word"} | options)


def trained(pairs: tuple[Path, Path], out: Path, **options: Any) -> Path:
    """Train a tiny translator; return its directory."""
    for _ in training(pairs, out, **options):
        pass
    return out

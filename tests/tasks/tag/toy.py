"""A toy problem: the ending of a word decides its tag, but a name has that of what stands before it."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unroll.tasks.tag.request import train_tagger

SMALL = {"hidden_size": 8, "embedding_size": 8, "char_hidden_size": 6, "char_embedding_size": 4, "batch_size": 8,
         "input_dropout": 0.1, "dropout": 0.1, "learning_rate": 0.03, "valid_every": 10, "save_every": 10,
         "label_smoothing": 0.0}  # fmt: skip
STEMS = ("bal", "kir", "mon", "tas", "ver", "lum", "fen", "gor")
ENDINGS = {"NOUN": "o", "VERB": "as", "ADJ": "a", "ADV": "e"}

Sentence = list[tuple[str, str]]


def sentences(chance: random.Random, count: int) -> list[Sentence]:
    """Return sentences of tokens with their tags."""
    made = []
    for _ in range(count):
        row: Sentence = []
        for _ in range(chance.randint(2, 8)):
            tag = chance.choice(list(ENDINGS))
            row.append((chance.choice(STEMS) + chance.choice(STEMS) + ENDINGS[tag], tag))
            if chance.random() < 0.2:
                row.append(("X", tag))
        made.append(row)
    return made


def entities(chance: random.Random, count: int) -> list[Sentence]:
    """Return sentences with names of one or two tokens, tagged by BIO."""
    made = []
    for _ in range(count):
        row: Sentence = []
        for _ in range(chance.randint(2, 6)):
            row.append((chance.choice(STEMS) + "o", "O"))
            if chance.random() < 0.5:
                kind = chance.choice(("PER", "LOC"))
                before = "Sinjoro" if kind == "PER" else "Urbo"
                row += [(before, f"B-{kind}"), (chance.choice(STEMS).title(), f"I-{kind}")]
        made.append(row)
    return made


def written(path: Path, rows: Sequence[Sentence]) -> Path:
    """Write a file of two columns with a tab between them."""
    lines = ("".join(f"{token}\t{tag}\n" for token, tag in row) + "\n" for row in rows)
    path.write_text("".join(lines))
    return path


def training(file: Path, out: Path, **options: Any) -> Any:
    """Begin to train a tiny tagger."""
    options["settings"] = SMALL | options.get("settings", {})
    return train_tagger(file, out=out, device="cpu", **options)


def trained(file: Path, out: Path, **options: Any) -> Path:
    """Train a tiny tagger; return its directory."""
    for _ in training(file, out, **options):
        pass
    return out

"""The examples of a classifier on disk, beside its model: what resuming needs, and the held-out texts themselves."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.arrays import EXAMPLES, damaged_examples, digest_of, load_arrays, save_arrays
from unroll.data.labelled import Examples, Parts
from unroll.data.ragged import Ragged
from unroll.data.reader import Reader, Reading
from unroll.errors import UserError
from unroll.files import Folder, unreadable

VALID = "resume/valid.jsonl"
"""The held-out texts, with their labels: one JSON object a line."""
ROWS = ("units", "word_of", "words", "labels")


@dataclass(frozen=True)
class Labelled:
    """Texts as they are read, with the ids of their labels."""

    texts: Reading
    labels: Ragged
    """One label of each text or, of a classifier for several, any number."""

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Stored:
    """Both parts as arrays, and the held-out texts."""

    train: Labelled
    valid: Labelled
    held_out: bytes

    @classmethod
    def of(cls, parts: Parts, reader: Reader, labels: Sequence[str]) -> "Stored":
        """Read the examples; `labels` are the names of the ids."""
        ids = {label: id for id, label in enumerate(labels)}

        def labelled(examples: Examples) -> Labelled:
            rows = Ragged.of([[ids[label] for label in row] for row in examples.labels])
            return Labelled(reader.read(examples.texts), rows)

        valid = parts.valid
        lines = (
            json.dumps({"text": text, "labels": list(row), "line": line}, ensure_ascii=False) + "\n"
            for text, row, line in zip(valid.texts, valid.labels, valid.lines.tolist(), strict=True)
        )
        return cls(labelled(parts.train), labelled(valid), "".join(lines).encode("utf-8", "surrogatepass"))

    def without_characters(self) -> "Stored":
        """Return the same without the characters of words."""
        nothing = Ragged.of([])

        def plain(part: Labelled) -> Labelled:
            return replace(part, texts=replace(part.texts, words=nothing))

        return replace(self, train=plain(self.train), valid=plain(self.valid))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name."""
        named = {}
        for part, examples in (("train", self.train), ("valid", self.valid)):
            for name in ROWS:
                rows: Ragged = examples.labels if name == "labels" else getattr(examples.texts, name)
                named[f"{part}.{name}.values"] = np.ascontiguousarray(rows.values, np.int64)
                named[f"{part}.{name}.ends"] = rows.ends
        return named

    @property
    def digest(self) -> str:
        """The SHA-256 of all arrays, in hexadecimal."""
        return digest_of(self.arrays())

    def save(self, folder: Folder) -> None:
        """Write both files."""
        save_arrays(folder, self.arrays())
        folder.write(VALID, self.held_out)


def load(path: Path) -> Stored:
    """Read what `save` wrote; raises UserError where it is missing or damaged."""
    arrays, file = load_arrays(path), path / EXAMPLES
    try:
        held_out = (path / VALID).read_bytes()

        def part(name: str) -> Labelled:
            rows = {row: Ragged(arrays[f"{name}.{row}.values"], arrays[f"{name}.{row}.ends"]) for row in ROWS}
            return Labelled(Reading(rows["units"], rows["word_of"], rows["words"]), rows["labels"])

        return Stored(part("train"), part("valid"), held_out)
    except OSError as error:
        raise unreadable(path / VALID, error) from None
    except (KeyError, ValueError) as error:
        raise damaged_examples(file, error) from None


def held_out(path: Path) -> list[dict[str, Any]]:
    """Return the held-out texts of a classifier: `text`, `labels`, `line`. Raises UserError."""
    try:
        lines = (path / VALID).read_bytes().decode("utf-8", "surrogatepass").split("\n")
        return [json.loads(line) for line in lines if line]
    except OSError as error:
        raise unreadable(path / VALID, error) from None
    except ValueError as error:
        raise UserError(f"{path / VALID} is damaged: {error}", fix="restore it, or train again") from None

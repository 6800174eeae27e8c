"""A table of labelled texts as a corpus: each text is a document, and beside the ids lie the labels."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.directory import DATA
from unroll.artifact.steering import Column, Steering
from unroll.data.corpus import Corpus, DataConfig, load_corpus, write_corpus
from unroll.data.labelled import Examples, Parts, parts_of, read_examples
from unroll.data.ragged import Ragged, buckets
from unroll.errors import UserError
from unroll.files import Folder, unreadable
from unroll.progress import Work
from unroll.settings import from_mapping
from unroll.training.checks import check_alone
from unroll.training.recipe import Overrides

LABELS = "resume/labels.safetensors"
SEPARATORS = ("\n", "\x1e")
"""What may end a text, in order of preference: a newline, or the record separator of ASCII."""

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """A table that a model is to be trained on: its file, its columns, and another file to validate on."""

    file: Path
    text: tuple[str, ...]
    label: tuple[str, ...]
    valid: Path | None = None

    def encoded(self, folder: Folder, data: dict[str, Any]) -> Work[tuple[Corpus, Parts]]:
        """Encode the texts into a model directory; return the corpus, and the parts of the table, in its order.

        Raises UserError for what a user can fix in the table.
        """
        examples = yield from read_examples(self.file, self.text, self.label)
        valid = None if self.valid is None else (yield from read_examples(self.valid, self.text, self.label))
        parts = parts_of(examples, valid)
        separator = separator_of(parts)
        if data.get("separator", separator) != separator:
            raise UserError(
                f"the recipe's separator is {data['separator']!r}, and these texts end with {separator!r}",
                allowed="texts that are documents already",
                fix="leave the separator out",
            )
        config = from_mapping(DataConfig, data | {"documents": True, "separator": separator}, "the recipe's [data]")
        beside = folder.path / "texts"
        try:
            train = written(beside / self.file.name, parts.train, separator)
            name = f"{self.file.name} (held out)" if self.valid is None else f"valid/{self.valid.name}"
            held_out = written(beside / name, parts.valid, separator)
            yield from write_corpus([train], folder.path / DATA, config, valid=held_out)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        folder.check()
        return load_corpus(folder.path / DATA), parts


def check_steered(overrides: Overrides) -> None:
    """Raise UserError for what a model that labels steer cannot be."""
    if overrides["model"].get("arch") == "window":
        raise UserError(
            "a window has no state that a label could begin with",
            allowed="--arch lstm, gru, mingru or rnn",
            fix="leave the architecture out",
        )
    if overrides["data"].get("level") == "byte":
        raise UserError(
            "at level byte there is no symbol for the end of a text",
            allowed="--level char, word or bpe",
            fix="choose one of them",
        )
    check_alone("a table with labels")


SYMBOLS = 1024
"""Symbols of a step, about: as many as of a plain text."""


def portions_of(corpus: Corpus) -> dict[str, Any]:
    """Choose the portions of a training: so many texts side by side as have about SYMBOLS, in windows of up to 64."""
    texts, tokens = documents(corpus.train, corpus), len(corpus.train)
    seq_len = min(64, int(texts.lengths.max()))
    rows = min(128, SYMBOLS * len(texts) // tokens, tokens // seq_len)
    return {"batch_size": max(1, rows), "seq_len": seq_len, "reset_probability": 0.1}


Window = tuple[Ids, int]
"""What a step reads of some texts: their numbers, and how many symbols of them were read before."""

MOST_EPOCHS = 25
"""Rounds over the texts after which a budget of minutes ends: the last of them teach little (docs/lab-notes.md)."""


def windows_of(lengths: Ids, batch_size: int, seq_len: int, *, seed: int, epoch: int) -> list[Window]:
    """Return the windows of an epoch: texts of similar length side by side, in random order, each from its start on."""
    units = batch_size * 2 * int(lengths.max())  # they alone limit nothing
    batches = buckets(lengths, batch_size, seed=seed, epoch=epoch, units=units)
    return [(rows, first) for rows in batches for first in range(0, int(lengths[rows].max()), seq_len)]


def filled(lengths: Ids, windows: Sequence[Window], seq_len: int) -> float:
    """Return the share of a window that is read on average, padding included: most texts are shorter."""
    return sum(min(seq_len, int(lengths[rows].max()) - first) for rows, first in windows) / (seq_len * len(windows))


def limits_of(corpus: Corpus, training: dict[str, Any]) -> dict[str, float]:
    """Return what limits a budget: the share of a window that is read, and the symbols that teach something."""
    lengths, seq_len = documents(corpus.train, corpus).lengths, training["seq_len"]
    windows = windows_of(lengths, training["batch_size"], seq_len, seed=0, epoch=0)
    return {"filled": filled(lengths, windows, seq_len), "most_tokens": MOST_EPOCHS * len(corpus.train)}


def separator_of(parts: Parts) -> str:
    """Return what ends each text: a newline, or another character where texts have several lines."""
    for separator in SEPARATORS:
        if not any(separator in text for part in (parts.train, parts.valid) for text in part.texts):
            return separator
    part, row = next(
        (part, row)
        for part in (parts.train, parts.valid)
        for row, text in enumerate(part.texts)
        if SEPARATORS[-1] in text
    )
    raise UserError(
        f"the text in line {part.lines[row]:,} of {part.path} has U+001E, the record separator, which ends a text",
        allowed="texts without it",
        fix="remove it, or replace it with a space",
    )


def written(file: Path, examples: Examples, separator: str) -> Path:
    """Write texts with an end of each; return the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as opened:
        opened.writelines(f"{text}{separator}" for text in examples.texts)
    return file


def steering_of(parts: Parts, text: Sequence[str]) -> Steering:
    """Return the labels of each column, and how many texts for training have each."""
    columns = zip(parts.train.columns, parts.names, zip(*parts.train.labels, strict=True), strict=True)
    counted = ((name, labels, Counter(of_texts)) for name, labels, of_texts in columns)
    return Steering(
        tuple(text), tuple(Column(name, labels, tuple(counts[x] for x in labels)) for name, labels, counts in counted)
    )


@dataclass(frozen=True)
class Labels:
    """The ids of the labels of all texts, (texts, columns) for training and for validation."""

    train: Ids
    valid: Ids

    @classmethod
    def of(cls, parts: Parts) -> "Labels":
        """Return the labels of a table."""
        numbers = [{label: id for id, label in enumerate(names)} for names in parts.names]
        train, valid = (
            np.array([[ids[label] for ids, label in zip(numbers, row, strict=True)] for row in part.labels], np.int64)
            for part in (parts.train, parts.valid)
        )
        return cls(train, valid)

    def save(self, folder: Folder) -> None:
        """Write them."""
        from safetensors.numpy import save

        folder.write(LABELS, save({"train": self.train, "valid": self.valid}))


def load_labels(path: Path, steering: Steering, corpus: Corpus) -> Labels:
    """Read the labels in a model directory; raises UserError where they are missing or do not fit the texts."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    file = path / LABELS
    try:
        arrays = load(file.read_bytes())
        for name, texts in (("train", corpus.train), ("valid", corpus.valid)):
            ids, most = arrays[name], [len(column.labels) for column in steering.columns]
            if ids.dtype != np.int64 or ids.shape != (len(documents(texts, corpus)), len(most)):
                raise ValueError(f"{name} is {ids.shape} {ids.dtype}")
            if (ids < 0).any() or (ids >= most).any():
                raise ValueError(f"{name} has ids of no label")
        return Labels(arrays["train"], arrays["valid"])
    except OSError as error:
        raise unreadable(file, error) from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(
            f"{file} is damaged: {error}", allowed="the labels written by unroll", fix="restore it, or train again"
        ) from None


def documents(ids: NDArray[np.unsignedinteger], corpus: Corpus) -> Ragged:
    """Return a part of a corpus as its documents, each with its end."""
    return Ragged(ids, 1 + np.flatnonzero(ids == corpus.tokenizer.end_id).astype(np.int64))

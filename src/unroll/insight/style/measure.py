"""From noise to style, measured: the samples of a training, and their ceiling, pieces of text that it did not see."""

import os
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from unroll.artifact.directory import data_path, read_description
from unroll.artifact.info import evolution, info
from unroll.data.corpus import Corpus, open_corpus
from unroll.data.lines import whole_text
from unroll.data.split import shares_of
from unroll.errors import check_choice
from unroll.files import StrPath, as_path
from unroll.insight.cells.properties import decoded
from unroll.insight.style.closing import ends
from unroll.insight.style.counts import MOST, Counts, counted, known_pairs, known_words, punctuation_and_capitals
from unroll.insight.style.kinds import KINDS, OF_KIND, Kind, kind_of
from unroll.progress import Work, result

Measures = dict[str, float | None]
"""A share from 0 to 1 for each measure, by name; None where it says nothing."""

COMMON = ("words", "pairs", "punctuation", "capitals", "closing")
"""What is measured of every text."""
PIECES = 32
"""Most pieces of held-out text whose mean is the ceiling."""
SPLIT = "90/5/5"
"""Parts of a text that is named by its file, where the recipe says nothing."""


@dataclass(frozen=True)
class Reference:
    """A training text, as far as samples are compared with it."""

    counts: Counts
    kind: Kind | None
    held_out: str
    """Text from the same source that was not learnt."""


@dataclass(frozen=True)
class Style:
    """The samples of a training with their measures, and the same measures of the text itself."""

    model: str
    kind: Kind | None
    samples: tuple[dict[str, Any], ...]
    """As `evolution` returns them, each with its `measures`."""
    ceiling: Measures
    """The mean over pieces of held-out text as long as a sample."""
    length: int
    """Characters of a piece."""
    pieces: int
    notes: tuple[str, ...]

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        names = ("model", "kind", "samples", "ceiling", "length", "pieces", "notes")
        return {name: getattr(self, name) for name in names}


def style(model: StrPath, *, file: StrPath | None = None, kind: Kind | None = None) -> Style:
    """Measure the samples that were taken while a model was trained, from noise to style.

    The training text is that beside the model, or `file`. Its `kind` is recognised, unless it is given. Raises
    UserError.
    """
    return result(measure(Path(model), as_path(file), kind))


def measure(path: Path, file: Path | None = None, kind: Kind | None = None) -> Work[Style]:
    """Do what `style` does, yielding progress."""
    if kind is not None:
        check_choice("the kind of text", kind, KINDS)
    samples = evolution(path)
    texts = training_texts(path) if file is None else parts_of(whole_text(file), info(path)["split"])
    reference = None if texts is None else (yield from read_reference(*texts, kind))
    notes = []
    if reference is None:
        notes.append("the training text is not beside the model: measures against it are null; name it with --file")
    elif reference.kind is None:
        notes.append(f"the training text is of no known kind ({', '.join(KINDS)}): only the common measures apply")
    if reference is not None and not reference.counts.has_words:
        notes.append("the script of the training text sets no spaces between words: words and pairs are null")
    kind = kind if reference is None else reference.kind
    length = length_of([sample["text"] for sample in samples])
    ceiling, count = ceiling_of(reference, length) if reference is not None else (mean([], kind), 0)
    if reference is not None and samples and not count:
        notes.append(f"the held-out text has no piece of {length:,} characters: the text's own values are null")
    return Style(
        str(path),
        kind,
        tuple(sample | {"measures": measures(sample["text"], reference, kind)} for sample in samples),
        ceiling,
        length,
        count,
        tuple(notes),
    )


def read_reference(train: str, held_out: str, kind: Kind | None = None) -> Work[Reference]:
    """Count a training text once, yielding progress; its kind is recognised unless it is given."""
    counts = yield from counted(train)
    return Reference(counts, kind or kind_of(train), held_out)


def measures(text: str, reference: Reference | None, kind: Kind | None = None) -> Measures:
    """Return the measures of a text, of `kind` if there is no reference to have one; the common ones come first."""
    counts = None if reference is None else reference.counts
    values: Measures = dict.fromkeys(COMMON)
    if counts is not None:
        values |= {"words": known_words(text, counts), "pairs": known_pairs(text, counts)}
        values["punctuation"], values["capitals"] = punctuation_and_capitals(text, counts)
    values |= {"closing": ends(text)}
    kind = kind if reference is None else reference.kind
    return values | {name: of(text) for name, of in (OF_KIND[kind] if kind else {}).items()}


def length_of(samples: list[str]) -> int:
    """Return the length of samples in characters, the median."""
    return int(median(map(len, samples))) if samples else 0


def ceiling_of(reference: Reference, length: int) -> tuple[Measures, int]:
    """Return the mean measures of held-out pieces of this length, and the number of pieces."""
    held_out = pieces(reference.held_out, length)
    return mean([measures(piece, reference) for piece in held_out], reference.kind), len(held_out)


def names_of(kind: Kind | None) -> tuple[str, ...]:
    """Return the names of the measures of a kind of text, the common ones first."""
    return (*COMMON, *(OF_KIND[kind] if kind else ()))


def mean(values: list[Measures], kind: Kind | None) -> Measures:
    """Return the mean of each measure over the texts that have it; None where none has."""
    known = {name: [share for each in values if (share := each[name]) is not None] for name in names_of(kind)}
    return {name: fmean(numbers) if numbers else None for name, numbers in known.items()}


def pieces(text: str, length: int) -> list[str]:
    """Return at most `PIECES` pieces of a text, spread over it and each `length` characters from the start of a line.

    A sample begins as a line does. Where a line is longer than a piece, a piece begins within it, as a word does.
    """
    count = min(PIECES, len(text) // length) if length else 0
    last = len(text) - length
    starts = [last * number // max(1, count - 1) for number in range(count)]
    for number, start in enumerate(starts):
        after = text.find("\n", max(0, start - 1), last) + 1
        line, word = (text.rfind(end, max(0, start - length), start) + 1 for end in "\n ")
        starts[number] = after if start and start <= after < start + length else line or word or start
    return [text[start : start + length] for start in starts]


def training_texts(path: Path) -> tuple[str, str] | None:
    """Return the training and the validation text beside a model; None where they are not there, or are others."""
    folder = data_path(path)
    if not os.path.exists(folder):
        return None
    corpus = open_corpus(folder)
    if corpus.tokenizer.digest != read_description(path)["tokenizer_digest"]:
        return None
    return texts_of(corpus)


def texts_of(corpus: Corpus) -> tuple[str, str]:
    """Return the beginning of the training and of the validation text of a corpus."""
    train = corpus.info.parts["train"]
    most = max(1, MOST * train.tokens // max(1, train.chars))
    return decoded(corpus.tokenizer, corpus.train[:most]), decoded(corpus.tokenizer, corpus.valid[:most])


def parts_of(text: str, split: str | None) -> tuple[str, str]:
    """Return the training and the validation part of a whole text, cut by a split; by `SPLIT` where none is known."""
    train, *others = shares_of(split or SPLIT)
    first, second = int(len(text) * train), int(len(text) * sum([train, *others[:1]]))
    return text[:first], text[first:second]

"""Texts that a look inside a classifier reads: held out of its training, the rows of a table, or lines."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unroll.artifact.classifier import OpenClassifier
from unroll.data.labelled import check_labels, read_examples, read_texts
from unroll.errors import UserError
from unroll.files import printable_name
from unroll.progress import Progress, Work
from unroll.tasks.classify.store import VALID, held_out

Rows = Sequence[Sequence[str]]


def labelled(opened: OpenClassifier, file: Path | None) -> Work[tuple[Sequence[str], Rows]]:
    """Return texts and the names of their labels: of a table, or those held out of the training. Raises UserError."""
    if file is None:
        yield Progress("reading", 0, 1)
        if not (opened.path / VALID).exists():
            raise UserError(
                f"the texts held out of {opened.path} are missing",
                allowed="a classifier that still has them, or --file",
                fix="name a table of examples: --file F",
            )
        rows = held_out(opened.path)
        return [row["text"] for row in rows], [row["labels"] for row in rows]
    info = opened.info
    several = info.config.multi_label
    examples = yield from read_examples(file, info.text_columns, (info.label_column,), multi=several, options=False)
    check_labels(examples, (info.labels,), "the model")
    return examples.texts, examples.labels


def texts_of(opened: OpenClassifier, file: Path | None, *, labels: bool) -> Work[tuple[list[str], Rows, str]]:
    """Return texts in a random order, always the same, their labels where they are needed, and what to call them."""
    names: Rows = ()
    if file is None or labels:
        texts, names = yield from labelled(opened, file)
    else:
        texts = yield from read_texts(file, opened.info.text_columns)
    order = np.random.default_rng(0).permutation(len(texts)).tolist()
    name = f"those held out of {opened.path}" if file is None else printable_name(file)
    return [texts[k] for k in order], [names[k] for k in order] if names else (), name

"""The units of a text that decided its label: how much less probable it is without each; without torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.classifier import AnyClassifier, OpenClassifier, as_classifier, label_ids
from unroll.data.ragged import Ragged
from unroll.data.reader import ROWS, Reader, Reading
from unroll.engine.network import Precision
from unroll.errors import UserError
from unroll.progress import Progress, Work, result
from unroll.tasks.classify.predict import Floats, probabilities_of

Mask = NDArray[np.bool_]

LONGEST = 1000
"""Most units of a text: each is hidden by itself, so the work grows with their square."""
LEAST = np.finfo(np.float64).tiny
"""The least probability, so that its logarithm is finite."""


def decisive_units(
    model: AnyClassifier, text: str, label: str | None = None, *, precision: Precision = "float32"
) -> list[dict[str, Any]]:
    """Return the units of a text in order, each with what it does for a label, by default the predicted one.

    Each is `{"text", "start", "end", "effect"}`: its span in code points, and how many nats the label's log-probability
    loses when this unit is read as unknown (occlusion). An empty text has none. Raises UserError.
    """
    opened = as_classifier(model, precision)
    id = None if label is None else label_ids(opened.info, [label])[0]
    return result(measure_units(opened, text, id))


def measure_units(model: OpenClassifier, text: str, label: int | None = None) -> Work[list[dict[str, Any]]]:
    """Do what `decisive_units` does, for the id of a label, yielding progress."""
    reading = read_short(model.reader, text)
    (whole,) = probabilities_of(model, reading)
    label = int(whole.argmax()) if label is None else label
    hidden = yield from hidden_one_by_one(model, reading)
    losses = log_of(whole)[label] - log_of(hidden)[:, label]
    return [
        {"text": text[start:end], "start": start, "end": end, "effect": loss}
        for (start, end), loss in zip(spans_of(model.reader, text), losses.tolist(), strict=True)
        if end > start
    ]


def read_short(reader: Reader, text: str) -> Reading:
    """Return a text as it is read; raises UserError where it has more units than are hidden."""
    reading = reader.read([text])
    if (count := len(reading.units.values)) > LONGEST:
        raise UserError(
            f"the text has {count:,} units, and each is hidden once",
            allowed=f"at most {LONGEST:,}",
            fix="take the part that matters",
        )
    return reading


def hidden_one_by_one(model: OpenClassifier, reading: Reading) -> Work[Floats]:
    """Return the probabilities (N, K) of all labels of one text (N,) with each of its units hidden; yields progress."""
    return (yield from one_by_one(model.reader, reading, lambda texts: probabilities_of(model, texts)))


def one_by_one(reader: Reader, reading: Reading, answer: Callable[[Reading], Floats]) -> Work[Floats]:
    """Return what is answered (N, K) of one text (N,) with each of its units hidden, given the answers (B, K) of texts.

    Yields progress.
    """
    count, hidden = len(reading.units.values), list[Floats]()
    for start in range(0, count, ROWS):
        end = min(start + ROWS, count)
        alone = np.arange(start, end)[:, None] == np.arange(count)
        hidden.append(answer(without(reader, reading, alone)))
        yield Progress("hiding units", end, count, "units")
    return np.concatenate(hidden)


def log_of(probabilities: Floats) -> Floats:
    """Return logarithms, all finite."""
    return np.asarray(np.log(np.maximum(probabilities, LEAST)))


def spans_of(reader: Reader, text: str) -> list[tuple[int, int]]:
    """Return the span of each unit in code points, without the spaces beside it."""
    return [trimmed(text, start, end) for start, end in reader.spans(text).tolist()]


def without(reader: Reader, reading: Reading, hidden: Mask) -> Reading:
    """Return one text (N,) once for each row of a mask (B, N), with the units of that row unknown.

    A word is hidden with its characters: it is read as one unknown character. Where no unit can be unknown, it is read
    as the start symbol.
    """
    ends = np.int64(hidden.shape[1]) * np.arange(1, 1 + len(hidden))
    unknown_id = reader.tokenizer.unknown_id
    unknown = reader.tokenizer.start_id if unknown_id is None else unknown_id

    def replaced(texts: Ragged, id: int) -> Ragged:
        return Ragged(np.where(hidden, id, texts.values).ravel(), ends)

    words, characters = reading.words, reader.characters
    if characters is None:
        return Reading(replaced(reading.units, unknown), replaced(reading.word_of, 0), words)
    word = Ragged(np.append(words.values, characters.unknown_id), np.append(words.ends, len(words.values) + 1))
    return Reading(replaced(reading.units, unknown), replaced(reading.word_of, len(words)), word)


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a span without the spaces beside a word or mark; white space by itself stays."""
    unit = text[start:end]
    if not (middle := unit.strip()):
        return start, end
    start += unit.index(middle)
    return start, start + len(middle)

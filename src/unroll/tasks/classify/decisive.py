"""The units of a text that decided its label: how much less probable it is without each; without torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.classifier import AnyClassifier, OpenClassifier, as_classifier, label_ids
from unroll.data.ragged import Ragged
from unroll.data.reader import ROWS, Reader, Reading
from unroll.engine.network import Precision
from unroll.errors import UserError
from unroll.progress import Progress, Work, result
from unroll.tasks.classify.predict import probabilities_of

Ids = NDArray[np.int64]

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
    reading = model.reader.read([text])
    count = int(reading.units.lengths[0])
    if count > LONGEST:
        raise UserError(
            f"the text has {count:,} units, and each is hidden once",
            allowed=f"at most {LONGEST:,}",
            fix="take the part that matters",
        )
    (whole,) = probabilities_of(model, reading)
    label = int(whole.argmax()) if label is None else label
    hidden = np.zeros(count)
    for start in range(0, count, ROWS):
        places = np.arange(start, min(start + ROWS, count))
        hidden[places] = probabilities_of(model, without(model.reader, reading, places))[:, label]
        yield Progress("hiding units", int(places[-1]) + 1, count, "units")
    losses = np.log(max(whole[label], LEAST)) - np.log(np.maximum(hidden, LEAST))
    spans = (trimmed(text, start, end) for start, end in model.reader.spans(text).tolist())
    return [
        {"text": text[start:end], "start": start, "end": end, "effect": loss}
        for (start, end), loss in zip(spans, losses.tolist(), strict=True)
        if end > start
    ]


def without(reader: Reader, reading: Reading, places: Ids) -> Reading:
    """Return one text (N,) once for each of these places (B,), the unit there unknown.

    A word is hidden with its characters: it is read as one unknown character. Where no unit can be unknown, it is read
    as the start symbol.
    """
    rows = np.arange(len(places))
    unknown_id = reader.tokenizer.unknown_id
    unknown = reader.tokenizer.start_id if unknown_id is None else unknown_id

    def hidden(texts: Ragged, id: int) -> Ragged:
        values = np.tile(texts.values, (len(places), 1))
        values[rows, places] = id
        return Ragged(values.ravel(), np.int64(len(texts.values)) * (rows + 1))

    words, characters = reading.words, reader.characters
    if characters is None:
        return Reading(hidden(reading.units, unknown), hidden(reading.word_of, 0), words)
    word = Ragged(np.append(words.values, characters.unknown_id), np.append(words.ends, len(words.values) + 1))
    return Reading(hidden(reading.units, unknown), hidden(reading.word_of, len(words)), word)


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a span without the spaces beside a word or mark; white space by itself stays."""
    unit = text[start:end]
    if not (middle := unit.strip()):
        return start, end
    start += unit.index(middle)
    return start, start + len(middle)

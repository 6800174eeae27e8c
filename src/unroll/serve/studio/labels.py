"""Classifiers on the page: the labels of a text and the units that decided, and the errors about held-out texts."""

import asyncio
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from unroll.artifact.classifier import OpenClassifier, label_ids
from unroll.artifact.snapshot import Changed, pinned, unchanged
from unroll.progress import result
from unroll.serve.errors import json_response
from unroll.serve.fields import posted
from unroll.serve.models import changing
from unroll.serve.served import ServedClassifier
from unroll.serve.studio import tables
from unroll.serve.studio.studio import Studio
from unroll.tasks.classify.decisive import measure_units
from unroll.tasks.classify.evaluate import marks_of, one_mark
from unroll.tasks.classify.predict import Floats, prediction, probabilities, probabilities_of
from unroll.tasks.classify.store import VALID, held_out

MOST_LABELS = 100
"""Labels whose probabilities are sent, the most probable."""
MOST_UNITS = 300
"""Units of a text up to which each is hidden: the work grows with their square."""
MOST_TEXTS = 2000
"""Held-out texts that are read, the first."""
MOST_CHARACTERS = 2**20
"""Their characters altogether."""
MOST_ERRORS = 200
"""Errors that are sent, the worst."""


async def answer(studio: Studio, request: Request) -> Response:
    """Return the labels of a text with their probabilities, and which of its units decided."""
    fields = await posted(request, tables.LABELS)
    served = await studio.classifier(fields["model"])
    return json_response(await asyncio.to_thread(labels_of, served.opened, fields["text"], fields["label"]))


async def answer_errors(studio: Studio, request: Request) -> Response:
    """Return the errors of a classifier about its held-out texts, the most confident first."""
    served = await studio.classifier((await posted(request, tables.ERRORS))["model"])
    version, errors = studio.errors.get(served.name, ("", {}))
    if version != served.version:
        try:
            errors = await asyncio.get_running_loop().run_in_executor(studio.context.worker, errors_of, served)
        except Changed:
            raise changing(served.name) from None
        studio.errors[served.name] = served.version, errors
    return json_response(errors)


def labels_of(model: OpenClassifier, text: str, label: str | None) -> dict[str, Any]:
    """Return the labels of a text, and its pieces with what each does for `label`, by default the most probable one.

    The pieces, [text, effect in nats], join to the text; what is no unit has the effect null. They are null where the
    text has more units than are hidden. Raises UserError for an unknown label.
    """
    id = None if label is None else label_ids(model.info, [label])[0]
    reading = model.reader.read([text])
    (row,) = probabilities_of(model, reading)
    id = int(row.argmax()) if id is None else id
    count = int(reading.units.lengths[0])
    few = count <= MOST_UNITS and not reading.cut
    return {
        "labels": prediction(model, text, row, MOST_LABELS)["labels"],
        "label": model.info.labels[id],
        "probability": float(row[id]),
        "pieces": pieces_of(text, result(measure_units(model, text, id))) if few else None,
        "units": count + reading.cut,
        "read": count,
        "most_units": min(MOST_UNITS, model.reader.max_units),
    }


def pieces_of(text: str, units: list[dict[str, Any]]) -> list[tuple[str, float | None]]:
    """Return a text in pieces: units with their effects, and with null what lies between them."""
    pieces: list[tuple[str, float | None]] = []
    place = 0
    for unit in units:
        if unit["start"] > place:
            pieces.append((text[place : unit["start"]], None))
        pieces.append((unit["text"], unit["effect"]))
        place = unit["end"]
    return [*pieces, (text[place:], None)] if place < len(text) else pieces


def errors_of(served: ServedClassifier) -> dict[str, Any]:
    """Return the errors about the held-out texts, as `ranked` does, and the number of those texts.

    `total` is their number, `count` that of those read, `example` the first; there may be none beside a model. Raises
    UserError where they are damaged, and Changed where the directory has changed meanwhile.
    """
    model = served.opened
    with pinned(model.path) as here:
        examples = unchanged(here, served.stamp, lambda: held_out(here) if (here / VALID).is_file() else [])
    total = len(examples)
    ends = np.cumsum([len(example["text"]) for example in examples[:MOST_TEXTS]], dtype=np.int64)
    examples = examples[: int(np.searchsorted(ends, MOST_CHARACTERS, side="right"))]
    probable = result(probabilities(model, [example["text"] for example in examples])).probabilities
    example = examples[0]["text"] if examples else ""
    return {"total": total, "count": len(examples), "example": example} | ranked(model, examples, probable)


def ranked(model: OpenClassifier, examples: list[dict[str, Any]], probable: Floats) -> dict[str, Any]:
    """Return the errors about examples, given the probabilities (N, K) of their labels, the most confident first.

    One for each text: the label that was wrongly given or, where a text may have several, also the one that was
    `missed`. `wrong` is the number of texts with an error.
    """
    truth = marks_of(model, [example["labels"] for example in examples])
    if model.info.config.multi_label:
        wrong = np.where(truth, 1 - probable, probable)
        wrong[(probable >= 0.5) == truth] = 0
    else:
        wrong = np.where(one_mark(probable) & ~truth, probable, 0)
    worst = wrong.max(axis=1, initial=0)
    order = np.argsort(-worst, kind="stable")[: np.count_nonzero(worst)].tolist()
    errors = []
    for number in order[:MOST_ERRORS]:
        id = int(wrong[number].argmax())
        errors.append(
            {
                "text": examples[number]["text"],
                "labels": examples[number]["labels"],
                "label": model.info.labels[id],
                "missed": bool(truth[number, id]),
                "probability": float(probable[number, id]),
            }
        )
    return {"errors": errors, "wrong": len(order)}

"""The units that track a property, chosen or painted: first a preview of its labels, then the search."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.insight.cells.findings import Finding
from unroll.insight.cells.measure import LEAST, MOST, Read, check, judge, reading, sampled
from unroll.insight.cells.properties import PROPERTIES, Labels, Text, as_read, label
from unroll.insight.trace import network_of
from unroll.progress import Work
from unroll.serve.inside.pattern import inside_apart
from unroll.serve.inside.trace import frame
from unroll.serve.texts import surfaces

Runs = Sequence[tuple[int, int, float]]
"""Start, end (exclusive) and label of ranges of symbols; all other labels are 0."""

SHOWN = 3_000
"""Symbols whose labels are shown before the search."""
SPARK = 160
"""Symbols over which findings are drawn."""
NEAR = 20_000
"""Symbols from the beginning of the text within which these lie."""
MOST_READ = 2**20
"""Symbols of a text before it is cut."""
LARGEST = 1e9
"""Largest painted label."""


def first_symbols(text: Text, opened: Opened, most: int = MOST) -> Text:
    """Return a text cut to its first symbols."""
    if len(text.ids) <= most:
        return text
    return as_read(text.name, text.content[: int(text.ends[most - 1]) + 1], opened.tokenizer)


def labelled(text: Text, name: str) -> Labels:
    """Return the labels of a text by a property's name, or by `re:PATTERN`; no files. Raises UserError."""
    if name.startswith("re:"):
        return Labels(name, f"inside {name[3:]}", inside_apart(name[3:], text.content)[text.ends])
    if name not in PROPERTIES:
        raise UserError(
            f"there is no property {name[:64]!r}", allowed=", ".join(PROPERTIES), fix="choose one, or write re:PATTERN"
        )
    return label(text, name)


def painted(text: Text, runs: Runs) -> Labels:
    """Return labels painted by hand; raises UserError for ranges outside the text."""
    values = np.zeros(len(text.ids))
    for start, end, value in runs:
        if not (0 <= start < end <= len(values) and abs(value) <= LARGEST):
            raise UserError(
                f"a label of {value:g} from symbol {start} to {end} is not valid",
                allowed=f"from a smaller to a larger index, up to {len(values):,}; labels up to {LARGEST:g}",
                fix="select the range again",
            )
        values[start:end] = value
    return Labels("painted", "where you painted", values)


def preview(opened: Opened, text: Text, labels: Labels, id: str) -> bytes:
    """Return the first symbols of a text with their labels, and a summary of all labels, as a frame."""
    values = labels.values
    edges = np.flatnonzero(np.diff(values != 0, prepend=False, append=False))
    lengths = edges[1::2] - edges[::2]
    halves = np.split(values[: len(values) // 2 * 2], 2)
    if len(values) < LEAST:
        why = (
            f"the text has {len(values):,} symbols; a search needs {LEAST:,}: units are chosen on one half of the text "
            "and measured on the other"
        )
    elif any(half.min() == half.max() for half in halves):
        number = next(k for k, half in enumerate(halves) if half.min() == half.max())
        why = f"the labels are all the same in the {('first', 'second')[number]} half of the text"
    else:
        why = ""
    described = {
        "id": id,
        "property": labels.name,
        "what": labels.what,
        "binary": labels.binary,
        "text": text.name,
        "symbols": surfaces(opened.tokenizer, first_symbols(text, opened, SHOWN)),
        "total": len(values),
        "share": float((values != 0).mean()),
        "mean": float(values.mean()),
        "largest": float(values.max()),
        "runs": len(lengths),
        "shortest": int(lengths.min()) if len(lengths) else 0,
        "longest": int(lengths.max()) if len(lengths) else 0,
        "why_not": why,
    }
    return frame(described, labels=values[:SHOWN].astype(np.float32))


def find(
    opened: Opened, text: Text, labels: Labels, top: int, kept: dict[object, Read], key: object
) -> Work[dict[str, Any]]:
    """Search the units of a network, yielding progress; return the findings as JSON, each with a stretch of text.

    The activations over a text are `kept` under its key, for the next property: those of one text, as they are large.
    """
    if key not in kept:
        check(labels, labels.values[sampled(len(text.ids), network_of(opened))], text.name)  # before it takes time
        kept.clear()
        kept[key] = yield from reading(opened, text)
    cells = yield from judge(kept[key], labels, top=top)
    return cells.figures() | {
        "what": labels.what,
        "binary": cells.labels.binary,
        "stretch": stretch(opened, text, cells.labels, cells.findings),
    }


def stretch(opened: Opened, text: Text, labels: Labels, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the values of units where the labels change most often, near the beginning of a text, as JSON."""
    network, ids = network_of(opened), text.ids[:NEAR].astype(np.int64)
    changes = np.concatenate([[0], np.cumsum(labels.changes[: len(ids)])])
    length = min(SPARK, len(ids))
    start = int(np.argmax(changes[length:] - changes[:-length]))
    read = torch.from_numpy(np.concatenate([[opened.tokenizer.start_id], ids[:start]]))[None]
    with torch.inference_mode():
        _, state = network.hidden(read)
        _, _, inside = network.trace(torch.from_numpy(ids[start : start + length])[None], state)
    cells = [finding.cell for finding in findings]
    units = [inside[cell.layer][cell.signal][0, :, cell.unit] for cell in cells]
    piece = as_read(text.name, text.content[: int(text.ends[start + length - 1]) + 1], opened.tokenizer)
    return {
        "first": start,
        "symbols": surfaces(opened.tokenizer, piece)[start:],
        "labels": labels.values[start : start + length].tolist(),
        "values": [[round(float(value), 4) for value in values] for values in units],
    }

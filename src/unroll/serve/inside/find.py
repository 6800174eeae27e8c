"""Which units track a property that is chosen or painted: the labels to look at first, then the search."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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

Floats = NDArray[np.floating]
Runs = Sequence[tuple[int, int, float]]
"""Symbols from one number up to another, without it, and their label; all others are 0."""

SHOWN = 3_000
"""Symbols whose labels are shown before the search."""
SPARK = 160
"""Symbols over which found units are drawn, and how far into the text these may lie."""
NEAR = 20_000
MOST_READ = 2**20
"""Symbols of a text that is cut to its first ones."""
LARGEST = 1e9
"""Of a painted label."""
PAINTED = "painted"


def first_symbols(text: Text, opened: Opened, most: int = MOST) -> Text:
    """Return a text cut to its first symbols."""
    if len(text.ids) <= most:
        return text
    return as_read(text.name, text.content[: int(text.ends[most - 1]) + 1], opened.tokenizer)


def labelled(text: Text, asked: str) -> Labels:
    """Return the labels of a text by a property's name, or by `re:PATTERN`; no files. Raises UserError."""
    if asked.startswith("re:"):
        return Labels(asked, f"inside {asked[3:]}", inside_apart(asked[3:], text.content)[text.ends])
    if asked not in PROPERTIES:
        raise UserError(
            f"there is no property {asked[:64]!r}", allowed=", ".join(PROPERTIES), fix="or write re:PATTERN"
        )
    return label(text, asked)


def painted(text: Text, runs: Runs) -> Labels:
    """Return labels that were painted by hand; raises UserError for runs that do not lie in the text."""
    values = np.zeros(len(text.ids))
    for start, end, value in runs:
        if not (0 <= start < end <= len(values) and abs(value) <= LARGEST):
            raise UserError(
                f"a label of {value:g} from symbol {start} to {end}",
                allowed=f"from less to more, up to {len(values):,}",
                fix="paint it again",
            )
        values[start:end] = value
    return Labels(PAINTED, "where you painted", values)


def preview(opened: Opened, text: Text, labels: Labels, id: str) -> bytes:
    """Return the first symbols of a text with their labels, and what is to be known of all, as a frame."""
    values = labels.values
    edges = np.flatnonzero(np.diff(values != 0, prepend=False, append=False))
    lengths = edges[1::2] - edges[::2]
    halves = np.split(values[: len(values) // 2 * 2], 2)
    if len(values) < LEAST:
        why = f"the text has {len(values):,} symbols; a search needs {LEAST:,}: units are chosen on one half of it and "
        why += "measured on the other"
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
    """Search the units of a network, yielding progress; returns the findings as JSON, each with a stretch.

    What units did over a text is `kept` under its key, for the next property; of one text at a time, as it is large.
    """
    if key not in kept:
        check(labels, labels.values[sampled(len(text.ids), network_of(opened))], text.name)  # before it takes time
        kept.clear()
        kept[key] = yield from reading(opened, text)
    found = yield from judge(kept[key], labels, top=top)
    return found.figures() | {
        "what": labels.what,
        "binary": found.labels.binary,
        "stretch": drawn(opened, text, found.labels, found.findings),
    }


def drawn(opened: Opened, text: Text, labels: Labels, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what units do where the labels change most often, near the beginning of a text, as JSON."""
    network, ids = network_of(opened), text.ids[:NEAR].astype(np.int64)
    changes = np.concatenate([[0], np.cumsum(labels.changes[: len(ids)])])
    length = min(SPARK, len(ids))
    start = int(np.argmax(changes[length:] - changes[:-length]))
    read = torch.from_numpy(np.concatenate([[opened.tokenizer.start_id], ids[:start]]))[None]
    with torch.inference_mode():
        _, state = network.hidden(read)
        _, _, inside = network.trace(torch.from_numpy(ids[start : start + length])[None], state)
    units = [inside[one.cell.layer][one.cell.signal][0, :, one.cell.unit] for one in findings]
    piece = as_read(text.name, text.content[: int(text.ends[start + length - 1]) + 1], opened.tokenizer)
    return {
        "first": start,
        "symbols": surfaces(opened.tokenizer, piece)[start:],
        "labels": labels.values[start : start + length].tolist(),
        "values": [[round(float(value), 4) for value in values] for values in units],
    }

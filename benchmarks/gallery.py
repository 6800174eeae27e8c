"""Make a page of the gallery: train on its corpus by the committed recipe, measure, write results, pictures and page.

`make gallery NAME=tinyshakespeare` runs it; without a text it fetches the public copy. Pages are rendered from
benchmarks/results/gallery-NAME.json by gallery_page.py.
"""

import argparse
import hashlib
import json
import lzma
import math
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import chdir
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from gallery_corpora import Corpus, corpus_named, fetched
from gallery_page import RESULTS, write_pages
from measure import ROOT, machine, run_json
from unroll.artifact.events import METRICS, read_events
from unroll.artifact.open import Opened, open_model
from unroll.errors import UserError
from unroll.files import write_atomically
from unroll.insight.cells.colours import strengths
from unroll.insight.cells.findings import Finding, Tracking
from unroll.insight.cells.measure import judge, reading
from unroll.insight.cells.properties import Text, as_read, label, read_text
from unroll.insight.memory.measure import measure as measure_memory
from unroll.insight.memory.picture import main_picture
from unroll.insight.style.measure import measure as measure_style
from unroll.insight.style.picture import picture as style_picture
from unroll.insight.trace import trace_ids
from unroll.lm.sample import sample
from unroll.predict.protocols import stream_nats
from unroll.progress import result

DRAWN, SHOWN = 10_000, 2000
"""Symbols of the sample from which passages come, and of its beginning, which the page shows."""
INVENTED = 30
"""Names to list that stand for nothing."""
COPIED = 20
"""Fewest characters of a piece that counts as copied."""
ORDERS = (6, 8, 10, 14)
"""Orders of n-grams; the best by the validation part is reported."""
TARGETS, FARTHEST = 200, 256
"""Symbols whose loss is measured for the memory, and the longest context."""
CELLS = 3
PASSAGE, TURNS = 420, 6
"""Characters of a passage in a cell's colours, and how often the property should change in it."""
VERDICTS = ("none", "leans", "tracks", "causal")


def main() -> None:
    """Train where there is no model yet, measure, and write results, pictures and pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a corpus of the gallery")
    parser.add_argument("--text", type=Path, help="its text; fetched into data/ where this is left out")
    parser.add_argument("--model", type=Path, help="a model directory, trained where it is absent")
    parser.add_argument("--cpu-minutes", type=float, help="what the training of that model took")
    options = parser.parse_args()
    try:
        corpus = corpus_named(options.name)
        text = options.text or fetched(corpus, ROOT / "data")
        make_page(corpus, text, options.model or ROOT / "runs" / "gallery" / corpus.name, options.cpu_minutes)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except subprocess.CalledProcessError as error:  # the command has said why
        sys.exit(error.returncode)


def make_page(corpus: Corpus, text: Path, model: Path, cpu_minutes: float | None) -> None:
    """Make the page of a corpus from its text."""
    recipe = ROOT / "recipes" / f"gallery-{corpus.name}.toml"
    if not model.exists():
        before = os.times()
        run_json("train", text, "--recipe", recipe, "--out", model)
        after = os.times()
        cpu_minutes = sum(after[2:4]) / 60 - sum(before[2:4]) / 60  # of children
    figures, pictures = measured(corpus, text, model)
    figures["cpu_minutes"] = cpu_minutes
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in figures.items())
    write_atomically(RESULTS / f"gallery-{corpus.name}.json", f"{{\n{lines}\n}}\n".encode())
    write_pages(corpus.name, pictures)


def measured(corpus: Corpus, text: Path, model: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return all that a page says, and its pictures by name."""
    info, data = run_json("info", model), text.read_bytes()
    end = [event for event in read_events(model / METRICS) if event["kind"] == "end"][-1]
    parts, start = {}, 0
    for name, part in info["parts"].items():
        parts[name] = data[start : start + part["bytes"]]
        start += part["bytes"]
    held_out = "test" if "test" in parts else "valid"
    opened = open_model(model)
    with chdir(model.parent):  # so that pictures have its name alone
        memory = result(measure_memory([Path(model.name)], None, limit=FARTHEST, targets=TARGETS))
        style = result(measure_style(Path(model.name)))
    written = "".join(symbol.text for symbol in sample(opened, length=DRAWN))
    figures = {
        "benchmark": "gallery",
        "machine": machine(),
        "name": corpus.name,
        "title": corpus.title,
        "intro": corpus.intro,
        "origin": corpus.origin,
        "changes": corpus.changes,
        "line": corpus.line,
        "text": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
        "recipe": info["recipe"],
        "parameters": info["parameters"],
        "clock_minutes": end["seconds"] / 60,
        "rounds": end["tokens_seen"] / info["parts"]["train"]["tokens"],
        "steps": end["step"],
        "samples": [
            {name: taken[name] for name in ("step", "nats", "text", "measures")}
            for taken in style.samples
            if taken["step"] in (*corpus.steps, end["step"])
        ],
        "style": {"kind": style.kind, "ceiling": style.ceiling, "length": style.length},
        "sample": sampled(corpus, written, {name: part.decode(errors="replace") for name, part in parts.items()}),
        "loss": losses(corpus, text, opened, info["recipe"]["data"], parts, held_out),
        "cells": cells(corpus, opened, written),
        "memory": memory.figures(),
    }
    return figures, {"evolution.svg": style_picture(style, ".svg"), "memory.svg": main_picture(memory, ".svg")}


# ---- what it writes


def sampled(corpus: Corpus, written: str, parts: dict[str, str]) -> dict[str, Any]:
    """Return the beginning of what was drawn, in pieces that the training text has or lacks; of names their counts."""
    training, held_out = parts["train"], parts.get("test", parts["valid"])
    beginning, ordinary = written[:SHOWN], held_out[:SHOWN]
    figures: dict[str, Any] = {"temperature": 0.8, "seed": 0}
    if corpus.whole_lines:
        names, known = written.splitlines()[:-1], {*training.splitlines()}  # the last is cut
        unseen = {line for part in parts.values() for line in part.splitlines()} - known
        return figures | {
            "names": len(names),
            "training": sum(name in known for name in names),
            "held_out": sum(name in unseen for name in names),
            "invented": [name for name in names if name not in known | unseen][:INVENTED],
            "pieces": pieces(beginning, copied_lines(beginning, training)),
        }
    marks = copied(beginning, training)
    return figures | {
        "pieces": pieces(beginning, marks),
        "share": sum(marks) / len(marks),
        "share_of_held_out": sum(copied(ordinary, training)) / len(ordinary),
        "longest": longest(beginning, training),
    }


def copied(written: str, training: str, shortest: int = COPIED) -> list[bool]:
    """Tell of each character whether it is part of `shortest` or more that stand so in the training text."""
    marks = [False] * len(written)
    for start in range(len(written) - shortest + 1):
        if written[start : start + shortest] in training:
            marks[start : start + shortest] = [True] * shortest
    return marks


def copied_lines(written: str, training: str) -> list[bool]:
    """Tell of each character whether its whole line is one of the training text's."""
    known = {*training.splitlines(keepends=True)}
    return [line in known for line in written.splitlines(keepends=True) for _ in line]


def longest(written: str, training: str) -> str:
    """Return the longest piece that stands in the training text."""
    best = ""
    for end in range(1, len(written) + 1):
        while written[end - len(best) - 1 : end] in training and len(best) < end:
            best = written[end - len(best) - 1 : end]
    return best


def pieces(text: str, marks: Sequence[bool]) -> list[tuple[str, bool]]:
    """Return stretches of a text with the mark that their characters share."""
    grouped = groupby(zip(text, marks, strict=True), key=lambda pair: pair[1])
    return [("".join(character for character, _ in group), mark) for mark, group in grouped]


# ---- how good it is


def losses(
    corpus: Corpus, text: Path, opened: Opened, data: dict[str, Any], parts: dict[str, bytes], part: str
) -> dict[str, Any]:
    """Return the nats per symbol of a part: of the network, the best n-gram, two compressors, and published ones."""
    training, symbols = parts["train"], len(ids_of(opened, parts[part]))
    order, counted = best_ngram(text, data, parts[part])
    rows = [
        {"what": "this network", "nats": carried(opened, parts[part]), "how": "carried: the whole part in one row"},
        {
            "what": f"a Kneser-Ney {order}-gram",
            "nats": counted,
            "how": f"the best by validation of orders {', '.join(map(str, ORDERS))}",
        },
        *(
            {
                "what": f"`{name}`",
                "nats": 8 * math.log(2) * (size(training + parts[part]) - size(training)) / symbols,
                "how": "bytes that the part adds to the compressed training part",
            }
            for name, size in (("xz -9e", xz), ("gzip -9", gzip))
        ),
        *({"what": who, "nats": nats, "how": how} for who, nats, how in corpus.published),
    ]
    return {"part": part, "symbols": symbols, "rows": rows}


def carried(opened: Opened, part: bytes) -> float:
    """Return the nats per symbol of a part, read as one row with carried state."""
    return stream_nats(opened.predictor, ids_of(opened, part), opened.tokenizer.start_id)


def ids_of(opened: Opened, part: bytes) -> Any:
    """Return the ids (N,) of a part as a model reads it."""
    return as_read("a part", part.decode("utf-8", "surrogateescape"), opened.tokenizer).ids


def best_ngram(text: Path, data: dict[str, Any], part: bytes) -> tuple[int, float]:
    """Count n-grams on the same training part; returns the order that is best by validation, and its nats on a part."""
    with tempfile.TemporaryDirectory() as folder:
        how = ["--level", data["level"], "--split", data["split"]]
        valid = {
            order: run_json("ngram", text, "--order", str(order), *how, "--out", Path(folder) / str(order))
            for order in ORDERS
        }
        best = min(ORDERS, key=lambda order: float(valid[order]["valid_nats_per_token"]))
        return best, carried(open_model(Path(folder) / str(best)), part)


def xz(data: bytes) -> int:
    """Return the size of data as xz compresses it at best."""
    return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def gzip(data: bytes) -> int:
    """Return the size of data as gzip compresses it at best, its header aside."""
    return len(zlib.compress(data, 9))


# ---- its cells


def cells(corpus: Corpus, opened: Opened, written: str) -> list[dict[str, Any]]:
    """Return the three best cells for different properties on the validation part, with a passage of the sample."""
    read = result(reading(opened, read_text(opened, None)))
    candidates: list[tuple[Finding, Tracking]] = []
    for name in corpus.properties:
        try:
            tracking = result(judge(read, label(read.text, name), top=2, probing=False))
        except UserError as error:  # a property that the validation part lacks
            print(f"{corpus.name}: {error.what}", file=sys.stderr)
            continue
        candidates += [(finding, tracking) for finding in tracking.findings]
    candidates.sort(key=lambda pair: (VERDICTS.index(pair[0].verdict), pair[0].weaker), reverse=True)
    chosen: list[tuple[Finding, Tracking]] = []
    for finding, tracking in candidates:
        unit = (finding.cell.layer, finding.cell.unit)
        if all(unit != (its.cell.layer, its.cell.unit) and tracking is not of for its, of in chosen):
            chosen.append((finding, tracking))
    chosen = chosen[:CELLS]
    text = as_read("the sample", written, opened.tokenizer)
    arrays = result(trace_ids(opened, text.ids, signals=sorted({finding.cell.signal for finding, _ in chosen}))).arrays
    return [
        {
            "property": tracking.labels.name,
            "what": corpus.properties[tracking.labels.name],
            "searched": tracking.searched,
            "symbols": tracking.symbols,
            "properties": len(corpus.properties),
            "last_8_characters": tracking.recent,
            "marks": tracking.marks,
            **finding.figures(tracking.labels.metric),
            **passage(
                text,
                label(text, tracking.labels.name).values,
                label(text, tracking.labels.name).changes,
                arrays[f"layer{finding.cell.layer}/{finding.cell.signal}"][:, finding.cell.unit],
            ),
        }
        for finding, tracking in chosen
    ]


def passage(text: Text, labels: Any, changes: Any, values: Any) -> dict[str, Any]:
    """Return the first passage of whole lines in which the property changes often, with the cell at each character."""
    cell, label_of, turns = (np.zeros(len(text.content)) for _ in range(3))
    cell[text.ends], label_of[text.ends], turns[text.ends] = values, labels, changes  # of several bytes the last
    lines = ("\n" + text.content)[:-PASSAGE]
    starts = [k for k, letter in enumerate(lines) if letter == "\n" and text.content[k] != "\n"]
    counts = [turns[start : start + PASSAGE].sum() for start in starts]
    start = next((start for start, count in zip(starts, counts, strict=True) if count >= TURNS), None)
    start = starts[int(np.argmax(counts))] if start is None else start
    stop = start + PASSAGE
    stop = text.content.rfind("\n", start + PASSAGE // 2, stop) + 1 or stop
    return {
        "text": text.content[start:stop],
        "values": [round(100 * value) for value in strengths(cell[start:stop])],
        "largest": float(np.abs(cell[start:stop]).max()),
        "labels": [round(value, 2) for value in label_of[start:stop]],
    }


if __name__ == "__main__":
    main()

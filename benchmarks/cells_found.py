"""Is there a cell for it, in every network? Networks of several seeds, each searched for cells on the test part."""

import argparse
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from measure import run_json, show
from unroll.artifact.directory import data_path
from unroll.artifact.open import open_model
from unroll.data.corpus import load_corpus
from unroll.files import write_atomically
from unroll.insight.cells.findings import VERDICTS, Tracking
from unroll.insight.cells.measure import judge, reading
from unroll.insight.cells.picture import picture
from unroll.insight.cells.properties import as_read, label

T = TypeVar("T")

AUROC = 0.95
TOLD = 5
"""Findings of each network."""


def main() -> None:
    """Train where there is no model yet, search, count in how many networks there is such a cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--split", default="80/10/10")
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--properties", default="quotes")
    parser.add_argument("--models", type=Path, required=True, help="the folder of the models, made where it lacks them")
    parser.add_argument("--pictures", type=Path, help="a folder for a picture of the best cell of each network")
    told = parser.parse_args()
    rows = []
    for seed in range(told.seeds):
        path = told.models / f"seed-{seed}"
        if not path.exists():
            run_json("train", told.text, "--split", told.split, "--recipe", told.recipe, "--seed", str(seed),
                     "--out", path)  # fmt: skip
        known = run_json("info", path)
        if not known["finished"]:
            run_json("train", "--resume", path)
            known = run_json("info", path)
        its = {"seed": seed, **{name: known[name] for name in ("steps", "tokens_seen", "train_seconds")}}
        its |= {name: known[name] for name in ("valid_nats_per_token", "test_nats_per_token")}
        for found in tracked(path, told.properties.split(",")):
            row = its | about(found)
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
            if told.pictures:
                told.pictures.mkdir(parents=True, exist_ok=True)
                write_atomically(told.pictures / f"{found.labels.name}-{seed}.svg", picture(found, ".svg"))
    show(
        {
            "benchmark": "cells found",
            "text": told.text.name,
            "split": told.split,
            "recipe": known["recipe"],
            "asked": f"AUROC of {AUROC} or more on the second half, verdict causal",
            "thresholds": dict(VERDICTS),
            "found": {
                name: f"{sum(row['found'] for row in rows if row['property'] == name)} of {told.seeds} networks"
                for name in told.properties.split(",")
            },
            "rows": rows,
        }
    )


def tracked(path: Path, properties: list[str]) -> list[Tracking]:
    """Search the test part, which training has not seen, for cells that track the properties."""
    opened, corpus = open_model(path), load_corpus(data_path(path))
    assert corpus.test is not None
    text = as_read("the test part", opened.tokenizer.decode(np.asarray(corpus.test)), opened.tokenizer)
    read = last(reading(opened, text))
    found = [last(judge(read, label(text, name), top=TOLD, probing=False)) for name in properties]
    return [replace(one, model=path.name) for one in found]


def last(events: Generator[Any, None, T]) -> T:
    """Return what a generator of progress returns."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            value: T = stop.value
            return value


def about(found: Tracking) -> dict[str, Any]:
    """Return the best findings, and whether one of them is as good as is asked."""
    its = found.figures()
    passing = [one for one in its["findings"] if one["score"] >= AUROC and one["verdict"] == "causal"]
    return {
        "property": its["property"],
        "found": bool(passing),
        "cell": passing[0] if passing else None,
        "causal": sum(one["verdict"] == "causal" for one in its["findings"]),
        "symbols": its["symbols"],
        "mean_label": its["mean_label"],
        "last_8_characters": its["last_8_characters"],
        "searched": its["searched"],
        "best": its["findings"],
    }


if __name__ == "__main__":
    main()

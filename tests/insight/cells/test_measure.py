"""A cell that was planted by hand is found and proven; labels of another text find nothing."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cli.command import unroll
from insight.planted import COUNTER, bracketed
from unroll.artifact.open import open_model
from unroll.insight.cells.findings import Tracking
from unroll.insight.cells.measure import cells, judge, reading
from unroll.insight.cells.properties import label, read_text

T = TypeVar("T")


def test_the_planted_cell_is_first_and_causal(found: Tracking) -> None:
    figures = found.figures()
    first = figures["findings"][0]
    assert (first["layer"], first["unit"], first["signal"]) == (0, COUNTER, "c")
    assert first["score"] > 0.99 and first["verdict"] == "causal" and first["ablation_ratio"] >= 10
    assert first["score"] > first["null"] and first["gain"] > 0
    assert all(other["verdict"] != "causal" for other in figures["findings"][1:])


def test_labels_that_are_not_of_this_text_find_nothing(there: Path, tmp_path: Path) -> None:
    """The planted fault of naive statistics: labels that repeat themselves as the text's own do, but of another one."""
    values = np.cumsum([(mark == "(") - (mark == ")") for mark in bracketed(12_000, seed=7)])
    (tmp_path / "other.tsv").write_text("depth\n" + "\n".join(map(str, values)) + "\n")
    tracking = cells(there / "model", there / "text.txt", property=str(tmp_path / "other.tsv"), top=3)
    assert all(finding["verdict"] == "none" for finding in tracking.figures()["findings"])


def test_a_text_that_was_read_once_answers_for_all_properties(there: Path, found: Tracking) -> None:
    """One reading and many labels tell what as many searches would: here the last of three that share it."""
    opened = open_model(there / "model")
    text = read_text(opened, there / "text.txt")
    traced = returned(reading(opened, text))
    answers = [returned(judge(traced, label(text, name), top=3)) for name in ("re:\\(", "re:\\)", "depth")]
    assert answers[2].figures() == found.figures()
    assert answers[0].figures()["findings"] != found.figures()["findings"]


def returned(events: Generator[Any, None, T]) -> T:
    while True:
        try:
            next(events)
        except StopIteration as stop:
            value: T = stop.value
            return value


def test_the_verbs(there: Path) -> None:
    search = unroll(
        "cells", there / "model", "--file", there / "text.txt", "--property", "depth", "--top", "2", "--json"
    )
    assert json.loads(search.out)["findings"][0]["unit"] == COUNTER
    assert {"property", "findings", "probe"} <= set(json.loads(search.out))
    ablation = unroll("ablate", there / "model", "--cell", f"0:{COUNTER}", "--file", there / "text.txt")
    assert ablation.code == 0 and ablation.out
    cases: list[tuple[list[str | Path], str]] = [
        (["cells", there / "model", "--file", there / "text.txt", "--property", "url"], "url"),
        (["cells", there / "model", "--file", there / "text.txt", "--property", "nonsense"], "nonsense"),
        (["ablate", there / "model", "--file", there / "text.txt", "--cell", "0:99"], "0:99"),
    ]
    for flags, message in cases:
        output = unroll(*flags)
        assert output.code == 2 and message in output.err and "allowed" in output.err and "Traceback" not in output.err

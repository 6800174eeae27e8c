"""`unroll sequences`: what it prints, and what it refuses with nothing half-written."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.conftest import Here, Refused
from cli.resuming import law_of_signals
from tasks.sequences import toy

TINY = [argument for name, value in toy.SMALL.items() for argument in ("--set", f"{name}={value}")]
COLUMNS = ("--id", "id", "--time", "t")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return toy.written(tmp_path / "toy.csv")


def trained(here: Here, table: Path, *options: str | Path) -> Any:
    out = table.with_name("run")
    return here("sequences", "train", table, *COLUMNS, "--out", out, "--device", "cpu", *TINY, *options)


def test_labels_are_learnt_predicted_and_measured(here: Here, table: Path, tmp_path: Path) -> None:
    sides = toy.without(table, "slope")
    done = trained(here, sides, "--target", "side", "--steps", "80", "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)
    assert made["kind"] == "sequence" and made["labels"] == list(toy.LABELS) and made["channels"] == ["a", "b"]
    assert "held out" in done.err and "accuracy" in done.err and "4 to 11 of 2 channels" in done.err
    out = tmp_path / "run"
    predicted = json.loads(here("sequences", "predict", out, sides, "--json").out)["predictions"]
    assert len(predicted) == 240 and predicted[0]["id"] == "s0" and len(predicted[0]["labels"]) == 3
    rows = [*csv.DictReader(io.StringIO(here("sequences", "predict", out, sides, "--csv").out))]
    assert [row["label"] for row in rows] == [item["labels"][0]["label"] for item in predicted]
    assert "%" in here("sequences", "predict", out, sides, "--top", "1").out
    figures = json.loads(here("sequences", "eval", out, sides, "--json", "--plot", tmp_path / "c.svg").out)
    assert figures["accuracy"] > 0.9 and figures["count"] == 240 and "left" in (tmp_path / "c.svg").read_text()
    shown = here("sequences", "eval", out, sides).out
    assert "of 240 sequences" in shown and "calibration" in shown
    assert here("sequences", "train", "--resume", out).code == 0
    assert "a, b" in here("info", out).out and "held-out sequence" in here("quantize", out).out
    assert "int8" in here("info", out).out


def test_numbers_are_learnt_predicted_and_measured(here: Here, table: Path, tmp_path: Path) -> None:
    slopes, out = toy.without(table, "side"), tmp_path / "run"
    done = trained(here, slopes, "--target", "slope", "--task", "regress", "--steps", "60")
    assert done.code == 0, done.err
    assert "by the mean of training" in done.err
    rows = [*csv.DictReader(io.StringIO(here("sequences", "predict", out, slopes, "--csv").out))]
    assert rows[0].keys() == {"id", "prediction"} and len(rows) == 240
    assert here("sequences", "predict", out, slopes).out.startswith("s0")
    figures = json.loads(here("sequences", "eval", out, slopes, "--json", "--plot", tmp_path / "n.png").out)
    assert figures["mae"] < figures["baseline"]["mae"] and (tmp_path / "n.png").stat().st_size
    assert "R²" in here("sequences", "eval", out, slopes).out
    assert "mean absolute error" in here("info", out).out
    assert "is off by" in here("quantize", out).out


def test_arrays_need_no_target(here: Here, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 5))
    np.savez(tmp_path / "toy.npz", X=x, y=(x.mean(axis=1) > 0).astype(int))
    done = here("sequences", "train", tmp_path / "toy.npz", "--out", tmp_path / "run", "--steps", "5", *TINY)
    assert done.code == 0, done.err
    assert json.loads(here("info", tmp_path / "run", "--json").out)["labels"] == ["0", "1"]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "add --target COL"),
        (["--target", "side", "--steps", "5", "--minutes", "1"], "one budget"),
        (["--target", "side", "--task", "regress"], "learn labels with --task classify"),
        (["--target", "a"], "'side' in line 2"),
        (["--target", "side", "--set", "channels=9"], "channels is 9"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_leaves_nothing(
    refused: Refused, table: Path, options: list[str], part: str
) -> None:
    sides = toy.without(table, "slope")
    message = refused("sequences", "train", sides, *COLUMNS, "--out", table.with_name("run"), *options)
    assert part in message
    assert {*table.parent.iterdir()} == {table, sides}


def test_a_verb_without_a_file_and_a_top_of_none_are_refused(refused: Refused, tmp_path: Path) -> None:
    assert "no file of sequences" in refused("sequences", "train")
    assert "--top is 0" in refused("sequences", "predict", tmp_path, "a.csv", "--top", "0")
    assert "--target cannot be combined" in refused("sequences", "train", "--resume", tmp_path, "--target", "a")


def test_a_signal_saves_and_a_resume_finishes(here: Here, table: Path, tmp_path: Path) -> None:
    law_of_signals(here, "sequences", [toy.without(table, "slope"), *COLUMNS, "--target", "side", *TINY], tmp_path)

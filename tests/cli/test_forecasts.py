"""`unroll sequences --task forecast`: what it prints, and what it refuses."""

import csv
import io
import json
from pathlib import Path

import pytest

from cli.conftest import Here, Refused
from cli.resuming import law_of_signals
from tasks.forecast import toy

TINY = [argument for name, value in toy.SMALL.items() for argument in ("--set", f"{name}={value}")]
COLUMNS = ["--target", "sold", "--id", "shop", "--time", "day", "--task", "forecast"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return toy.written(tmp_path / "waves.csv", series=2, missing=2)


def test_series_are_learnt_continued_and_measured(here: Here, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = here("sequences", "train", table, *COLUMNS, "--horizon", "4", "--steps", "40", "--out", out, "--json", *TINY)
    assert done.code == 0, done.err
    made = json.loads(done.out)
    assert made["kind"] == "sequence" and made["task"] == "forecast" and made["season"] == toy.SEASON
    assert "6 steps, estimated by autocorrelation" in done.err and "4 missing" in done.err
    assert "nats" not in done.err and "by the rule that the last season comes again" in done.err
    forecasts = json.loads(here("sequences", "predict", out, table, "--json").out)["forecasts"]
    assert [row["id"] for row in forecasts] == ["shop0", "shop1"] and len(forecasts[0]["steps"]) == 4
    rows = [*csv.DictReader(io.StringIO(here("sequences", "predict", out, table, "--csv").out))]
    assert [*rows[0]] == ["id", "time", "10 %", "50 %", "90 %", "last", "seasonal"] and len(rows) == 8
    assert [float(row["50 %"]) for row in rows[:4]] == [step["quantiles"]["0.5"] for step in forecasts[0]["steps"]]
    shown = here("sequences", "predict", out, table, "--plot", tmp_path / "next.svg").out
    assert "2026-03-02" in shown and "seasonal" in shown and "interval" in (tmp_path / "next.svg").read_text()
    figures = json.loads(here("sequences", "eval", out, table, "--origins", "5", "--json").out)
    assert figures["origins"] == 5 and figures["series"] == 2
    shown = here("sequences", "eval", out, table, "--plot", tmp_path / "past.svg").out
    assert "the last season" in shown and "80 % should be" in shown and "this very file" in shown
    assert "what came" in (tmp_path / "past.svg").read_text()
    assert "forecast of sold, 4 steps" in here("info", out).out
    assert here("sequences", "train", "--resume", out).code == 0


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "a forecaster needs the column of its values and the number of steps"),
        (["--horizon", "4", "--valid", "waves.csv"], "validated on the end of each series"),
        (["--horizon", "60"], "too short to learn to forecast 60"),
        (["--horizon", "4", "--set", "lags=2"], "lags is 2"),
    ],
)
def test_what_cannot_be_forecast_is_refused(refused: Refused, table: Path, options: list[str], part: str) -> None:
    assert part in refused("sequences", "train", table, *COLUMNS, "--out", table.with_name("run"), *options)
    assert [*table.parent.iterdir()] == [table]


def test_options_of_other_tasks_are_refused(here: Here, refused: Refused, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert "--horizon is given, and the task is classify" in refused("sequences", "train", table, "--horizon", "4")
    here("sequences", "train", table, *COLUMNS, "--horizon", "4", "--steps", "1", "--out", out, *TINY)
    for options in (["predict", out, table, "--top", "2"], ["eval", out, table, "--precision", "int8"]):
        assert "the model is a forecaster" in refused("sequences", *options)
    assert "has 60 steps" in refused("sequences", "eval", out, table, "--origins", "50")
    assert "is a forecaster" in refused("quantize", out)


def test_a_signal_saves_and_a_resume_finishes(here: Here, table: Path, tmp_path: Path) -> None:
    law_of_signals(here, "sequences", [table, *COLUMNS, "--horizon", "4", *TINY], tmp_path)

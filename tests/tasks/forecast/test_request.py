"""The training of a forecaster: what it learns, what it refuses, and that it is resumed to the same bytes."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.forecast.toy import HORIZON, SEASON, trained, training, written
from tasks.resuming import law_of_kills, outcome, stopped_always
from tiny import stopped_at
from unroll.artifact.checkpoint import load_tensors
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.forecaster import forecaster_info, read_forecaster
from unroll.errors import UserError
from unroll.tasks.forecast.request import resume_forecaster
from unroll.training.report import Report


def test_it_learns_waves_and_beats_both_rules(toy: Path) -> None:
    result = read_forecaster(toy).result
    assert result is not None
    assert result["valid_mae"] < 0.7 * result["valid_seasonal_mae"] < 0.7 * result["valid_last_mae"]


def test_the_season_is_estimated_or_given(table: Path, toy: Path, tmp_path: Path) -> None:
    assert read_forecaster(toy).config.season == SEASON
    path = trained(table, tmp_path / "given", season=1, steps=1)
    assert (info := read_forecaster(path)).config.season == 1 and info.result is not None
    assert info.result["valid_seasonal_mae"] is None
    config = read_forecaster(trained(table, tmp_path / "key", settings={"season": 13, "context": 4}, steps=1)).config
    assert (config.season, config.lags) == (13, 14)


def test_nothing_is_chosen_by_what_is_held_out(tmp_path: Path) -> None:
    known, other = 60 - round(0.25 * 60), tmp_path / "other.csv"
    lines = written(tmp_path / "one.csv", series=1).read_text().splitlines()
    rng = np.random.default_rng(0)
    wild = [f"{line.rsplit(',', 2)[0]},{1e3 * rng.normal():.3f},open" for line in lines[1 + known :]]
    other.write_text("\n".join([*lines[: 1 + known], *wild]))
    learnt = []
    for table in (tmp_path / "one.csv", other):
        reports = training(table, tmp_path / table.stem, steps=5, settings={"held_out": 0.25, "valid_every": 5})
        details = [report.detail for report in reports if isinstance(report, Report)]
        weights = load_tensors(tmp_path / table.stem / WEIGHTS)
        learnt.append((details[0], {name: tensor.tolist() for name, tensor in weights.items()}))
    assert learnt[0] == learnt[1] and learnt[0][0]["season"] == SEASON


def test_no_random_number_depends_on_anything_but_seed_and_step(table: Path, tmp_path: Path) -> None:
    whole = trained(table, tmp_path / "whole", steps=25)
    assert outcome(trained(table, tmp_path / "again", steps=25)) == outcome(whole)
    assert outcome(trained(table, tmp_path / "other", steps=25, seed=1)) != outcome(whole)


def test_a_training_that_stops_everywhere_ends_with_the_same_bytes(table: Path, tmp_path: Path) -> None:
    options = {"steps": 40, "settings": {"dropout": 0.3, "noise": 0.2}}
    whole = trained(table, tmp_path / "whole", **options)
    stopped = tmp_path / "stopped"
    stopped_at(training(table, stopped, **options), 6)
    stopped_always(partial(resume_forecaster, stopped))
    assert outcome(stopped) == outcome(whole)
    assert list(resume_forecaster(stopped)) == []


@pytest.mark.slow
def test_a_training_that_is_killed_ends_with_the_same_bytes(table: Path, tmp_path: Path) -> None:
    law_of_kills(partial(trained, table, steps=300), resume_forecaster, tmp_path, 10)


def test_series_of_another_training_are_refused_at_a_resume(table: Path, tmp_path: Path) -> None:
    stopped_at(training(table, tmp_path / "one", steps=40), 6)
    stopped_at(training(written(tmp_path / "two.csv", series=2), tmp_path / "two", steps=40), 6)
    examples = "resume/examples.safetensors"
    (tmp_path / "one" / examples).write_bytes((tmp_path / "two" / examples).read_bytes())
    with pytest.raises(UserError, match="are not those that it was trained on"):
        list(resume_forecaster(tmp_path / "one"))


def test_missing_values_are_counted_and_are_no_targets(tmp_path: Path) -> None:
    table = written(tmp_path / "gaps.csv", missing=5)
    reports = [report for report in training(table, tmp_path / "gaps", steps=3) if isinstance(report, Report)]
    assert reports[0].detail["missing"] == 15
    assert reports[-1].kind == "end"


def test_a_constant_series_is_reported_and_does_no_harm(tmp_path: Path) -> None:
    table = tmp_path / "flat.csv"
    table.write_text("v\n" + "7\n" * 60)
    options: Any = {"id": None, "time": None, "target": "v", "steps": 5}
    reports = [report for report in training(table, tmp_path / "flat", **options) if isinstance(report, Report)]
    assert any("never change, as 'flat'" in (report.text or "") for report in reports)
    assert reports[-1].detail["valid_last_mae"] == 0.0


def test_minutes_are_kept(table: Path, tmp_path: Path) -> None:
    path = trained(table, tmp_path / "minutes", steps=None, minutes=0.02)
    info = forecaster_info(path)
    assert info["finished"] and 1 <= info["planned_steps"] <= 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"horizon": 0}, "the horizon is 0"),
        ({"horizon": 60}, "too short to learn to forecast 60"),
        ({"horizon": 40}, "too short to learn to forecast 40"),
        ({"season": 0}, "the season is 0"),
        ({"season": 50}, "is too short"),
        ({"target": "note"}, "'note' in line 2"),
        ({"target": "sale"}, "no column 'sale'"),
        ({"target": "shop"}, "the columns of the sequences, the times and the target"),
        ({"settings": {"quantiles": "0.1,0.9"}}, "quantiles is"),
        ({"settings": {"horizons": 3}}, "unknown key 'horizons'"),
        ({"settings": {"held_out": 1.0}}, "held_out is 1.0"),
        ({"settings": {"lags": 3}}, "lags is 3"),
        ({"settings": {"horizon": 9}}, "horizon is 9 in the recipe's"),
        ({"minutes": 1.0}, "both minutes and steps"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    table: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        trained(table, tmp_path / "model", **{"steps": 2} | options)
    assert list(tmp_path.iterdir()) == []


def swapped(lines: list[str]) -> list[str]:
    return [*lines[:9], lines[10], lines[9], *lines[11:]]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (swapped, "line 11 of .*before"),
        (lambda lines: [*lines[:10], lines[9], *lines[10:]], "line 11 of .* as that"),
        (lambda lines: [*lines[:9], *lines[10:]], "line 10 of .*, and one step after"),
        (lambda lines: [*lines[:9], "shop0,2026-01-09,inf,open", *lines[10:]], "'sold' in line 10"),
        (lambda lines: [*lines, "new,2026-01-01,,open"], "series 'new' of .* has no values"),
        (lambda lines: [*lines, "new,2026-01-01,1,open"], "a series of 1 step is too short"),
    ],
)
def test_a_series_that_cannot_be_read_is_refused_where_it_is(
    table: Path, tmp_path: Path, broken: Any, words: str
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("\n".join(broken(table.read_text().splitlines())) + "\n")
    with pytest.raises(UserError, match=words):
        trained(other, tmp_path / "model", steps=2)
    assert list(tmp_path.iterdir()) == [other]


def test_several_channels_are_refused(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "x.npz", X=np.random.default_rng(0).normal(size=(2, 60, 2)))
    with pytest.raises(UserError, match="has 2 channels, and one is forecast"):
        trained(tmp_path / "x.npz", tmp_path / "model", id=None, time=None, target=None)


def test_an_example_is_what_the_network_depends_on(table: Path, tmp_path: Path) -> None:
    config = read_forecaster(trained(table, tmp_path / "model", steps=1)).config
    assert (config.horizon, config.lags, config.context) == (HORIZON, 12, 8)
    assert config.reach == 19

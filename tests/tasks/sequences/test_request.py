"""The training of a model of sequences: it learns, repeats itself to the byte, resumes as if it had never stopped."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.resuming import law_of_kills, outcome, stopped_always
from tasks.sequences import toy
from tasks.sequences.toy import trained, trained_slopes, training
from tiny import stopped_at
from unroll.artifact.directory import WEIGHTS
from unroll.artifact.series import read_series_info
from unroll.errors import UserError
from unroll.progress import Progress
from unroll.tasks.sequences.evaluate import evaluate_sequences
from unroll.tasks.sequences.lesson import SeriesLesson
from unroll.tasks.sequences.request import resume_sequences, train_sequences
from unroll.training import memory
from unroll.training.report import Report

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layers": {"settings": {"num_layers": 2, "skip": "sum", "arch": "gru", "weight_drop": 0.1, "pooling": "attention"}},
    "dropped": {"settings": {"channel_dropout": 0.3, "label_smoothing": 0.2, "averaging": 0.0}},
}


def reports_of(running: Any) -> Any:
    return (report for report in running if not isinstance(report, Progress))


def resume(path: Path) -> Any:
    return resume_sequences(path, device="cpu")


def test_it_learns_and_what_it_learnt_holds(sides: Path, unseen: Path) -> None:
    figures = evaluate_sequences(sides, toy.without(unseen, "slope"))
    assert figures["accuracy"] >= 0.9 and figures["count"] == 80
    result = read_series_info(sides).result
    assert result is not None and result["steps"] == 100 and result["valid_accuracy"] > 0.8


def test_numbers_are_nearer_than_their_mean(slopes: Path, unseen: Path) -> None:
    figures = evaluate_sequences(slopes, toy.without(unseen, "side"))
    assert figures["mae"] < 0.9 * figures["baseline"]["mae"] and figures["r2"] > 0.1


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopping_at_every_report_changes_nothing(variant: str, table: Path, tmp_path: Path) -> None:
    trained(table, tmp_path / "whole", steps=25, **VARIANTS[variant])
    assert stopped_at(training(table, tmp_path / "parts", steps=25, **VARIANTS[variant]), 6)
    stopped_always(partial(resume, tmp_path / "parts"))
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_equal_commands_give_equal_bytes_and_other_seeds_do_not(table: Path, tmp_path: Path) -> None:
    first, second, third = (
        outcome(trained_slopes(table, tmp_path / str(k), steps=12, seed=seed)) for k, seed in enumerate((1, 1, 2))
    )
    assert first == second and first[WEIGHTS] != third[WEIGHTS]


def unseeded(lesson: Any, run: Any) -> Any:
    return ()


def first_batch(lesson: Any, run: Any) -> Any:
    run.step, step = 0, run.step
    try:
        return BATCH(lesson, run)
    finally:
        run.step = step


BATCH = SeriesLesson.batch


@pytest.mark.parametrize(("name", "fault"), [("start", unseeded), ("batch", first_batch)])
def test_the_law_catches_what_a_resume_forgets(
    name: str, fault: Callable[..., Any], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(table, tmp_path / "whole", steps=25)
    assert stopped_at(training(table, tmp_path / "parts", steps=25), 6)
    monkeypatch.setattr(SeriesLesson, name, fault)
    stopped_always(partial(resume, tmp_path / "parts"))
    assert outcome(tmp_path / "parts") != outcome(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, 10])
def test_kills_change_nothing(kills: int, table: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 40 * kills, "settings": {"save_every": 5, "threads": 1}}
    law_of_kills(partial(trained, table, **options), resume, tmp_path, kills)


def test_a_finished_training_has_nothing_to_resume(sides: Path) -> None:
    assert list(resume(sides)) == []


def test_minutes_are_kept_and_written_down(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for _ in training(table, out, minutes=0.05):
        pass
    again = training(table, tmp_path / "again", recipe=out / "recipe.toml")
    assert next(report for report in again if not isinstance(report, Progress)).kind == "start"
    again.close()
    assert (tmp_path / "again" / "recipe.toml").read_text().split("[model]")[1] == (
        (out / "recipe.toml").read_text().split("[model]")[1]
    )


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"minutes": 1, "steps": 5}, "one budget"),
        ({"minutes": 0}, "above 0"),
        ({"settings": {"no_key": 1}}, "no_key"),
        ({"settings": {"batch_size": 0}}, "batch_size"),
        ({"target": "sides"}, "no column 'sides'"),
        ({"task": "guess"}, "task is 'guess'"),
        ({"valid": "no.csv"}, "no.csv"),
    ],
)
def test_impossible_requests_leave_nothing_behind(
    options: dict[str, Any], part: str, table: Path, tmp_path: Path
) -> None:
    options = {"target": "side", "id": "id", "time": "t"} | options
    with pytest.raises(UserError) as refusal:
        for _ in train_sequences(toy.without(table, "slope"), out=tmp_path / "run", device="cpu", **options):
            pass
    assert part in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_missing_values_have_marks_and_constant_channels_a_remark(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    x = chance.normal(size=(60, 6, 3))
    x[:, :, 2] = 5.0
    x[::4, 3, 0] = np.nan
    np.savez(tmp_path / "a.npz", X=x, y=np.where(np.nanmean(x[:, :, 0], axis=1) > 0, "up", "down"))
    reports = [*reports_of(train_sequences(tmp_path / "a.npz", out=tmp_path / "run", steps=5, device="cpu"))]
    remarks = [report.text for report in reports if report.kind == "warn"]
    assert any("1 channel" in remark and "constant" in remark for remark in remarks)
    assert any("15 values" in remark for remark in remarks)
    info = read_series_info(tmp_path / "run")
    assert info.config.marks and info.scaling.deviations[2] == 0


def test_a_large_model_is_announced_and_one_that_cannot_fit_refused(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LARGE", 10**3)
    reports = training(table, tmp_path / "run", steps=2)
    remarks = [report.text for report in reports if isinstance(report, Report) and report.kind == "warn"]
    assert any("weights: training takes about" in (remark or "") for remark in remarks)
    monkeypatch.setattr(memory, "memory_of", lambda device: memory.Memory(10**3, 10**3))
    with pytest.raises(UserError, match="this machine has"):
        trained(table, tmp_path / "other", steps=2)
    assert not (tmp_path / "other").exists()

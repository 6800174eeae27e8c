"""The training of a classifier: it learns, repeats itself to the byte, and resumes as if it had never stopped."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tasks.classify.toy import trained, training, written
from tasks.resuming import law_of_kills, outcome, stopped_always
from tiny import stopped_at
from unroll.artifact.classifier import read_classifier
from unroll.artifact.directory import WEIGHTS
from unroll.errors import UserError
from unroll.progress import Progress
from unroll.tasks.classify import request
from unroll.tasks.classify.evaluate import evaluate_classifier
from unroll.tasks.classify.lesson import Classification
from unroll.tasks.classify.request import resume_classifier
from unroll.training import memory
from unroll.training.report import Report

VARIANTS: dict[str, dict[str, Any]] = {
    "words": {},
    "characters": {"settings": {"level": "char", "char_hidden_size": 0}},
    "layers": {"settings": {"num_layers": 2, "skip": "sum", "arch": "gru", "weight_drop": 0.1, "pooling": "attention"}},
    "thaw": {"settings": {"thaw_steps": 5, "layer_decay": 0.5, "char_hidden_size": 0}, "multi_label": True},
    "weights": {"settings": {"class_weights": "balanced", "label_smoothing": 0.2, "averaging": 0.0}},
}


def resumed(path: Path) -> None:
    stopped_always(partial(resume_classifier, path, device="cpu"))


def test_it_learns_and_what_it_learnt_holds(toy: Path, unseen: Path) -> None:
    figures = evaluate_classifier(toy, unseen)
    assert figures["accuracy"] >= 0.9
    result = read_classifier(toy).result
    assert result is not None and result["steps"] == 60 and result["valid_accuracy"] > 0.8


@pytest.mark.parametrize("variant", VARIANTS)
def test_stopping_at_every_report_changes_nothing(variant: str, table: Path, tmp_path: Path) -> None:
    trained(table, tmp_path / "whole", steps=25, **VARIANTS[variant])
    assert stopped_at(training(table, tmp_path / "parts", steps=25, **VARIANTS[variant]), 6)
    resumed(tmp_path / "parts")
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_equal_commands_give_equal_bytes_and_other_seeds_do_not(table: Path, tmp_path: Path) -> None:
    first, second, third = (
        outcome(trained(table, tmp_path / str(k), steps=12, seed=seed)) for k, seed in enumerate((1, 1, 2))
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


BATCH = Classification.batch
FAULTS: list[tuple[str, Callable[..., Any]]] = [("start", unseeded), ("batch", first_batch)]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=[name for name, _ in FAULTS])
def test_the_law_catches_what_a_resume_forgets(
    name: str, fault: Callable[..., Any], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(table, tmp_path / "whole", steps=25)
    assert stopped_at(training(table, tmp_path / "parts", steps=25), 6)
    monkeypatch.setattr(Classification, name, fault)
    resumed(tmp_path / "parts")
    assert outcome(tmp_path / "parts") != outcome(tmp_path / "whole")


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_change_nothing(kills: int, table: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 40 * kills, "settings": {"save_every": 5, "threads": 1}}
    begin, resume = partial(trained, table, **options), partial(resume_classifier, device="cpu")
    law_of_kills(begin, resume, tmp_path, kills)


def test_a_finished_training_has_nothing_to_resume(toy: Path) -> None:
    assert list(resume_classifier(toy)) == []


def test_minutes_are_kept_and_written_down(table: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    trained(table, tmp_path / "run", minutes=0.05)
    assert time.monotonic() - began < 0.05 * 60 + 3
    again = tmp_path / "again"
    recipe = tmp_path / "run" / "recipe.toml"
    for _ in request.train_classifier(table, text="text", label="label", out=again, recipe=recipe, device="cpu"):
        pass
    assert (again / WEIGHTS).read_bytes() == (tmp_path / "run" / WEIGHTS).read_bytes()


def test_progress_and_reports(table: Path, tmp_path: Path) -> None:
    reports = list(training(table, tmp_path / "run", steps=20))
    assert {report.phase for report in reports if isinstance(report, Progress)} >= {"reading", "encoding"}
    kinds = [report.kind for report in reports if not isinstance(report, Progress)]
    assert kinds[0] == "start" and kinds[-1] == "end" and kinds.count("valid") == 3 and "sample" not in kinds


def test_force_replaces_a_model_once_there_are_trained_weights(table: Path, tmp_path: Path) -> None:
    out = trained(table, tmp_path / "run", steps=10)
    before = (out / WEIGHTS).read_bytes()
    assert stopped_at(training(table, out, steps=20, force=True, seed=3), 4)
    assert (out / WEIGHTS).read_bytes() == before
    trained(table, out, steps=20, force=True, seed=3)
    assert (out / WEIGHTS).read_bytes() != before


def test_several_labels(tmp_path: Path) -> None:
    examples = [(f"{a} {b} {k}", "|".join(sorted({a, b} - {"none"}))) for k in range(30)
                for a in ("red", "none") for b in ("blue", "none")]  # fmt: skip
    table = written(tmp_path / "colours.tsv", examples)
    out = trained(table, tmp_path / "run", steps=80, multi_label=True, settings={"label_smoothing": 0.0})
    figures = evaluate_classifier(out, table)
    assert figures["accuracy"] > 0.95 and figures["confusion"] is None and figures["labels"] == ["blue", "red"]


@pytest.mark.parametrize("options", [{"minutes": 1, "steps": 5}, {"minutes": 0}, {"settings": {"no_key": 1}},
                                     {"settings": {"batch_size": 0}}, {"minutes": 1e-9},
                                     {"settings": {"level": "char"}}])  # fmt: skip
def test_impossible_requests_leave_nothing_behind(options: dict[str, Any], table: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        trained(table, tmp_path / "run", **options)
    assert not list(tmp_path.iterdir())


def test_a_classifier_trains_in_one_process(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for train in (lambda: trained(table, tmp_path / "run"), lambda: [*resume_classifier(tmp_path / "run")]):
        with pytest.raises(UserError, match="torchrun started several"):
            train()


def test_a_large_model_is_announced_and_one_that_cannot_fit_refused(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LARGE", 10**3)
    reports = training(table, tmp_path / "run", steps=2)
    remarks = [report.text for report in reports if isinstance(report, Report) and report.kind == "warn"]
    assert any("weights: training takes about" in (remark or "") for remark in remarks)
    monkeypatch.setattr(memory, "memory_of", lambda device: memory.Memory(10**3, 10**3))
    with pytest.raises(UserError, match="this machine has") as refusal:
        trained(table, tmp_path / "other", steps=2)
    assert "hidden_size" in refusal.value.fix and not (tmp_path / "other").exists()

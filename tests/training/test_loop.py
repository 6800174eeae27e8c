"""The training loop: what it reports and keeps, divergence, full disks; a step: its precision, its batch."""

import errno
import io
import itertools
import json
import math
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laws.cases import config
from nn.test_precision import settings
from tiny import (
    ALL,
    ARCHS,
    STEPS,
    begin_training,
    law_resume,
    make_corpus,
    outcome,
    overrides,
    stopped_at,
    trained,
)
from unroll.artifact.directory import STATE, read_description
from unroll.artifact.events import METRICS, SAMPLES, read_events
from unroll.artifact.open import load
from unroll.data.batches import Batch
from unroll.data.corpus import load_corpus
from unroll.errors import UserError
from unroll.files import Folder
from unroll.nn.model import Model
from unroll.training import loop
from unroll.training.config import OptimConfig, Precision, TrainConfig
from unroll.training.language import Language, start_state
from unroll.training.loop import on_device, step_on, train
from unroll.training.recipe import read_recipe
from unroll.training.report import Report
from unroll.training.request import resume
from unroll.training.run import begin, restore

# ---- what training does


def test_it_learns(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path / "text", ["John is driving a car. " * 60])
    for arch in ARCHS:
        fixed = overrides({"arch": arch, "num_layers": 1, "hidden_size": 32}, training={"valid_every": 60})
        reports = trained(folder, tmp_path / arch, fixed, 120)
        valid = [report.nats for report in reports if report.kind == "valid"]
        assert valid[0] is not None and valid[-1] is not None
        assert valid[0] > 2 and valid[-1] < 0.6
        end = reports[-1]
        assert end.kind == "end" and end.nats == end.detail["valid_nats_per_token"] < 0.6


def test_every_report_is_a_line_of_the_log(corpus: Path, tmp_path: Path) -> None:
    reports = trained(corpus, tmp_path / "run", ALL)
    assert [report.to_json() for report in reports] == read_events(tmp_path / "run" / METRICS)
    samples = read_events(tmp_path / "run" / SAMPLES)
    assert [sample["step"] for sample in samples] == [0, STEPS]
    for sample, report in zip(samples, (r for r in reports if r.kind == "sample"), strict=True):
        assert set(sample) == {"step", "nats", "prompt", "temperature", "seed", "text"}
        assert sample["text"] == report.text and len(sample["text"]) == 20 and sample["prompt"] == "the "
    assert all(report.tokens_seen == 30 * report.step for report in reports)
    assert [report.step for report in reports if report.kind == "save"] == [3, 6, 9]
    assert [report.step for report in reports if report.kind == "train"] == [4, 8, 12]
    assert [report.step for report in reports if report.kind == "valid"] == [0, 5, 10, 12]


def test_the_kept_weights_are_the_best(corpus: Path, tmp_path: Path) -> None:
    plain = {"weight_drop": 0.0, "skip": "none"}
    fixed = overrides(plain, optim={"learning_rate": 0.05}, training={"valid_every": 1})
    reports = trained(corpus, tmp_path / "run", fixed)
    valid = {report.step: report.nats for report in reports if report.kind == "valid" and report.step}
    best = min(valid, key=lambda step: (valid[step], step))
    assert best not in (1, STEPS), "a case in which it matters"
    info = load(tmp_path / "run").weights_info
    assert info == {"step": best, "tokens_seen": 30 * best, "valid_nats": valid[best], "averaged": False}
    assert reports[-1].detail["best_step"] == best


def test_on_a_plateau_the_rate_is_cut_after_every_validation_without_a_new_best(corpus: Path, tmp_path: Path) -> None:
    optim = {"learning_rate": 0.3, "schedule": "plateau", "plateau_factor": 0.9}
    every_step = overrides(optim=optim, training={"valid_every": 1, "log_every": 1})
    best, cuts = float("inf"), 0
    for report in trained(corpus, tmp_path / "run", every_step):
        if report.kind == "train":
            assert report.learning_rate == pytest.approx(
                0.3 * min(1.0, report.step / 3) * (0.9**cuts if report.step > 3 else 1)
            )
        if report.kind == "valid":
            assert report.nats is not None
            cuts += report.nats >= best
            best = min(best, report.nats)
    assert 1 < cuts < STEPS


def test_a_finished_training_has_nothing_to_resume(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "run", ALL)
    before = outcome(tmp_path / "run")
    assert list(resume(tmp_path / "run", device="cpu")) == []
    law_resume(before, tmp_path / "run")


# ---- divergence


def check_stopped_early(path: Path, reports: list[Report]) -> Report:
    """Check that a training ended with advice, that its log can be read and that its weights are good."""
    assert reports[-1].kind == "warn" and reports[-1].text is not None
    assert "learning rate" in reports[-1].text
    assert not any(report.kind == "end" for report in reports)
    assert all(bool(torch.isfinite(w).all()) for w in load(path).model.parameters())
    assert read_description(path)["result"] is None
    assert read_events(path / METRICS)[-1]["kind"] == "warn"
    json.dumps([report.to_json() for report in reports], allow_nan=False)
    return reports[-1]


@pytest.mark.parametrize("rate", [1e12, 1e30, 1e38])
@pytest.mark.parametrize("valid_every", [1, 5])
def test_a_rate_beyond_reason_stops_early(rate: float, valid_every: int, corpus: Path, tmp_path: Path) -> None:
    fixed = overrides(optim={"learning_rate": rate, "warmup_steps": 0}, training={"valid_every": valid_every})
    reports = trained(corpus, tmp_path / "run", fixed)
    if rate == 1e12 and reports[-1].kind == "end":
        return  # absurd, but every number stayed one
    warned = check_stopped_early(tmp_path / "run", reports)
    assert f"{rate / 2:g}" in str(warned.text)
    # Resumed it goes on from the last good checkpoint, and fares no better.
    assert check_stopped_early(tmp_path / "run", list(resume(tmp_path / "run", device="cpu"))).text == warned.text


@pytest.mark.parametrize("validated", [False, True])
def test_a_poisoned_weight_stops_it_with_the_last_good_weights(validated: bool, corpus: Path, tmp_path: Path) -> None:
    assert stopped_at(begin_training(corpus, tmp_path / "run", ALL), 1)
    recipe = read_recipe(tmp_path / "run" / "recipe.toml")
    broken = begin(Folder(tmp_path / "run"), Model(recipe.model), recipe.optim, recipe.training)
    restore(broken)
    reports = []
    for report in train(broken, Language(load_corpus(corpus), recipe.training)):
        reports.append(report)
        if report.kind == "save" and report.step == 6:
            good = (tmp_path / "run" / STATE).read_bytes()
            with torch.no_grad():
                if validated:  # what is kept is poisoned before what is trained
                    broken.average[-1][0] = float("nan")
                else:
                    next(broken.model.parameters())[:] = float("nan")
    check_stopped_early(tmp_path / "run", reports)
    assert reports[-1].step == (10 if validated else 6)
    assert load(tmp_path / "run").weights_info["step"] == 5
    if not validated:
        assert (tmp_path / "run" / STATE).read_bytes() == good


# ---- a full disk


class FullDisk:
    """Lets some writes through and refuses the rest, as a disk that is full does."""

    def __init__(self, room: int) -> None:
        self.room = room

    def take(self) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        disk, replace = self, os.replace

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                try:
                    disk.take()
                except OSError:
                    super().write(bytes(data)[: len(data) // 2])  # half of a line fits
                    raise
                return super().write(data)

        def replacing(source: Any, target: Any, **folders: Any) -> None:
            disk.take()
            replace(source, target, **folders)

        def opening(file: Any, mode: str = "r", *arguments: Any, **rest: Any) -> Any:
            if mode == "ab":
                return File(file, mode, opener=rest["opener"])
            return open(file, mode, *arguments, **rest)

        monkeypatch.setattr(os, "replace", replacing)
        monkeypatch.setattr(sys.modules[Folder.__module__], "open", opening, raising=False)


def test_a_full_disk_is_an_error_after_which_the_directory_still_loads(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(corpus, tmp_path / "whole", ALL)
    reference = outcome(tmp_path / "whole")
    path, refused, never = tmp_path / "run", 0, 0
    for room in itertools.count():
        with monkeypatch.context() as patched:
            FullDisk(room).install(patched)
            try:
                trained(corpus, path, ALL)
            except UserError as error:
                assert "no space left" in error.what and error.fix
                refused += 1
            else:
                break
        assert not (tmp_path / ".run.partial").exists()
        if path.exists():
            load(path)
            list(resume(path, device="cpu"))
            law_resume(reference, path)
            shutil.rmtree(path)
        else:
            never += 1
    assert refused > 25 and 5 <= never < refused
    law_resume(reference, path)


def test_a_full_disk_when_stopping_is_an_error_too(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = begin_training(corpus, tmp_path / "run", ALL)
    for report in reports:
        if report.kind == "valid" and report.step == 5:
            break
    with monkeypatch.context() as patched:
        FullDisk(0).install(patched)
        with pytest.raises(UserError, match="no space left"):
            reports.close()
    load(tmp_path / "run")
    list(resume(tmp_path / "run", device="cpu"))
    trained(corpus, tmp_path / "whole", ALL)
    law_resume(outcome(tmp_path / "whole"), tmp_path / "run")


# ---- a step


@pytest.mark.parametrize(("precision", "expected"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee")])
def test_a_training_step_computes_as_it_was_told(precision: Precision, expected: str, tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}
    model = Model(config("lstm", 2))
    output = TrainConfig(steps=9, batch_size=2, seq_len=5, precision=precision, threads=1)
    run = begin(None, model, OptimConfig(), output)

    def forwards(*_: object) -> None:
        seen["forwards"] = settings()

    def backwards(gradient: Tensor) -> Tensor:
        seen["backwards"] = settings()
        return gradient

    model.recurrent.register_forward_hook(forwards)
    next(model.parameters()).register_hook(backwards)  # type: ignore[no-untyped-call]
    before = settings()
    ids = np.random.default_rng(0).integers(7, size=(2, 5))
    step_on(run, Batch(ids, ids, None), start_state(run))
    assert settings() == before
    assert seen["backwards"] == [expected, expected]
    if precision != "bfloat16":
        assert seen["forwards"] == [expected, expected]


def test_a_batch_is_pinned_for_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.arange(6).reshape(2, 3)
    assert on_device(ids, torch.device("cpu")).tolist() == ids.tolist()
    calls: list[str] = []

    class Pinned:
        def to(self, device: torch.device, non_blocking: bool) -> str:
            calls.append(f"to {device}, {non_blocking}")
            return "there"

    def pin(_: Tensor) -> Pinned:
        calls.append("pinned")
        return Pinned()

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    assert on_device(ids, torch.device("cuda")) == "there"
    assert calls == ["pinned", "to cuda, True"]


@pytest.mark.parametrize(("chosen_by", "best"), [("nats", 1), ("accuracy", 2)])
def test_weights_are_chosen_by_the_figure_that_the_lesson_names(
    chosen_by: str, best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, lesson = (
        SimpleNamespace(step=0, best_step=0, best_figure=math.inf, cuts=0),
        SimpleNamespace(chosen_by=chosen_by),
    )
    kept: list[float] = []
    monkeypatch.setattr(loop, "save_weights", lambda run, nats: kept.append(nats))
    for run.step, (nats, accuracy) in enumerate([(2.0, 0.1), (0.5, 0.8), (0.6, 0.9), (0.7, 0.9)]):
        loop.keep_if_better(run, lesson, nats, {"accuracy": accuracy})  # type: ignore[arg-type]
    assert (run.best_step, run.cuts) == (best, 3 - best)
    assert kept == [2.0, 0.5, 0.6][: best + 1]

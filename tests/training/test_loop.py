"""Training: the resume law with its planted faults, learning at all, divergence, full disks, one writer."""

import errno
import io
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny import ARCHS, STEPS, begin_training, law_resume, make_corpus, outcome, overrides, trained
from unroll.artifact import directory
from unroll.artifact.directory import STATE, read_description
from unroll.artifact.events import METRICS, SAMPLES, read_events
from unroll.artifact.open import load
from unroll.data.corpus import load_corpus
from unroll.errors import UserError
from unroll.files import Folder
from unroll.nn.model import Model
from unroll.training import start as module
from unroll.training.budget import Budget
from unroll.training.loop import train
from unroll.training.recipe import Overrides, read_recipe
from unroll.training.report import Report
from unroll.training.run import Run, begin, restore
from unroll.training.start import resume, start


def stopped_at(reports: Iterator[Report], count: int) -> bool:
    """Close a training at its report number `count`; returns whether there was one."""
    with closing(reports) as running:  # type: ignore[type-var]
        return sum(1 for _ in itertools.islice(running, count)) == count


def resume_always(path: Path) -> None:
    """Resume, and stop at each and every first report, until nothing is left to do."""
    for _ in range(100):
        if not stopped_at(resume(path, device="cpu"), 1):
            return
    raise AssertionError("it never comes to an end")


DROPS = {"dropout": 0.3, "input_dropout": 0.2, "embedding_dropout": 0.2, "weight_drop": 0.3}

VARIANTS: dict[str, Overrides] = {
    f"{arch}{'-average' * bool(averaging)}{'-drops' * bool(drops)}{'-resets' * bool(resets)}": overrides(
        model={"arch": arch, "variational": bool(resets)} | drops,
        optim={"averaging": averaging},
        training={"reset_probability": resets},
    )
    for arch in ARCHS
    for averaging in (0.0, 0.9)
    for drops in ({}, DROPS)
    for resets in (0.0, 0.4)
}
VARIANTS["lstm-bfloat16"] = overrides(optim={"averaging": 0.9}, training={"precision": "bfloat16"})
VARIANTS["window-bfloat16"] = overrides({"arch": "window"}, training={"precision": "bfloat16"})


@pytest.mark.parametrize("documents", [False, True], ids=["text", "documents"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_stopping_at_every_report_changes_nothing(
    variant: str, documents: bool, corpus: Path, documents_corpus: Path, tmp_path: Path
) -> None:
    folder = documents_corpus if documents else corpus
    trained(folder, tmp_path / "whole", VARIANTS[variant])
    assert stopped_at(begin_training(folder, tmp_path / "parts", VARIANTS[variant]), 1)
    resume_always(tmp_path / "parts")
    law_resume(outcome(tmp_path / "whole"), tmp_path / "parts")


ALL = overrides(
    model={"arch": "lstm"} | DROPS,
    optim={"averaging": 0.9},
    training={"reset_probability": 0.4, "sample_prompt": "the "},
)
"""Everything that a resume can get wrong, in one."""


@pytest.mark.parametrize("kill", [False, True], ids=["closed", "killed"])
def test_one_stop_at_any_report_changes_nothing(kill: bool, corpus: Path, tmp_path: Path) -> None:
    """Also where the process is gone at that moment: the directory is resumed as it lay on the disk then."""
    kinds = []
    for stop, report in enumerate(begin_training(corpus, tmp_path / "whole", ALL), 1):
        kinds.append(report.kind)
        if kill:
            shutil.copytree(tmp_path / "whole", tmp_path / f"copy{stop}")
    reference = outcome(tmp_path / "whole")
    assert set(kinds) == {"start", "train", "valid", "sample", "save", "end"}
    for stop in range(1, len(kinds) + 1):
        path = tmp_path / f"copy{stop}"
        if not kill:
            assert stopped_at(begin_training(corpus, path, ALL), stop)
        list(resume(path, device="cpu"))
        law_resume(reference, path)


def test_equal_commands_give_equal_bytes(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "one", ALL)
    trained(corpus, tmp_path / "other", ALL)
    law_resume(outcome(tmp_path / "one"), tmp_path / "other")
    trained(corpus, tmp_path / "third", ALL | {"training": ALL["training"] | {"seed": 6}})
    assert outcome(tmp_path / "third")["weights"] != outcome(tmp_path / "one")["weights"]


# ---- planted faults: the law fails when any one item is left out of a resume


def forget_optimizer(kind: str) -> Callable[[Run], None]:
    def forget(run: Run) -> None:
        for moments in run.optimizer.state.values():
            moments[kind].zero_()

    return forget


def forget_state(run: Run) -> None:
    run.state = run.model.fresh_state(run.config.batch_size)


def forget_half_of_the_state(run: Run) -> None:
    (h, c), *rest = run.state
    run.state = ((h, torch.zeros_like(c)), *rest)


def forget_average(run: Run) -> None:
    for average, weight in zip(run.average, run.model.parameters(), strict=True):
        average.copy_(weight.detach())


def forget_step(run: Run) -> None:
    run.step -= 1


def forget_weight(run: Run) -> None:
    with torch.no_grad():
        list(run.model.parameters())[-1].zero_()


def forget_best(run: Run) -> None:
    run.best_nats, run.best_step = 100.0, 0


def forget_losses(run: Run) -> None:
    run.losses = (0.0, 0)


def forget_cuts(run: Run) -> None:
    run.cuts = 0


def forget_logs(run: Run) -> None:
    run.log_sizes = (0, run.log_sizes[1])


FAULTS: dict[str, Callable[[Run], None]] = {
    "moment": forget_optimizer("exp_avg"),
    "second moment": forget_optimizer("exp_avg_sq"),
    "optimizer step": forget_optimizer("step"),
    "state": forget_state,
    "cell": forget_half_of_the_state,
    "average": forget_average,
    "step": forget_step,
    "weight": forget_weight,
    "best": forget_best,
    "losses": forget_losses,
    "cuts": forget_cuts,
    "logs": forget_logs,
}


BOUNCING = overrides(
    optim={"averaging": 0.9, "learning_rate": 1.2, "schedule": "plateau", "plateau_factor": 0.99},
    training={"valid_every": 1},
)
"""A loss that bounces, so that the best weights are seldom the latest and the rate is cut now and then."""


@pytest.fixture(scope="module")
def interrupted(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[Path]]:
    """What an uninterrupted training leaves behind, and directories of the same one stopped on the way."""
    folder = tmp_path_factory.mktemp("interrupted")
    trained(corpus, folder / "whole", BOUNCING)
    paths = [folder / f"stop{stop}" for stop in (7, 9, 10, 14)]
    for path in paths:
        assert stopped_at(begin_training(corpus, path, BOUNCING), int(path.name.removeprefix("stop")))
    return outcome(folder / "whole"), paths


def test_the_law_holds_where_its_faults_are_planted(
    interrupted: tuple[dict[str, Any], list[Path]], tmp_path: Path
) -> None:
    reference, paths = interrupted
    for path in paths:
        shutil.copytree(path, tmp_path / path.name)
        list(resume(tmp_path / path.name, device="cpu"))
        law_resume(reference, tmp_path / path.name)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_law_fails_when_something_is_left_out(
    fault: str, interrupted: tuple[dict[str, Any], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(run: Run) -> None:
        restore(run)
        FAULTS[fault](run)

    monkeypatch.setattr(module, "restore", faulty)
    reference, paths = interrupted
    with pytest.raises(AssertionError, match="differs"):
        for path in paths:
            shutil.copytree(path, tmp_path / path.name)
            list(resume(tmp_path / path.name, device="cpu"))
            law_resume(reference, tmp_path / path.name)


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


def test_training_leaves_its_text_where_it_lies(tmp_path: Path) -> None:
    """A text file is encoded into the directory, which then needs it no more."""
    (tmp_path / "text.txt").write_text("John is driving a car.\n" * 60)
    reports = start([tmp_path / "text.txt"], tmp_path / "run", Budget(steps=5), overrides(), device="cpu")
    with closing(reports) as running:  # type: ignore[type-var]
        next(report for report in running if isinstance(report, Report) and report.kind == "train")
    (tmp_path / "text.txt").unlink()
    assert [report.kind for report in resume(tmp_path / "run", device="cpu")][-1] == "end"


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
    for report in train(broken, load_corpus(corpus)):
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

        def opening(file: Any, mode: str = "r", *arguments: Any, **others: Any) -> Any:
            if mode == "ab":
                return File(file, mode, opener=others["opener"])
            return open(file, mode, *arguments, **others)

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


# ---- one directory, one writer


def test_a_directory_has_one_writer(corpus: Path, tmp_path: Path) -> None:
    reports = begin_training(corpus, tmp_path / "run", ALL)
    next(reports)
    for other in (resume(tmp_path / "run", device="cpu"),
                  start([corpus], tmp_path / "run", Budget(steps=1), ALL, device="cpu", force=True)):  # fmt: skip
        with pytest.raises(UserError, match="another process"):
            next(other)
    assert [report.kind for report in reports][-1] == "end"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_what_is_there_is_replaced_only_by_force_and_only_if_it_is_a_model(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    trained(corpus, path, ALL)
    before = outcome(path)
    with pytest.raises(UserError) as caught:
        trained(corpus, path, ALL)
    assert "--resume" in caught.value.fix and "--force" in caught.value.fix
    law_resume(before, path)
    for report in start([corpus], path, Budget(steps=2), ALL, device="cpu", force=True):
        assert isinstance(report, Report) and report.step <= 2
    assert load(path).weights_info["step"] == 2
    precious = tmp_path / "photographs"
    precious.mkdir()
    (precious / "1.jpg").write_bytes(b"!")
    for other in (precious, precious / "1.jpg"):
        with pytest.raises(UserError):
            next(start([corpus], other, Budget(steps=2), ALL, device="cpu", force=True))
    assert (precious / "1.jpg").read_bytes() == b"!"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photographs", "run"]


def test_what_a_killed_replacement_put_aside_is_put_back(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "whole", ALL)
    for goes_on in (True, False):
        path = tmp_path / f"run{goes_on}"
        assert stopped_at(begin_training(corpus, path, ALL), 8)
        path.rename(tmp_path / f".{path.name}.replaced")
        (tmp_path / f".{path.name}.partial").mkdir()  # what was to take its place
        if goes_on:
            list(resume(path, device="cpu"))
            law_resume(outcome(tmp_path / "whole"), path)
        else:
            with pytest.raises(UserError, match="exists"):
                trained(corpus, path, ALL)
            load(path)


def test_what_a_killed_start_left_behind_is_cleared_away(corpus: Path, tmp_path: Path) -> None:
    """Half a corpus and half a file, and the name of a text that is now another."""
    (tmp_path / "text.txt").write_text("Alice sees a cat.\n" * 60)
    partial = tmp_path / ".run.partial"
    (partial / "resume" / ".data.123.tmp").mkdir(parents=True)
    (partial / "resume" / ".data.123.tmp" / "train.bin").write_bytes(b"half")
    (partial / "resume" / ".state.safetensors.123.tmp").write_bytes(b"half")
    (partial / ".model.json.123.tmp").write_bytes(b"half")
    (partial / directory.DATA_PATH).write_text(str(corpus))
    (partial / "model.json").write_text("half")
    reports = start([tmp_path / "text.txt"], tmp_path / "run", Budget(steps=4), overrides(), device="cpu")
    assert isinstance(list(reports)[-1], Report)
    assert not partial.exists()
    assert sorted(file.name for file in (tmp_path / "run").rglob("*.tmp")) == []
    assert not (tmp_path / "run" / directory.DATA_PATH).exists()


def test_a_budget_below_one_step_is_refused() -> None:
    for wrong in ({"steps": 0}, {"steps": -1}, {"minutes": 0.0}, {"minutes": -1.0}, {"minutes": float("nan")}):
        with pytest.raises(UserError):
            Budget(**wrong)


def test_a_text_too_short_for_its_windows_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abc\n" * 6)
    reports = start([tmp_path / "text.txt"], tmp_path / "run", Budget(steps=4), overrides(), device="cpu")
    with pytest.raises(UserError) as caught:
        list(reports)
    assert caught.value.fix
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


def test_a_small_window_that_the_user_fixed_needs_little_text(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abcd\n" * 40)
    fixed = overrides(training={"batch_size": 2, "seq_len": 8})
    reports = start([tmp_path / "text.txt"], tmp_path / "run", Budget(steps=4), fixed, device="cpu")
    assert isinstance(list(reports)[-1], Report)


def test_a_device_that_is_not_there_is_refused(corpus: Path, tmp_path: Path) -> None:
    wrong = "mps" if not torch.backends.mps.is_available() else "cuda"
    for device in (wrong, "tpu"):
        with pytest.raises(UserError) as caught:
            next(start([corpus], tmp_path / "run", Budget(steps=1), ALL, device=device))
        assert "cpu" in caught.value.allowed
    assert list(tmp_path.iterdir()) == []

"""Starting and resuming: one directory, one writer, what is replaced, what is refused."""

from contextlib import closing
from pathlib import Path

import pytest
import torch

from tiny import ALL, begin_training, law_resume, outcome, overrides, start, stopped_at, trained
from unroll.artifact import directory
from unroll.artifact.open import load
from unroll.errors import UserError
from unroll.training.budget import Budget
from unroll.training.report import Report
from unroll.training.request import resume


def test_training_leaves_its_text_where_it_lies(tmp_path: Path) -> None:
    """A text file is encoded into the directory, which then needs it no more."""
    (tmp_path / "text.txt").write_text("John is driving a car.\n" * 60)
    reports = start([tmp_path / "text.txt"], tmp_path / "run", Budget(steps=5), overrides(), device="cpu")
    with closing(reports) as running:
        next(report for report in running if isinstance(report, Report) and report.kind == "train")
    (tmp_path / "text.txt").unlink()
    assert [report.kind for report in resume(tmp_path / "run", device="cpu")][-1] == "end"


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
    with pytest.raises(UserError) as refusal:
        trained(corpus, path, ALL)
    assert "--resume" in refusal.value.fix and "--force" in refusal.value.fix
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
    for invalid in ({"steps": 0}, {"steps": -1}, {"minutes": 0.0}, {"minutes": -1.0}, {"minutes": float("nan")}):
        with pytest.raises(UserError):
            Budget(**invalid)


def test_a_text_too_short_for_its_windows_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abc\n" * 6)
    reports = start([tmp_path / "text.txt"], tmp_path / "run", Budget(steps=4), overrides(), device="cpu")
    with pytest.raises(UserError) as refusal:
        list(reports)
    assert refusal.value.fix
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


def test_a_small_window_that_the_user_fixed_needs_little_text(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abcd\n" * 80)
    fixed = overrides(training={"batch_size": 2, "seq_len": 8})
    reports = start([tmp_path / "text.txt"], tmp_path / "run", Budget(steps=4), fixed, device="cpu")
    assert isinstance(list(reports)[-1], Report)


def test_a_device_that_is_not_there_is_refused(corpus: Path, tmp_path: Path) -> None:
    invalid = "mps" if not torch.backends.mps.is_available() else "cuda"
    for device in (invalid, "tpu"):
        with pytest.raises(UserError) as refusal:
            next(start([corpus], tmp_path / "run", Budget(steps=1), ALL, device=device))
        assert "cpu" in refusal.value.allowed
    assert list(tmp_path.iterdir()) == []

"""Two writers to one name: whatever happens to the directory, no model is ever made of both."""

import json
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from forked import Forked
from tiny import overrides, start, text
from unroll.artifact.directory import (
    STATE,
    WEIGHTS,
    exchange,
    locked,
    partial_of,
    publish,
    put_back_replaced,
    read_description,
    read_info,
)
from unroll.artifact.ngram import write_ngram
from unroll.artifact.open import load
from unroll.artifact.quantize import measure_cost
from unroll.errors import UserError
from unroll.files import Folder, FolderLost, write_atomically
from unroll.training.budget import Budget
from unroll.training.report import Report
from unroll.training.request import resume

STEPS = 9
FIXED = overrides(training={"save_every": 2, "valid_every": 2, "log_every": 1, "sample_length": 3})


@pytest.fixture
def texts(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"text{number}.txt" for number in range(2)]
    for number, file in enumerate(files):
        file.write_text(text(90, number))
    return files


def training(file: Path, out: Path, *, force: bool = False, seed: int = 5) -> Generator[Any, None, None]:
    fixed = FIXED | {"training": FIXED["training"] | {"seed": seed}}
    reports = start([file], out, Budget(steps=STEPS), fixed, device="cpu", force=force)
    assert isinstance(reports, Generator)
    return reports


def until(reports: Iterator[Any], step: int) -> None:
    """Train until a report after `step` steps."""
    assert any(isinstance(report, Report) and report.step >= step for report in reports)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- a directory that is taken away


@pytest.mark.parametrize("fate", ["removed", "moved"])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_training_leaves_its_successor_alone(fate: str, step: int, texts: list[Path], tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "run", tmp_path / "away"
    first = training(texts[0], out)
    until(first, step)
    shutil.rmtree(out) if fate == "removed" else out.rename(elsewhere)
    assert [report.kind for report in training(texts[1], out, seed=6) if isinstance(report, Report)][-1] == "end"
    before = content(out)
    with pytest.raises(FolderLost, match=f"was {fate}.*is another"):
        list(first)
    assert content(out) == before
    assert {path.name for path in tmp_path.iterdir()} - {"away"} == {"run", *(file.name for file in texts)}
    if fate == "moved":  # what was trained until it was noticed is there, and can be resumed to the same end
        saved = read_info(elsewhere / STATE)["step"]
        assert saved >= step
        list(resume(elsewhere, device="cpu"))
        list(training(texts[0], tmp_path / "whole"))
        assert (elsewhere / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_planted_fault_paths_would_mix_them(texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folder, "check", lambda self: None)
    monkeypatch.setattr(Folder, "write", lambda self, name, data: write_atomically(self.path / name, data))
    first = training(texts[0], tmp_path / "run")
    until(first, 3)
    shutil.rmtree(tmp_path / "run")
    list(training(texts[1], tmp_path / "run", seed=6))
    before = content(tmp_path / "run")
    list(first)
    assert content(tmp_path / "run") != before


def test_an_ngram_and_a_measurement_leave_their_successor_alone(texts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    counting = write_ngram([texts[0]], out, 3, {"split": "80/20"})
    for report in counting:
        if report.phase == "counting":
            break
    partial_of(out).rename(tmp_path / "away")
    list(write_ngram([texts[1]], out, 3, {"split": "80/20"}))
    before = content(out)
    with pytest.raises(FolderLost):
        list(counting)
    assert content(out) == before
    list(training(texts[0], tmp_path / "first"))
    measuring = measure_cost(tmp_path / "first")
    next(measuring)
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    list(training(texts[1], tmp_path / "first"))
    with pytest.raises(FolderLost):
        list(measuring)
    assert not (tmp_path / "first" / "int8.json").exists()


def test_a_model_that_is_measured_or_trained_has_one_writer(texts: list[Path], tmp_path: Path) -> None:
    reports = training(texts[0], tmp_path / "run")
    until(reports, 3)
    writers: list[Iterator[Any]] = [
        measure_cost(tmp_path / "run"),
        resume(tmp_path / "run", device="cpu"),
        training(texts[1], tmp_path / "run", force=True),
        write_ngram([texts[1]], tmp_path / "run", 2, {}, force=True),
    ]
    for writer in writers:
        with pytest.raises(UserError, match="written by another process"):
            list(writer)
    assert list(reports)[-1].kind == "end"


# ---- --force


def test_the_earlier_model_stays_until_there_is_a_better_one(texts: list[Path], tmp_path: Path) -> None:
    """At every moment there is a complete model under the name, and it is replaced by trained weights alone."""
    out = tmp_path / "run"
    list(training(texts[0], out))
    earlier = content(out)
    replaced_at = None
    for report in training(texts[1], out, force=True, seed=6):
        if replaced_at is None and content(out) != earlier:
            replaced_at = report
            assert report.detail["published"]
            model = load(out)
            assert report.kind == "save" and model.weights_info["step"] > 0
            assert read_info(out / STATE)["step"] > 0
        if isinstance(report, Report):
            assert ("beside" in report.detail) == (report.kind == "start")
            assert "published" not in report.detail or report is replaced_at
            if replaced_at is None:
                assert load(partial_of(out)).weights_info["step"] < 3
    assert replaced_at is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", *(file.name for file in texts)]
    list(training(texts[1], tmp_path / "whole", seed=6))
    for name in (WEIGHTS, "model.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(("step", "saved"), [(0, False), (1, False), (2, True), (3, True), (7, True)])
def test_a_stop_keeps_what_is_trained_and_else_the_earlier_model(
    step: int, saved: bool, texts: list[Path], tmp_path: Path
) -> None:
    """Weights are kept from the first validation on, after step 2; a stop saves a checkpoint with them."""
    out = tmp_path / "run"
    list(training(texts[0], out))
    earlier = content(out)
    reports = training(texts[1], out, force=True, seed=6)
    until(reports, step)
    reports.close()
    assert (content(out) == earlier) != saved
    assert not partial_of(out).exists()
    if saved:
        assert read_info(out / STATE)["step"] >= step
        list(resume(out, device="cpu"))
        list(training(texts[1], tmp_path / "whole", seed=6))
        assert (out / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


def test_a_training_that_fails_leaves_the_earlier_model(
    texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    list(training(texts[0], out))
    earlier = content(out)
    write = Folder.write

    def refused(self: Folder, name: str, data: bytes) -> None:
        if name == STATE and STATE in names_written:
            raise UserError("the disk is full")
        names_written.append(name)
        write(self, name, data)

    names_written: list[str] = []
    monkeypatch.setattr(Folder, "write", refused)
    with pytest.raises(UserError, match="the disk is full"):
        list(training(texts[1], out, force=True))
    assert content(out) == earlier and not partial_of(out).exists()


def test_one_that_diverges_leaves_the_earlier_model(texts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    list(training(texts[0], out))
    earlier = content(out)
    hopeless = overrides(optim={"learning_rate": 1e30, "grad_clip": 0.0, "warmup_steps": 0})
    reports = list(start([texts[1]], out, Budget(steps=STEPS), hopeless, device="cpu", force=True))
    last = reports[-1]
    assert isinstance(last, Report) and last.kind == "warn" and "stays" in str(last.text)
    assert content(out) == earlier and not partial_of(out).exists()


# ---- publishing


@pytest.mark.parametrize("at_once", [True, False], ids=["exchange", "two renames"])
def test_a_directory_takes_the_place_of_another(at_once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, partial = tmp_path / "out", partial_of(tmp_path / "out")
    out.mkdir()
    partial.mkdir()
    (out / "file").write_text("old")
    (partial / "file").write_text("new")
    if at_once:
        if not exchange(out, partial):
            pytest.skip("this system cannot let two directories change places")
        assert exchange(out, partial)
    else:
        monkeypatch.setattr("unroll.artifact.directory.exchange", lambda one, other: False)
    folder, earlier = Folder(partial), Folder(out)
    publish(folder, out, earlier)
    assert content(tmp_path) == {"out/file": b"new"} and folder.path == out and not earlier.exists
    folder.check()


def test_one_that_came_at_the_last_moment_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another directory takes the name after it was looked at: the swap is undone."""
    out, partial = tmp_path / "out", partial_of(tmp_path / "out")
    for path, inside in ((out, "old"), (partial, "new")):
        path.mkdir()
        (path / "file").write_text(inside)
    if not exchange(out, partial):
        pytest.skip("this system cannot let two directories change places")
    exchange(out, partial)
    earlier = Folder(out)

    def swapped(first_path: Path, second_path: Path) -> bool:
        if not (tmp_path / "away").exists():
            out.rename(tmp_path / "away")
            out.mkdir()
            (out / "thesis").write_text("years of work")
        return exchange(first_path, second_path)

    monkeypatch.setattr("unroll.artifact.directory.exchange", swapped)
    with pytest.raises(FolderLost):
        publish(Folder(partial), out, earlier)
    assert content(tmp_path) == {"away/file": b"old", "out/thesis": b"years of work", ".out.partial/file": b"new"}


def test_nothing_that_is_complete_is_lost_where_it_cannot_be_published(
    texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error, and an interrupt while the earlier model is being removed: at least one complete model is left."""
    out = tmp_path / "run"
    list(training(texts[0], out))

    def refuse(*_: object) -> None:
        raise UserError("no", fix="try")

    with monkeypatch.context() as patch:
        patch.setattr("unroll.training.request.publish", refuse)
        with pytest.raises(UserError) as refusal:
            list(training(texts[1], out, force=True))
    assert f"complete in {partial_of(out)}" in refusal.value.fix
    assert load(partial_of(out)) and load(out)
    shutil.rmtree(partial_of(out))
    remove = shutil.rmtree

    def interrupted(path: Any, **options: Any) -> None:
        if str(path).endswith((".partial", ".replaced")):
            raise KeyboardInterrupt
        remove(path, **options)

    def again(verb: str) -> Iterator[Any]:
        return (
            training(texts[1], out, force=True) if verb == "train" else write_ngram([texts[1]], out, 2, {}, force=True)
        )

    for verb in ("train", "ngram"):
        with monkeypatch.context() as patch:
            patch.setattr("shutil.rmtree", interrupted)
            with pytest.raises(KeyboardInterrupt):
                list(again(verb))
        assert (read_description(out)["model"]["arch"] == "ngram") == (verb == "ngram")
        remove(partial_of(out), ignore_errors=True)


def test_weights_that_are_no_better_than_none_replace_nothing(texts: list[Path], tmp_path: Path) -> None:
    """A fresh network that training only makes worse; one that is fine-tuned was trained before."""
    out, tuned = tmp_path / "run", tmp_path / "tuned"
    list(training(texts[0], out))
    earlier = content(out)
    settings = overrides(
        optim={"learning_rate": 50.0, "warmup_steps": 0, "averaging": 0.0},
        training={"valid_every": STEPS, "log_every": 1, "save_every": 2},
    )
    *_, last = start([texts[1]], out, Budget(steps=STEPS), settings, device="cpu", force=True)
    assert isinstance(last, Report)
    assert last.kind == "warn" and "no trained weights" in str(last.text) and content(out) == earlier
    list(start([texts[1]], tuned, Budget(steps=STEPS), settings, device="cpu", base=out))
    *_, last = start([texts[1]], tuned, Budget(steps=STEPS), settings, device="cpu", base=out, force=True)
    assert isinstance(last, Report) and last.kind == "end"
    assert not partial_of(tuned).exists()


@pytest.mark.parametrize("name", ["x" * 300, "y" * 250, "loop"])
def test_a_path_that_leads_nowhere_is_refused_at_once(name: str, texts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    for out in (tmp_path / name, tmp_path / name / "run"):
        works: list[Iterator[Any]] = [
            training(texts[0], out),
            write_ngram([texts[0]], out, 2, {}),
            resume(out, device="cpu"),
        ]
        for work in works:
            if name == "y" * 250 and out.name == "run":
                continue  # such a folder there may be
            with pytest.raises(UserError):
                list(work)
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    """What has taken the name since it was looked at is not ours to remove."""
    out = tmp_path / "out"
    for earlier_kind in (None, "earlier"):
        partial_of(out).mkdir(exist_ok=True)
        folder, earlier = Folder(partial_of(out)), None
        if earlier_kind:
            out.mkdir()
            earlier = Folder(out)
            out.rename(tmp_path / "away")
        out.mkdir()
        (out / "thesis").write_text("years of work")
        with pytest.raises(UserError):
            publish(folder, out, earlier)
        assert (out / "thesis").read_text() == "years of work"
        shutil.rmtree(out)


def test_what_was_put_aside_comes_back_only_while_its_successor_waits(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / ".out.replaced").mkdir()
    put_back_replaced(out)  # it was replaced, and then its user removed the new one
    assert not out.exists()
    partial_of(out).mkdir()  # killed between the two renames
    put_back_replaced(out)
    assert out.exists() and not (tmp_path / ".out.replaced").exists()


def test_a_directory_that_is_replaced_while_it_is_locked_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()

    def moved(*_: object) -> None:
        (tmp_path / "run").rename(tmp_path / "away")
        (tmp_path / "run").mkdir()

    monkeypatch.setattr("fcntl.flock", moved)
    with pytest.raises(FolderLost), locked(tmp_path / "run"):
        pass


# ---- links and places


def test_a_link_to_a_model_stays_a_link(texts: list[Path], tmp_path: Path) -> None:
    disk, models = tmp_path / "disk", tmp_path / "models"
    for folder in (disk, models):
        folder.mkdir()
    (models / "m").symlink_to("../disk/m")
    for number in range(2):  # dangling first, then with a model behind it
        for seed, file in enumerate(texts):
            list(training(file, models / "m", force=bool(number or seed), seed=seed))
            assert os.readlink(models / "m") == "../disk/m" and load(models / "m")
            assert [path.name for path in models.iterdir()] == ["m"] and [path.name for path in disk.iterdir()] == ["m"]
    list(write_ngram([texts[0]], models / "m", 2, {}, force=True))
    assert (models / "m").is_symlink() and [path.name for path in disk.iterdir()] == ["m"]
    shutil.rmtree(disk / "m")
    with pytest.raises(UserError, match="no model directory"):
        list(resume(models / "m", device="cpu"))
    assert not (disk / "m").exists()


def test_a_training_is_resumed_from_inside(texts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports = training(texts[0], tmp_path / "run")
    until(reports, 4)
    reports.close()
    monkeypatch.chdir(tmp_path / "run")
    assert list(resume(Path("."), device="cpu"))[-1].kind == "end"
    with pytest.raises(UserError, match="the current folder"):
        list(training(texts[1], Path("."), force=True))


# ---- processes


def schedules(first: int, count: int, *arguments: str) -> dict[str, Any]:
    program = str(Path(__file__).with_name("two_writers.py"))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with Forked(str(first), str(count), *arguments, program=program, environment=environment) as process:
        out, err = process.communicate(timeout=3600)
        assert process.poll() == 0, err
    return json.loads(out)  # type: ignore[no-any-return]


@pytest.mark.parametrize("count", [24, pytest.param(300, marks=pytest.mark.slow)])
def test_no_schedule_mixes_two_writers(count: int) -> None:
    found = schedules(0, count)
    assert found["mixed"] == []
    outcomes = found["outcomes"]
    assert sum(number for name, number in outcomes.items() if name.startswith("exit")) == 2 * count
    assert outcomes.keys() <= {"exit 0", "exit 2", "exit 3", "models", "no model", "left over"}
    # How they meet depends on how busy the machine is; that models come about does not.
    assert outcomes["exit 0"] and outcomes["models"] > count / 4 and outcomes.get("left over", 0) <= count / 20
    assert count < 100 or outcomes["exit 3"]


@pytest.mark.slow
def test_planted_fault_schedules_mix_them() -> None:
    assert schedules(0, 100, "fault")["mixed"]

"""Trainings that pause, resume, fail and stay in their folder."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from cli.command import QUICK, text
from forked import Process
from serve.studio.asking import until
from unroll.artifact.ngram import ngram
from unroll.artifact.open import open_model
from unroll.errors import UserError
from unroll.progress import result
from unroll.serve.studio.trainings import Trainings


def forked(command: list[str], *, stdout: IO[bytes], **_: object) -> Process:
    """Start `python -m unroll …`, in the place of subprocess.Popen."""
    return Process(*command[2:], cwd=Path.cwd(), environment=os.environ, streams=[stdout.fileno()] * 2)


@pytest.fixture
def trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trainings]:
    monkeypatch.setattr(subprocess, "Popen", forked)
    (tmp_path / "scratch").mkdir()
    manager = Trainings(tmp_path / "runs", tmp_path / "scratch")
    yield manager
    for process in manager._processes.values():
        if process.code is None:
            process.popen.kill()
        process.popen.wait()


def test_a_training_pauses_goes_on_and_ends_as_if_it_had_not(trainings: Trainings, tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_text(text(20_000))
    choices = ("--steps", "400", *QUICK)
    trainings.start("whole", file, choices)
    trainings.start("parted", file, choices)
    with pytest.raises(UserError, match="already running"):
        trainings.start("third", file, choices)
    until(lambda: trainings.watch("parted", 0, 0, 0)["step"] >= 20 if trainings.state("parted") == "running" else False)
    trainings.pause("parted")
    assert until(lambda: trainings.state("parted") not in ("running", "stopping") and trainings.state("parted"))
    if trainings.state("parted") == "paused":
        trainings.resume("parted")
    until(lambda: trainings.state("parted") == "finished" and trainings.state("whole") == "finished")
    whole, parted = (trainings.watch(name, 0, 0, 0) for name in ("whole", "parted"))
    assert whole["samples"] == parted["samples"]
    assert (trainings.runs / "whole" / "weights.safetensors").read_bytes() == (
        trainings.runs / "parted" / "weights.safetensors"
    ).read_bytes()
    kept_name = trainings.keep("whole")
    assert kept_name == "whole-400"
    assert open_model(trainings.runs / kept_name).predictor.vocab_size
    trainings.look("whole")
    measured = trainings.watch("whole", 0, 0, 0)["text"]
    assert (measured["level"], measured["held_back"], measured["words"]) == ("char", True, None)


def test_the_text_of_an_n_gram_has_no_validation_part(trainings: Trainings, tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_text(text(2_000))
    result(ngram((file,), order=3, level="word", out=trainings.runs / "counted"))
    trainings.look("counted")
    measured = trainings.watch("counted", 0, 0, 0)["text"]
    assert measured["valid_tokens"] == 0
    assert measured["words"].startswith("words end at white space and at punctuation marks")


def test_a_training_that_is_killed_says_so_and_goes_on(trainings: Trainings, tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_text(text(20_000))
    trainings.start("killed", file, ("--steps", "100000", *QUICK, "--set", "save_every=5"))
    until(lambda: trainings.state("killed") == "running" and trainings.watch("killed", 0, 0, 0)["step"] >= 20)
    os.kill(trainings._processes["killed"].popen.pid, signal.SIGKILL)
    assert until(lambda: trainings.state("killed") == "failed")
    step = trainings.watch("killed", 0, 0, 0)["step"]
    trainings.resume("killed")  # Beyond where it was: it has begun, and heeds signals.
    until(lambda: trainings.state("killed") == "running" and trainings.watch("killed", 0, 0, 0)["step"] > step)
    assert trainings.stop_all(30) == ["killed"]
    assert until(lambda: trainings.state("killed") in ("stopping", "paused"))


def test_a_text_that_cannot_be_learnt_says_why(trainings: Trainings, tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("ab")
    trainings.start("short", file, ("--steps", "5", *QUICK))
    until(lambda: trainings.state("short") == "failed")
    assert "fix:" in trainings.output("short")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 60, "a b", "-rf"])
def test_names_stay_in_the_folder(trainings: Trainings, name: str) -> None:
    with pytest.raises(UserError):
        trainings.start(name, None, ())
    with pytest.raises(UserError):
        trainings.folder(name)

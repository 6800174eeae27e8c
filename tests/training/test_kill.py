"""Real processes killed at random moments: what is there always loads, and the end is bitwise the uninterrupted one."""

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forked import Forked
from tiny import law_resume, outcome, text
from unroll.artifact.directory import read_description
from unroll.artifact.events import METRICS
from unroll.artifact.open import load

STEPS = 900

SETTINGS = {
    "arch": "lstm", "embedding_size": 8, "hidden_size": 16, "num_layers": 2, "dropout": 0.2, "weight_drop": 0.1,
    "averaging": 0.99, "reset_probability": 0.05, "batch_size": 4, "seq_len": 16, "threads": 1, "save_every": 10,
    "valid_every": 100, "log_every": 30, "sample_length": 40, "valid_tokens": 400, "learning_rate": 0.01,
}  # fmt: skip

PATIENCE = 120
"""Seconds for what should take a few."""


class Trainer:
    """The command that trains one directory, and how it is killed."""

    def __init__(self, file: Path, out: Path) -> None:
        self.out = out
        self.partial = out.with_name(f".{out.name}.partial")
        self.first = [str(file), "--out", str(out), "--steps", str(STEPS)]
        self.first += [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]

    def running(self) -> Forked:
        """Start the training, or go on with it where there is one."""
        arguments = ["--resume", str(self.out)] if self.out.exists() else self.first
        return Forked("train", *arguments, environment=os.environ | {"OMP_NUM_THREADS": "1"})

    def finish(self) -> None:
        """Train to the end."""
        with self.running() as process:
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.poll() == 0, errors

    def is_done(self) -> bool:
        return self.out.exists() and read_description(self.out)["result"] is not None

    def kill_when(self, moment: Callable[[], bool], delay: float) -> bool:
        """Start, wait for the moment and a delay, and kill; returns whether the process was alive until then."""
        with self.running() as process:
            deadline = time.monotonic() + PATIENCE
            while not moment() and process.poll() is None:
                assert time.monotonic() < deadline, "the moment never came"
                time.sleep(0.001)
            try:
                assert process.wait(delay) == 0, process.stderr.read()
            except subprocess.TimeoutExpired:
                return True  # and leaving kills it
            return False

    def moments(self) -> dict[str, tuple[Callable[[], bool], float]]:
        """Return the kinds of moments: what is waited for, and the longest delay after it."""
        log = self.out / METRICS
        before = log.stat().st_mtime_ns if log.exists() else 0

        def works() -> bool:
            return log.exists() and log.stat().st_mtime_ns != before

        def saves() -> bool:
            folders = (self.out, self.out / "resume", self.partial, self.partial / "resume")
            try:
                return any(
                    name.endswith(".tmp") for folder in folders if folder.exists() for name in os.listdir(folder)
                )
            except FileNotFoundError:  # renamed meanwhile
                return False

        return {
            "start-up": (lambda: True, 0.3),
            "preparation": (lambda: self.partial.exists() or self.out.exists(), 0.4),
            "work": (works, 0.3),
            "save": (saves, 0.003),
        }


def killed(trainer: Trainer, kills: int, chance: random.Random) -> list[str]:
    """Kill a training again and again, check what is there each time, and let it finish; returns when it was killed."""
    happened: list[str] = []
    while len(happened) < kills:
        if trainer.is_done():
            return happened
        kind = chance.choice(["start-up", "preparation", "work", "work", "work", "save", "save"])
        moment, longest = trainer.moments()[kind]
        if trainer.kill_when(moment, chance.random() * longest):
            happened.append(kind)
        if trainer.out.exists():
            loaded = load(trainer.out)
            assert loaded.weights_info["step"] <= STEPS
    while not trainer.is_done():
        trainer.finish()
    return happened


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The text, and what an uninterrupted training on it leaves behind."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "text.txt").write_text(text(170))
    Trainer(folder / "text.txt", folder / "run").finish()
    return folder / "text.txt", outcome(folder / "run")


@pytest.mark.parametrize("kills", [22, pytest.param(200, marks=pytest.mark.slow)])
def test_kill(kills: int, reference: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Two trainings, each killed about half as often; a new one when one comes to its end too early."""
    file, expected = reference
    chance, happened = random.Random(0), list[str]()
    for number in range(kills):
        trainer = Trainer(file, tmp_path / f"run{number}")
        happened += killed(trainer, min(kills // 2, kills - len(happened)), chance)
        law_resume(expected, trainer.out)
        if len(happened) >= kills:
            break
    assert len(happened) == kills and set(happened) == {"start-up", "preparation", "work", "save"}
    assert not any(path.name.endswith(".partial") for path in tmp_path.iterdir())

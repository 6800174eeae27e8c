"""Ctrl-C, SIGTERM, a closed terminal: between two steps, saved, how to go on; before the first, nothing is left."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.command import QUICK, UNROLL, environment, forked, unroll
from cli.conftest import Here, Trained
from forked import Forked
from unroll.cli import process

SLOW = ("--steps", "3000", *QUICK, "--set", "valid_every=10", "--set", "log_every=5")
"""A training of which there is much left when it is stopped."""


@contextmanager
def started(
    *arguments: str | Path, cwd: Path, ignored: signal.Signals | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """A new Python, where it matters how a signal is met while torch is loaded, or how it ends."""
    process = subprocess.Popen(
        [*UNROLL, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=None if ignored is None else lambda: signal.signal(ignored, signal.SIG_IGN),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: "subprocess.Popen[str] | Forked", expected: str) -> None:
    """Read what the process says on stderr until a line has `wanted` in it."""
    assert process.stderr is not None
    for line in process.stderr:
        if expected in line:
            return
    raise AssertionError(f"it ended before it said {expected!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_a_resume_finishes(book: Path, tmp_path: Path, number: signal.Signals) -> None:
    start = started if number == signal.SIGTERM else forked
    with start("train", book, "--out", "run", *SLOW, "--json", cwd=tmp_path) as process:
        wait_for(process, "step 20/3,000")
        process.send_signal(number)
        if number == signal.SIGHUP:  # as the shell and the system each send one
            time.sleep(0.002)
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.poll() == 130, err
    assert "Stopping after this step; press again to stop at once.\n" in err
    result = json.loads(out)
    assert result["finished"] is False
    assert 20 <= result["steps"] < 3000
    assert result["valid_nats_per_token"] is None
    assert any("not finished" in note for note in result["notes"])
    assert f"Stopped at step {result['steps']:,} of 3,000, and saved.\n" in err
    assert "To resume: unroll train --resume run\n" in err
    assert "Traceback" not in err

    # What is left would take long here: the recipe is shortened by hand, which is nobody's way to use it.
    recipe = tmp_path / "run" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("steps = 3000", f"steps = {result['steps'] + 5}"))
    outcome = unroll("train", "--resume", "run", "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    resumed = json.loads(outcome.out)
    assert (resumed["steps"], resumed["finished"]) == (result["steps"] + 5, True)
    assert resumed["train_seconds"] > result["train_seconds"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_before_the_first_validation_the_model_is_that_of_step_0(book: Path, tmp_path: Path) -> None:
    with forked("train", book, "--out", "run", *SLOW[:2], *QUICK, "--set", "valid_every=2000", cwd=tmp_path) as process:
        wait_for(process, "step 0/3,000")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert "The model is still that of step 0: the first validation is at step 2,000.\n" in err


def test_before_the_first_step_nothing_is_left(book: Path, tmp_path: Path) -> None:
    with started("train", "--minutes", "3", "--out", "run", cwd=tmp_path) as process:
        wait_for(process, "No FILE")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=180)
        # Interrupted while torch is being loaded, Python ends itself by the signal, which a shell also calls 130.
        assert process.returncode in (130, -signal.SIGINT), err
    assert out == ""
    if "saved" in err:  # it fell into a place where Python ignores it, and was heeded at the first report
        assert "Stopped at step 0" in err
        return
    assert err.splitlines()[-1] == "Interrupted."
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]


def test_the_second_time_it_ends_at_once(book: Path, tmp_path: Path) -> None:
    """While it waits for a step that takes long; what was saved before stays."""
    silent = [f"--set={key}" for key in ("hidden_size=600", "sample_length=10", "log_every=1000", "valid_every=1000")]
    with forked("train", book, "--out", "run", "--steps", "1000", *silent, cwd=tmp_path) as process:
        wait_for(process, "step 0/1,000")
        time.sleep(1)  # Now it is at a step, and there is no report before step 100.
        process.send_signal(signal.SIGINT)
        wait_for(process, "Stopping after this step")  # Python would take two that come within one product for one.
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
        assert process.poll() == 130, err
    assert "Interrupted." in err
    assert json.loads(unroll("info", tmp_path / "run", "--json").out)["steps"] == 0


def test_a_closed_terminal_ends_nothing_that_nohup_started(book: Path, tmp_path: Path) -> None:
    with started("train", book, "--out", "run", *SLOW, cwd=tmp_path, ignored=signal.SIGHUP) as process:
        wait_for(process, "step 20/3,000")
        process.send_signal(signal.SIGHUP)
        wait_for(process, "step 40/3,000")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
    assert "Stopping after this step" in err


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_verb_that_is_ended_cleans_up(number: signal.Signals, book: Path, tmp_path: Path, trained: Trained) -> None:
    """As by Ctrl-C: its temporary files go, and what was there stays."""
    long = tmp_path / "long.txt"
    long.write_bytes(book.read_bytes() * 400)
    out = tmp_path / "long.npy"
    out.write_bytes(b"before")
    with started("embed", trained.path, long, "--out", out, cwd=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".long.npy*")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err.strip()) == (128 + number, "Interrupted.")
    assert out.read_bytes() == b"before" and not list(tmp_path.glob(".*"))


def test_a_stop_before_anything_was_learnt_leaves_the_earlier_model(
    book: Path, tmp_path: Path, trained: Trained
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.path, run)
    late = ("--set", "valid_every=3000", "--set", "save_every=3000")
    with forked("train", book, "--out", "run", "--force", "--steps", "3000", *QUICK, *late, cwd=tmp_path) as process:
        wait_for(process, "step 0/3,000")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.poll() == 130, err
    assert "The earlier model in run stays: nothing was kept of this training.\n" in err
    assert (run / "weights.safetensors").read_bytes() == (trained.path / "weights.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.txt", "run"]


def test_a_signal_that_python_ignored_while_torch_was_loaded_is_heeded(
    here: Here, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was noted, and the training stops at its first report, saved."""
    monkeypatch.setattr(process, "clean_up_at_signals", lambda: None)
    monkeypatch.setattr(process, "ended_by", signal.SIGINT)
    result = here("train", book, "--out", tmp_path / "run", *SLOW)
    assert result.code == 130 and "Stopped at step 0 of 3,000, and saved.\n" in result.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_pythons_own_end_leaves_no_traceback(number: signal.Signals) -> None:
    """As where torchrun ends a process that is ending already: an exception there has no reader."""
    program = f"import atexit, os; atexit.register(os.kill, os.getpid(), {number:d})"
    command = [sys.executable, "-c", f"{program}; from unroll.__main__ import main; main()", "--version"]
    result = subprocess.run(command, env=environment(), capture_output=True, encoding="utf-8")
    assert (result.returncode, result.stderr) == (-number, "") and result.stdout.startswith("unroll")

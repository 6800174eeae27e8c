"""Several processes, started by torchrun or forked by it: one training, its losses, its directory, what it survives."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forked import Forked
from tiny import law_resume, outcome, text
from unroll.artifact import checkpoint
from unroll.artifact.directory import DATA, STATE, WEIGHTS, read_description, read_info
from unroll.artifact.events import METRICS, read_events
from unroll.artifact.open import load
from unroll.data.batches import Streams
from unroll.data.corpus import load_corpus
from unroll.errors import UserError
from unroll.files import Folder
from unroll.training.many import processes, torchrun
from unroll.training.recipe import read_about, read_recipe

PATIENCE = 180
"""Seconds for what should take ten."""

WORKER = """
import os, runpy
from pathlib import Path
if os.getsid(0) != os.getpid():
    os.setsid()  # for torchrun ends the group of each
Path(os.environ["PIDS"], os.environ["RANK"]).write_text(str(os.getpid()))
exec(os.environ.get("PLANTED", ""))
runpy.run_module("unroll", run_name="__main__", alter_sys=True)
"""
"""What torchrun starts: the command, but that it is known who it is, and that something may be planted in it."""

SETTINGS: dict[str, Any] = {
    "embedding_size": 8, "hidden_size": 16, "num_layers": 2, "dropout": 0.0, "averaging": 0.9, "weight_decay": 0.1,
    "reset_probability": 0.1, "batch_size": 4, "seq_len": 16, "threads": 1, "save_every": 10, "valid_every": 25,
    "log_every": 1, "sample_length": 20, "valid_tokens": 300, "learning_rate": 0.01, "grad_clip": 0.3,
}  # fmt: skip


def settings(**rest: Any) -> list[str]:
    return [part for key, value in (SETTINGS | rest).items() for part in ("--set", f"{key}={value}")]


def environment(folder: Path, planted: str = "") -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UNROLL_", "OMP_"))}
    return kept | {"OMP_NUM_THREADS": "1", "PIDS": str(folder), "PLANTED": planted}


@contextmanager
def launched(
    folder: Path, arguments: Sequence[str | Path], *, processes: int = 2, restarts: int = 0, planted: str = "",
    meeting: Sequence[str] = ("--standalone",), real: bool = False,
) -> Iterator["subprocess.Popen[str] | Forked"]:  # fmt: skip
    """Start the command with torchrun, in the folder: as its users do, or with processes that have torch loaded."""
    (folder / "worker.py").write_text(WORKER)
    options = [*meeting, "--nproc-per-node", str(processes), "--max-restarts", str(restarts)]
    command = [*options, "worker.py", *map(str, arguments)]
    with (
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *command],
            cwd=folder, env=environment(folder, planted), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) if real else
        Forked(*command, cwd=folder, environment=environment(folder, planted), program="training.many.launcher")
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)  # and it ends what it started
                process.communicate(timeout=PATIENCE)


def together(folder: Path, *arguments: str | Path, **options: Any) -> tuple[int, str, str]:
    """Run the command with torchrun to its end; returns its code, and what all have said."""
    with launched(folder, arguments, **options) as process:
        out, err = process.communicate(timeout=PATIENCE)
        code = process.poll()
        assert code is not None
        return code, out, err


def alone(folder: Path, *arguments: str | Path) -> None:
    with Forked(*arguments, cwd=folder, environment=environment(folder)) as process:
        _, err = process.communicate(timeout=PATIENCE)
        assert process.poll() == 0, err


def write_text(folder: Path) -> None:
    for number in range(4):
        (folder / f"text{number}.txt").write_text(text(60, number))


def train_arguments(out: str, steps: int, **rest: Any) -> list[str]:
    files = [f"text{number}.txt" for number in range(4)]
    return ["train", *files, "--out", out, "--device", "cpu", "--steps", str(steps), *settings(**rest)]


# ---- the losses of one process


def law_same_training(one: Path, other: Path, tolerance: float) -> None:
    """Two trainings report the same, keep the same weights, and stand where the other stands, but for rounding."""
    events = [read_events(path / METRICS) for path in (one, other)]
    assert len(events[0]) > 20
    for mine, theirs in zip(*events, strict=True):
        assert {key: mine.get(key) for key in ("kind", "step", "tokens_seen", "learning_rate")} == {
            key: theirs.get(key) for key in ("kind", "step", "tokens_seen", "learning_rate")
        }
        for key in ("nats", "grad_norm"):
            if mine.get(key) is not None:
                assert mine[key] == pytest.approx(theirs[key], rel=tolerance, abs=tolerance), (mine, theirs)
    for file in (WEIGHTS, STATE):
        tensors = [checkpoint.load_tensors(path / file) for path in (one, other)]
        torch.testing.assert_close(*tensors, rtol=10 * tolerance, atol=10 * tolerance)


VARIANTS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "documents": {"arch": "gru", "documents": "true", "skip": "sum", "tie_weights": "true"},
    "window": {"arch": "window", "batch_size": 6, "window": 3},
}


@pytest.mark.parametrize("variant", ["lstm", "documents", pytest.param("window", marks=pytest.mark.slow)])
def test_two_processes_give_the_losses_of_one(variant: str, tmp_path: Path) -> None:
    write_text(tmp_path)
    alone(tmp_path, *train_arguments("one", 30, **VARIANTS[variant]))
    code, _, err = together(tmp_path, *train_arguments("two", 30, **VARIANTS[variant]), real=variant == "lstm")
    assert code == 0, err
    law_same_training(tmp_path / "one", tmp_path / "two", 1e-5)
    assert err.count("step 25/30") == 1 and err.count("── done") == 1, "what is said is said once"
    assert read_about(tmp_path / "two" / "recipe.toml")["processes"] == 2
    item, two = (read_description(tmp_path / name) for name in ("one", "two"))
    assert item["model"] == two["model"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["one", "two"]


FAULTS = {
    "each its own gradient": """
from unroll.training.many import processes
processes.mean = lambda gradients, loss: loss
""",
    "all the same streams": """
from unroll.training.many import processes
real = processes.share_rows
processes.share_rows = lambda whole, share: real(
    None if whole is None else whole[: len(share)].repeat(processes.size(), *[1] * (whole.dim() - 1)), share)
""",
    "clipped before the mean": """
from torch import nn
from unroll.training.many import processes
real = processes.mean
def mean(gradients, loss):
    whole = sum(g.square().sum() for g in gradients).sqrt()
    for g in gradients:
        g.mul_((0.3 / whole).clamp(max=1))
    return real(gradients, loss)
processes.mean = mean
""",
    "each resets by its own numbers": """
from unroll.training import loop as module
real = module.seed_step
module.seed_step = lambda seed, step, rank=0: real(seed, step, module.processes.rank())
""",
    "the first one's states twice": """
from unroll.training.many import processes
real = processes.whole_state
processes.whole_state = lambda state: tuple(tuple(
    part[: len(part) // 2].repeat(2, 1) for part in layer) for layer in real(state))
""",
}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the texts and of a training of one process."""
    folder = tmp_path_factory.mktemp("one")
    write_text(folder)
    alone(folder, *train_arguments("one", 30))
    return folder


QUICK = ("each its own gradient", "all the same streams")


@pytest.mark.parametrize(
    "fault", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]
)
def test_a_fault_is_not_the_same_training(fault: str, one: Path, tmp_path: Path) -> None:
    write_text(tmp_path)
    code, _, err = together(tmp_path, *train_arguments("two", 30), planted=FAULTS[fault])
    assert code == 0, err
    with pytest.raises(AssertionError):
        law_same_training(one / "one", tmp_path / "two", 1e-5)


# ---- what each of them has

RECORD = """
import atexit, hashlib, json, numpy as np
from unroll.training import loop
from unroll.training.many import follower
seen, step_on = {"targets": []}, loop.step_on
def recorded(run, batch, state):
    seen["run"] = run
    seen["targets"].append(batch.targets)
    return step_on(run, batch, state)
loop.step_on = follower.step_on = recorded
def tell():
    run, folder, rank = seen["run"], os.environ["PIDS"], os.environ["RANK"]
    equal = [*run.model.parameters(), *run.average, *(
        part for state in run.optimizer.state.values() for part in state.values())]
    digests = [hashlib.sha256(part.detach().numpy().tobytes()).hexdigest() for part in equal]
    Path(folder, f"digests{rank}.json").write_text(json.dumps(digests))
    np.save(Path(folder, f"targets{rank}.npy"), np.stack(seen["targets"]))
leave = os._exit
def leaving(code):
    tell()
    leave(code)
os._exit = leaving
if os.environ["RANK"] == "0":
    atexit.register(tell)
"""


def test_all_have_the_same_weights_and_each_its_own_streams(tmp_path: Path) -> None:
    """Also where each drops by its own numbers, and the weights that are kept are an average."""
    write_text(tmp_path)
    drops = {"dropout": 0.3, "weight_drop": 0.2, "embedding_dropout": 0.1, "batch_size": 6}
    code, _, err = together(tmp_path, *train_arguments("run", 12, **drops), processes=3, planted=RECORD)
    assert code == 0, err
    digests = [json.loads((tmp_path / f"digests{rank}.json").read_text()) for rank in range(3)]
    assert digests[0] == digests[1] == digests[2] and len(digests[0]) > 40
    corpus = load_corpus(tmp_path / "run" / DATA)
    streams = Streams(corpus.train, 6, corpus.tokenizer.start_id, None)
    shares = [np.load(tmp_path / f"targets{rank}.npy") for rank in range(3)]
    assert shares[0].shape == (12, 2, 16)
    for step, pieces in enumerate(zip(*shares, strict=True)):
        assert np.array_equal(np.concatenate(pieces), streams.batch(16 * step, 16).targets)


# ---- a worker that is killed, a launch that is stopped

STEPS = 150
HALTED: dict[str, Any] = {"dropout": 0.2, "thaw_steps": 40}
"""Where it is stopped, some layers have not begun to learn."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes leave behind that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_text(folder)
    code, _, err = together(folder, *train_arguments("run", STEPS, **HALTED))
    assert code == 0, err
    return outcome(folder / "run")


def wait_for_step(run: Path, step: int) -> None:
    """Wait until a training has reported a step, which it has not been the last of."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if f'"step": {step},' in (run / METRICS).read_text():
                break
        except FileNotFoundError:
            pass
        time.sleep(0.002)
    assert read_description(run)["result"] is None, "it was over too early"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("rank", "standalone"),
    [
        (1, True),
        (0, False),
        pytest.param(0, True, marks=pytest.mark.slow),
        pytest.param(1, False, marks=pytest.mark.slow),
    ],
)
def test_a_killed_worker_costs_the_steps_since_the_last_save(
    rank: int, standalone: bool, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    """The same command goes on by itself when torchrun starts it again, to the very same bytes."""
    write_text(tmp_path)
    meeting = ["--standalone"] if standalone else ["--master-port", str(free_port())]
    arguments = train_arguments("run", STEPS, **HALTED)
    with launched(tmp_path, arguments, restarts=1, meeting=meeting) as process:
        wait_for_step(tmp_path / "run", 35)
        first = int((tmp_path / str(rank)).read_text())
        os.kill(first, signal.SIGKILL)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.poll() == 0, err
    assert int((tmp_path / str(rank)).read_text()) != first
    assert "another process of this training has ended" in err and "Traceback" not in err
    law_resume(undisturbed, tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_saves_once_and_any_number_of_processes_goes_on(
    number: signal.Signals, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    write_text(tmp_path)
    arguments = [*train_arguments("run", STEPS, **HALTED), "--json"]
    with launched(tmp_path, arguments, real=number == signal.SIGTERM) as process:
        wait_for_step(tmp_path / "run", 35)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert err.count("Stopping after this step.\n") == err.count("To resume: unroll train --resume run\n") == 1
    steps = json.loads(out)["steps"]
    assert 35 <= steps < STEPS and steps == read_info(tmp_path / "run" / STATE)["step"]
    code, _, err = together(tmp_path, "train", "--resume", "run")
    assert code == 0, err
    law_resume(undisturbed, tmp_path / "run")
    # A finished one has nothing to go on with, and nobody waits for anybody.
    code, out, err = together(tmp_path, "train", "--resume", "run")
    assert code == 0 and err.count("is finished") == 1
    law_resume(undisturbed, tmp_path / "run")


@pytest.mark.slow
def test_one_process_goes_on_where_two_have_stopped(one: Path, tmp_path: Path) -> None:
    """What is saved is the state of all streams."""
    write_text(tmp_path)
    stop = """
from unroll.training import loop
real = loop.step_on
def step_on(run, batch, state):
    if run.step == 12:
        os.kill(os.getpid(), 15)
    return real(run, batch, state)
loop.step_on = step_on
"""
    together(tmp_path, *train_arguments("run", 30), planted=stop)
    assert 12 < read_info(tmp_path / "run" / STATE)["step"] < 20
    alone(tmp_path, "train", "--resume", "run")
    law_same_training(one / "one", tmp_path / "run", 1e-5)


# ---- what goes wrong, goes wrong for all


def test_what_was_there_before_is_refused_at_every_attempt(one: Path, tmp_path: Path) -> None:
    write_text(tmp_path)
    code, _, err = together(tmp_path, *train_arguments("run", 10))
    assert code == 0, err
    before = outcome(tmp_path / "run")
    code, _, err = together(tmp_path, *train_arguments("run", 30), restarts=1)
    assert code != 0 and err.count("unroll: run exists") == 2
    law_resume(before, tmp_path / "run")


def test_streams_that_cannot_be_divided_are_refused(tmp_path: Path) -> None:
    write_text(tmp_path)
    code, _, err = together(tmp_path, *train_arguments("run", 10), processes=3)
    assert code != 0
    assert err.count("unroll: batch_size is 4, which 3 processes cannot divide equally\n") == 1
    assert "--set batch_size=3" in err
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_number_that_is_none_in_one_process_stops_all(tmp_path: Path) -> None:
    write_text(tmp_path)
    poison = """
from unroll.training.many import follower
real = follower.step_on
def step_on(run, batch, state):
    if run.step == 12:
        next(run.model.parameters()).data.fill_(float("nan"))
    return real(run, batch, state)
follower.step_on = step_on
"""
    code, _, err = together(tmp_path, *train_arguments("run", 30), planted=poison)
    assert code != 0 and err.count("the loss of step 13 is nan") == 1
    assert all(bool(torch.isfinite(w).all()) for w in load(tmp_path / "run").model.parameters())
    assert read_info(tmp_path / "run" / STATE)["step"] == 10


@pytest.mark.slow
def test_minutes_are_measured_together(tmp_path: Path) -> None:
    """The first process decides, by the rate of all."""
    write_text(tmp_path)
    fixed = [part for key in ("embedding_size", "hidden_size", "num_layers", "threads", "sample_length", "valid_tokens")
             for part in ("--set", f"{key}={SETTINGS[key]}")]  # fmt: skip
    files = [f"text{number}.txt" for number in range(4)]
    code, _, err = together(
        tmp_path, "train", *files, "--out", "run", "--device", "cpu", "--minutes", "1", *fixed, planted=RECORD
    )
    assert code == 0, err
    recipe = read_recipe(tmp_path / "run" / "recipe.toml")
    assert read_description(tmp_path / "run")["result"]["steps"] == recipe.training.steps > 1
    digests = [json.loads((tmp_path / f"digests{rank}.json").read_text()) for rank in range(2)]
    assert digests[0] == digests[1]
    shares = [np.load(tmp_path / f"targets{rank}.npy", mmap_mode=None) for rank in range(2)]
    assert len(shares[0]) == len(shares[1]) > recipe.training.steps, "the measured steps were taken by all"


# ---- what torchrun says


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process as the second of two, at the first attempt."""
    for name, value in {
        "TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1",
        "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_ERROR_FILE": "/logs/none_abc/attempt_0/1/error.json",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_who_follows(started: pytest.MonkeyPatch) -> None:
    assert torchrun.several() and torchrun.follows()
    started.setenv("RANK", "0")
    assert torchrun.several() and not torchrun.follows()
    started.setenv("WORLD_SIZE", "1")
    assert not torchrun.several()
    started.setenv("WORLD_SIZE", "2")
    started.delenv("TORCHELASTIC_RUN_ID")  # of another program that has such variables
    assert not torchrun.several() and not torchrun.follows()


def test_a_launch_knows_its_own_directory_alone(started: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "resume").mkdir()
    started.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not torchrun.made_before(tmp_path)
    torchrun.mark(Folder(tmp_path))
    started.setenv("TORCHELASTIC_ERROR_FILE", "/logs/none_abc/attempt_1/0/error.json")
    assert torchrun.made_before(tmp_path)
    started.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert not torchrun.made_before(tmp_path)
    started.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    started.setenv("TORCHELASTIC_ERROR_FILE", "/logs/none_xyz/attempt_1/0/error.json")
    assert not torchrun.made_before(tmp_path)


def test_without_torchrun_nothing_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    torchrun.mark(Folder(tmp_path))
    assert list(tmp_path.iterdir()) == [] and not torchrun.made_before(tmp_path)


@pytest.mark.parametrize(("batch_size", "size", "near"), [(16, 3, 15), (1, 2, 2), (17, 4, 16), (2, 8, 8)])
def test_the_advice_can_be_divided(batch_size: int, size: int, near: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "size", lambda: size)
    with pytest.raises(UserError) as refusal:
        processes.check_shares(batch_size)
    assert f"batch_size={near}" in refusal.value.fix
    processes.check_shares(near)


def test_more_processes_than_gpus_are_refused(started: pytest.MonkeyPatch) -> None:
    started.setenv("LOCAL_WORLD_SIZE", "2")
    started.setattr(torch.cuda, "is_available", lambda: True)
    started.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="2 processes on a machine with 1 GPUs"), processes.joined("auto"):
        pass

"""What every task's training must hold when it is stopped or killed: it ends with the bytes of one that never was."""

import os
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import torch

from tiny import stopped_at
from unroll.artifact import checkpoint
from unroll.artifact.directory import STATE, WEIGHTS, read_info
from unroll.artifact.events import METRICS, SAMPLES, read_events

FILES = (WEIGHTS, "model.json", "tokenizer.json", "recipe.toml")
TIMES = ("seconds", "tokens_per_second")
Resume = Callable[..., Generator[Any, None, None]]


def outcome(path: Path) -> dict[str, Any]:
    """Return all that a training leaves behind, apart from times."""
    info = read_info(path / STATE)
    tensors = checkpoint.load_tensors(path / STATE)
    return {
        "state": {name: tensor.numpy().tobytes() for name, tensor in tensors.items()},
        "info": {name: value for name, value in info.items() if name not in ("seconds", "log_sizes")},
        "metrics": [{n: v for n, v in event.items() if n not in TIMES} for event in read_events(path / METRICS)],
        "samples": read_events(path / SAMPLES),
        "leftovers": sorted(file.name for file in path.rglob(".*")),
        **{name: (path / name).read_bytes() for name in FILES if (path / name).exists()},
    }


def stopped_always(resume: Resume, most: int = 100) -> None:
    """Resume, stopping at each and every first report, until nothing is left to do."""
    for _ in range(most):
        if not stopped_at(resume(), 1):
            return
    raise AssertionError("it never comes to an end")


def killed_somewhere(work: Callable[[], object], seconds: float) -> None:
    """Do the work in a process that is killed after a while."""
    child = os.fork()
    if not child:
        torch.set_num_threads(1)
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def law_of_kills(trained: Callable[..., Path], resume: Resume, folder: Path, kills: int) -> None:
    """Hold a training that is killed again and again to one that is not."""
    began = time.monotonic()
    trained(out=folder / "whole")
    share = (time.monotonic() - began) / (kills + 1)
    out = folder / "killed"
    killed_somewhere(lambda: trained(out=out), 2 * share)
    if not out.exists():
        trained(out=out)
    for _ in range(kills - 1):
        killed_somewhere(lambda: [None for _ in resume(out)], share)
    for _ in resume(out):
        pass
    assert outcome(out) == outcome(folder / "whole")

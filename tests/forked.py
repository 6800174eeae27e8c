"""`python -m MODULE` with torch loaded already: forked from a process that has imported it, and nothing of unroll."""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

LOADED = [
    "numpy", "torch", "torch._dynamo", "torch.distributed.run", "safetensors.torch", "tokenizers", "click",
    "rich.progress", "matplotlib.figure", "sklearn.linear_model",
]  # fmt: skip
"""What takes seconds to load, torch._dynamo for torch's optimizers; what is not installed is left out."""


@cache
def server() -> ForkServerContext:
    """Start the process that is forked; it ends with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    before = dict(os.environ)
    try:  # as each command has it, for OpenMP reads it when torch is loaded
        os.environ["OMP_NUM_THREADS"] = "1"
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _run(program: str, arguments: list[str], cwd: str, environment: dict[str, str], streams: list[Connection]) -> None:
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), number)
        stream.close()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", errors="backslashreplace")
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    forkserver.ensure_running = lambda: None  # What this process starts is forked from the same.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]
    sys.argv = [program, *arguments]
    sys.orig_argv = [sys.executable, *([] if program.endswith(".py") else ["-m"]), *sys.argv]
    try:
        if program.endswith(".py"):
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()


class Process:
    """A module that runs, or a file that ends in `.py`, and writes to two streams: as subprocess.Popen, but forked."""

    def __init__(
        self, program: str, *arguments: str | Path, cwd: Path, environment: Mapping[str, str], streams: Sequence[int]
    ) -> None:
        outputs = [Connection(os.dup(stream), readable=False) for stream in streams]
        given = (program, [*map(str, arguments)], str(cwd), dict(environment), outputs)
        self._process = server().Process(target=_run, args=given)
        self._process.start()
        for output in outputs:
            output.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait, and return the exit code; raises subprocess.TimeoutExpired after so many seconds."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("forked", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forked(Process):
    """One whose output is captured as text; leaving the context kills it."""

    def __init__(
        self, *arguments: str | Path, cwd: Path | None = None, environment: Mapping[str, str], program: str = "unroll"
    ) -> None:
        pipes = [os.pipe() for _ in range(2)]
        super().__init__(
            program, *arguments, cwd=cwd or Path.cwd(), environment=environment, streams=[writer for _, writer in pipes]
        )
        for _, writer in pipes:
            os.close(writer)
        self.stdout, self.stderr = (os.fdopen(reader, encoding="utf-8") for reader, _ in pipes)

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()
        self.wait()
        self.stdout.close()
        self.stderr.close()

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Read all that it writes; it is killed after so many seconds."""
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(self.stderr.read()))
        watch = threading.Timer(timeout, self.kill)
        watch.start()
        reader.start()
        out = self.stdout.read()
        reader.join()
        self.wait()
        watch.cancel()
        return out, errors[0]

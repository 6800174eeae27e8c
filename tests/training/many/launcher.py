"""torchrun, but that its workers are forked with torch loaded; takes what `python -m torch.distributed.run` takes."""

import os
import subprocess
from multiprocessing.connection import Connection
from pathlib import Path

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

import forked


class Worker:
    """As much of subprocess.Popen as torchrun needs, with the streams of the launcher."""

    def __init__(self, args: tuple[str, ...], env: dict[str, str], **_: object) -> None:
        program = next(number for number, part in enumerate(args) if part.endswith(".py"))
        streams = [Connection(os.dup(number), readable=False) for number in (1, 2)]
        self._process = forked.start(*args[program:], cwd=Path.cwd(), environment=env, streams=streams)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        if timeout is not None and self.poll() is None:
            raise subprocess.TimeoutExpired("worker", timeout)
        return self.poll()


if __name__ == "__main__":
    vars(subprocess_handler)["Popen"] = Worker
    run.main()

"""torchrun, but that its workers are forked with torch loaded; takes what `python -m torch.distributed.run` takes."""

from pathlib import Path

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

from forked import Process


def worker(args: tuple[str, ...], env: dict[str, str], **_: object) -> Process:
    """Start `python -u FILE.py …`, in the place of subprocess.Popen, with the streams of the launcher."""
    program = next(number for number, part in enumerate(args) if part.endswith(".py"))
    return Process(*args[program:], cwd=Path.cwd(), environment=env, streams=(1, 2))


if __name__ == "__main__":
    vars(subprocess_handler)["Popen"] = worker
    run.main()

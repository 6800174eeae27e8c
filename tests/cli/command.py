"""The real command, as a process and, where only a refusal is to be seen, in this one."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from forked import Forked

UNROLL = [sys.executable, "-m", "unroll"]
NEED_TORCH = ("train", "longrange", "gradients", "cells", "ablate", "attribute", "patch", "memory", "export")
QUICK = ("--set", "hidden_size=32", "--set", "embedding_size=16", "--set", "sample_length=40", "--device", "cpu")
"""A training of which each step takes a millisecond."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(**changes: str) -> dict[str, str]:
    """Return an environment for the command: one thread, and nothing of what a calling command has noted."""
    ours = {name for name in os.environ if name.startswith(("UNROLL_", "OMP_"))} - {
        "UNROLL_INSTRUCTIONS",
        "UNROLL_KERNEL",
    }
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"OMP_NUM_THREADS": "1"} | changes


def forked(*arguments: str | Path, cwd: Path | None = None) -> Forked:
    """Start the command with torch loaded."""
    return Forked(*arguments, cwd=cwd, environment=environment())


def unroll(*arguments: str | Path, cwd: Path | None = None, **changes: str) -> Done:
    """Run the command to its end; a training need not load torch again."""
    if arguments[0] in NEED_TORCH and not changes:
        with forked(*arguments, cwd=cwd) as process:
            out, err = process.communicate(timeout=120)
            code = process.poll()
            assert code is not None
            return Done(code, out, err)
    result = subprocess.run(
        [*UNROLL, *map(str, arguments)],
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    return Done(result.returncode, result.stdout, result.stderr)


def text(characters: int, seed: int = 0) -> str:
    """Return so many characters of a text that has something to learn."""
    state, words = seed + 1, ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "nothing", "new"]
    parts: list[str] = []
    while sum(map(len, parts)) < characters:
        state = state * 6364136223846793005 + 1442695040888963407 & 2**64 - 1
        parts.append(words[state >> 60 if state >> 60 < 10 else 0] + (".\n" if state >> 40 & 7 == 0 else " "))
    return "".join(parts)[:characters]

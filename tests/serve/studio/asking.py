"""Questions to a studio as its page asks them, and the processes that it starts."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

Ask = Callable[..., httpx.Response]


def until(condition: Callable[[], Any], seconds: float = 300.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError("it did not come")


def trainers(folder: Path) -> list[int]:
    """Return the processes whose command names a folder."""
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                pids.append(int(entry.name))
        except OSError:
            continue
    return pids

"""Reads torchrun's environment: whether this process leads, follows or was started again. No torch.

`torchrun --nproc-per-node 2 -m unroll train …` starts the command twice, each with its own environment.
"""

import os
from pathlib import Path

from unroll.files import Folder

LAUNCH = "resume/launch"
"""File of a model directory that names the launch of torchrun that made it."""


def several() -> bool:
    """Tell whether this process is one of several that train together."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def follows() -> bool:
    """Tell whether this process only follows: it reads and writes nothing, and obeys the first one."""
    return several() and os.environ["RANK"] != "0"


def attempt() -> int:
    """Return how often torchrun has restarted its processes."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def local_rank() -> int:
    """Return the number of this process on its machine."""
    return int(os.environ["LOCAL_RANK"])


def mark(folder: Folder) -> None:
    """Record in a model directory which launch makes it."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        folder.write(LAUNCH, _launch().encode())


def made_before(path: Path) -> bool:
    """Tell whether a model directory was made by this launch, before torchrun restarted its processes.

    One that existed before was not: it is refused the second time as it was the first.
    """
    if attempt() == 0:
        return False
    try:
        return (path / LAUNCH).read_bytes() == _launch().encode()
    except OSError:
        return False


def _launch() -> str:
    """Return what identifies this launch: torchrun's process, and the folder of its logs."""
    return f"{os.getppid()} {os.environ.get('TORCHELASTIC_ERROR_FILE', '').partition('/attempt_')[0]}"

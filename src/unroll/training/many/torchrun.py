"""What torchrun told this process: whether it leads a training of several, follows in one, was started again. No torch.

`torchrun --nproc-per-node 2 -m unroll train …` starts the command twice, and tells each by its environment.
"""

import os
from pathlib import Path

from unroll.files import Folder

LAUNCH = "resume/launch"
"""Of a model directory: which launch of torchrun made it."""


def several() -> bool:
    """Tell whether this process is one of several that train together."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def follows() -> bool:
    """Tell whether this process only follows: it reads and writes nothing, and does what the first one says."""
    return several() and os.environ["RANK"] != "0"


def attempt() -> int:
    """Return how often torchrun has started its processes again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def local_rank() -> int:
    """Return the number of this process on its machine."""
    return int(os.environ["LOCAL_RANK"])


def mark(folder: Folder) -> None:
    """Note in a model directory which launch makes it."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        folder.write(LAUNCH, _launch().encode())


def made_before(path: Path) -> bool:
    """Tell whether a model directory was made by this very launch, before torchrun started its processes again.

    One that was there before is not: it is refused the second time as it was the first.
    """
    if attempt() == 0:
        return False
    try:
        return (path / LAUNCH).read_bytes() == _launch().encode()
    except OSError:
        return False


def _launch() -> str:
    """Return what tells this launch from all others: torchrun's process, and the folder of its logs."""
    return f"{os.getppid()} {os.environ.get('TORCHELASTIC_ERROR_FILE', '').partition('/attempt_')[0]}"

"""A training that a signal stops saves, and a resume finishes it as if it had never stopped."""

import json
import signal
from pathlib import Path

import pytest

from cli.conftest import Here
from tasks.resuming import outcome
from unroll.cli.stopping import Drive
from unroll.progress import Progress
from unroll.training.report import Report


def law_of_signals(here: Here, task: str, arguments: list[str | Path], folder: Path) -> None:
    """Stop `unroll TASK train` with the arguments at step 20 of 30, resume it, and compare it with one not stopped."""
    begun = [task, "train", *arguments, "--steps", "30"]
    take = Drive.take

    def take_and_signal(drive: Drive, report: Progress | Report) -> bool:
        if isinstance(report, Report) and report.step == 20:
            signal.raise_signal(signal.SIGINT)
        return take(drive, report)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(Drive, "take", take_and_signal)
        stopped = here(*begun, "--out", "run")
    assert stopped.code == 130, stopped.err
    assert "step 10/30" in stopped.err and "step 30/30" not in stopped.err and "Traceback" not in stopped.err
    assert f"To resume: unroll {task} train --resume run\n" in stopped.err
    assert json.loads((folder / "run" / "model.json").read_text())["result"] is None
    for more in ([task, "train", "--resume", folder / "run"], [*begun, "--out", folder / "whole"]):
        done = here(*more)
        assert done.code == 0, done.err
    assert outcome(folder / "run") == outcome(folder / "whole")

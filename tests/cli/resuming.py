"""A training that a signal stops saves, and a resume finishes it as if it had never stopped."""

import json
import signal
from pathlib import Path

from cli.command import forked
from cli.test_signals import wait_for
from tasks.resuming import outcome


def law_of_signals(task: str, arguments: list[str | Path], folder: Path) -> None:
    """Stop `unroll TASK train` with the arguments at step 20 of 150, resume it, and compare it with one not stopped."""
    begun = [task, "train", *arguments, "--steps", "150"]
    with forked(*begun, "--out", "run", cwd=folder) as process:
        wait_for(process, "step 20/150")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.poll() == 130, err
    assert f"To resume: unroll {task} train --resume run\n" in err and "Traceback" not in err
    assert json.loads((folder / "run" / "model.json").read_text())["result"] is None
    for more in ([task, "train", "--resume", "run"], [*begun, "--out", "whole"]):
        with forked(*more, cwd=folder) as process:
            _, err = process.communicate(timeout=60)
            assert process.poll() == 0, err
    assert outcome(folder / "run") == outcome(folder / "whole")

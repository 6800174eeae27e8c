"""This process as the command: since when it runs, and how it restarts itself without a child."""

import os
import signal
import time
from typing import TYPE_CHECKING

from unroll.threads import COMMAND_MARK, is_command, wait_passively

if TYPE_CHECKING:
    from pathlib import Path

STARTED_MARK = "UNROLL_COMMAND_STARTED"


def mark() -> None:
    """Note in the environment that this process is the command, and when it began; that outlives an exec."""
    if not is_command():
        os.environ[COMMAND_MARK] = str(os.getpid())
        os.environ[STARTED_MARK] = repr(time.monotonic())


def clean_up_at_signals() -> None:
    """Let SIGTERM and a closed terminal (SIGHUP) interrupt a verb as Ctrl-C does, so that it cleans up.

    Not where they are ignored, as SIGHUP is under `nohup`. What came is noted, for Python can only ignore it in places
    of torch's import.
    """
    _handle((signal.SIG_DFL, signal.default_int_handler), _interrupt)


def end_at_signals() -> None:
    """Let those signals end the process at once: a verb is over, and an exception in Python's own end has no reader."""
    _handle((_interrupt,), signal.SIG_DFL)


def _handle(before: tuple[object, ...], handler: "signal._HANDLER") -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in before:
            signal.signal(number, handler)


ended_by: signal.Signals | None = None
"""What has interrupted this process, if anything did."""


def _interrupt(number: int, frame: object) -> None:
    global ended_by
    ended_by = signal.Signals(number)
    raise KeyboardInterrupt


def began() -> float:
    """Return when the command began, on the clock time.monotonic."""
    return float(os.environ[STARTED_MARK]) if is_command() else time.monotonic()


def restart_as_recorded(folder: "Path") -> None:
    """Start the command again with passive waiting where a recorded training waits so."""
    if "OMP_WAIT_POLICY" in os.environ or not (folder / "recipe.toml").is_file():
        return
    from unroll.settings import read_toml

    training = read_toml(folder / "recipe.toml").get("training")
    if isinstance(training, dict) and training.get("wait_policy") == "passive":
        wait_passively()

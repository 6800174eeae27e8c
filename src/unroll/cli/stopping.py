"""How a training is driven, and stopped: by signals that are heeded between two steps."""

import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from unroll.cli import console
from unroll.files import identity
from unroll.progress import Progress
from unroll.training.many import torchrun

if TYPE_CHECKING:
    from unroll.training.report import Report

DIVERGED = 1
INTERRUPTED = 130
HANGUP = getattr(signal, "SIGHUP", None)


class Stop:
    """Ctrl-C, SIGTERM or SIGHUP: heeded between two steps once there are some; before that, and again, at once."""

    def __init__(self, *, between_steps: bool, wanted: bool = False) -> None:
        self.between_steps = between_steps
        self.wanted = wanted

    def __call__(self, signal_number: int, frame: FrameType | None) -> None:
        """Take note of the signal and say so, or raise KeyboardInterrupt."""
        # A terminal that is closed may say so twice, itself and through its shell.
        again, self.wanted = self.wanted and signal_number != HANGUP, True
        # To several processes the terminal and torchrun may both pass on one Ctrl-C: the second is not heeded then, and
        # torchrun ends what does not end by itself.
        several = torchrun.several()
        if (again and not several) or not self.between_steps:
            # Where Python can only ignore it, as in places of torch's import, what is noted above still stops the run.
            raise KeyboardInterrupt
        if not again:
            console.interject("Stopping after this step" + ("." if several else "; press again to stop at once."))


@contextmanager
def stop_signals(stop: Stop) -> Iterator[Stop]:
    """Let `stop` handle SIGINT, SIGTERM and SIGHUP, but for a SIGHUP that is ignored: that is what `nohup` does."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Drive:
    """A training on its way: what has been reported, to whom it is shown."""

    folder: Path
    stop: Stop
    show: console.Show
    draw: "Callable[[Report], object]"
    record: "Callable[[Report], object]"
    last: str = ""
    """Kind of the last report."""
    phase: str = ""
    earlier: tuple[int, int] | None = None
    """Identity of the model that the training is to replace."""

    def take(self, report: "Progress | Report") -> bool:
        """Show a report; return whether the training is to stop after it."""
        if isinstance(report, Progress):
            if report.phase != self.phase and not console.is_screen(sys.stderr):
                console.note(f"{report.phase} …")
            self.phase = report.phase
            console.draw(report, self.show)
            return False
        self.record(report)
        self.draw(report)
        self.last, self.stop.between_steps = report.kind, True
        if "beside" in report.detail:
            self.earlier = identity(self.folder)
        return self.stop.wanted

    @property
    def stays(self) -> bool:
        """Whether an earlier model is still in its place."""
        return self.earlier is not None and identity(self.folder) == self.earlier


@contextmanager
def driving(
    folder: Path,
    reports: "Generator[Progress | Report, None, None]",
    stop: Stop,
    drawing: "Callable[[console.Show], Callable[[Report], object]]",
    record: "Callable[[Report], object]" = lambda report: None,
) -> Iterator[Drive]:
    """Give what takes the reports of a training, and close that at the end; say so where an earlier model stays."""
    with stop_signals(stop), console.bar() as show, closing(reports):
        show("starting", 0, 1, "")
        drive = Drive(folder, stop, show, drawing(show), record)
        yield drive
    if drive.stays:
        console.note(f"The earlier model in {folder} stays: nothing was kept of this training.")

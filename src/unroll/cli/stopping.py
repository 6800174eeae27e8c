"""How a training is stopped: by signals that are heeded between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from unroll.cli import console
from unroll.training.many import torchrun

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

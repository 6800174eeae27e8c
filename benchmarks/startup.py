"""How long `unroll --help` takes against `python -c pass`: whole processes in turn, medians."""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measure import show


def seconds(command: list[str]) -> float:
    """Return the wall time of one run of a command."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Time both in turn and print the ratio of each pair's median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    told = parser.parse_args()
    unroll = [str(Path(sys.executable).with_name("unroll")), "--help"]
    empty = [sys.executable, "-c", "pass"]
    pairs = [(seconds(unroll), seconds(empty)) for _ in range(told.rounds)][2:]
    show(
        {
            "benchmark": "start of the command",
            "help_seconds": round(statistics.median(p[0] for p in pairs), 4),
            "empty_seconds": round(statistics.median(p[1] for p in pairs), 4),
            "ratio": round(statistics.median(p[0] / p[1] for p in pairs), 2),
        }
    )


if __name__ == "__main__":
    main()

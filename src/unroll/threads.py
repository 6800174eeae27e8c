"""How threads work: how many, by OMP_NUM_THREADS or the number of cores, and how they wait for each other."""

import os
import sys

VARIABLE = "OMP_NUM_THREADS"


def threads_up_to(most: int) -> int:
    """Return the number in OMP_NUM_THREADS, or, where it holds none above 0, the number of cores, up to `most`."""
    value = os.environ.get(VARIABLE, "")
    if value.isdigit() and int(value) > 0:
        return int(value)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(most, cores)


def threads_are_set() -> bool:
    """Return whether OMP_NUM_THREADS is set, to whatever: then no other number of threads is tried."""
    return VARIABLE in os.environ


COMMAND_MARK = "UNROLL_COMMAND_PID"
"""Environment variable with the process id of the command: that process is unroll and may start itself again."""


def is_command() -> bool:
    """Return whether this process is the command, which may restart itself, and not a program that imports unroll."""
    return os.environ.get(COMMAND_MARK) == str(os.getpid())


def wait_passively() -> None:
    """Start the command again with OMP_WAIT_POLICY=passive, which OpenMP reads when torch is loaded.

    Does nothing in a program that imports unroll: that is not ours to restart.
    """
    if is_command():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"OMP_WAIT_POLICY": "passive"})

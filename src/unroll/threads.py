"""How many threads may work: what the environment variable OMP_NUM_THREADS says, or as many as there are cores."""

import os

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

"""What torch and the C library hold for the whole process: freed memory, threads and random numbers."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def keep_memory() -> None:
    """Ask the C library to keep freed memory for the next step.

    A step's large tensors would otherwise go back to the system each time and come back as pages to be zeroed.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        set_option(-4, 0)  # M_MMAP_MAX


@contextmanager
def unchanged_torch() -> Iterator[None]:
    """Put back torch's random numbers of the CPU and its threads at the end: the process belongs to someone else."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_num_threads(threads)

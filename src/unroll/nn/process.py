"""What torch and the libraries below it hold for the process: freed memory, kernels, threads and random numbers."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

KERNELS = 64
"""Kernels of oneDNN that are kept for the next step, each for tensors of one shape."""


def keep_memory() -> None:
    """Ask the C library to keep freed memory for the next step, and oneDNN to keep few kernels.

    A step's large tensors would otherwise go back to the system each time and come back as pages to be zeroed. And of
    its 1024 kernels oneDNN keeps buffers, gigabytes where the batches of a training have many shapes. It counts them
    from its first kernel on, so this comes before any step.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
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


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: torch's decompositions of matrices round otherwise with several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

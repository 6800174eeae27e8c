"""The one protocol of long work: a generator that yields how far it has come and returns its result."""

from collections.abc import Callable, Generator
from typing import NamedTuple, TypeVar

P = TypeVar("P")
T = TypeVar("T")


class Progress(NamedTuple):
    """How far a phase of long work has come: `done` of `total`, counted in `unit`."""

    phase: str
    done: int
    total: int
    unit: str = ""
    """A plural noun, as `bytes` or `symbols`; empty where the numbers say nothing to a person."""


Work = Generator[Progress, None, T]
"""Long work with a result of type T: `yield from` it, or drive it to its `result`."""


def result(work: Generator[P, None, T], show: Callable[[P], object] = lambda progress: None) -> T:
    """Do the work to its end, passing its reports to `show`, and return its result."""
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            value: T = end.value
            return value
        show(progress)


def mapped(work: Generator[P, None, T], progress: Callable[[P], Progress]) -> Work[T]:
    """Do the work, with its reports turned into `progress`; returns its result."""
    while True:
        try:
            report = next(work)
        except StopIteration as end:
            value: T = end.value
            return value
        yield progress(report)


def renamed(work: Work[T], phase: str) -> Work[T]:
    """Do the work as another phase; returns its result."""
    return mapped(work, lambda progress: progress._replace(phase=phase))

"""Reading the files of a directory as they were at one moment, while others replace them.

Two things can go wrong. The name of the directory may lead to another one between two files: so it is opened once, and
all files are looked up in what was opened. And files in it may be replaced: so their stamps are compared before and
after. A stamp holds the time of the last change of the inode, which nobody can set: a file that was moved away and
back has another, even with the inode, the size and the time of writing that it had.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from unroll.artifact.directory import WEIGHTS
from unroll.errors import UserError

T = TypeVar("T")

Stamp = tuple[tuple[int, int, int, int, int], ...]
"""Of each file the device, the inode, the size, and the times of its last writing and its last change in ns."""

FILES = ("model.json", "tokenizer.json", WEIGHTS)
"""Files that a model is read from."""
OPTIONAL = ("tokenizer.json",)
"""Those that only models of texts have."""
TICK_SECONDS = 0.02
"""More than a tick of the clock that dates changes of files (1 to 10 ms): two changes within one tick look like one."""


class Changed(Exception):
    """The files were replaced while they were read."""


@contextmanager
def pinned(path: Path) -> Iterator[Path]:
    """Give a path to the directory that `path` names now, which stays valid whatever becomes of the name.

    Without /proc it is the resolved path, which at least follows no changed link. UserErrors raised inside name `path`.
    """
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield path  # reading it raises the error
        return
    try:
        folder = Path(f"/proc/self/fd/{directory}")
        if not folder.is_dir():
            folder = path.resolve()
        try:
            yield folder
        except UserError as error:
            error.what, error.allowed, error.fix = (
                part.replace(str(folder), str(path)) for part in (error.what, error.allowed, error.fix)
            )
            raise
    finally:
        os.close(directory)


def stamp_of(path: Path, files: tuple[str, ...] = FILES, *, settled: bool = False) -> Stamp | None:
    """Return a stamp that differs when files in a directory were replaced; None where one is missing that must not.

    With `settled` a change younger than a tick is waited for, as the next one might have the same time.
    """
    stamp = []
    for name in files:
        try:
            stat = (path / name).stat()
        except OSError:
            if name not in OPTIONAL:
                return None
            stamp.append((0, 0, 0, 0, 0))
            continue
        stamp.append((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    if settled and max(changed for *_, changed in stamp) > time.time_ns() - TICK_SECONDS * 1e9:
        time.sleep(TICK_SECONDS)
        return stamp_of(path, files)
    return tuple(stamp)


def written_at(stamp: Stamp) -> int:
    """Return when the last of the files was written, in seconds since 1970."""
    return stamp[-1][3] // 10**9


def unchanged(path: Path, stamp: Stamp | None, work: Callable[[], T], files: tuple[str, ...] = FILES) -> T:
    """Return the result of `work`; raises Changed unless the files have this stamp before and after.

    Errors about files that changed are dropped: half of the files are another model's.
    """
    if stamp != stamp_of(path, files):
        raise Changed
    try:
        result = work()
    except Exception:
        if stamp != stamp_of(path, files):
            raise Changed from None
        raise
    if stamp != stamp_of(path, files):
        raise Changed
    return result


def flush(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk, so that they survive a loss of power."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

"""Paths and files: written so that a kill leaves the old one or the new one, in a folder held open; JSON, checked."""

import errno
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, overload

from unroll.errors import MachineError, UserError

MAX_JSON_BYTES = 256 * 2**20

StrPath = str | os.PathLike[str]
"""A path as a caller may write it."""
Files = StrPath | Sequence[StrPath]
"""One file or several, in order."""


def as_paths(files: Files | None) -> list[Path]:
    """Return one file or several as paths, none as an empty list."""
    if files is None:
        return []
    return [as_path(files)] if isinstance(files, str | os.PathLike) else list(map(as_path, files))


@overload
def as_path(file: StrPath) -> Path: ...
@overload
def as_path(file: None) -> None: ...
@overload
def as_path(file: StrPath | None) -> Path | None: ...
def as_path(file: StrPath | None) -> Path | None:
    """Return a path as one of pathlib's; what is one stays, since a TextPath says more than where. None stays None."""
    return file if file is None or isinstance(file, Path) else Path(file)


MACHINE_ERRORS = {
    errno.ENOSPC: ("no space left on the disk", "a disk with enough space", "free some, or choose another place"),
    errno.EDQUOT: ("the disk quota is used up", "files within it", "remove some files, or choose another place"),
    errno.EFBIG: ("the file exceeds the size limit", "files within it", "raise the limit (`ulimit -f`)"),
    errno.EIO: ("the disk reports an error", "a disk that works", "look at the system log, or choose another disk"),
    errno.EROFS: ("the file system is read-only", "a place you may write to", "choose another place"),
    errno.EMFILE: ("too many files are open", "open files within the limit", "raise the limit (`ulimit -n`)"),
    errno.ENFILE: ("too many files are open on this machine", "open files within the limit", "end other programs"),
    errno.ENOMEM: ("the memory is used up", "enough free memory", "end other programs"),
    errno.EPIPE: ("its reader has gone away", "a pipe that is read to its end", "let its reader read all of it"),
    errno.ESTALE: ("its server no longer knows it", "a file system that is there", "mount it again"),
}
"""What the machine refuses, and the advice for it."""
USER_ERRORS = {
    errno.EACCES: ("a folder you may write to", "choose another place, or change its permissions"),
    errno.EPERM: ("a folder you may write to", "choose another place, or change its permissions"),
    errno.ENOENT: ("a path in a folder that exists", "make the folder first, or check the path"),
    errno.ENOTDIR: ("a path through existing folders", "check the path"),
    errno.EISDIR: ("the name of a file", "add a file name to the path"),
    errno.EEXIST: ("an unused name", "choose another name, or remove what is there"),
    errno.ENOTEMPTY: ("an unused name", "choose another name, or remove what is there"),
    errno.ENAMETOOLONG: ("a shorter name", "choose a shorter name"),
    errno.ELOOP: ("links that lead somewhere", "remove the link"),
    errno.EBUSY: ("a folder in which nothing is mounted", "choose another name"),
    errno.EXDEV: ("a folder on the disk of the one that it is in", "choose another name"),
}
"""What a path may be where the system refuses one, and the advice for it."""

_STREAM = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into UserErrors with advice for each."""
    try:
        yield
    except OSError as error:
        raise explanation(path, error) from None


def explanation(path: Path, error: OSError) -> UserError:
    """Return the UserError for a refusal of the operating system to write `path`."""
    if error.errno in MACHINE_ERRORS:
        what, allowed, fix = MACHINE_ERRORS[error.errno]
        return MachineError(f"cannot write {path}: {what}", allowed=allowed, fix=fix)
    allowed, fix = USER_ERRORS.get(error.errno or 0, ("a path that can be written", "check the path"))
    return UserError(f"cannot write {path}: {error.strerror or error}", allowed=allowed, fix=fix)


def unreadable(path: Path, error: OSError, fix: str = "check the path and its permissions") -> UserError:
    """Return the UserError for a refusal of the operating system to read `path`."""
    if error.errno in MACHINE_ERRORS:
        what, allowed, advice = MACHINE_ERRORS[error.errno]
        return MachineError(f"cannot read {path}: {what}", allowed=allowed, fix=advice)
    return UserError(f"cannot read {path}: {error.strerror or error}", allowed="a file that you may read", fix=fix)


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` in place of `path`, as `replacing` does."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that replaces `path` once all is written and flushed to the disk; on an error `path` stays.

    A link is followed and stays; a file that exists keeps its mode. What is no regular file (a pipe, a device, a
    stream of this process such as /dev/stdout) is written directly. Raises UserError.
    """
    with explained(path):
        if (direct := _open_directly(path)) is not None:
            with direct:
                yield direct
            return
        target = Path(os.path.realpath(path))
        beside = target.with_name(f".{target.name[:60]}.{os.getpid()}.tmp")
        try:
            with open(beside, "wb") as file:
                with suppress(FileNotFoundError, PermissionError):
                    os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, target)
        except BaseException:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise


def is_regular(file: BinaryIO) -> bool:
    """Return whether what is being written is a regular file, and no pipe or device."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def reserve(file: BinaryIO, size: int) -> None:
    """Reserve `size` bytes for a regular file, so that a full disk is reported before it is written. Raises OSError."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # of file systems that cannot
                raise


def _open_directly(path: Path) -> BinaryIO | None:
    """Return what is no regular file, opened for writing; None for a regular file or an unused name."""
    if (number := stream_number(path)) is not None:
        if number == 1 and sys.stdout is not None:
            sys.stdout.flush()  # what was printed comes first
        return os.fdopen(os.dup(number), "wb")
    refuse_folder(path)
    if not path.exists() or path.is_file():
        return None
    return open(path, "wb")


def stream_number(path: Path) -> int | None:
    """Return the number of the stream of this process that a path stands for, as /dev/stdout is 1; None of others."""
    place = os.path.abspath(path)
    for _ in range(40):  # links are followed one by one: the last of /dev/stdout leads to a name that may not exist
        if (number := _STREAMS.get(place)) is not None:
            return number
        if stream := _STREAM.fullmatch(place):
            return int(stream[1])
        if not os.path.islink(place):
            return None
        place = os.path.normpath(os.path.join(os.path.dirname(place), os.readlink(place)))
    return None


def refuse_folder(path: Path) -> None:
    """Raise UserError where a path for a file is that of a folder, as an empty one is."""
    if path.is_dir():
        raise UserError(
            f"{path} is a folder",
            allowed="the name of a file",
            fix=f"add a file name to it{EMPTY if path in UNNAMED else ''}",
        )


def refuse_input(out: Path | None, *inputs: Path | None) -> None:
    """Raise UserError where a file to be written is one of the inputs, also through a link."""
    if out is None or (output := identity(out)) is None or not out.is_file():
        return
    for path in inputs:
        if path is not None and identity(path) == output:
            raise UserError(
                f"{out} is the input {path} itself",
                allowed="an output that is not an input",
                fix="choose another name",
            )


UNNAMED = (Path("."), Path("/"))
EMPTY = "; an empty path, as an unset variable gives it, is the folder you are in"


def real_folder(path: Path) -> Path:
    """Return a path whose last part is a name of its own, not a link, `.` or `..`: so that it can be renamed.

    A link's target is returned, for the link is to stay. Raises UserError for the root folder, for a name that leaves
    no room for what is put before and behind it while a folder is made, and where the path cannot be followed.
    """
    with explained(path):
        if path.name in ("", "..") or path.is_symlink():
            path = Path(os.path.realpath(path, strict=False))
            if path.is_symlink():
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not path.name:
            raise UserError(f"{path} is the root folder", allowed="the path of a folder in it", fix="name another")
        with suppress(FileNotFoundError):
            os.lstat(path.with_name(f".{path.name}.replaced"))
    return path


class FolderLost(UserError):
    """A folder that is written to was removed, moved or replaced."""


class Folder:
    """A folder held open while it is written to: nothing goes into another folder that has taken its name.

    Its path is resolved once, when it is opened; from then on the folder itself is written to, wherever it is. A write
    raises FolderLost where the path leads to it no longer.
    """

    def __init__(self, path: Path, shown: Path | None = None) -> None:
        """Open the folder at `path`; `shown` is the name that messages give it, where it is to be renamed."""
        self.path = path
        self.shown = shown or path
        with explained(self.shown):
            self._number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._number)

    def check(self) -> None:
        """Raise FolderLost where its path leads to it no longer."""
        if self.is_here():
            return
        what = "was moved away" if self.exists else "was removed"
        other = ", and what lies there now is another" if os.path.lexists(self.path) else ""
        raise FolderLost(
            f"{self.shown} {what} while it was being written{other}",
            allowed="a folder that stays where it is until the work is done",
            fix="move it back, or begin again under another name; nothing was written to another folder",
        )

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode, as `identity()` gives them."""
        status = os.fstat(self._number)
        return status.st_dev, status.st_ino

    def is_here(self) -> bool:
        """Return whether its path leads to it."""
        return identity(self.path) == self.identity

    @property
    def exists(self) -> bool:
        """Whether the folder still exists, under whatever name."""
        return os.fstat(self._number).st_nlink > 0

    def write(self, name: str, data: bytes) -> None:
        """Write the file `name` (which may lie in a folder below) atomically; raises FolderLost, after writing it.

        A folder that was only moved is so left with all that belongs into it.
        """
        below, _, last = name.rpartition("/")
        beside = f"{below}/.{last}.{os.getpid()}.tmp".lstrip("/")
        try:
            with explained(self.shown / name):
                try:
                    with open(beside, "wb", opener=self._open) as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                    os.replace(beside, name, src_dir_fd=self._number, dst_dir_fd=self._number)
                except BaseException:
                    with suppress(OSError):
                        os.unlink(beside, dir_fd=self._number)
                    raise
        finally:
            self.check()  # its error says more than that of the system

    def remove(self) -> None:
        """Remove the folder with all that is in it, if its path still leads to it."""
        with suppress(FolderLost):
            self.check()
            shutil.rmtree(self.path, ignore_errors=True)

    def make_folder(self, name: str) -> None:
        """Make the folder `name` in it, where there is none."""
        with explained(self.shown / name), suppress(FileExistsError):
            os.mkdir(name, dir_fd=self._number)

    def append_to(self, name: str) -> BinaryIO:
        """Open the file `name` to append to it, unbuffered: what a full disk refuses is not tried again later."""
        self.check()
        with explained(self.shown / name):
            return open(name, "ab", buffering=0, opener=self._open)

    def _open(self, name: str, flags: int) -> int:
        return os.open(name, flags, 0o666, dir_fd=self._number)


def write_into(folder: Path | Folder, name: str, data: bytes) -> None:
    """Write the file `name` of a folder atomically."""
    if isinstance(folder, Folder):
        folder.write(name, data)
    else:
        write_atomically(folder / name, data)


def identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file or folder; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file that holds `what`; raises UserError when it is missing, too large or damaged."""
    try:
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise UserError(f"{path} has {size:,} bytes", allowed=f"{what} of at most {MAX_JSON_BYTES:,} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing = f"there is no {what.removeprefix('a ')} at {path}"
        raise UserError(missing, allowed=what, fix="check the path") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}", allowed=what, fix="restore it or train again") from None


def printable_name(path: Path) -> str:
    """Return the name of a file for JSON, TOML and tables: what is no UTF-8, or controls a terminal, is an escape.

    File systems allow any bytes but `/` and NUL: `caf\\xe9.txt` stands for a name of an old archive.
    """

    def escaped(letter: str) -> str:
        controls = ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 or letter in "\u2028\u2029"
        return ascii(letter)[1:-1] if controls else letter

    return "".join(map(escaped, os.fsencode(path.name).decode("utf-8", "backslashreplace")))

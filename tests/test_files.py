"""Files: links, modes, pipes and devices; advice for each error; a folder that is no longer the one being written."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from unroll.errors import MachineError, UserError
from unroll.files import (
    Folder,
    FolderLost,
    explanation,
    identity,
    is_regular,
    real_folder,
    replacing,
    reserve,
    write_atomically,
    write_into,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- one file


def test_a_new_file_and_a_replaced_one(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444, 0o755])
def test_a_file_keeps_its_mode(mode: int, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")
    file.chmod(mode)
    write_atomically(file, b"after")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"after", mode)


def test_a_new_file_has_the_mode_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_atomically(tmp_path / "file", b"x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("there", [True, False], ids=["target", "dangling"])
def test_a_link_stays_and_its_target_is_written(there: bool, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "target"
    if there:
        target.write_bytes(b"before")
    (tmp_path / "second").symlink_to("elsewhere/target")
    (tmp_path / "link").symlink_to("second")
    write_atomically(tmp_path / "link", b"after")
    assert os.readlink(tmp_path / "link") == "second" and target.read_bytes() == b"after" and not target.is_symlink()
    assert names(tmp_path / "elsewhere") == ["target"]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    parts: list[bytes] = []
    reader = threading.Thread(target=lambda: parts.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"x" * 100_000)
    reader.join(20)
    assert parts == [b"x" * 100_000] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_into(tmp_path: Path) -> None:
    """The node is of our own folder: what fails here must not remove the system's."""
    node = tmp_path / "null"
    try:
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        node.write_bytes(b"")
    except PermissionError:
        pytest.skip("only root makes devices, and not everywhere")
    (tmp_path / "link").symlink_to("null")
    for path in (node, tmp_path / "link"):
        write_atomically(path, b"gone")
        assert stat.S_ISCHR(node.stat().st_mode)
    assert names(tmp_path) == ["link", "null"]


OUTPUT = """
import sys
from pathlib import Path
from unroll.files import write_atomically
print("printed before")
write_atomically(Path(sys.argv[1]), b"written\\n")
print("printed after")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("target", ["file", "pipe"])
def test_a_stream_of_the_process_is_written_in_order(name: str, target: str, tmp_path: Path) -> None:
    """Also where it is a file: what was in it, and what comes later, stays."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    file = tmp_path / "out"
    file.write_bytes(b"there\n")
    with open(file, "ab") as out:
        command = [sys.executable, "-c", OUTPUT, name]
        process = subprocess.run(command, cwd=tmp_path, stdout=out if target == "file" else subprocess.PIPE, check=True)
    output = file.read_bytes().removeprefix(b"there\n") if target == "file" else process.stdout
    assert output == b"printed before\nwritten\nprinted after\n"


@pytest.mark.parametrize("name", ["", ".", "./", "/", "..", "folder"])
def test_a_folder_is_no_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is a folder") as refusal:
        write_atomically(Path(name), b"x")
    assert refusal.value.allowed and "file name" in refusal.value.fix
    assert ("unset variable" in refusal.value.fix) == (name not in ("..", "folder"))
    assert names(tmp_path) == ["folder"]


def test_what_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")
    with pytest.raises(RuntimeError, match="halfway"), replacing(file) as output:
        output.write(b"after")
        raise RuntimeError("halfway")
    assert file.read_bytes() == b"before" and names(tmp_path) == ["file"]


def test_a_long_name_can_be_replaced(tmp_path: Path) -> None:
    file = tmp_path / ("ü" * 127)  # 254 bytes of the 255 that there may be
    write_atomically(file, b"x")
    assert file.read_bytes() == b"x"


MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE)
USER = (errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ENXIO)
CODES = dict.fromkeys(MACHINE, 1) | dict.fromkeys(USER, 2)


def test_each_error_has_its_own_advice() -> None:
    advice = set()
    for number, code in CODES.items():
        error = explanation(Path("a/b"), OSError(number, os.strerror(number)))
        assert "a/b" in error.what and error.allowed and error.fix
        assert (error.exit_code, isinstance(error, MachineError)) == (code, code == 1), os.strerror(number)
        advice.add((error.allowed, error.fix))
    assert len(advice) == len(CODES)


def test_room_is_reserved(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        reserve(file, 5000)
        assert is_regular(file) and os.fstat(file.fileno()).st_size == 5000
    source, write = os.pipe()
    with open(source, "rb"), open(write, "wb") as pipe:
        assert not is_regular(pipe)


# ---- a folder


def test_a_path_is_made_one_that_can_be_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    (tmp_path / "dangling").symlink_to("a/new")
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert real_folder(Path("")) == real_folder(Path(".")) == tmp_path / "a" / "b"
    assert real_folder(Path("..")) == tmp_path / "a"
    assert real_folder(Path("x/y")) == Path("x/y")
    assert real_folder(tmp_path / "link") == tmp_path / "a" / "b"
    assert real_folder(tmp_path / "dangling") == tmp_path / "a" / "new"
    with pytest.raises(UserError, match="is the root folder"):
        real_folder(Path("/"))


def test_a_folder_is_written_into(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    folder = Folder(tmp_path)
    folder.write("file", b"1")
    folder.write("below/file", b"2")
    with folder.append_to("log") as log:
        log.write(b"3")
    write_into(folder, "file", b"4")
    write_into(tmp_path, "other", b"5")
    contents = {name: (tmp_path / name).read_bytes() for name in ("file", "below/file", "log", "other")}
    assert contents == {"file": b"4", "below/file": b"2", "log": b"3", "other": b"5"}
    assert names(tmp_path) == ["below", "file", "log", "other"] and names(tmp_path / "below") == ["file"]
    folder.close()


@pytest.mark.parametrize("change", ["moved", "removed", "replaced", "replaced by a file", "moved and replaced"])
def test_a_folder_that_was_taken_away_is_noticed_and_its_successor_left_alone(change: str, tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "model", tmp_path / "away"
    path.mkdir()
    folder = Folder(path)
    folder.write("file", b"ours")
    if "moved" in change:
        path.rename(elsewhere)
    else:
        (path / "file").unlink()
        path.rmdir()
    if change == "replaced by a file":
        path.write_bytes(b"theirs")
    elif "replaced" in change:
        path.mkdir()
        (path / "file").write_bytes(b"theirs")
    before = sorted((file, file.read_bytes()) for file in path.rglob("*") if file.is_file()) if path.is_dir() else []
    for action in (folder.check, lambda: folder.write("file", b"later"), lambda: folder.append_to("log")):
        with pytest.raises(FolderLost, match="moved" if "moved" in change else "removed") as error:
            action()
        assert error.value.allowed and error.value.fix
        assert ("is another" in error.value.what) == ("replaced" in change)
    folder.remove()
    after = sorted((file, file.read_bytes()) for file in path.rglob("*") if file.is_file()) if path.is_dir() else []
    assert after == before
    assert folder.exists == ("moved" in change)
    if "moved" in change:  # what was to be written when it was noticed is not lost
        assert (elsewhere / "file").read_bytes() == b"later" and names(elsewhere) == ["file"]
    folder.close()


def test_a_folder_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "model"
    (path / "below").mkdir(parents=True)
    folder = Folder(path)
    folder.write("below/file", b"x")
    assert identity(path) is not None
    folder.remove()
    assert not path.exists() and not folder.exists and identity(path) is None
    folder.close()

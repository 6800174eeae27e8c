"""What becomes of a verb whose output cannot be written: full disks, closed streams, folders, links and pipes."""

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from cli.command import QUICK, UNROLL, environment, text
from cli.conftest import Here, Refused, Trained

FULL = Path("/dev/full")
full_device = pytest.mark.skipif(not FULL.exists(), reason="no device here that is always full")

READERS = {
    "info": ("info", "M"),
    "info --json": ("info", "M", "--json"),
    "help": ("--help",),
    "help of a verb": ("sample", "--help"),
    "next": ("next", "M", "the"),
    "sample": ("sample", "M", "--length", "9"),
    "score": ("score", "M", "the cat"),
    "score --tsv": ("score", "M", "--file", "T", "--tsv"),
    "rescore": ("rescore", "M", "N"),
    "pairs": ("pairs", "M", "P"),
    "similar": ("similar", "M", "--symbol", "a"),
    "evolution": ("evolution", "M"),
}


def shell(line: str, *arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command with what a shell does to its streams; `$@` stands for it."""
    command = ["sh", "-c", line, "sh", *UNROLL, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120)


@pytest.fixture
def arguments(trained: Trained, tmp_path: Path) -> dict[str, list[str]]:
    """Return the verbs that print results, on a small model and files."""
    (tmp_path / "T").write_text(text(300))
    (tmp_path / "N").write_text("0 ||| the cat ||| -1.0\n0 ||| a mat ||| -2.0\n")
    (tmp_path / "P").write_text("the cat sat\tsat the cat\n")
    files = {"M": trained.path} | {name: tmp_path / name for name in "TNP"}
    return {name: [str(files.get(part, part)) for part in verb] for name, verb in READERS.items()}


@full_device
@pytest.mark.parametrize("name", READERS)
def test_a_result_that_cannot_be_written_is_one_message(
    name: str, here: Here, arguments: dict[str, list[str]], tmp_path: Path
) -> None:
    for line, fragment in (('exec "$@" >/dev/full', "no space left"), ('exec "$@" >&-', "it is closed")):
        result = shell(line, *arguments[name], cwd=tmp_path)
        assert result.returncode == 1, result.stderr
        assert result.stderr.count("unroll: ") == 1 and f"cannot write to standard output: {fragment}" in result.stderr
        assert "\n  allowed: " in result.stderr and "\n  fix: " in result.stderr
        assert "Traceback" not in result.stderr and "Exception" not in result.stderr
    assert here(*arguments[name]).code == 0


@full_device
@pytest.mark.parametrize("line", ["2>/dev/full", "2>&-", "<&- >&- 2>&-"])
def test_a_training_needs_no_progress_to_be_seen(line: str, trained: Trained, tmp_path: Path) -> None:
    steps = ("--steps", "40", *QUICK, "--out", "run")
    result = shell(f'exec "$@" {line}', "train", trained.text, *steps, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    for name in ("weights.safetensors", "model.json"):  # no file took the place of a stream, and got what was for it
        assert (tmp_path / "run" / name).read_bytes() == (trained.path / name).read_bytes()


@full_device
def test_a_training_whose_result_cannot_be_written_is_finished(trained: Trained, tmp_path: Path) -> None:
    steps = ("--steps", "5", *QUICK, "--out", "run", "--json")
    result = shell('exec "$@" >/dev/full', "train", trained.text, *steps, cwd=tmp_path)
    assert result.returncode == 1 and "cannot write to standard output" in result.stderr
    assert json.loads((tmp_path / "run" / "model.json").read_text())["result"]["steps"] == 5


# ---- where it is written

OUTPUTS = {
    "rescore": ("rescore", "M", "N", "--out"),
    "items": ("pairs", "M", "P", "--items"),
    "state": ("score", "M", "the cat", "--save-state"),
    "html": ("trace", "M", "the cat", "--unit", "0:1", "--html"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_folder_is_no_file_to_write(
    name: str, refused: Refused, trained: Trained, arguments: dict[str, list[str]], tmp_path: Path
) -> None:
    files = {"M": trained.path} | {letter: tmp_path / letter for letter in "TNP"}
    command = [files.get(part, part) for part in OUTPUTS[name]]
    before = sorted(tmp_path.rglob("*"))
    for path in ("", ".", "./", "/", str(tmp_path)):
        assert "is a folder" in refused(*command, path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", OUTPUTS)
def test_pipes_links_and_modes_stay_what_they_are(
    name: str, here: Here, trained: Trained, arguments: dict[str, list[str]], tmp_path: Path
) -> None:
    files = {"M": trained.path} | {letter: tmp_path / letter for letter in "TNP"}
    command = [str(files.get(part, part)) for part in OUTPUTS[name]]
    plain, link, pipe = tmp_path / "plain", tmp_path / "link", tmp_path / "pipe"
    plain.write_bytes(b"before")
    plain.chmod(0o600)
    link.symlink_to("plain")
    assert here(*command, link).code == 0
    written = plain.read_bytes()
    assert link.is_symlink() and plain.stat().st_mode & 0o777 == 0o600 and written != b"before"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    assert here(*command, pipe).code == 0
    reader.join(30)
    assert read == [written] and pipe.is_fifo()
    result = subprocess.run([*UNROLL, *command, "/dev/stdout"], cwd=tmp_path, env=environment(), capture_output=True)
    assert result.returncode == 0 and written in result.stdout


@pytest.mark.parametrize("verb", [("train", "--steps", "3", *QUICK), ("ngram", "--order", "2")], ids=["train", "ngram"])
def test_an_empty_path_is_where_one_is(
    verb: tuple[str, ...], refused: Refused, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", "./", ".."):
        message = refused(verb[0], book, *verb[1:], "--out", path)
        assert "exists and is not a model" in message and ("unset variable" in message) == (path != "..")
    assert "is the root folder" in refused(verb[0], book, *verb[1:], "--out", "/")
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]


@full_device
def test_a_file_size_limit_leaves_the_earlier_model(here: Here, trained: Trained, tmp_path: Path) -> None:
    """The limit is below the size of a checkpoint with the optimizer's moments, above that of the first one."""
    run = tmp_path / "run"
    settings = ("--set", "hidden_size=64", "--set", "save_every=10")
    train = ("train", trained.text, "--out", run, "--steps", "30", *settings)
    assert here(*train).code == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    size = (run / "resume" / "state.safetensors").stat().st_size
    limit = f'ulimit -f {size * 3 // 4 // 512}; exec "$@"'
    result = shell(limit, *train, "--force", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert (
        "exceeds the size limit" in result.stderr and "ulimit -f" in result.stderr and "Traceback" not in result.stderr
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_read_is_not_written(refused: Refused, trained: Trained, tmp_path: Path) -> None:
    """Also by a link: the list, the pairs or the text would be lost."""
    contents = {
        "list": "0 ||| the cat ||| -1.0\n",
        "pairs.tsv": "the cat sat\tsat the cat\n",
        "lines.npy": text(300),
        "text.npz": text(300),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        (tmp_path / f"link-{name}").symlink_to(name)
    model = trained.path
    for prefix in ("", "link-"):
        files = {name: tmp_path / f"{prefix}{name}" for name in contents}
        commands = [
            ("rescore", model, tmp_path / "list", "--best", "--out", files["list"]),
            ("rescore", model, tmp_path / "pairs.tsv", "--tune", tmp_path / "list", "--out", files["list"]),
            ("pairs", model, tmp_path / "pairs.tsv", "--items", files["pairs.tsv"]),
            ("embed", model, tmp_path / "lines.npy", "--out", files["lines.npy"]),
            ("trace", model, "--file", tmp_path / "text.npz", "--out", files["text.npz"]),
            ("trace", model, "--file", tmp_path / "list", "--unit", "0:1", "--html", files["list"]),
            ("score", model, "--file", tmp_path / "list", "--save-state", files["list"]),
        ]
        for command in commands:
            assert "is the input" in refused(*command), command
    assert all((tmp_path / name).read_text() == content for name, content in contents.items())


def test_a_list_on_standard_output_is_the_list_alone(
    trained: Trained, arguments: dict[str, list[str]], tmp_path: Path
) -> None:
    plain = shell('exec "$@"', *arguments["rescore"], cwd=tmp_path)
    named = shell('exec "$@"', *arguments["rescore"], "--out", "/dev/stdout", cwd=tmp_path)
    assert named.stdout == plain.stdout and "changed" in named.stderr


def test_a_command_to_go_on_with_can_be_pasted(book: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 '1'.txt")
    book.rename(tmp_path / name)
    result = shell('exec "$@"', "ngram", tmp_path / name, "--order", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    command = next(line for line in result.stderr.splitlines() if line.startswith("next")).split("unroll ", 1)[1]
    run = subprocess.run(
        ["bash", "-c", f'"$0" -m unroll {command} --length 5', UNROLL[0]], cwd=tmp_path, env=environment(), timeout=60
    )
    assert run.returncode == 0, command

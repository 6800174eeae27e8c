"""`unroll ngram` by the real command: a text, its n-gram, what the other verbs make of it, and what is refused."""

import json
import math
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cli.command import UNROLL, environment, text, unroll
from cli.conftest import Here, Refused, Trained
from cli.test_start import loaded


@pytest.fixture(scope="session")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a text and, by the command, a 6-gram of its characters."""
    folder = tmp_path_factory.mktemp("counted")
    (folder / "book.txt").write_text(text(20_000), encoding="utf-8")
    result = unroll("ngram", "book.txt", "--order", "6", "--split", "80/10/10", "--json", cwd=folder)
    assert result.code == 0, result.err
    (folder / "said.json").write_text(result.out)
    return folder


def test_it_ends_with_one_object_that_says_it_all(counted: Path, here: Here) -> None:
    result = json.loads((counted / "said.json").read_text())
    assert result["out"] == "runs/book-6gram"
    assert (result["arch"], result["order"], result["level"]) == ("ngram", 6, "char")
    assert result["parameters"] > result["vocab_size"] > 10
    assert result["tokens"] == result["tokens_seen"] == result["parts"]["train"]["tokens"] == 16_000
    assert 0 < result["seconds"] == result["train_seconds"]
    assert 0 < result["valid_nats_per_token"] < 1
    assert 0 < result["test_nats_per_token"] < 1
    assert result["valid_bits_per_char"] == pytest.approx(result["valid_nats_per_token"] / math.log(2))
    description = json.loads(here("info", counted / "runs" / "book-6gram", "--json").out)
    assert {name: value for name, value in result.items() if name not in ("out", "path", "tokens", "seconds")} == {
        name: value for name, value in description.items() if name != "path"
    }


def test_without_a_terminal_it_prints_plain_lines(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(text(3000))
    result = unroll("ngram", "book.txt", "--order", "3", "--level", "word", "--valid", "book.txt", cwd=tmp_path)
    assert (result.code, result.out) == (0, ""), result.err
    assert "\x1b" not in result.err
    assert re.search(r"^model +n-gram of order 3$", result.err, re.M)
    assert re.search(r"^validation +perplexity \d+ ", result.err, re.M)
    assert re.search(r"^next +unroll sample runs/book-3gram$", result.err, re.M)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["book-3gram"]


def test_the_other_verbs_take_it(counted: Path, here: Here) -> None:
    model = counted / "runs" / "book-6gram"
    plain = here("info", model).out
    assert re.search(r"^model +n-gram of order 6$", plain, re.M)
    assert re.search(r"^counted +16,000 symbols in \d+:\d\d$", plain, re.M)
    assert re.search(r"^test +\d\.\d\d bits/char$", plain, re.M)
    ask = ("sample", model, "--prompt", "the cat", "--length", "60", "--copied", "--json")
    first, repeat = json.loads(here(*ask).out), json.loads(here(*ask).out)
    assert first == repeat
    (sample,) = first["samples"]
    assert sample["symbols"] == len(sample["text"]) == 60
    assert 0 < sample["nats_per_token"] < 2
    assert sample["copied"]["length"] >= 6


def test_nothing_of_it_loads_torch(counted: Path, tmp_path: Path) -> None:
    for arguments in (
        ("ngram", str(counted / "book.txt"), "--order", "2", "--out", str(tmp_path / "model")),
        ("sample", str(counted / "runs" / "book-6gram"), "--length", "5"),
        ("info", str(counted / "runs" / "book-6gram")),
    ):
        packages = loaded("-m", "unroll", *arguments)
        assert "numpy" in packages
        assert "torch" not in packages


def test_training_refuses_it(counted: Path, refused: Refused, tmp_path: Path) -> None:
    model, book = counted / "runs" / "book-6gram", counted / "book.txt"
    for message in (
        refused("train", "--resume", model),
        refused("train", book, "--from", model, "--out", tmp_path / "run", "--steps", "1", "--device", "cpu"),
    ):
        assert "is an n-gram: it was counted" in message
        assert "\n  allowed: " in message
        assert "\n  fix: " in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--order", "0"), "order is 0"),
        (("--order", "41"), "allowed: 1 to 40"),
        ((), "--order"),
        (("--order", "3", "--split", "90/20"), "split is '90/20'"),
        (("--order", "3", "--split", "90/10", "--valid", "book.txt"), "a split and a validation file"),
        (("--order", "3", "--test", "book.txt"), "without a validation file"),
        (("--order", "3", "--min-count", "2"), "min_count is 2 at level char"),
        (("--order", "3", "--vocab-size", "9"), "vocab_size is 9 at level char"),
        (("--order", "3", "--valid", "nowhere.txt"), "nowhere.txt"),
    ],
)
def test_what_is_asked_for_wrongly(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(text(500))
    message = refused("ngram", "book.txt", "--out", "model", *arguments)
    assert says in message
    assert "\n  fix: " in message
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]


def test_texts_that_are_none(refused: Refused, tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("binary", b"a\0b"), ("latin", b"caf\xe9")):
        (tmp_path / name).write_bytes(content)
        assert name in refused("ngram", tmp_path / name, "--order", "2", "--out", tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["binary", "empty", "latin"]


def test_an_output_that_exists(refused: Refused, here: Here, trained: Trained, tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_text(text(500))
    message = refused("ngram", file, "--order", "2", "--out", trained.path)
    assert f"{trained.path} exists" in message
    assert "--force" in message
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    refused("ngram", file, "--order", "2", "--out", tmp_path / "thesis", "--force")
    assert (tmp_path / "thesis" / "thesis.tex").exists()
    for order in ("2", "3"):
        assert here("ngram", file, "--order", order, "--out", tmp_path / "model", "--force", "--json").code == 0
    assert json.loads(here("info", tmp_path / "model", "--json").out)["order"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.txt", "model", "thesis"]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(text(20_000) * 250)  # several seconds of counting
    process = subprocess.Popen(
        [*UNROLL, "ngram", "book.txt", "--order", "30", "--out", "model"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        # A shell that runs the tests in the background has SIGINT ignored, which a child inherits.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        for _ in range(600):
            if (tmp_path / ".model.partial" / "resume" / "data").exists():
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, err.strip()) == (130, "", "Interrupted.")
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]

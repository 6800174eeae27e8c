"""On a terminal: a bar that leaves nothing behind, samples above it, and nothing that steers the terminal."""

import os
import pty
import re
from pathlib import Path

from cli.command import QUICK, environment
from cli.conftest import Trained
from forked import Process


def screen(*arguments: str | Path, **changes: str) -> str:
    """Run the command on a terminal of 80 columns and return all that is sent to it."""
    master, slave = pty.openpty()
    process = Process(
        "unroll", *arguments, cwd=Path.cwd(), streams=(slave, slave),
        environment=environment(**{"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40", **changes}),
    )  # fmt: skip
    os.close(slave)
    lines = b""
    try:
        while chunk := os.read(master, 65536):
            lines += chunk
    except OSError:  # what Linux says when the other side has closed
        pass
    os.close(master)
    assert process.wait(60) == 0, lines.decode()
    return lines.decode().replace("\r\n", "\n")


def test_a_training_on_a_terminal(book: Path, tmp_path: Path) -> None:
    lines = screen("train", book, "--out", tmp_path / "run", "--steps", "20", *QUICK)
    bars = re.findall(r"20/20 .*?━+.*? training \d\.\d{2} bits/char · [\d,]+/s · 0:00 left", lines)
    assert bars
    assert "\x1b[2m── step 0 · " in lines
    assert "step 20/20 · training" not in lines  # the lines for those who have no bar
    assert "\x1b[?25h" in lines  # the cursor is back


def test_without_colours(trained: Trained) -> None:
    lines = screen("info", trained.path, NO_COLOR="1")
    assert "\x1b" not in lines
    assert "\x1b[2mmodel" in screen("info", trained.path)


def test_a_terminal_called_dumb_gets_lines_and_no_escapes(book: Path, tmp_path: Path) -> None:
    lines = screen("train", book, "--out", tmp_path / "run", "--steps", "20", *QUICK, TERM="dumb")
    assert "\x1b" not in lines and "\r" not in lines
    assert "step 20/20 · training" in lines


def test_what_a_model_writes_does_not_steer_the_terminal(tmp_path: Path) -> None:
    book = tmp_path / "escapes.txt"
    book.write_text("\x1b]0;owned\x07\x1b[2J" * 1500)
    lines = screen("train", book, "--out", tmp_path / "run", "--steps", "100", *QUICK)
    assert "\x1b]" not in lines
    assert "\x1b[2J" not in lines
    lines = screen("sample", tmp_path / "run", "--length", "40")
    assert "\x1b" not in lines
    assert "␛" in lines

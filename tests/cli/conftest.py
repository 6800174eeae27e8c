"""What the tests of the command share: a text, a model trained by the command, and the command in this process."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.command import QUICK, Done, text, unroll
from toys import Toys
from unroll import __main__
from unroll.cli import process


@dataclass(frozen=True)
class Trained:
    """A model that the command trained, and what it said."""

    path: Path
    text: Path
    done: Done
    result: dict[str, Any]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model of 40 steps."""
    folder = tmp_path_factory.mktemp("trained")
    book = folder / "book.txt"
    book.write_text(text(20_000), encoding="utf-8")
    result = unroll("train", "book.txt", "--steps", "40", *QUICK, "--json", cwd=folder)
    assert result.code == 0, result.err
    return Trained(folder / "runs" / "book", book, result, json.loads(result.out))


@pytest.fixture(scope="session")
def classifier(toys: Toys) -> Path:
    """A classifier of animals by what they say: words and their characters, read from both ends."""
    return toys.classifier


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A text of 20,000 characters."""
    file = tmp_path / "book.txt"
    file.write_text(text(20_000), encoding="utf-8")
    return file


Here = Callable[..., Done]
Refused = Callable[..., str]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Run the command in this process, which has loaded torch already."""

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["unroll", *map(str, arguments)])
        monkeypatch.setattr(process, "mark", lambda: None)  # This process must not start itself again.
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(here: Here) -> Refused:
    """Run the command here; it must refuse with code 2, on stderr alone, without a traceback. Returns what it says."""

    def run(*arguments: str | Path) -> str:
        result = here(*arguments)
        assert (result.code, result.out) == (2, ""), result.err
        phases, mark, refusal = result.err.partition("unroll: ")
        assert mark and all(line.endswith(" …") for line in phases.splitlines())
        assert "Traceback" not in refusal
        return mark + refusal

    return run

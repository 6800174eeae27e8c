"""The documentation is true: its commands run, its numbers stand in committed results."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FASTER = {"--minutes 3": "--steps 40", "--length 600": "--length 60"}
"""What the test shortens in a documented command; all else runs as it stands."""
ELSEWHERE = ("make ", "git ", "pip ", "cd ")
"""Commands that other tests or the check itself run."""


def commands(text: str) -> list[str]:
    """Return the commands of a page's console blocks, continued lines joined."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    return [line[2:].split("  #")[0].strip() for line in lines if line.startswith("$ ")]


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_commands_are_found() -> None:
    assert commands("```console\n$ unroll info \\\n    DIR  # so\nout\n```\n") == ["unroll info DIR"]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_documented_command_runs(page: Path, tmp_path: Path) -> None:
    text = "It was a bright cold day in April, and the clocks were striking thirteen.\n" * 400
    for name in ("book.txt", "letters.txt"):
        (tmp_path / name).write_text(text)
    for command in commands(page.read_text()):
        if command.startswith(ELSEWHERE):
            continue
        for long, short in FASTER.items():
            command = command.replace(long, short)
        parts = shlex.split(command)
        assert parts[0] == "unroll", f"{page.name}: {command}"
        done = subprocess.run([sys.executable, "-m", *parts], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_every_figure_of_the_readme_stands_in_a_result() -> None:
    """Figures in the README's tables name their result: `<!-- results/FILE.json KEY.PATH -->` beside the row."""
    readme = (ROOT / "README.md").read_text()
    marked = re.findall(r"^\|.*?\| *\**([\d.,]+)[^|]*\|.*<!-- (results/\S+\.json) (\S+) -->", readme, re.M)
    assert marked, "the README's tables name where their figures come from"
    for figure, file, keys in marked:
        value = json.loads((ROOT / "benchmarks" / file).read_text())
        for key in keys.split("."):
            value = value[int(key)] if isinstance(value, list) else value[key]
        digits = len(figure.partition(".")[2])
        assert f"{value:,.{digits}f}" == figure, f"{file} {keys} is {value}, the README says {figure}"

"""The programs of docs/export.md, run as in a place that has neither unroll nor torch."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from cli.command import forked
from test_docs import commands

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()


def program(word: str) -> str:
    """Return the program of the page that reads the directory runs/`word`."""
    text: str
    (text,) = (
        block for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S) if f"runs/{word}/onnx" in block
    )
    return text


def printed(word: str, folder: Path) -> str:
    """Run in `folder` the program that reads runs/`word`; return what it printed."""
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['unroll'] = sys.modules['torch'] = None\n")
    return subprocess.run(
        [sys.executable, "-c", program(word)], cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True,
        encoding="utf-8", timeout=120, check=True,
    ).stdout  # fmt: skip


def prepare(word: str, folder: Path) -> None:
    """Run in `folder` the commands of the page that make the model in runs/`word` and export it."""
    for line in commands(PAGE):
        if line.startswith("printf") and f"{word}." in line:
            subprocess.run(["bash", "-c", line], cwd=folder, check=True)
        elif f"runs/{word}" in line:
            with forked(*shlex.split(line)[1:], cwd=folder) as process:
                _, errors = process.communicate(timeout=120)
                assert process.poll() == 0, errors

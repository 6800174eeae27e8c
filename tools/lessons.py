"""Executes the sessions of `lessons/` and compares them with what is committed: `python tools/lessons.py [NAME]...`.

A session is two files: its source, a .py of cells in jupytext's percent format, and the notebook that a reader sees,
with outputs. `--update` writes the notebooks anew. `make lessons` runs this program with all that it needs.
"""

import argparse
import math
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
LESSONS = ROOT / "lessons"
SOLUTIONS = LESSONS / "solutions"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
TAGS = {"setup", "exercise", "check", "raises-exception", "varies"}
"""`setup`: the checks of exercises need it; `varies`: the outputs depend on the machine, so only their kinds count."""

MOST_SECONDS = 120
"""Processor time of a session, all threads together: less than two minutes on two cores, however busy they are."""
MOST_BYTES = 500_000
RELATIVE, ABSOLUTE = 0.1, 0.02
"""Numbers of outputs may differ by this share and this much: processors round differently, and trainings add it up."""
SMALL_RELATIVE, SMALL_ABSOLUTE = 0.5, 1e-14
"""The same of numbers with an exponent, of which some have a single digit, and others are rounding errors."""
JOBS = 2
OFFLINE = """
import socket
def refuse(self, address, connect=socket.socket.connect):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a session connects to {address}, and should need no network")
    return connect(self, address)
socket.socket.connect = refuse
"""
"""Run in a kernel before the session."""


# ---- sessions and exercises


@dataclass(frozen=True)
class Exercise:
    """A cell to be filled in, and the cell that checks it."""

    number: str
    stub: str
    check: str


@dataclass(frozen=True)
class Session:
    """The source of a session, read without a kernel."""

    path: Path
    cells: list[NotebookNode]
    exercises: list[Exercise] = field(default_factory=list)

    @property
    def notebook(self) -> Path:
        """The executed notebook beside the source."""
        return self.path.with_suffix(".ipynb")

    @property
    def setup(self) -> list[str]:
        """The sources of the cells that checks need."""
        return [cell.source for cell in self.cells if "setup" in tags(cell)]


def sessions() -> list[Path]:
    """Return the sources of all sessions, in order."""
    return sorted(LESSONS.glob("[0-9][0-9]_*.py"))


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return list(cell.metadata.get("tags", []))


def number_of(source: str) -> str:
    """Return `3.1` of a cell that begins with `# Exercise 3.1`; raises ValueError."""
    match = re.match(r"# Exercise (\d+\.\d+)\b", source)
    if match is None:
        raise ValueError(f"a cell of an exercise begins with `# Exercise N.K`, not with {source[:40]!r}")
    return match[1]


def read(path: Path) -> Session:
    """Read the source of a session. Raises ValueError where an exercise and its check do not stand side by side."""
    cells = jupytext.read(path, fmt="py:percent").cells
    exercises, stub = [], None
    for cell in cells:
        if stub is not None:
            if "check" not in tags(cell):
                raise ValueError(f"{path.name}: exercise {number_of(stub)} has no check behind it")
            exercises.append(Exercise(number_of(stub), stub, cell.source))
            stub = None
        elif "exercise" in tags(cell):
            stub = cell.source
        elif "check" in tags(cell):
            raise ValueError(f"{path.name}: a check has no exercise before it: {cell.source[:40]!r}")
    return Session(path, cells, exercises)


def answers(path: Path) -> list[tuple[str, str]]:
    """Return the number of the exercise and the source of each cell of a file of answers, right or wrong ones."""
    cells = jupytext.read(path, fmt="py:percent").cells
    return [(number_of(cell.source), cell.source) for cell in cells if cell.cell_type == "code"]


def prepared(session: Session) -> dict[str, Any]:
    """Run the setup cells of a session in this process, and return their names."""
    names: dict[str, Any] = {"__name__": "session"}
    for source in session.setup:
        exec(compile(source, session.path.name, "exec"), names)
    return names


def attempt(exercise: Exercise, answer: str, names: dict[str, Any]) -> Exception | None:
    """Run an answer and the check of its exercise; return what the check raises."""
    names = dict(names)
    try:
        with redirect_stdout(StringIO()):
            for source in (answer, exercise.check):
                exec(compile(source, f"exercise {exercise.number}", "exec"), names)
    except Exception as error:
        return error
    return None


# ---- notebooks


def execute(session: Session) -> NotebookNode:
    """Execute a session in a fresh kernel, in an empty folder, and return the notebook. Raises where a cell does."""
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=session.cells)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=600,
            startup_timeout=300,  # of a kernel, on a machine that does other work
            record_timing=False,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=ERROR"],  # quiet about the sockets on this machine
        )
        with client.setup_kernel(env=os.environ | {"OMP_NUM_THREADS": "1"}):
            client.kc.execute(OFFLINE)
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)
    return tidy(notebook)


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook that says nothing about the machine or the hour that it was made on."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    count = 0
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:03d}"
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = list(joined(cell.outputs))
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]
            if "image/png" in output.get("data", {}):
                output.metadata["image/png"] = output.metadata.get("image/png", {}) | {"alt": caption(cell)}
    return notebook


def caption(cell: NotebookNode) -> str:
    """Return what a cell's picture shows, for those who cannot see it: what its `alt` says, or its titles."""
    titles = re.findall(r'title(?:=|\()\s*f?"([^"]+)"', cell.source)
    return str(cell.metadata.get("alt", re.sub(r"\{[^}]*\}", "…", "; ".join(titles))))


def joined(outputs: list[NotebookNode]) -> Iterator[NotebookNode]:
    """Yield outputs with neighbouring pieces of one stream as one."""
    last = None
    for output in outputs:
        if last is not None and output.output_type == "stream" and output.get("name") == last.get("name"):
            last.text += output.text
            continue
        if last is not None:
            yield last
        last = output
    if last is not None:
        yield last


def faults(session: Session, notebook: NotebookNode) -> Iterator[str]:
    """Yield what is wrong with a committed notebook: not of this source, without outputs, or of some machine."""
    sources = [[(c.cell_type, c.source, tags(c)) for c in cells] for cells in (session.cells, notebook.cells)]
    if sources[0] != sources[1]:
        yield "its cells are not those of its source"
    for index, cell in enumerate(notebook.cells):
        if unknown := set(tags(cell)) - TAGS:
            yield f"cell {index} has the unknown tag {min(unknown)}"
        if cell.cell_type != "code":
            continue
        if cell.execution_count is None:
            yield f"cell {index} was not executed"
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in tags(cell):
                yield f"cell {index} fails"
            if output.get("name") == "stderr":
                yield f"cell {index} warns: {output.text[:80]!r}"
            if match := re.search(r"/(?:home|root|tmp|usr|work|Users)/\S*|0x[0-9a-f]{6,}", str(text_of(output))):
                yield f"cell {index} shows {match.group()}"
            if "image/png" in output.get("data", {}) and not output.metadata.get("image/png", {}).get("alt"):
                yield f'cell {index} has a picture without a title: say what it shows in # %% alt="..."'
    if not any("image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])):
        yield "it has no picture"


def text_of(output: NotebookNode) -> str:
    """Return the text that an output shows, without its pictures."""
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    shown: str = output.text if output.output_type == "stream" else output.data.get("text/plain", "")
    return shown


def kinds(cell: NotebookNode) -> list[str]:
    """Return the kinds of a cell's outputs."""
    return [
        f"{o.output_type} {o.get('name', '')}{' '.join(sorted(o.get('data', {})))}" for o in cell.get("outputs", [])
    ]


NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def differences(committed: NotebookNode, executed: NotebookNode) -> Iterator[str]:
    """Yield where two notebooks differ in structure, in words, or in numbers by more than the tolerance."""
    if [cell.source for cell in committed.cells] != [cell.source for cell in executed.cells]:
        yield "the cells differ"
        return
    for index, (before, after) in enumerate(zip(committed.cells, executed.cells, strict=True)):
        if kinds(before) != kinds(after):
            yield f"cell {index} gives {kinds(after)}, and {kinds(before)} is committed"
        elif "varies" not in tags(before):
            for old, new in zip(before.get("outputs", []), after.get("outputs", []), strict=True):
                if not alike(text_of(old), text_of(new)):
                    yield f"cell {index} says\n{text_of(new)}\nand this is committed:\n{text_of(old)}"


def alike(old: str, new: str) -> bool:
    """Return whether two texts have the same words, and numbers within the tolerance."""
    words = [re.sub(r"\s+", " ", NUMBER.sub("\0", text)) for text in (old, new)]
    return words[0] == words[1] and all(map(close, NUMBER.findall(old), NUMBER.findall(new)))


def close(old: str, new: str) -> bool:
    """Return whether two numbers are within the tolerance."""
    first, second = (float(number.replace(",", "").replace("−", "-")) for number in (old, new))
    relative, absolute = (SMALL_RELATIVE, SMALL_ABSOLUTE) if "e" in old else (RELATIVE, ABSOLUTE)
    return math.isclose(first, second, rel_tol=relative, abs_tol=absolute)


# ---- the command


def run(path: Path, update: bool) -> tuple[str, list[str]]:
    """Execute a session; return a line about it and its faults. With `update`, write its notebook."""
    from nbclient.exceptions import CellExecutionError

    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    session = read(path)
    try:
        notebook = execute(session)
    except CellExecutionError as error:
        return path.stem, [f"a cell fails: {error}"]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    line = f"{path.stem}: {time.perf_counter() - started:.0f} s, {processor:.0f} s of one core"
    if update:
        nbformat.write(notebook, session.notebook)
    wrong = list(faults(session, notebook))
    if processor > MOST_SECONDS:
        wrong.append(f"it takes more than {MOST_SECONDS} s")
    if not session.notebook.exists():
        wrong.append(f"{session.notebook.name} is not there: write it with `make lessons UPDATE=1`")
    else:
        wrong += differences(nbformat.read(session.notebook, 4), notebook)
    names, solutions = prepared(session), dict(answers(SOLUTIONS / path.name))
    for exercise in session.exercises:
        error = attempt(exercise, solutions[exercise.number], names)
        wrong += [] if error is None else [f"the solution of exercise {exercise.number} fails: {error!r}"]
    return f"{line}, {len(session.exercises)} exercises", wrong


def main() -> int:
    """Execute the sessions that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="sessions such as 03_rnn, or 03; all by default")
    parser.add_argument("--update", action="store_true", help="write the notebooks anew")
    options = parser.parse_args()
    stems = [path.stem for path in sessions()]
    for name in options.names:
        if not any(stem.startswith(name) for stem in stems):
            parser.error(f"no session {name!r}\n  allowed: {', '.join(stems)}\n  fix: name one of them, or its number")
    paths = [path for path in sessions() if not options.names or path.stem.startswith(tuple(options.names))]
    failed = False
    with ProcessPoolExecutor(JOBS) as pool:
        for line, wrong in pool.map(run, paths, [options.update] * len(paths)):
            print(line, *wrong, sep="\n  ", flush=True)
            failed = failed or bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""The practical sessions: notebooks are their sources executed; exercises fail as given and tell right from wrong.

`make lessons` executes them, which takes minutes; here no kernel runs.
"""

import importlib.util
import re
import socket
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
WRONG = Path(__file__).resolve().parent / "wrong"
NAMES = [path.stem for path in sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))]


def tool() -> ModuleType:
    """Return tools/lessons.py."""
    spec = importlib.util.spec_from_file_location("lessons", ROOT / "tools" / "lessons.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lessons"] = module
    spec.loader.exec_module(module)
    return module


lessons = tool()


@cache
def session(name: str) -> Any:
    return lessons.read(ROOT / "lessons" / f"{name}.py")


@pytest.fixture(autouse=True)
def without_screen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_source_executed(name: str) -> None:
    path = session(name).notebook
    committed = nbformat.read(path, 4)  # type: ignore[no-untyped-call]
    assert list(lessons.faults(session(name), committed)) == []
    assert path.stat().st_size <= lessons.MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_an_exercise_fails_as_given_passes_when_solved_and_catches_mistakes(name: str) -> None:
    exercises = {exercise.number: exercise for exercise in session(name).exercises}
    solutions = lessons.answers(ROOT / "lessons" / "solutions" / f"{name}.py")
    mistakes = lessons.answers(WRONG / f"{name}.py")
    assert 2 <= len(exercises) <= 4
    assert [number for number, _ in solutions] == list(exercises) == sorted({number for number, _ in mistakes})
    names = lessons.prepared(session(name))
    for number, exercise in exercises.items():
        given = lessons.attempt(exercise, exercise.stub, names)
        assert isinstance(given, NotImplementedError) and f"Exercise {number}" in str(given)
    for number, answer in solutions:
        assert lessons.attempt(exercises[number], answer, names) is None, number
        assert re.search(r'^print\(f?"Right\b', exercises[number].check, re.M), (
            f"{number} does not say that it is right"
        )
    for number, answer in mistakes:
        error = lessons.attempt(exercises[number], answer, names)
        assert isinstance(error, AssertionError) and str(error), f"{number} takes this, or says nothing: {answer}"


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_extra_is_one_clear_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    with pytest.raises(AssertionError, match=r"^matplotlib is missing: .*pip install .*\[lessons\]") as error:
        exec(session(name).setup[0], {})
    assert "\n" not in str(error.value)


def test_the_page_about_the_sessions_leads_to_each() -> None:
    page = (ROOT / "lessons" / "README.md").read_text()
    assert [name for name in NAMES if f"]({name}.ipynb)" not in page] == []


def test_a_session_reaches_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: connected.append(address))
    exec(lessons.OFFLINE, {})
    with socket.socket() as client:
        client.connect(("127.0.0.1", 80))
        with pytest.raises(OSError, match="and should need no network"):
            client.connect(("192.0.2.1", 80))
    assert connected == [("127.0.0.1", 80)]


def test_an_unknown_session_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["lessons.py", "99"])
    with pytest.raises(SystemExit, match="2"):
        lessons.main()
    error = capsys.readouterr().err
    assert "no session '99'" in error and all(name in error for name in NAMES)


# ---- the comparison can fail


def notebook(*texts: str, tags: tuple[str, ...] = ()) -> Any:
    cells = []
    for number, text in enumerate(texts):
        output = nbformat.v4.new_output("stream", name="stdout", text=text)  # type: ignore[no-untyped-call]
        cell = nbformat.v4.new_code_cell(f"print({number})", execution_count=1, outputs=[output])  # type: ignore[no-untyped-call]
        cell.metadata["tags"] = list(tags)
        cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]


def test_outputs_are_compared_by_words_and_tolerance() -> None:
    committed = notebook("loss 2.00 nats after 1,000 steps")
    assert list(lessons.differences(committed, notebook("loss 2.10 nats after 1,000 steps"))) == []
    assert list(lessons.differences(committed, notebook("loss 2.50 nats after 1,000 steps")))
    assert list(lessons.differences(committed, notebook("loss -2.00 nats after 1,000 steps")))
    assert list(lessons.differences(committed, notebook("loss 2.00 bits after 1,000 steps")))
    assert list(lessons.differences(committed, notebook("loss 2.00 nats after 1,000 steps", "more")))
    probable = notebook("P = 5.3e-06, gap 1.8e-15")
    assert list(lessons.differences(probable, notebook("P = 5.9e-06, gap 4.4e-15"))) == []
    assert list(lessons.differences(probable, notebook("P = 9.1e-04, gap 1.8e-15")))
    assert list(lessons.differences(probable, notebook("P = 5.3e-06, gap 1.8e-09")))
    varied = notebook("2 ms", tags=("varies",))
    assert list(lessons.differences(varied, notebook("90 µs", tags=("varies",)))) == []
    varied.cells[0].outputs = []
    assert list(lessons.differences(varied, notebook("90 µs", tags=("varies",))))


@pytest.mark.parametrize("text", ["/home/anna/lessons", "<Axes at 0x7f3a5c0d1e50>", "see /tmp/x.png"])
def test_a_notebook_of_some_machine_is_caught(text: str) -> None:
    planted = notebook(text)
    source = lessons.Session(Path("09_planted.py"), planted.cells)
    assert any("shows" in fault for fault in lessons.faults(source, planted))


def test_planted_faults_of_notebooks_are_caught() -> None:
    planted = notebook("fine", tags=("chekc",))
    planted.cells[0].outputs[0].name = "stderr"
    other = lessons.Session(Path("09_planted.py"), [])
    reported = "\n".join(lessons.faults(other, planted))
    for part in ("not those of its source", "unknown tag chekc", "warns", "no picture"):
        assert part in reported
    planted.cells[0].execution_count = None
    assert any("not executed" in fault for fault in lessons.faults(other, planted))


def test_a_picture_has_a_text_for_those_who_cannot_see_it() -> None:
    cell = nbformat.v4.new_code_cell('axes.set(title=f"Unit {unit}", ylim=(0, 1))\naxes.set_title(\n    "Norm")')  # type: ignore[no-untyped-call]
    assert lessons.caption(cell) == "Unit …; Norm"
    cell.metadata["alt"] = "Two curves"
    assert lessons.caption(cell) == "Two curves"
    bare = nbformat.v4.new_output("display_data", {"image/png": "AAAA"})  # type: ignore[no-untyped-call]
    cell.update(outputs=[bare], execution_count=1)
    planted = nbformat.v4.new_notebook(cells=[cell])  # type: ignore[no-untyped-call]
    source = lessons.Session(Path("09_planted.py"), [cell])
    assert list(lessons.faults(source, planted)) == [
        'cell 0 has a picture without a title: say what it shows in # %% alt="..."'
    ]


def test_an_exercise_without_its_check_is_caught(tmp_path: Path) -> None:
    path = tmp_path / "09_planted.py"
    path.write_text('# %% tags=["exercise"]\n# Exercise 9.1: add\n\n# %%\nprint(1)\n')
    with pytest.raises(ValueError, match=r"9\.1 has no check"):
        lessons.read(path)
    path.write_text('# %% tags=["check"]\nassert add(1, 1) == 2\n')
    with pytest.raises(ValueError, match="no exercise before it"):
        lessons.read(path)
    path.write_text("# %%\nprint(1)\n")
    with pytest.raises(ValueError, match="begins with"):
        lessons.answers(path)

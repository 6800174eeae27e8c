"""The house keeps its floors: imports go down, by absolute name, and each library is imported in its own rooms only."""

import ast
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import click
import pytest

import unroll
from tiny import begin_training, overrides, stopped_at
from unroll.cli.app import app
from unroll.nn import recurrent
from unroll.progress import mapped
from unroll.training import loop

SOURCE = Path(unroll.__file__).parent
FLOORS = {
    "_version": 0, "errors": 0, "files": 0, "kernels": 0, "settings": 0, "progress": 0, "state": 0, "threads": 0,
    "data": 1, "nn": 1,
    "engine": 2,
    "predict": 3,
    "artifact": 4,
    "lm": 5,
    "training": 6,
    "insight": 7, "export": 7, "tasks": 7,
    "serve": 8,
    "cli": 9, "sklearn": 9, "__init__": 9, "__main__": 9,
}  # fmt: skip


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def floor(name: str) -> int:
    """Return the floor of `unroll.a.b`; the package itself has the names that all may use."""
    parts = name.split(".")
    return FLOORS[parts[1]] if len(parts) > 1 else 0


def imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            assert node.module is not None
            if node.module == "unroll" or node.module.startswith("unroll."):
                for alias in node.names:
                    folder = SOURCE.joinpath(*node.module.split(".")[1:], alias.name)
                    module = folder.is_dir() or folder.with_suffix(".py").exists()
                    yield f"{node.module}.{alias.name}" if module else node.module
            else:
                yield node.module


def climbs(name: str, source: str) -> list[str]:
    """Return the imports of the module `name` that lead to a higher floor, or where its floor may not go."""
    climbing = []
    for imported in imports(source):
        top = imported.split(".")[0]
        if top == "unroll":
            if floor(imported) > floor(name) and name != "unroll.__init__":
                climbing.append(imported)
            if name.startswith("unroll.nn") and imported.startswith(("unroll.data", "unroll.files")):
                climbing.append(imported)
    return climbing


SERVE = r"serve\..+|cli\.serve"
ROOMS = {
    "click": r"cli\..+|__main__",
    "matplotlib": r"insight\.(plots|\w+\.picture)|tasks\.\w+\.picture",
    "onnx": r"export\.\w+",
    "onnxruntime": r"export\.\w+",
    "sklearn": r"insight\.cells\.probe|sklearn(\.\w+)?",
    "starlette": SERVE,
    "torch": r"(nn|training|insight|export|serve\.inside)\..+|predict\.(torch|dynamic)|artifact\.checkpoint|state"
    r"|tasks\.\w+\.(lesson|request|beginning|memory)"
    r"|serve\.studio\.sampling",
    "uvicorn": SERVE,
}
"""The modules that may import a library, at the top or in a function."""
SPEAKING = r"cli\..+|__main__|serve\.inside\.pattern"
"""The modules that may print and exit; the last is a process of its own."""
SPEECH = {"print", "exit", "quit", "sys.exit", "os._exit"}


def strays(name: str, source: str) -> list[str]:
    """Return the libraries that a module imports outside their rooms, and what it prints or ends outside the cli."""
    module, tree = name.removeprefix("unroll."), ast.parse(source)
    libraries = {imported.split(".")[0] for imported in imports(source)}
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    faults = [library for library in libraries if not re.fullmatch(ROOMS.get(library, ".*"), module)]
    return faults + [call for call in calls & SPEECH if not re.fullmatch(SPEAKING, module)]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_from_its_floor_or_lower(path: Path) -> None:
    name = ".".join(("unroll", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    source = path.read_text()
    assert climbs(name if name != "unroll" else "unroll.__init__", source) == []
    assert strays(name, source) == []
    docstring = ast.get_docstring(ast.parse(source))
    assert docstring, "a file says in one line what lives in it"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("unroll.nn.model", "from unroll.training import loop"),
        ("unroll.nn.model", "import unroll.files"),
        ("unroll.state", "from unroll.nn.model import Model"),
        ("unroll.training.loop", "from unroll.cli.console import bar"),
    ],
)
def test_a_planted_climb_is_caught(name: str, source: str) -> None:
    assert climbs(name, source)


PROBES = re.compile(r"(isinstance|hasattr|getattr)\([^)]*([pP]redictor|\bNetwork)\b")
"""What a predictor can do is declared in its interface, never probed."""


def test_no_predictor_is_probed() -> None:
    assert [str(path) for path in modules() if PROBES.search(path.read_text())] == []


@pytest.mark.parametrize(
    "probe",
    ['hasattr(self._predictor, "hidden")', 'getattr(predictor, "generate", None)', "isinstance(model, Network)"],
)
def test_a_planted_probe_is_caught(probe: str) -> None:
    assert PROBES.search(probe)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("unroll.insight.cells.measure", "def draw():\n    from matplotlib.figure import Figure"),
        ("unroll.insight.gradients.measure", "import matplotlib"),
        ("unroll.lm.curves", "import matplotlib.pyplot as plt"),
        ("unroll.nn.model", "import onnx"),
        ("unroll.serve.app", "import onnxruntime"),
        ("unroll.cli.export", "import onnx"),
        ("unroll.insight.trace", "from starlette.responses import Response"),
        ("unroll.cli.train", "import uvicorn"),
        ("unroll.serve.app", "import click"),
        ("unroll.lm.vectors", "import sklearn.cluster"),
        ("unroll.data.corpus", "import torch"),
        ("unroll.cli.trace", "import torch.nn"),
        ("unroll.engine.network", "def run():\n    import torch"),
        ("unroll.lm.sample", "from torch import Tensor"),
        ("unroll.serve.app", "import torch"),
        ("unroll.training.loop", "print('step')"),
        ("unroll.insight.cells.measure", "def f():\n    print(1)"),
        ("unroll.serve.server", "import sys\nsys.exit(1)"),
        ("unroll.training.prepare", "import os\nos._exit(1)"),
    ],
)
def test_a_planted_stray_is_caught(name: str, source: str) -> None:
    assert strays(name, source)
    assert not strays("unroll.insight.cells.picture", "import matplotlib") and not strays("unroll.cli.next", "print(1)")


def test_measures_never_import_pictures() -> None:
    """Pictures see measures, and only the command line and pictures see pictures."""
    for path in modules():
        name = ".".join(("unroll", *path.relative_to(SOURCE).with_suffix("").parts))
        if re.fullmatch(r"unroll\.insight\.\w+\.picture", name) or name.startswith(("unroll.cli", "unroll.__init__")):
            continue
        drawing = {imported for imported in imports(path.read_text()) if imported.endswith(".picture")}
        assert drawing <= ({"unroll.insight.memory.picture"} if name == "unroll.insight.memory.report" else set()), name


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle; none where there is no circle."""
    visited: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in visited:
            return []
        visited.add(name)
        return next(filter(None, (visit(other, [*path, name]) for other in sorted(graph.get(name, ())))), [])

    return next(filter(None, (visit(name, []) for name in sorted(graph))), [])


def modules_imported(source: str) -> set[str]:
    """Return the modules of ours that are imported at the top or in functions, not those for type checkers alone."""
    tree = ast.parse(source)
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return {name for name in imports(ast.unparse(tree)) if name.startswith("unroll.")}


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {path: ".".join(("unroll", *path.relative_to(SOURCE).with_suffix("").parts)) for path in modules()}
    graph = {name: modules_imported(path.read_text()) for path, name in names.items() if path.parent != SOURCE}
    assert circle(graph) == []
    cyclic = graph | {"unroll.insight.plots": {"unroll.insight.cells.picture"}}
    assert set(circle(cyclic)) == {"unroll.insight.plots", "unroll.insight.cells.picture"}


FILE = re.compile(r"(?<![\w./])((?:[a-z_]+/)+)?([a-z_]+\.(?:py|cpp|js))\b")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OF_OTHERS = {"--help", "--version", "--max-restarts", "--nproc-per-node"}
"""Options that are click's or torchrun's."""


def options(command: click.Command) -> Iterator[str]:
    """Yield the options of a command and of those below it."""
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from options(below)


def signs(source: str) -> Iterator[str]:
    """Yield the docstrings and comments of a module."""
    yield from re.findall(r"#\s.*", source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def false_signs(source: str, known: set[str]) -> list[str]:
    """Return the files and options that docstrings and comments name and that do not exist."""
    text = "\n".join(signs(source))
    root = SOURCE.parent.parent
    faults = [option for option in OPTION.findall(text) if option not in known]
    for folder, file in FILE.findall(text):
        exists = any(
            path.match(f"{folder}{file}") for base in ("src", "tests", "tools") for path in (root / base).rglob(file)
        )
        faults += [] if exists or (root / folder / file).exists() else [f"{folder}{file}"]
    return faults


def test_docstrings_and_comments_name_files_and_options_that_exist() -> None:
    flags = {*options(app), *OF_OTHERS}
    assert {
        str(path.relative_to(SOURCE)): wrong for path in modules() if (wrong := false_signs(path.read_text(), flags))
    } == {}
    assert false_signs('"""As `unroll sample --samples` writes it."""', flags) == ["--samples"]
    assert false_signs("x = 1  # as in lm/train.py", flags) == ["lm/train.py"]
    assert false_signs("x = 1  # as in training/loop.py, and --steps", flags) == []


WAY_OF_A_STEP = ["cli/train.py", "training/request.py", "training/loop.py", "nn/model.py", "nn/recurrent.py"]
"""The files that a training step passes, from the command to the call of the kernel."""


def ways_of_steps(*arguments: str | Path) -> set[tuple[str, ...]]:
    """Train by the command; return the files of ours on the call stack of its steps, from `cli/train.py` inwards."""
    ways = set()
    fused = recurrent.run_fused

    def recorded(*inputs: Any, training: bool) -> Any:
        if training:
            files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_stack(sys._getframe(1))]
            ours = [str(file.relative_to(SOURCE)) for file in reversed(files) if file.is_relative_to(SOURCE)]
            ways.add(tuple(dict.fromkeys(ours[ours.index("cli/train.py") :])))
        return fused(*inputs, training=training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recurrent, "run_fused", recorded)
        assert app.main(["train", *map(str, arguments)], standalone_mode=False) == 0
    return ways


def test_a_training_step_passes_five_files(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started, resumed, or in place of an earlier model; one more generator on the way is noticed."""
    small = ("--set", "hidden_size=8", "--set", "sample_length=3", "--steps", "2", "--device", "cpu")
    assert ways_of_steps(corpus, "--out", tmp_path / "run", *small) == {tuple(WAY_OF_A_STEP)}
    assert ways_of_steps(corpus, "--out", tmp_path / "run", *small, "--force") == {tuple(WAY_OF_A_STEP)}
    assert stopped_at(begin_training(corpus, tmp_path / "stopped", overrides()), 5)
    assert ways_of_steps("--resume", tmp_path / "stopped") == {tuple(WAY_OF_A_STEP)}
    train, same = loop.train, cast(Any, lambda report: report)
    monkeypatch.setattr(loop, "train", lambda *run, **others: mapped(train(*run, **others), same))
    assert ways_of_steps(corpus, "--out", tmp_path / "planted", *small) != {tuple(WAY_OF_A_STEP)}


def test_the_version_is_one() -> None:
    project = (SOURCE.parent.parent / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.+)"$', project, re.M)[1] == unroll.__version__  # type: ignore[index]

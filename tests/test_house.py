"""The house keeps its floors: imports go down, by absolute name; data never sees torch, the mathematics never files."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import unroll

SOURCE = Path(unroll.__file__).parent
FLOORS = {
    "_version": 0, "errors": 0, "files": 0, "settings": 0, "progress": 0, "state": 0, "threads": 0,
    "data": 1, "nn": 1,
    "engine": 2,
    "predict": 3,
    "artifact": 4,
    "lm": 5,
    "training": 6,
    "insight": 7, "export": 7,
    "serve": 8,
    "cli": 9, "__init__": 9, "__main__": 9,
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
                    found = folder.is_dir() or folder.with_suffix(".py").exists()
                    yield f"{node.module}.{alias.name}" if found else node.module
            else:
                yield node.module


def climbs(name: str, source: str) -> list[str]:
    """Return the imports of the module `name` that lead to a higher floor, or where its floor may not go."""
    wrong = []
    for imported in imports(source):
        top = imported.split(".")[0]
        if top == "unroll":
            if floor(imported) > floor(name) and name != "unroll.__init__":
                wrong.append(imported)
            if name.startswith("unroll.nn") and imported.startswith(("unroll.data", "unroll.files")):
                wrong.append(imported)
        elif top == "torch" and name.startswith(("unroll.data", "unroll.cli")):
            wrong.append(imported)
    return wrong


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_from_its_floor_or_lower(path: Path) -> None:
    name = ".".join(("unroll", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    source = path.read_text()
    assert climbs(name if name != "unroll" else "unroll.__init__", source) == []
    docstring = ast.get_docstring(ast.parse(source))
    assert docstring, "a file says in one line what lives in it"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("unroll.nn.model", "from unroll.training import loop"),
        ("unroll.nn.model", "import unroll.files"),
        ("unroll.state", "from unroll.nn.model import Model"),
        ("unroll.data.corpus", "import torch"),
        ("unroll.training.loop", "from unroll.cli.console import bar"),
    ],
)
def test_a_planted_climb_is_caught(name: str, source: str) -> None:
    assert climbs(name, source)


def test_the_version_is_one() -> None:
    project = (SOURCE.parent.parent / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.+)"$', project, re.M)[1] == unroll.__version__  # type: ignore[index]

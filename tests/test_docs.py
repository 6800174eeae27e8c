"""The documentation is true: its commands and programs run, its figures are in committed results, its links lead on."""

import importlib.util
import inspect
import json
import os
import pydoc
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import unroll as package
from forked import Forked
from unroll import sklearn
from unroll.cli.app import VERBS
from unroll.errors import install

ROOT = Path(__file__).resolve().parent.parent
FASTER = {"--minutes 3": "--steps 40", "--length 600": "--length 60", "--steps 500": "--steps 20"}
"""What the test shortens in a documented command; all else runs as it stands."""
ELSEWHERE = ("make ", "git ", "pip ", "cd ")
"""Commands that other tests or the check itself run."""
TOOLS = ("cat", "gzip", "printf")
"""Commands of the system that pages use beside ours; a shell runs them."""
HOWTO = ROOT / "docs" / "howto"
TASKS = [HOWTO / f"{name}.md" for name in re.findall(r"\(([\w-]+)\.md\):", (HOWTO / "index.md").read_text())]
SHARING = [ROOT / "docs" / "tour.md", ROOT / "docs" / "index.md", *TASKS]
"""The tour, the first page and the how-to pages, in their order: they share the models that they train."""


def commands(text: str) -> list[str]:
    """Return the commands of a page's console blocks, continued lines joined."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    return [line[2:].split("  #")[0].strip() for line in lines if line.startswith("$ ")]


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted({*(ROOT / "docs").glob("*.md")} - {*SHARING})]


def texts() -> list[Path]:
    """Return every page that a person reads."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*/README.md"))]


def write_texts(folder: Path) -> None:
    for name in ("book.txt", "letters.txt"):
        (folder / name).write_text("It was a bright cold day in April, and the clocks were striking thirteen.\n" * 400)


def run(folder: Path, *parts: str) -> str:
    """Run Python in a folder; return what it printed."""
    result = subprocess.run([sys.executable, *parts], cwd=folder, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, f"{parts}\n{result.stderr}"
    return result.stdout


def unroll(folder: Path, *arguments: str, program: str = "unroll") -> str:
    """Run the command, or another program, with torch loaded; return what it printed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with Forked(*arguments, cwd=folder, environment=environment, program=program) as process:
        out, errors = process.communicate(timeout=120)
        assert process.poll() == 0, f"{arguments}\n{errors}"
        return out


def test_commands_are_found() -> None:
    assert commands("```console\n$ unroll info \\\n    DIR  # so\nout\n```\n") == ["unroll info DIR"]


def perform(command: str, folder: Path) -> None:
    """Run a documented command in a folder, but for those that are run elsewhere."""
    if command.startswith(ELSEWHERE):
        return
    for long, short in FASTER.items():
        command = command.replace(long, short)
    parts = shlex.split(command)
    if parts[0] in TOOLS:
        program = f'unroll() {{ {shlex.quote(sys.executable)} -m unroll "$@"; }}; set -e; {command}'
        subprocess.run(["bash", "-c", program], cwd=folder, check=True, capture_output=True)
        return
    assert parts[0] == "unroll", command
    unroll(folder, *parts[1:])


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_documented_command_runs(page: Path, tmp_path: Path) -> None:
    write_texts(tmp_path)
    for command in commands(page.read_text()):
        perform(command, tmp_path)


def test_the_commands_and_programs_of_the_tour_and_the_how_to_pages_run(tmp_path: Path) -> None:
    """Each command once."""
    write_texts(tmp_path)
    assert {*HOWTO.glob("*.md")} == {*TASKS, HOWTO / "index.md"}
    texts = [page.read_text() for page in SHARING]
    for command in dict.fromkeys(re.sub(r" +", " ", command) for text in texts for command in commands(text)):
        perform(command, tmp_path)
    programs = [program for text in texts for program in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)]
    (tmp_path / "programs.py").write_text("".join(programs))
    assert "It was a bright cold day" in unroll(tmp_path, program="programs.py")


def test_the_program_of_the_readme_runs(tmp_path: Path) -> None:
    write_texts(tmp_path)
    (program,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert "It was" in run(tmp_path, "-c", program.replace("steps=100", "steps=20"))


def test_the_program_of_the_page_on_scikit_learn_runs(tmp_path: Path) -> None:
    programs = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "sklearn.md").read_text(), re.M | re.S)
    (tmp_path / "program.py").write_text("".join(programs))
    printed = unroll(tmp_path, program="program.py")
    assert "dry" in printed and "PUNCT" in printed
    assert "sun" in unroll(tmp_path, "classify", "predict", "runs/weather", "sun 8")


def test_the_examples_run(tmp_path: Path) -> None:
    write_texts(tmp_path)
    examples = {path.name: path for path in (ROOT / "examples").glob("*.py")}
    assert len(examples) == 4
    unroll(tmp_path, "book.txt", "30", program=str(examples.pop("train_and_sample.py")))
    assert run(tmp_path, str(examples["stream_without_torch.py"]), "letters.txt").strip()
    for name, example in examples.items():
        assert name == "stream_without_torch.py" or unroll(tmp_path, "letters.txt", program=str(example)).strip()
        assert len(example.read_text().splitlines()) < 30, "an example is read at a glance"


# ---- figures

FIGURE = re.compile(r'\[([\d.,]+)[^\]]*\]\((?:\.\./)*benchmarks/(results/\S+\.json) "([^"]+)"\)')
"""A figure links to its result, with the key as the title: `[1.38 nats](benchmarks/results/F.json "KEY.PATH")`."""


def wrong_figures(page: str) -> Iterator[str]:
    """Yield the rows of a page's tables that have no figure, and the figures that differ from their results."""
    for row in re.findall(r"^\| (?!what |LSTM \||---).*\|$", page, re.M):
        if not FIGURE.search(row):
            yield f"no figure: {row}"
    for figure, file, keys in FIGURE.findall(page):
        value = json.loads((ROOT / "benchmarks" / file).read_text())
        for key in keys.split("."):
            value = value[int(key)] if isinstance(value, list) else value[key]
        digits = len(figure.partition(".")[2])
        if f"{value:,.{digits}f}" != figure:
            yield f"{file} {keys} is {value}, the page says {figure}"


WITH_FIGURES = [ROOT / "README.md", ROOT / "docs" / "numbers.md", HOWTO / "more-minutes.md"]


@pytest.mark.parametrize("page", WITH_FIGURES, ids=lambda page: page.name)
def test_every_figure_stands_in_a_result(page: Path) -> None:
    assert list(wrong_figures(page.read_text())) == []


@pytest.mark.parametrize(("right", "invalid"), [("[1.3784 nats]", "[1.3785 nats]"), ("[154,685]", "[154685]")])
def test_a_planted_wrong_figure_is_caught(right: str, invalid: str) -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "numbers.md"):
        assert right in page.read_text()
        assert len(list(wrong_figures(page.read_text().replace(right, invalid)))) == 1


def test_a_row_without_a_result_is_caught() -> None:
    assert list(wrong_figures("| what | value | protocol |\n|---|---|---|\n| speed | 3 times | measured |\n"))


def test_the_readme_is_one_screen_and_a_few_more() -> None:
    readme = (ROOT / "README.md").read_bytes()
    assert len(readme) <= 8000
    assert len(FIGURE.findall(readme.decode())) <= 10
    assert f"There are {len(VERBS)} verbs" in readme.decode()


# ---- pages that are made from the code


def reference() -> ModuleType:
    """Return tools/reference.py."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_pages_are_those_of_the_code() -> None:
    module = reference()
    for page, content in module.pages().items():
        assert page.read_text() == content, f"{page.name} is stale: run `{module.REGENERATE}`, or tools/reference.py"


def test_every_key_of_a_recipe_is_explained() -> None:
    module = reference()
    for config in (*module.TABLES.values(), *module.CLASSIFIER.values()):
        assert {key.name for key in fields(config)} == module.documented(config).keys(), config


# ---- docstrings


def undocumented(public: object, name: str) -> Iterator[str]:
    """Yield the names of a function or class, and of its own public methods and properties, without a docstring."""
    if not inspect.getdoc(public):
        yield name
    for member, value in vars(public).items() if inspect.isclass(public) else ():
        if not member.startswith("_") and isinstance(value, FunctionType | property) and not inspect.getdoc(value):
            yield f"{name}.{member}"


def test_public_names_have_docstrings() -> None:
    paths = re.findall(r"^\.\. auto\w+:: (\S+)$", "".join(map(Path.read_text, (ROOT / "docs").glob("*.md"))), re.M)
    names = {f"unroll.{name}" for name in package.__all__} | {f"unroll.sklearn.{name}" for name in sklearn.__all__}
    assert names <= {*paths}, "all of them are on the pages"
    assert [fault for path in paths for fault in undocumented(pydoc.locate(path), path)] == []

    class Plain:
        """A class with a method that says nothing."""

        def method(self) -> None: ...

    assert list(undocumented(Plain, "Plain")) == ["Plain.method"]


# ---- paths


def strangers(page: str, root: Path) -> list[str]:
    """Return the paths of code that a page names and that are not there, and the folders that it leaves out."""
    source = root / "src" / "unroll"
    named = re.findall(r"`([\w./]+(?:/|\.py|\.md|\.h|\.cpp))`", page)
    lost = [path for path in named if not any((place / path).exists() for place in (root, source, root / "docs"))]
    folders = [path.parent.name for path in source.glob("*/__init__.py") if f"`{path.parent.name}/" not in page]
    return sorted(set(lost)) + (folders if "## The floors" in page else [])


@pytest.mark.parametrize(
    "page", [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"], ids=lambda page: page.name
)
def test_the_house_is_as_it_is_described(page: Path) -> None:
    assert strangers(page.read_text(), ROOT) == []
    assert "DESIGN" not in page.read_text(), "it stands alone"


def test_a_path_that_is_not_there_is_caught() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert strangers(page.replace("`nn/cells.py`", "`nn/cell.py`"), ROOT) == ["nn/cell.py"]
    assert strangers(page.replace("`insight/`", "insight"), ROOT) == ["insight"]


# ---- form


def too_long(page: str) -> list[str]:
    """Return the lines of more than 160 characters, tables, pictures and code aside."""
    text = re.sub(r"^( *)```.*?^\1```$", "", page, flags=re.M | re.S)
    return [line for line in text.splitlines() if len(line) > 160 and not line.startswith(("|", "!["))]


def prose(page: Path) -> str:
    """Return a page without its code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def broken(links: str, page: Path) -> list[str]:
    """Return the links in a text of a page that lead nowhere: to no file, no heading, or no address."""
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", links):
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            wrong += [] if re.fullmatch(r"https?://[\w.-]+\.\w+(/\S*)?", link) else [link]
            continue
        file = page.parent / target if target else page
        headings = re.findall(r"^#+ (.+)$", prose(file), re.M) if anchor and file.exists() else []
        if not file.exists() or (anchor and anchor not in map(slug, headings)):
            wrong.append(link)
    return wrong


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and the site make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", texts(), ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_are_short_and_links_lead_somewhere(page: Path) -> None:
    assert too_long(page.read_text()) == []
    assert broken(prose(page), page) == []


def test_a_link_that_leads_nowhere_is_caught() -> None:
    page = ROOT / "docs" / "tour.md"
    links = "[a](tours.md) [b](#text) [c](kinds.md#a-tager) [d](https://example) ![e](gone.png) [f](#texts-and-recipes)"
    assert broken(links, page) == ["tours.md", "#text", "kinds.md#a-tager", "https://example", "gone.png"]


def test_a_long_line_is_caught() -> None:
    assert too_long("word " * 40) and not too_long("```text\n" + "word " * 40 + "\n```\n")


def lonely_installs(text: str) -> list[str]:
    """Return the install commands of an index beside which there is none for a clone."""
    return [
        match.group()
        for match in re.finditer(r"pip install [\"']?unroll-lm(\[[\w,]+\])?[\"']?", text)
        if f".{match[1] or ''}" not in text[match.end() : match.end() + 60]
    ]


def test_install_commands_work_in_a_clone_as_well_as_from_an_index() -> None:
    assert lonely_installs("fix: pip install 'unroll-lm[train]'") and not lonely_installs(install("train"))
    sources = [path for ending in ("py", "js") for path in (ROOT / "src").rglob(f"*.{ending}")]
    for path in [*texts(), *sources]:
        if path.name != "errors.py":  # where the wording stands
            assert lonely_installs(path.read_text()) == [], path

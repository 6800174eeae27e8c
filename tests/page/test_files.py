"""What the page is made of: vendored files are as published, and ours never run a text as a script."""

import hashlib
import json
import re
from pathlib import Path

import pytest

import unroll

PAGE = Path(unroll.__file__).parent / "serve" / "page"
VENDOR = PAGE / "vendor"
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|createContextualFragment"
    r"|dangerouslySet|https?://(?!www\.w3\.org/)|javascript:"
)
SCRIPTS = sorted(path for path in PAGE.rglob("*.js") if VENDOR not in path.parents)
PAGES = [PAGE / "index.html", *PAGE.rglob("*.css"), *PAGE.rglob("*.svg")]


def test_vendored_files_are_as_published() -> None:
    listed = json.loads((VENDOR / "VENDOR.json").read_text())
    assert {path.name for path in VENDOR.iterdir()} == {entry["file"] for entry in listed} | {"VENDOR.json"}
    for entry in listed:
        assert hashlib.sha256((VENDOR / entry["file"]).read_bytes()).hexdigest() == entry["sha256"], entry["file"]
        assert entry["licence"] and entry["version"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(PAGE)))
def test_scripts_make_no_markup_of_texts_and_load_nothing_from_elsewhere(path: Path) -> None:
    assert not FORBIDDEN.findall(path.read_text())
    assert path.read_text().startswith("// "), "a file starts with what lives in it"


def test_a_planted_script_is_caught() -> None:
    for script in ("x.innerHTML = text", "eval(text)", "new Function(text)", 'import "https://cdn.example/x.js"'):
        assert FORBIDDEN.search(script)


def test_pages_have_no_script_or_style_inside() -> None:
    """The Content-Security-Policy would refuse it."""
    html = (PAGE / "index.html").read_text()
    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", html)
    for path in PAGES:
        if VENDOR not in path.parents:
            assert not re.findall(r"(?:src|href|url\()\W{0,2}(?:https?:)?//", path.read_text()), path


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(PAGE)))
def test_modules_that_are_imported_are_there(path: Path) -> None:
    for name in re.findall(r'(?:from|import) "(\.[^"]+)"', path.read_text()):
        assert (path.parent / name).resolve().is_file(), name
    for name in re.findall(r'^(?!//).*lazy\("(\w+)"\)', path.read_text(), re.M):
        assert (PAGE / "screens" / f"{name}.js").is_file(), name


def test_what_is_to_come_is_not_faint() -> None:
    """axe finds it only while a first model is being trained."""
    assert not re.findall(r"\.due[^{]*\{[^}]*opacity", (PAGE / "style.css").read_text())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(PAGE)))
def test_no_colour_is_called_darker_or_brighter(path: Path) -> None:
    """Zero is the colour of the paper: what is dark in one theme is bright in the other."""
    assert not re.findall(r"\b(?:dark|bright|light)er\b", path.read_text())

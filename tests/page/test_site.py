"""The site of the documentation in a browser, read from files: both themes, a narrow screen, links, search."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from page.conftest import violations

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PAGES = [
    "docs/index", "docs/howto/train", "docs/api", "docs/commands", "docs/glossary", "docs/http", "docs/numbers",
    "docs/recipe", "docs/tour", "docs/gallery/tinyshakespeare", "lessons/05_lstm", "genindex", "search",
]  # fmt: skip
"""One of each sort: text, commands, docstrings, equations, wide tables, pictures, samples, a notebook, lists."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    for package in ("sphinx", "furo", "myst_nb"):
        pytest.importorskip(package, reason=f"no {package} here: `make docs` installs it")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-c", "docs", "."]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    built = subprocess.run([*command, str(out)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (built.returncode, built.stderr) == (0, "")
    return out


Read = Callable[..., "Page"]


@pytest.fixture
def read(browser: "Browser", site: Path) -> Iterator[Read]:
    """Open a page from its file; at the end nothing was asked of a network, and no error stands in the console."""
    contexts: list[Any] = []
    faults: list[str] = []

    def go(name: str, *, width: int = 320, **context: Any) -> "Page":
        opened = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **context)
        contexts.append(opened)
        page = opened.new_page()

        def asked(request: Any) -> None:
            if not request.url.startswith(("file:", "data:")):
                faults.append(f"asked for {request.url}")

        def said(message: Any) -> None:
            if message.type in ("error", "warning"):
                faults.append(f"{message.type}: {message.text}")

        page.on("request", asked)
        page.on("console", said)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        path, _, query = name.partition("?")
        page.goto((site / f"{path}.html").as_uri() + f"?{query}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_narrow_screen_and_axe_finds_nothing_that_matters(
    read: Read, axe: Path, name: str, scheme: str
) -> None:
    page = read(name, color_scheme=scheme, reduced_motion="reduce")
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0
    assert violations(page, axe) == []


def test_equations_are_drawn(read: Read) -> None:
    page = read("docs/glossary")
    widths = page.evaluate("[...document.querySelectorAll('math')].map((one) => one.getBoundingClientRect().width)")
    assert len(widths) > 30 and min(widths) > 3
    for name, cells in (("docs/glossary", 20), ("lessons/05_lstm", 24)):
        text = read(name).content()
        assert text.count("<mtd") >= cells and "<mi>&amp;</mi>" not in text, "aligned equations have columns"


def test_pictures_have_a_text_for_those_who_cannot_see_them(site: Path) -> None:
    pictures = [
        picture for folder in ("docs", "lessons") for file in (site / folder).rglob("*.html")
        for picture in re.findall(r"<img [^>]+>", file.read_text())
    ]  # fmt: skip
    texts = [re.search(r'alt="([^"]*)"', picture) for picture in pictures]
    assert len(texts) > 50 and all(text and re.search(r"\w \w|\w{4}", text[1]) for text in texts)
    assert not [text[1] for text in texts if text and "_images/" in text[1]]


def test_a_word_of_a_table_is_not_broken_into_letters(read: Read) -> None:
    page = read("docs/index")
    heights = page.evaluate("[...document.querySelectorAll('th')].map((one) => one.getBoundingClientRect().height)")
    assert heights and max(heights) < 60


def test_search_finds_a_word_of_a_page_and_a_function(read: Read) -> None:
    for word, target in (("forecaster", "docs/forecast.html"), ("unroll.sample", "docs/api.html#unroll.sample")):
        page = read(f"search?q={word}", width=1280)
        page.wait_for_selector("#search-results li a")
        links = page.evaluate("[...document.querySelectorAll('#search-results li a')].map((link) => link.href)")
        assert any(link.partition("?")[0].endswith(target) or target in link for link in links), links


def test_every_link_of_the_site_leads_to_a_file_and_a_place_in_it(site: Path) -> None:
    texts = {file: file.read_text() for file in site.rglob("*.html") if "_static" not in file.parts}
    for file, text in texts.items():
        for link in map(unquote, map(unescape, re.findall(r'(?:href|src)="([^"]+)"', text))):
            target, _, anchor = link.partition("#")
            if re.match(r"\w+:", link):
                continue
            path = (file.parent / target.partition("?")[0]).resolve() if target else file
            assert path.is_file(), f"{file} links to {link}"
            assert not anchor or path not in texts or f'id="{anchor}"' in texts[path], f"{file} links to {link}"

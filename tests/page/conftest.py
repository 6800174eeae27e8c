"""The studio in a real browser: the command as a process, Chromium, and pages on which nothing may go wrong."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cli.command import UNROLL, environment, text
from toys import Toys
from unroll.training.request import train

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), "")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@dataclass(frozen=True)
class Running:
    """A studio that runs."""

    process: "subprocess.Popen[str]"
    url: str
    page: str
    """With the token of this launch."""
    runs: Path
    texts: Path

    @property
    def token(self) -> str:
        """What the page sends."""
        return self.page.partition("token=")[2]


def start_studio(*arguments: str | Path, runs: Path, texts: Path, port: str = "0") -> Running:
    """Start the command and wait until it answers; port 0 is any that is free."""
    command = [*UNROLL, "studio", *map(str, arguments), "--runs", str(runs), "--texts", str(texts), "--port", port]
    process = subprocess.Popen(
        [*command, "--no-open", "--json"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    announcement = ""
    while not announcement.endswith("}\n"):
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"the studio did not start: {process.communicate()[1]}")
        announcement += line
    ready = json.loads(announcement)
    return Running(process, ready["url"], ready["page"], runs, texts)


def stop_studio(running: Running) -> None:
    """Stop the command as Ctrl-C does."""
    if running.process.poll() is None:
        os.kill(running.process.pid, signal.SIGINT)
    try:
        running.process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        running.process.kill()
        running.process.communicate()
        raise


@pytest.fixture(scope="session")
def runs(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two small models on one text, and a classifier."""
    folder = tmp_path_factory.mktemp("studio")
    (folder / "book.txt").write_text(text(20_000), encoding="utf-8")
    for name, arch, steps in (("small", "rnn", 20), ("book", "lstm", 120)):
        settings = ("hidden_size=32", "embedding_size=16", "sample_length=40", "valid_every=20")
        out = folder / "runs" / name
        for _ in train(folder / "book.txt", out=out, steps=steps, arch=arch, settings=settings, device="cpu"):
            pass
    shutil.copytree(toys.animals, folder / "runs" / "animals")
    return folder / "runs"


@pytest.fixture(scope="session")
def studio(runs: Path) -> Iterator[Running]:
    """A studio over these models."""
    running = start_studio(runs=runs, texts=runs.parent)
    yield running
    stop_studio(running)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """A browser; tests that need one are skipped where there is none."""
    if not CHROMIUM:
        pytest.skip("no Chromium here: `make browser` installs it")
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: `make browser` installs it")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


Visit = Callable[..., "Page"]


@pytest.fixture
def visit(browser: "Browser", studio: Running) -> Iterator[Visit]:
    """Open the page at a place: `visit("#/type?model=book")`, with what a browser context takes."""
    with visiting(browser, studio) as go:
        yield go


def come_to(page: "Page", place: str, running: Running) -> None:
    """Load the page anew at a place; without one, as `unroll studio` opens it."""
    page.goto("about:blank")  # to go to another place of the same page would not load it
    page.goto(f"{running.url}/{place}{'&' if '?' in place else '?'}token={running.token}" if place else running.page)
    page.wait_for_selector("main h1")


@contextmanager
def visiting(browser: "Browser", studio: Running) -> Iterator[Visit]:
    """Give what opens the page at a place of a studio.

    At the end nothing may have been asked of another machine, and no error or warning may stand in the console.
    """
    contexts: list[Any] = []
    faults: list[str] = []

    def go(place: str = "#/", running: Running = studio, *, width: int = 1280, **context: Any) -> "Page":
        page_context = browser.new_context(viewport={"width": width, "height": 860}, **context)
        contexts.append(page_context)
        page = page_context.new_page()

        def asked(request: Any) -> None:
            if not request.url.startswith((running.url, "data:", "blob:")):
                faults.append(f"asked for {request.url}")

        page_context.on("request", asked)  # to route each of them would take longer than what is asked for

        def said(message: Any) -> None:
            if message.type in ("error", "warning"):
                faults.append(f"{message.type}: {message.text}")

        def asked_aloud(dialog: Any) -> None:
            faults.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        page.on("console", said)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", asked_aloud)
        come_to(page, place, running)
        return page

    yield go
    for context in contexts:
        context.close()
    assert faults == []


def probed(page: "Page", screen: str, ready: str = "true", timeout: float = 60_000) -> Any:
    """Return what a screen shows, once an expression about it, `it`, holds."""
    page.wait_for_function(
        f"() => {{ const it = window.__studio?.{screen}; return it !== undefined && ({ready}); }}", timeout=timeout
    )
    return page.evaluate(f"window.__studio.{screen}")


@pytest.fixture(scope="session")
def axe() -> Path:
    """The script of axe-core; what needs it is skipped where it is not installed."""
    reason = "no axe-core here: `make setup` installs it"
    package = pytest.importorskip("axe_playwright_python", reason=reason)
    return Path(package.__file__).parent / "axe.min.js"


def violations(page: "Page", axe: Path) -> list[str]:
    """Return what is wrong with a page and matters, with where it is."""
    if page.evaluate("typeof axe") == "undefined":
        page.add_script_tag(path=axe)
    report = page.evaluate("axe.run(document, { preload: false, resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {node['html'][:160]} {node['failureSummary']}"
        for rule in report["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"][:5]
    ]

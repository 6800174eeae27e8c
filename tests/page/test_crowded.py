"""The page with many models, an n-gram among them, in a wide and in a narrow window; and once its server is gone."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cli.command import unroll
from page.conftest import Running, Visit, probed, start_studio, stop_studio

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCREENS = ("train", "type", "compare", "sample", "serve", "cells", "find", "memory", "similar", "unrolled")
COPIES = 14
SETTLED = "() => document.querySelector('main h1') && !document.querySelector('main .waiting, main .running')"


@pytest.fixture(scope="module")
def many(browser: Any, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A studio over two trained models, many copies of one of them, and an n-gram without a text of its own."""
    folder = tmp_path_factory.mktemp("many")
    for name in ("small", "book"):
        shutil.copytree(runs / name, folder / "runs" / name)
    for k in range(COPIES):
        shutil.copytree(runs / "small", folder / "runs" / f"copy-{k}-with-a-rather-long-name")
    done = unroll("ngram", runs.parent / "book.txt", "--order", "3", "--out", folder / "runs" / "counted", cwd=folder)
    assert done.code == 0, done.err
    running = start_studio(runs=folder / "runs", texts=folder)
    yield running
    stop_studio(running)


def settled(visit: Visit, running: Running, place: str, *, width: int = 1280, **context: Any) -> "Page":
    """Open a place and wait until nothing is loading."""
    page = visit(place, running, width=width, reduced_motion="reduce", **context)
    page.set_viewport_size({"width": width, "height": 740 if width < 500 else 800})
    page.wait_for_selector(f"h1:text-is('{place[2:].partition('?')[0].capitalize()}')")
    page.wait_for_timeout(700)
    page.wait_for_function(SETTLED, timeout=60_000)
    return page


def overflow(page: "Page") -> tuple[int, int]:
    """Return by how many pixels the document is wider and higher than its window."""
    width, height = page.evaluate(
        "(({ scrollWidth: w, clientWidth: cw, scrollHeight: h, clientHeight: ch }) => [w - cw, h - ch])"
        "(document.scrollingElement)"
    )
    return width, height


@pytest.mark.parametrize("model", ["book", "counted"])
@pytest.mark.parametrize("screen", SCREENS)
def test_a_narrow_window_shows_where_one_is_and_nothing_sticks_out(
    visit: Visit, many: Running, screen: str, model: str
) -> None:
    page = settled(visit, many, f"#/{screen}?model={model}&run={model}", width=360)
    assert overflow(page)[0] == 0
    tab = page.locator(".rail [aria-current]").bounding_box()
    assert tab is not None
    assert tab["x"] >= 0 and tab["x"] + tab["width"] <= 360
    for box in page.locator(".runs, .chooser").all():
        place = box.bounding_box()
        assert place is not None and place["height"] < 160, "choosing among many leaves room for the rest"


@pytest.mark.parametrize("screen", SCREENS)
def test_no_screen_is_a_dead_end_for_an_n_gram(visit: Visit, many: Running, screen: str) -> None:
    page = settled(visit, many, f"#/{screen}?model=counted&run=counted")
    assert page.locator("main .failure").count() == 0
    assert "n-grams" in str(page.locator(".status").text_content())
    assert overflow(page)[1] != 1, "no scroll bar for a single pixel"
    if screen in ("cells", "find", "similar"):
        assert overflow(page)[1] == 0
        page.get_by_role("button", name="Look inside book").click()
        page.wait_for_function(f"() => window.__studio?.{screen}")
        assert "model=book" in page.evaluate("location.hash")
    if screen == "unrolled":
        assert len(probed(page, "unrolled", "it.models.length")["models"]) >= 1
        assert "counted is not shown" in str(page.locator("main").text_content())
    if screen == "train":
        assert "Counted, not trained" in str(page.locator("main").text_content())


def test_train_lists_every_run_and_follows_the_model_at_the_top(visit: Visit, many: Running) -> None:
    page = settled(visit, many, "#/train?model=book&run=book")
    assert page.locator(".runs button").count() == COPIES + 3
    last = "copy-13-with-a-rather-long-name"
    page.locator(".pick select").select_option(last)
    assert probed(page, "train", f"it.run === '{last}'")["run"] == last
    button = page.locator(".runs [aria-pressed=true]").bounding_box()
    runs = page.locator(".runs").bounding_box()
    assert button is not None and runs is not None
    assert runs["y"] <= button["y"] and button["y"] + button["height"] <= runs["y"] + runs["height"]


def test_train_has_its_unit_before_the_text_is_measured(visit: Visit, many: Running) -> None:
    page = visit("#/train?model=book&run=book", many)

    def unmeasured(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=json.dumps(answer.json() | {"text": None}))

    page.route("**/api/runs/book?*", unmeasured)
    page.reload()
    assert probed(page, "curves", "it.series.length")["unit"].endswith("bits per character")


@pytest.mark.parametrize("width", [320, 1280])
def test_without_a_model_of_a_task_use_says_how_to_train_one(visit: Visit, many: Running, width: int) -> None:
    page = settled(visit, many, "#/use?model=book", width=width)
    commands = page.locator("main code.command").all_text_contents()
    assert [command.split()[1] for command in commands] == ["classify", "tag", "translate", "sequences"]
    assert all(command.endswith(f" --out {many.runs}/NAME") for command in commands)
    assert "no model of a task yet" in str(page.locator(".status").text_content())
    sideways, down = overflow(page)
    assert page.locator(".pick").count() == 0 and sideways == 0 and (width < 400 or down == 0)


def test_several_runs_share_one_chart_and_one_unit(visit: Visit, many: Running) -> None:
    page = settled(visit, many, "#/train?model=book&run=book")
    alone = probed(page, "curves", "it.lines.length === 4")
    assert [curve["label"] for curve in alone["series"]] == ["training", "validation"]
    for name in ("small", *(f"copy-{k}-with-a-rather-long-name" for k in range(4))):
        page.get_by_label(f"Draw {name}").check()
    shown = probed(page, "curves", "it.series.length === 6 && it.unit.includes('character')")
    assert shown["unit"] == "validation, bits per character"
    assert len({(curve["colour"], json.dumps(curve["dash"])) for curve in shown["series"]}) == 6
    recorded = (many.runs / "small" / "metrics.jsonl").read_text().splitlines()
    valid = [event["nats"] for event in map(json.loads, recorded) if event["kind"] == "valid"]
    small = next(curve for curve in shown["series"] if curve["label"] == "small")
    assert small["last"] == pytest.approx(valid[-1] / np.log(2))
    assert page.locator(".chart .legend li").count() >= 6
    page.reload()
    assert len(probed(page, "curves", "it.series.length === 6")["series"]) == 6, "the choice is in the address"
    unit = "(texts) => import('/frame/format.js').then(({ scaleOf }) => scaleOf(texts).unit)"
    words, letters = {"level": "word", "chars_per_token": None}, {"level": "char", "chars_per_token": 1}
    assert page.evaluate(unit, [words, letters]) == "bits per symbol"
    assert page.evaluate(unit, [words, words]) == "bits per word"


def test_labels_of_baselines_stand_beside_their_lines(visit: Visit, many: Running) -> None:
    page = settled(visit, many, "#/train?model=book&run=book")
    probed(page, "curves", "it.lines.length === 4")
    room = page.evaluate(
        "document.querySelector('.plot').getBoundingClientRect().right - "
        "document.querySelector('.u-over').getBoundingClientRect().right"
    )
    assert room > 60


def test_serve_fits_a_window_and_says_how_many_models_it_does_not_name(visit: Visit, many: Running) -> None:
    page = settled(visit, many, "#/serve?model=book")
    page.wait_for_selector(".figures")
    assert overflow(page) == (0, 0)
    page.wait_for_selector(f"text=and {COPIES + 3 - 6} more")


def test_serve_tries_an_n_gram_from_the_start(visit: Visit, many: Running) -> None:
    page = settled(visit, many, "#/serve?model=counted")
    assert 'prompt=""' in str(page.get_by_label("The snippet").text_content())
    page.get_by_role("button", name="Try it here").click()
    page.get_by_label("The answer").wait_for()


def test_memory_asks_no_gradient_of_an_n_gram_and_shows_no_path(visit: Visit, many: Running) -> None:
    page = settled(visit, many, "#/memory?model=book&with=book,counted")
    probed(page, "memory", "it.models.length === 2", 120_000)
    assert [model["model"] for model in probed(page, "depends", "it.models.length")["models"]] == ["book"]
    content = str(page.locator("main").text_content())
    assert "exactly 0" not in content and str(many.runs) not in content
    page.evaluate("place => { location.hash = place; }", "#/memory?model=counted&with=counted")
    page.wait_for_selector("text=Choose a network: an n-gram has no gradients")
    assert page.locator("main .failure").count() == 0


def test_the_status_line_has_the_unit_of_train_for_every_level(visit: Visit, many: Running) -> None:
    page = settled(visit, many, "#/type?model=book&text=ab%20cd")
    assert "bits per character" in str(page.locator(".status").text_content())
    assert page.locator(".figures dt", has_text="bits per character").count() == 1
    units = """(level) => import('/frame/format.js').then(({ meanCost, scaleOf }) => [
      scaleOf([{ level, chars_per_token: level === 'word' ? null : 0.5 }]).unit,
      ...meanCost(level, [1, 1], ['', '\u00e9'])])"""
    assert page.evaluate(units, "byte") == [
        "bits per character",
        pytest.approx(2 / np.log(2)),
        "bits per character",
        "bits/char",
    ]
    assert page.evaluate(units, "word") == ["bits per word", pytest.approx(1 / np.log(2)), "bits per word", "bits/word"]


DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
LMS = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.63]]
LAB = [[0.2105, 0.7936, -0.0041], [1.978, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_differ_for_the_colour_blind(visit: Visit, many: Running, scheme: str) -> None:
    """Distances in Oklab after Machado et al. 2009; the gates i, f and o are the orange, the violet and the blue."""
    page = visit("#/serve?model=book", many, color_scheme=scheme)
    names = ("--blue", "--orange", "--green", "--violet")
    read = "(name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()"
    rgb = np.array([[int(page.evaluate(read, name)[k : k + 2], 16) / 255 for k in (1, 3, 5)] for name in names])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for vision in (np.eye(3), np.array(DEUTERANOPIA), np.array(PROTANOPIA)):
        seen = np.cbrt(np.clip(linear @ vision.T, 0, 1) @ np.array(LMS).T) @ np.array(LAB).T
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 0.08


def test_similar_shows_all_of_a_row_in_a_narrow_window(visit: Visit, many: Running) -> None:
    page = settled(visit, many, "#/similar?model=book", width=360)
    probed(page, "similar", "it.rows && it.rows.length")
    edges = page.locator("table.near td").evaluate_all("all => all.map((cell) => cell.getBoundingClientRect().right)")
    assert edges and max(edges) <= 360


def test_sample_counts_layers_from_0_and_names_what_the_model_has_never_seen(visit: Visit, many: Running) -> None:
    page = settled(visit, many, "#/sample?model=book&text=the%20%E2%82%AC&pins=0.c.3:1&length=20")
    assert page.get_by_label("layer 0, c of unit 3", exact=True).count() == 1
    assert "read as <unk>: '€'" in probed(page, "sample", "it.notes.length")["notes"][0]
    page.wait_for_selector("text=The prompt has symbols never seen in training")


def test_an_equation_never_ends_in_a_lone_symbol(visit: Visit, many: Running) -> None:
    page = settled(visit, many, "#/cells?model=book")
    probed(page, "cells", "it.now")
    ends = page.locator("[data-sums] p").evaluate_all("all => all.map((line) => line.lastElementChild.textContent)")
    assert [end.split(" = ")[-1] for end in ends] == ["c", "h"]
    assert all(end.count("= ") == 2 for end in ends), "the value and its name stay together"


def test_a_screen_comes_back_by_itself_with_the_server(many: Running, browser: Any) -> None:
    page = browser.new_page()  # without `visit`: failed requests are errors in the console
    try:
        page.goto(many.page)
        page.wait_for_selector("main h1")
        page.route("**/api/inside/**", lambda route: route.abort())
        page.evaluate("place => { location.hash = place; }", "#/cells?model=book")
        page.wait_for_selector("main .failure code:text-is('unroll studio')")
        assert "`" not in str(page.locator("main .failure").text_content()), "commands are set as code"
        page.unroute("**/api/inside/**")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        probed(page, "cells", "it.now")
        assert page.locator("main .failure").count() == 0
    finally:
        page.close()


def test_the_page_says_that_the_studio_is_gone_and_then_that_its_address_is_new(
    visit: Visit, many: Running, browser: Any
) -> None:
    first = start_studio(runs=many.runs, texts=many.texts)
    page = browser.new_page()  # without `visit`: failed requests are errors in the console
    try:
        page.goto(first.page)
        page.wait_for_selector("main h1")
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        page.keyboard.press("3")  # a screen that was never loaded
        page.wait_for_selector("main .failure:has-text('the server does not answer')", timeout=60_000)
        page.wait_for_selector(".server-lost", timeout=60_000)
        assert "module" not in str(page.locator("main").text_content())
        assert page.evaluate("document.getAnimations().length") == 0
        port = first.url.rstrip("/").rpartition(":")[2]
        again = start_studio(runs=many.runs, texts=many.texts, port=port)
        try:
            page.get_by_role("button", name="Retry now").click()
            page.wait_for_selector(".server-lost:has-text('new address')", timeout=60_000)
            assert "Authorization" not in str(page.locator("body").text_content())
        finally:
            stop_studio(again)
    finally:
        page.close()
        first.process.kill()
        first.process.communicate()

"""The screens that look inside, in a real browser, on a network whose unit 0 was set by hand to latch on quotations."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pytest
import torch

from page.conftest import Running, Visit, probed, start_studio, stop_studio
from serve.quoted import TOKENIZER, latch, other, quoted, save
from unroll.artifact.open import Opened, open_model
from unroll.insight.trace import network_of
from unroll.predict.protocols import stream_nats
from unroll.serve.inside.trace import levels

if TYPE_CHECKING:
    from playwright.sync_api import Page

TEXT = quoted(4000)
SHORT = "ab “cd efg” hij. ab “j” jj"
READY = {
    "cells": "it.now && it.order.length",
    "find": "it.labels",
    "memory": "it.models.length",
    "similar": "it.rows",
    "unrolled": "it.models.length",
}


@pytest.fixture(scope="module")
def runs_inside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latch")
    save(latch(), folder / "runs" / "latch")
    save(other("rnn"), folder / "runs" / "plain")
    save(other("window", window=4), folder / "runs" / "window")
    return folder / "runs"


@pytest.fixture(scope="module")
def inside(browser: Any, runs_inside: Path) -> Iterator[Running]:
    running = start_studio(runs=runs_inside, texts=runs_inside.parent)
    yield running
    stop_studio(running)


@pytest.fixture(scope="module")
def opened(runs_inside: Path) -> Opened:
    return open_model(runs_inside / "latch")


def place(screen: str, **keys: object) -> str:
    query = {"model": "latch", "text": SHORT, **keys}
    return f"#/{screen}?" + "&".join(f"{name}={quote(str(value))}" for name, value in query.items())


def long_text(page: "Page") -> str:
    """Leave a long text with the server, and return its number."""
    return str(
        page.evaluate(
            """async (text) => (await (await import("/frame/fetch.js")).api("texts", { text })).id""",
            TEXT,
        )
    )


def cell(opened: Opened, text: str, unit: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    ids = np.concatenate([[TOKENIZER.start_id], TOKENIZER.encode(text)])
    with torch.inference_mode():
        inside = network_of(opened).trace(torch.from_numpy(ids)[None])[2][0]
    return np.asarray(inside["c"][0, 1:, unit].numpy())


def colours(page: "Page", theme: str) -> list[list[int]]:
    """Return the page's table of diverging colours."""
    return list(page.evaluate(f"import('/frame/colour.js').then((m) => m.table('diverging', '{theme}'))"))


def rgb(colour: str) -> list[int]:
    return [int(part) for part in colour[colour.index("(") + 1 : -1].replace(",", " ").split()]


# ---- every screen


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", READY)
def test_a_screen_shows_something_in_either_theme(visit: Visit, inside: Running, screen: str, scheme: str) -> None:
    page = visit(place("cells"), inside, color_scheme=scheme, reduced_motion="reduce")
    number = long_text(page)
    page.evaluate("place => { location.hash = place; }", place(screen, text="", textid=number, on="text"))
    probed(page, screen, READY[screen], 60_000)
    assert page.title().startswith(screen.capitalize())
    page.wait_for_selector("canvas, svg[role=img], .passage, table")  # not yet where the screen stays the same
    # What cannot be seen is said: every picture has a summary.
    for label in page.locator("main [role=img]").evaluate_all(
        "all => all.map((one) => one.getAttribute('aria-label'))"
    ):
        assert label and len(label) > 12


@pytest.mark.parametrize("screen", READY)
def test_a_screen_fits_a_narrow_window(visit: Visit, inside: Running, screen: str) -> None:
    page = visit(place("cells"), inside, width=320)
    number = long_text(page)
    page.evaluate("place => { location.hash = place; }", place(screen, text="", textid=number, on="text"))
    probed(page, screen, READY[screen], 60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("screen", READY)
def test_a_model_without_a_text_of_its_own_says_what_to_do(browser: Any, inside: Running, screen: str) -> None:
    context = browser.new_context()  # an answer that is an error stands in the console, which `visit` would not have
    page = context.new_page()
    page.goto(inside.page)
    page.wait_for_selector("main h1")
    page.evaluate("place => { location.hash = place; }", f"#/{screen}?model=latch")
    failure = page.locator("main .failure")
    failure.first.wait_for()
    assert "no text of its own" in (failure.first.text_content() or "")
    context.close()


# ---- Cells


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_the_cells_values(visit: Visit, inside: Running, opened: Opened, scheme: str) -> None:
    page = visit(place("cells", signal="c", unit=0), inside, color_scheme=scheme)
    state = probed(page, "cells", "it.now")
    expected = cell(opened, SHORT)
    assert np.allclose(state["values"], expected, atol=1e-6)
    table, high = colours(page, scheme), state["domain"][1]
    painted = page.locator(".passage > span").evaluate_all(
        "all => all.map((one) => getComputedStyle(one).backgroundColor)"
    )
    entries = levels(expected[None], -high, high)[0]
    assert [rgb(one) for one in painted] == [table[entry] for entry in entries]
    surface = page.evaluate("getComputedStyle(document.querySelector('.panel')).backgroundColor")
    assert rgb(painted[0]) == rgb(surface), "zero is the paper"
    inked = page.locator(".passage > span").evaluate_all("all => all.map((one) => getComputedStyle(one).color)")
    for ground, ink in zip(painted, inked, strict=True):
        assert contrast(rgb(ground), rgb(ink)) >= 4.5


def contrast(first: list[int], second: list[int]) -> float:
    """Return the contrast of two colours by WCAG 2."""
    light = [
        sum(
            weight * (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4)
            for weight, v in zip((0.2126, 0.7152, 0.0722), (part / 255 for part in colour), strict=True)
        )
        for colour in (first, second)
    ]
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_the_heat_map_has_a_pixel_for_each_unit_and_symbol(visit: Visit, inside: Running, opened: Opened) -> None:
    page = visit(place("cells", signal="c"), inside)
    screen = probed(page, "cells", "it.order.length")
    page.get_by_label("one scale for all").check(force=True)
    page.wait_for_timeout(400)
    table = colours(page, "light")
    screen = probed(page, "cells", "it.order.length")
    high = screen["domain"][1]
    assert sorted(screen["order"]) == list(range(16))
    wide, pixels = page.evaluate(
        """() => {
          const canvas = document.querySelector(".heat canvas");
          return [canvas.width, [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]];
        }"""
    )
    assert wide == len(SHORT) and len(pixels) == 4 * wide * 16
    for row, t in ((0, 4), (0, 0), (7, 9), (15, len(SHORT) - 1)):
        value = cell(opened, SHORT, screen["order"][row])[t]
        red, green, blue, alpha = pixels[4 * (row * wide + t) :][:4]
        assert [red, green, blue] == table[int(levels(np.array([[value]]), -high, high)[0, 0])] and alpha == 255


def test_the_arithmetic_at_the_cursor_is_shown(visit: Visit, inside: Running) -> None:
    page = visit(place("cells", unit=0, pos=5), inside)
    screen = probed(page, "cells", "it.now && it.pos === 5")
    values, before = screen["now"], screen["before"]
    assert values["f"] * before["c"] + values["i"] * values["g"] == pytest.approx(values["c"], abs=1e-6)
    sums = page.locator("[data-sums]").text_content() or ""
    assert "1.000 · +1.000 + 0.000" in sums and f"= +{values['h']:.3f} = h" in sums


def test_cells_by_keyboard_alone(visit: Visit, inside: Running) -> None:
    page = visit(place("unrolled"), inside)
    page.keyboard.press("3")
    probed(page, "cells", "it.now")
    page.keyboard.press("]")
    assert probed(page, "cells", "it.unit === 1")["layer"] == 0
    page.keyboard.press("h")
    probed(page, "cells", "it.signal === 'h'")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    probed(page, "cells", "it.pos === 1")
    page.keyboard.press("m")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    assert probed(page, "cells", "it.range")["range"] == [1, 4]
    page.wait_for_selector("text=Units active in this range")
    page.keyboard.press("Escape")
    probed(page, "cells", "!it.range")
    page.locator(".heat").focus()
    before = probed(page, "cells")
    page.keyboard.press("ArrowDown")
    place_of = before["order"].index(before["unit"])
    probed(page, "cells", f"it.unit === {before['order'][min(15, place_of + 1)]}")


def test_a_range_is_dragged_over_the_text(visit: Visit, inside: Running) -> None:
    page = visit(place("cells", unit=3), inside)
    probed(page, "cells", "it.now")
    first, last = SHORT.index("c"), SHORT.index("g")
    boxes = [page.locator(f'.passage > span[data-k="{k}"]').bounding_box() for k in (first, last)]
    assert boxes[0] and boxes[1]
    page.mouse.move(boxes[0]["x"] + 3, boxes[0]["y"] + 6)
    page.mouse.down()
    page.mouse.move(boxes[1]["x"] + 3, boxes[1]["y"] + 6, steps=4)
    page.mouse.up()
    screen = probed(page, "cells", "it.range && it.order.length")
    assert screen["range"] == [first, last]
    row = page.locator("text=Units active in this range").locator("xpath=ancestor::section").locator("tbody tr")
    row.first.wait_for()
    assert "0:0" in (row.all_text_contents()[0] + row.all_text_contents()[1])


@pytest.mark.parametrize(("model", "reason"), [("plain", "no gates and no cell"), ("window", "no state")])
def test_absent_signals_are_off_with_the_reason(visit: Visit, inside: Running, model: str, reason: str) -> None:
    page = visit(place("cells", model=model), inside)
    probed(page, "cells", "it.now")
    gate = page.locator('input[name="Signal"][value="f"]')
    assert gate.is_disabled() and reason in (gate.locator("xpath=..").get_attribute("title") or "")
    page.keyboard.press("f")
    page.wait_for_function("w => document.getElementById('live').textContent.includes(w)", arg=reason)


# ---- Find


def test_the_latch_is_found_first_by_keyboard_and_opens_in_cells(visit: Visit, inside: Running) -> None:
    page = visit(place("cells"), inside)
    number = long_text(page)
    page.evaluate("place => { location.hash = place; }", place("cells", text="", textid=number))
    probed(page, "cells", "it.now")
    page.keyboard.press("4")
    screen = probed(page, "find", "it.labels && it.labels.length")
    inside_marks = [k for k, label in enumerate(screen["labels"]) if label]
    assert inside_marks[0] == TEXT.index("“") and not screen["painted"]
    painted = page.locator(f'.passage > span[data-k="{inside_marks[0]}"]')
    assert rgb(painted.evaluate("one => getComputedStyle(one).backgroundColor"))[2] > 0
    page.locator("h1").click()
    page.keyboard.press("r")
    findings = probed(page, "find", "it.state === 'done'", 120_000)["findings"]
    assert (findings[0]["layer"], findings[0]["unit"], findings[0]["verdict"]) == (0, 0, "causal")
    assert findings[0]["score"] == pytest.approx(1.0, abs=1e-9)
    assert "1.000" in (page.locator("table.found tbody tr").first.text_content() or "")
    page.locator("table.found tbody button").first.focus()
    page.keyboard.press("Enter")
    screen = probed(page, "cells", "it.agreement !== null")
    assert screen["unit"] == 0 and screen["agreement"] == 1.0


def test_labels_are_painted_by_hand(visit: Visit, inside: Running) -> None:
    page = visit(place("cells"), inside)
    number = long_text(page)
    page.evaluate("place => { location.hash = place; }", place("find", text="", textid=number, on="text", prop="re:x"))
    screen = probed(page, "find", "it.labels && it.labels.length")
    assert not any(screen["labels"])
    page.wait_for_selector("text=the labels are all the same")
    assert page.get_by_role("button", name="Search all units").is_disabled()
    page.locator(".passage").focus()
    for key in ("Home", "Shift+ArrowRight", "Shift+ArrowRight", "ArrowRight", " "):
        page.keyboard.press(key)
    screen = probed(page, "find", "it.painted && it.labels[3]")
    assert screen["labels"][:5] == [1, 1, 1, 1, 0]


# ---- Memory, Similar


def test_memory_says_what_a_window_cannot_see(visit: Visit, inside: Running) -> None:
    page = visit(place("cells"), inside)
    number = long_text(page)
    page.evaluate("place => { location.hash = place; }", place("memory", text="", textid=number, on="text", pos=300))
    screen = probed(page, "memory", "it.models.length === 3", 120_000)
    curves = dict(zip((model["name"] for model in screen["models"]), screen["curves"], strict=True))
    assert all(size > 0 for size in curves["window"][:4]) and not any(curves["window"][4:])
    assert all(size > 0 for size in curves["plain"])
    page.wait_for_selector("text=4: then exactly 0")
    depends = probed(page, "depends", "it.models.length === 3 && it.at === 300")
    window = next(one for one in depends["models"] if one["model"] == "window")
    grounds = page.locator('[aria-label*="window\'s prediction"] > span').evaluate_all(
        "all => all.slice(290, 301).map((one) => one.style.backgroundColor)"
    )
    surface = rgb(page.evaluate("getComputedStyle(document.querySelector('.panel')).backgroundColor"))
    assert [rgb(ground) == surface for ground in grounds[:10]] == [True] * 6 + [False] * 4
    assert not any(window["scores"][:-4]) and all(window["scores"][-4:])


def test_similar_lists_neighbours_with_controls(visit: Visit, inside: Running) -> None:
    page = visit(place("cells"), inside)
    number = long_text(page)
    page.evaluate("place => { location.hash = place; }", place("similar", text="", textid=number, on="text"))
    screen = probed(page, "similar", "it.rows && it.rows.length")
    rows = page.locator("table.near tbody tr")
    assert rows.count() == len(screen["rows"])
    assert rows.first.locator("button").text_content() == screen["rows"][0]["text"]
    page.get_by_label("standardise units").click()
    raw = probed(page, "similar", "!it.standardise && it.rows")
    page.wait_for_function("was => window.__studio.similar.rows[0].cosine !== was", arg=screen["rows"][0]["cosine"])
    assert raw["query"] == screen["query"]


# ---- Unrolled


def test_losses_sum_to_the_scores_nats_and_gradients_are_walked(visit: Visit, inside: Running, opened: Opened) -> None:
    page = visit(place("unrolled", **{"with": "latch,plain,window"}), inside)
    screen = probed(page, "unrolled", "it.models.length === 3")
    ids = TOKENIZER.encode(SHORT)
    nats = stream_nats(opened.predictor, ids, TOKENIZER.start_id) * len(ids)
    model = screen["models"][0]
    assert model["total_nats"] == pytest.approx(nats, abs=1e-4) and sum(model["nats"]) == pytest.approx(nats, abs=1e-4)
    bits = [float(one) for one in page.locator(".river").first.locator(".bits").all_text_contents()]
    assert sum(bits) == pytest.approx(nats / np.log(2), abs=0.005 * len(ids) + 1e-9)
    total = page.locator(".river .sum text").first.text_content() or ""
    assert float(total.split()[1]) == pytest.approx(nats / np.log(2), abs=0.051)
    assert screen["t"] == len(SHORT) - 1
    page.keyboard.press("ArrowLeft")
    screen = probed(page, "unrolled", f"it.t === {len(SHORT) - 2}")
    assert page.locator(".river").first.locator(".chosen").get_attribute("data-step") == str(len(SHORT) - 2)
    page.wait_for_function("() => document.getElementById('live').textContent.includes('latch: step')")
    sizes = page.locator(".river").first.locator(".size").all_text_contents()
    assert len(sizes) == len(SHORT) - 1, "for every state up to the chosen step"
    crossed = page.locator(".river").nth(2).locator(".blind").count()
    assert crossed == len(SHORT) - 1 - 4, "what the window cannot see"


def test_the_sentence_is_read_step_by_step_where_motion_is_wanted(visit: Visit, inside: Running) -> None:
    page = visit(place("unrolled", text="ab “cd”"), inside)
    probed(page, "unrolled", "it.models.length")
    page.keyboard.press(" ")
    probed(page, "unrolled", "it.upto === 2 && it.t === 2")
    assert page.locator(".river").first.locator(".later").count() == 7 - 3
    probed(page, "unrolled", "it.t === 6")
    quiet_page = visit(place("unrolled", text="ab “cd”"), inside, reduced_motion="reduce")
    probed(quiet_page, "unrolled", "it.models.length")
    quiet_page.keyboard.press(" ")
    quiet_page.wait_for_timeout(600)
    assert probed(quiet_page, "unrolled")["t"] == 6, "nothing moves by itself"


def test_a_sentence_is_typed(visit: Visit, inside: Running) -> None:
    page = visit(place("unrolled"), inside)
    probed(page, "unrolled", "it.models.length")
    page.keyboard.press("/")
    page.keyboard.press("Control+a")
    page.keyboard.type("hij.")
    screen = probed(page, "unrolled", "it.models.length && it.models[0].symbols.join('') === 'hij.'")
    assert len(screen["models"][0]["nats"]) == 4

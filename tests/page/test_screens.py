"""The screens in a real browser: what they show is what the library says, in both themes, by keyboard, at any width."""

import json
import math
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import unroll
from page.conftest import Running, Visit, probed
from unroll.artifact.open import Opened, open_model
from unroll.engine.draw import probabilities
from unroll.lm.continuations import next_symbols
from unroll.lm.sample import SampleOptions, generate, read_prompt
from unroll.predict.predictor import log_probabilities
from unroll.predict.protocols import stream_nats

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCREENS = ("train", "type", "compare", "sample", "use", "serve")
SHOWN = {
    "train": "it.baselines",
    "type": "it.symbols.length > 0",
    "compare": "it.pieces.length > 0",
    "sample": "it.busy === 0 && it.columns.length && it.columns.every(({ids}) => ids.length === 300)",
    "use": "it.labels.length && it.errors",
    "serve": "true",
}


@pytest.fixture(scope="module")
def book(runs: Path) -> Opened:
    return open_model(runs / "book")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_shows_something_in_either_theme(visit: Visit, screen: str, scheme: str) -> None:
    page = visit(f"#/{screen}?model=book&run=book", color_scheme=scheme, reduced_motion="reduce")
    probed(page, screen, SHOWN[screen])
    assert page.title().startswith(screen.capitalize())
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    light = sum(map(int, ground[4:-1].split(","))) / 3 > 128
    assert light == (scheme == "light")
    page.keyboard.press("d")  # auto -> light -> dark
    page.keyboard.press("d")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_fits_a_narrow_window(visit: Visit, screen: str) -> None:
    page = visit(f"#/{screen}?model=book&run=book", width=320)
    probed(page, screen, SHOWN[screen])
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_train_shows_the_samples_that_were_recorded(visit: Visit, runs: Path, book: Opened) -> None:
    page = visit("#/train?run=book")
    screen = probed(page, "train", "it.baselines && it.samples.length")
    recorded = [json.loads(line) for line in (runs / "book" / "samples.jsonl").read_text().splitlines()]
    assert [(entry["step"], entry["text"]) for entry in screen["samples"]] == [
        (entry["step"], entry["text"]) for entry in recorded
    ]
    for entry in recorded:
        strip = page.locator(f'.written[data-step="{entry["step"]}"]')
        assert strip.text_content() == entry["prompt"] + entry["text"]
    lines = {line["label"]: line["nats"] for line in screen["baselines"]}
    assert lines["uniform"] == pytest.approx(math.log(book.predictor.vocab_size))
    assert lines["uniform"] > lines["unigram"] > lines["bigram"] > 0 < lines["gzip −9"]


def test_train_draws_how_like_the_text_the_samples_are(visit: Visit, runs: Path) -> None:
    page = visit("#/train?run=book", width=320)
    growth = probed(page, "growth", "it.measures.length > 1")
    style = unroll.style(runs / "book")
    assert growth["names"] == list(style.ceiling) and growth["ceiling"] == style.ceiling
    assert growth["measures"] == [sample["measures"] for sample in style.samples]
    curves = page.locator(".growth svg")
    assert curves.count() == len(style.ceiling)
    assert "words that the text has: step 100 " in str(curves.first.get_attribute("aria-label"))
    assert page.locator(".growth .ceiling").count() == sum(value is not None for value in style.ceiling.values())
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.get_by_role("button", name="Show as table: measures by step").click()
    assert page.locator(".growth tbody tr").count() == len(style.samples) + 1


def test_samples_are_walked_with_the_arrow_keys(visit: Visit) -> None:
    page = visit("#/train?run=book")
    probed(page, "train", "it.samples.length > 1")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("location.hash").endswith("step=100")
    assert page.locator(".strip [aria-current] b").first.text_content() == "100"
    page.keyboard.press(".")
    assert "step=" not in page.evaluate("location.hash")


def typed(page: "Page", text: str) -> Any:
    box = page.get_by_label("Text that the model reads")
    probed(page, "type", "it.symbols.length > 0")
    box.fill("")
    probed(page, "type", 'it.text === ""')
    box.press_sequentially(text)
    return probed(page, "type", f"it.text === {json.dumps(text)} && it.symbols.length === {len(text)}")


def test_bars_are_the_models_probabilities(visit: Visit, book: Opened) -> None:
    page = visit("#/type?model=book")
    text = "the cat sat on"
    screen = typed(page, text)
    expected = {likely.id: likely.probability for likely in next_symbols(book, text, top=1000).likely}
    got = {id: math.exp(-nats) for id, nats in zip(screen["next"]["ids"], screen["next"]["nats"], strict=True)}
    assert got == pytest.approx(expected, abs=1e-6)
    rows = page.locator(".bars button")
    likeliest = max(expected.values())
    assert rows.first.locator(".number").text_content() == f"{100 * likeliest:.1f}"
    # What each symbol cost, read at once and not key by key.
    ids = book.tokenizer.encode(text)
    expected_nats = stream_nats(book.predictor, ids, book.tokenizer.start_id)
    assert np.mean(screen["nats"]) == pytest.approx(expected_nats, rel=1e-5)
    for k, guesses in enumerate(screen["guesses"]):
        before = {likely.token: likely.probability for likely in next_symbols(book, text[:k], top=5).likely}
        assert dict(guesses) == pytest.approx(before, abs=1e-4)


def test_sliders_reweigh_as_the_sampler_does(visit: Visit, book: Opened) -> None:
    page = visit("#/type?model=book&text=the%20c&t=0.6&k=8&p=0.9&m=0.02")
    screen = probed(page, "type", 'it.text === "the c"')
    logits, _ = read_prompt(book.predictor, [book.tokenizer.start_id, *book.tokenizer.encode("the c").tolist()])
    options = SampleOptions(temperature=0.6, top_k=8, top_p=0.9, min_p=0.02)
    (expected,) = probabilities(logits, options.drawing(book.tokenizer.unknown_id))
    weights = np.zeros(len(expected))
    weights[screen["next"]["ids"]] = screen["weighed"]
    assert weights == pytest.approx(expected, abs=1e-6)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.get_by_label("Temperature").first.fill("0")
    assert sorted(probed(page, "type", "it.weighed.filter((p) => p > 0).length === 1")["weighed"])[-1] == 1
    assert not [url for url in requests if url.endswith("/api/read")], "sliders ask nothing of the server"


def test_the_address_brings_everything_back(visit: Visit) -> None:
    page = visit("#/type?model=small")
    typed(page, "saw nothing new.")
    page.wait_for_function("() => location.hash.includes('saw+nothing+new.')")
    page.get_by_label("Temperature").first.fill("0.5")
    page.reload()
    screen = probed(page, "type", "it.symbols.length === 16")
    assert (screen["model"], screen["text"]) == ("small", "saw nothing new.")
    assert page.get_by_label("Text that the model reads").input_value() == "saw nothing new."
    assert page.get_by_label("Temperature").first.input_value() == "0.5"
    page.keyboard.press("1")
    page.wait_for_selector("h1:text('Train')")
    page.go_back()
    page.wait_for_selector("h1:text('Type')")
    assert probed(page, "type")["text"] == "saw nothing new."


def test_a_long_text_is_kept_by_the_server(visit: Visit) -> None:
    page = visit("#/type?model=book")
    text = "the cat sat on a mat. " * 100
    page.get_by_label("Text that the model reads").fill(text)
    probed(page, "type", f"it.symbols.length === {len(text)}")
    page.wait_for_function("() => location.hash.includes('textid=')")
    page.reload()
    assert probed(page, "type", f"it.symbols.length === {len(text)}")["text"] == text


def test_a_passage_that_comes_late_leaves_a_box_in_use_alone(visit: Visit) -> None:
    page = visit("#/train")
    held: list[Any] = []
    page.route("**/passage*", lambda route: held.append(route))
    page.evaluate("location.hash = '#/type?model=book'")
    box = page.get_by_label("Text that the model reads")
    box.focus()
    while not held:
        page.wait_for_timeout(20)
    with page.expect_response("**/passage*"):
        held.pop().continue_()
    page.wait_for_timeout(200)
    page.keyboard.type("the cat")
    assert probed(page, "type", "it.symbols.length === 7")["text"] == "the cat"


def test_what_is_typed_is_never_markup(visit: Visit) -> None:
    page = visit("#/type?model=book")
    text = "<img src=x onerror=alert(1)></textarea><script>alert(2)</script>\u202e"
    page.get_by_label("Text that the model reads").fill(text)
    screen = probed(page, "type", f"it.symbols.length === {len(text)}")
    assert "".join(screen["symbols"]) == text
    assert page.locator("main img, main script").count() == 0
    page.evaluate("place => { location.hash = place; }", "#/sample?model=book&text=" + "%3Cb%3Ex")
    probed(page, "sample", "it.columns.length")
    assert page.locator("main .passage b").count() == 0


def test_compare_adds_up_to_both_models_scores(visit: Visit, runs: Path, book: Opened) -> None:
    text = "the cat sat on the mat.\nand saw nothing"
    page = visit(f"#/compare?model=book&against=small&text={text.replace(' ', '%20').replace(chr(10), '%0A')}")
    screen = probed(page, "compare", 'it.a === "book"')
    assert "".join(screen["pieces"]) == text
    for opened, total in zip((book, open_model(runs / "small")), screen["total"], strict=True):
        ids = opened.tokenizer.encode(text)
        assert total == pytest.approx(
            len(ids) * stream_nats(opened.predictor, ids, opened.tokenizer.start_id), rel=1e-5
        )
    winner = "book" if screen["total"][0] < screen["total"][1] else "small"
    assert page.locator(".panel", has_text="Between").locator("p b").first.text_content() == winner
    spans = page.locator(".passage span")
    paper = "rgb(253, 252, 250)"
    painted = [spans.nth(k).evaluate("one => getComputedStyle(one).backgroundColor") for k in range(len(text))]
    for colour, first_nats, second_nats in zip(painted, *screen["nats"], strict=True):
        red, _, blue = map(int, colour[4:-1].split(","))
        if abs(first_nats - second_nats) > 0.1:
            assert (blue > red) == (first_nats < second_nats), "blue is where the first expected it more"
    assert painted != [paper] * len(text)


def test_samples_are_those_of_the_library(visit: Visit, book: Opened) -> None:
    page = visit("#/sample?model=book&text=the%20&seed=5&length=60&columns=2&t=0.8")
    screen = probed(
        page, "sample", "it.busy === 0 && it.columns.length === 2 && it.columns.every(({ids}) => ids.length === 60)"
    )
    prompt = book.tokenizer.encode("the ").tolist()
    for stream, column in enumerate(screen["columns"]):
        options = SampleOptions(temperature=0.8, seed=5)
        symbols = list(generate(book.predictor, book.tokenizer, prompt, 60, options, stream=stream))
        assert column["ids"] == [symbol.id for symbol in symbols]
        assert column["nats"] == pytest.approx([symbol.nats for symbol in symbols], abs=1e-3)


def test_a_branch_begins_with_what_it_branches_off(visit: Visit) -> None:
    page = visit("#/sample?model=book&seed=1&length=40&columns=1")
    before = probed(page, "sample", "it.busy === 0 && it.columns[0]?.ids.length === 40")["columns"][0]
    page.locator(".column .passage span").nth(12).click()
    page.locator(".alternatives button").nth(1).click()
    after = probed(page, "sample", "it.busy === 0 && it.columns.length === 2 && it.columns[1].ids.length === 40")
    branch = after["columns"][1]
    assert branch["ids"][:12] == before["ids"][:12]
    assert branch["given"] == 13


def test_a_unit_is_held_while_it_writes(visit: Visit, runs: Path) -> None:
    from unroll.artifact.open import load
    from unroll.insight.hold import Cell, ClampedPredictor, Held

    page = visit("#/sample?model=book&seed=3&length=40&columns=1&pins=0.c.5:2")
    screen = probed(page, "sample", "it.busy === 0 && it.columns[0]?.ids.length === 40")
    run = load(runs / "book")
    clamped = ClampedPredictor(run.model.eval(), [Held(Cell(0, "c", 5), 2.0)])
    symbols = generate(clamped, run.tokenizer, [], 40, SampleOptions(seed=3))
    assert screen["columns"][0]["ids"] == [one.id for one in islice(symbols, 40)]


def test_serve_tries_what_it_shows(visit: Visit, studio: Running) -> None:
    page = visit("#/serve?model=book")
    probed(page, "serve")
    assert studio.url in str(page.get_by_label("The snippet").text_content())
    page.get_by_role("button", name="Try it here").click()
    page.wait_for_selector("[aria-label='The answer']")
    answer = json.loads(str(page.get_by_label("The answer").text_content()))
    assert len(answer["choices"][0]["text"]) == 80
    probed(page, "serve", "it.generated >= 80")


def test_everything_goes_by_keyboard_alone(visit: Visit) -> None:
    page = visit("#/train?run=book")
    probed(page, "train", "it.baselines")
    for key, screen in (("2", "type"), ("7", "compare"), ("8", "sample"), ("u", "use"), ("9", "serve"), ("1", "train")):
        page.keyboard.press(key)
        page.wait_for_selector(f"h1:text('{screen.capitalize()}')")
    # The chart is one stop of Tab, with a cursor of its own that is told and a table that can be opened.
    page.locator(".chart .plot").focus()
    page.keyboard.press("End")
    page.wait_for_function("() => document.getElementById('live').textContent.startsWith('step 120')")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator(".chart table tbody tr").count() > 1
    # Writing: keys are letters there, and Escape leaves.
    page.keyboard.press("2")
    page.wait_for_selector("[data-text]")
    probed(page, "type", "it.symbols.length > 0")
    page.keyboard.press("/")
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("a 7 d")
    probed(page, "type", 'it.text === "a 7 d"')
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement?.textContent") == "Sample one":
            break
    else:
        pytest.fail("Tab does not reach the buttons")
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"
    page.keyboard.press("Enter")
    probed(page, "type", "it.text.length === 6")
    # A text is one stop too, and the arrows walk it.
    page.keyboard.press("Escape")
    page.evaluate("location.hash = '#/compare?model=book&against=small&text=the%20cat'")
    probed(page, "compare", "it.pieces.length === 7")
    page.locator(".passage").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".readout")
    assert str(page.locator(".readout .sym").text_content()) == "h"


def test_single_keys_can_be_switched_off(visit: Visit) -> None:
    page = visit("#/serve?model=book")
    page.keyboard.press("?")
    page.get_by_label("Single keys are on").uncheck()
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("1")
    page.wait_for_timeout(200)
    assert page.locator("h1").text_content() == "Serve"


def test_without_the_key_there_is_nothing_to_see(browser: Any, studio: Running) -> None:
    page = browser.new_page()
    page.goto(studio.url)
    page.wait_for_selector("h1:text('needs its key')")
    assert "book" not in page.content()
    page.close()


def test_the_policy_lets_nothing_from_elsewhere_run(browser: Any, studio: Running) -> None:
    page = browser.new_page()
    answer = page.goto(studio.page)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    ran = page.evaluate(
        """() => new Promise((resolve) => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          setTimeout(() => resolve(window.ran === true), 100);
        })"""
    )
    assert not ran
    page.close()


def test_the_token_leaves_the_address(visit: Visit) -> None:
    page = visit()
    assert "token" not in page.url


def test_the_model_says_what_it_does_not_know(visit: Visit, book: Opened) -> None:
    page = visit("#/type?model=book&text=caf%C3%A9")
    screen = probed(page, "type", "it.symbols.length === 4")
    logits, _ = read_prompt(book.predictor, [book.tokenizer.start_id, *book.tokenizer.encode("caf").tolist()])
    unknown = -log_probabilities(logits)[0, book.tokenizer.unknown_id]
    assert screen["nats"][3] == pytest.approx(unknown, rel=1e-5)
    assert "é" in str(page.locator(".note", has_text="Never seen").text_content())

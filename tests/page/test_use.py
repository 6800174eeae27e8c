"""Use in a real browser: what it shows of a classifier is what the library says."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from page.conftest import Running, Visit, probed, start_studio, stop_studio
from unroll.artifact.classifier import OpenClassifier, open_classifier
from unroll.tasks.classify.decisive import decisive_units
from unroll.tasks.classify.predict import classify
from unroll.tasks.classify.store import held_out

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TEXT = "the old animal\nsays meow, at night"
BOX = "Text that is classified"


@pytest.fixture(scope="module")
def animals(runs: Path) -> OpenClassifier:
    return open_classifier(runs / "animals")


def typed(visit: Visit, text: str = TEXT) -> "tuple[Page, Any]":
    page = visit("#/use")
    page.get_by_label(BOX).fill(text)
    return page, probed(page, "use", f"it.text === {json.dumps(text)}")


def test_a_first_visit_shows_a_held_out_text(visit: Visit, runs: Path) -> None:
    page = visit("#/use")
    example = held_out(runs / "animals")[0]["text"]
    assert probed(page, "use", "it.text && it.errors")["text"] == example
    assert page.get_by_label(BOX).input_value() == example
    page.get_by_label(BOX).fill("")
    probed(page, "use", 'it.text === ""')
    page.wait_for_timeout(800)
    assert page.get_by_label(BOX).input_value() == "", "an empty box stays empty"
    assert "There is no word to hide" in str(page.get_by_label("What decided", exact=True).text_content())


def test_bars_and_words_are_the_librarys(visit: Visit, animals: OpenClassifier) -> None:
    page, screen = typed(visit)
    (row,) = classify(animals, [TEXT])
    assert screen["labels"] == row["labels"] and screen["label"] == "cat"
    rows = page.locator(".labels li")
    for k, label in enumerate(row["labels"]):
        assert rows.nth(k).locator(".name").text_content() == label["label"]
        assert rows.nth(k).locator(".number").text_content() == f"{100 * label['probability']:.1f}"
    bars = page.locator(".labels .now").evaluate_all("all => all.map((bar) => bar.getBoundingClientRect().width)")
    assert bars == sorted(bars, reverse=True) and bars[0] > 5 * bars[2]
    units = [(unit["text"], unit["effect"]) for unit in decisive_units(animals, TEXT)]
    assert [tuple(piece) for piece in screen["pieces"] if piece[1] is not None] == units


def test_another_label_shows_what_decided_for_it(visit: Visit, animals: OpenClassifier) -> None:
    page, before = typed(visit)
    page.get_by_role("button", name="owl").click()
    screen = probed(page, "use", 'it.label === "owl"')
    effects = {piece: effect for piece, effect in screen["pieces"] if effect is not None}
    assert effects == {unit["text"]: unit["effect"] for unit in decisive_units(animals, TEXT, "owl")}
    assert effects["meow"] < 0 < dict(before["pieces"])["meow"]
    assert page.locator(".labels [aria-pressed=true]").get_attribute("title") == "owl"
    page.wait_for_function("() => location.hash.includes('meow')")
    page.reload()
    assert probed(page, "use", 'it.label === "owl"')["text"] == TEXT, "the address brings it back"
    page.get_by_role("button", name="Back to the most probable").click()
    probed(page, "use", 'it.label === "cat"')


def test_a_label_that_the_classifier_lacks_is_left_again(browser: "Browser", studio: Running) -> None:
    page = browser.new_page()  # without `visit`: failed requests are errors in the console
    try:
        page.goto(studio.page)
        page.wait_for_selector("main h1")
        page.evaluate("location.hash = '#/use?label=cow&use=woof'")
        page.wait_for_selector("text=never saw the label 'cow'")
        assert "Reading" not in str(page.locator("main").text_content())
        page.get_by_role("button", name="Back to the most probable").click()
        assert probed(page, "use", 'it.text === "woof"')["label"] == "dog"
    finally:
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_orange_speaks_for_a_label_and_blue_against_it(visit: Visit, scheme: str) -> None:
    page, _ = typed(visit)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    read = """(all) => all.map((one) =>
      [one.textContent, one.dataset.sign, getComputedStyle(one).backgroundColor.match(/[0-9]+/g).map(Number)])"""
    for label, sign in (("cat", "+"), ("dog", "−")):
        page.locator(f'.labels button[title="{label}"]').click()
        probed(page, "use", f'it.label === "{label}"')
        page.wait_for_timeout(100)
        shown = {text: (mark, colour) for text, mark, colour in page.locator(".effects span").evaluate_all(read)}
        mark, (red, _, blue) = shown["meow"]
        assert mark == sign and (red > blue) == (sign == "+") and abs(red - blue) > 60
        assert shown[" "][0] == "" and shown[" "][1][3:] == [0], "what is between words has no colour"


def test_the_cursor_walks_the_words_and_says_their_nats(visit: Visit) -> None:
    page, screen = typed(visit)
    passage = page.get_by_role("group", name="The text, coloured by what each word does for cat")
    passage.focus()
    heard = []
    for key in (*["ArrowRight"] * 6, "ArrowLeft", "End", "Home"):
        page.keyboard.press(key)
        heard.append(str(page.locator(".readout .sym").text_content()))
    assert heard == ["the", "old", "animal", "↵", "says", "meow", "says", "night", "the"]
    passage.locator("span", has_text="meow").hover()
    effect = dict(screen["pieces"])["meow"]
    readout = str(page.locator(".readout").text_content())
    assert readout.startswith(f"meow +{effect:.2f} nats: without it “cat” is ") and "times less probable" in readout
    passage.locator("span", has_text="meow").click()
    page.wait_for_function("() => document.getElementById('live').textContent.startsWith('meow: +')")


def test_the_cursor_finds_the_first_and_the_last_word_beside_spaces(visit: Visit) -> None:
    def spaced(route: Any) -> None:
        answer = route.fetch()
        ends = [[" ", None], ["the", 0.5], [" ", None], ["end", 0.1], [" ", None]]
        route.fulfill(response=answer, body=json.dumps(answer.json() | {"pieces": ends}))

    page = visit("#/train")
    page.route("**/api/labels", spaced)
    page.evaluate("location.hash = '#/use?use=woof'")
    page.get_by_role("group", name="The text, coloured").focus()
    for key, word in (("End", "end"), ("Home", "the")):
        page.keyboard.press(key)
        assert page.locator(".readout .sym").text_content() == word


def test_an_error_goes_into_the_box(visit: Visit) -> None:
    page = visit("#/use")
    errors = probed(page, "use", "it.errors")["errors"]
    shares = [wrong["probability"] for wrong in errors["errors"]]
    assert shares == sorted(shares, reverse=True) and errors["wrong"] == len(shares) > 1
    rows = page.locator(".errors tbody tr")
    for k, wrong in enumerate(errors["errors"][:10]):
        cells = rows.nth(k).locator("td").all_text_contents()
        assert cells == [wrong["text"], *wrong["labels"], wrong["label"], f"{100 * wrong['probability']:.1f}"]
    wrong = errors["errors"][1]
    page.get_by_role("button", name="Error 2:").focus()
    page.keyboard.press("Enter")
    screen = probed(page, "use", f"it.text === {json.dumps(wrong['text'])}")
    assert screen["label"] == wrong["label"] and screen["probability"] == pytest.approx(wrong["probability"], abs=1e-6)
    assert page.get_by_label(BOX).input_value() == wrong["text"]
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    assert page.locator(".labels small").all_text_contents() == ["true"]


def test_what_is_typed_is_never_markup_and_a_long_text_is_kept(visit: Visit) -> None:
    text = "<img src=x onerror=alert(1)></textarea><script>alert(2)</script>\u202e meow " * 40
    page, _ = typed(visit, text[:200])
    assert page.locator("main img, main script").count() == 0
    page.get_by_label(BOX).fill("meow " * 400)
    probed(page, "use", "it.units === 400 && it.pieces === null")
    assert "up to 300: this one has 400" in str(page.get_by_label("What decided", exact=True).text_content())
    page.wait_for_function("() => location.hash.includes('useid=')")
    page.reload()
    assert probed(page, "use", "it.units === 400")["label"] == "cat"


def test_no_other_screen_offers_a_classifier(visit: Visit) -> None:
    page = visit("#/type?model=book")
    probed(page, "type", "it.symbols.length > 0")
    # Others may train models in the same studio.
    offered = page.locator(".pick option").all_text_contents()
    assert {"book", "small"} <= set(offered) and "animals" not in offered
    page.keyboard.press("1")
    probed(page, "train", "it.baselines")
    assert "animals" not in str(page.locator("main").text_content())
    page.keyboard.press("u")
    probed(page, "use")
    assert page.locator(".pick option").all_text_contents() == ["animals"]
    assert "classifier, 3 labels" in str(page.locator(".status").text_content())


def test_a_studio_of_a_classifier_alone_opens_there(visit: Visit, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "animals", tmp_path / "runs" / "animals")
    running: Running = start_studio(tmp_path / "runs" / "animals", runs=tmp_path / "runs", texts=tmp_path)
    try:
        page = visit("", running)
        page.wait_for_selector("h1:text-is('Use')")
        probed(page, "use", "it.errors")
        page.keyboard.press("2")
        page.wait_for_selector("text=This screen shows a language model")
    finally:
        stop_studio(running)

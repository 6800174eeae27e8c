"""Use in a real browser with taggers, translators and models of sequences: what it shows is what the library says."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any

import pytest

from page.conftest import Running, come_to, probed, start_studio, stop_studio, violations, visiting
from page.test_crowded import overflow
from tasks.translate import toy as translate_toy
from toys import Toys
from unroll.tasks.tag.predict import tag
from unroll.tasks.translate.predict import translate

if TYPE_CHECKING:
    from playwright.sync_api import Page

SENTENCE = "  balkiro 😀 montasas\nverlume X "
SOURCE = "one red cat two"
WAVE = "\n".join(["sold", *(f"{k % 6}" if k != 9 else "nan" for k in range(40))])
RISE = "\n".join(["a,b", *(f"{k},0" for k in range(9))])
TEXTS = {"tagger": SENTENCE, "translator": SOURCE, "waves": WAVE, "sides": RISE}
READY = {"tagger": "it.tokens", "translator": "it.translations", "waves": "it.steps > 0 || it.steps.length",
         "sides": "it.labels"}  # fmt: skip


@pytest.fixture(scope="module")
def tasks(browser: Any, toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A studio of a model of each task, and of no language model."""
    folder = tmp_path_factory.mktemp("tasks")
    runs = folder / "runs"
    for path in (toys.tagger, toys.translator, toys.waves, toys.sides):
        copytree(path, runs / path.name)
    pairs = translate_toy.written(folder, translate_toy.sources(random.Random(0), 240))
    translate_toy.trained(pairs, runs / "blind", steps=5, attention="none")
    running = start_studio(*sorted(runs.iterdir()), runs=runs, texts=folder)
    yield running
    stop_studio(running)


@pytest.fixture(scope="module")
def opened(browser: Any, tasks: Running) -> "Iterator[Page]":
    """A page that is loaded anew for each text."""
    with visiting(browser, tasks) as visit:
        yield visit("#/use")


def typed(page: "Page", tasks: Running, name: str) -> Any:
    """Type a text on the screen of a model, and wait for what it says."""
    come_to(page, f"#/use?task={name}", tasks)
    page.locator("[data-text]").fill(TEXTS.get(name, SOURCE))
    return probed(page, "use", READY.get(name, "it.translations"))


Show = Callable[[str], "tuple[Page, Any]"]


@pytest.fixture
def show(opened: "Page", tasks: Running) -> Show:
    return lambda name: (opened, typed(opened, tasks, name))


def test_tokens_have_the_colour_and_the_name_of_their_tag(show: Show, tasks: Running) -> None:
    page, screen = show("tagger")
    (row,) = tag(tasks.runs / "tagger", [SENTENCE])
    for token, expected in zip(screen["tokens"], row["tokens"], strict=True):
        assert token | {"probability": 0} == expected | {"probability": 0}
        assert token["probability"] == pytest.approx(expected["probability"], abs=1e-5)
    read = """(all) => all.map((one) => [one.firstChild.nodeValue, one.dataset.tag,
      getComputedStyle(one, '::after').content, getComputedStyle(one).backgroundColor, one.title])"""
    spans = page.locator(".tags span.tagged").evaluate_all(read)
    assert [(text, name) for text, name, *_ in spans] == [(t["token"], t["tag"]) for t in row["tokens"]]
    assert all(content == f'"{name}"' for _, name, content, *_ in spans), "not by colour alone"
    colours = {name: colour for _, name, _, colour, _ in spans}
    assert len(set(colours.values())) == len(colours) > 1
    assert spans[0][4].startswith("balkiro: NOUN, ") and spans[0][4].endswith(" percent")
    symbols = page.locator(".tags > span").evaluate_all("all => all.map((one) => one.textContent)")
    assert "".join(symbols) == SENTENCE.replace("\n", "↵\n")
    legend = page.locator(".tag-legend li").all_text_contents()
    assert {item.split()[0] for item in legend} == set(colours)


def test_the_cursor_walks_the_tokens(show: Show) -> None:
    page, screen = show("tagger")
    page.get_by_role("group", name="The text, each token in the colour of its tag").focus()
    heard = []
    for _ in screen["tokens"]:
        page.keyboard.press("ArrowRight")
        heard.append(str(page.locator(".readout .sym").text_content()))
    assert heard == [token["token"] for token in screen["tokens"]]
    page.wait_for_function("() => document.getElementById('live').textContent.startsWith('X: ')")


def test_translations_and_their_attention_are_the_librarys(show: Show, tasks: Running) -> None:
    page, screen = show("translator")
    (row,) = translate(tasks.runs / "translator", [SOURCE], beam=5, n_best=5, attention=True)
    shown_texts = page.locator(".translations button span:first-child").all_text_contents()
    assert shown_texts == [best["text"] for best in row["translations"]]
    attention = row["translations"][0]["attention"]
    assert screen["translations"][0]["attention"]["source"] == attention["source"]
    page.get_by_role("group", name="The translation, coloured").focus()
    for step, piece in enumerate(attention["target"][1:], 1):
        page.keyboard.press("ArrowRight")
        weights = attention["weights"][step]
        most = attention["source"][max(range(len(weights)), key=weights.__getitem__)]
        readout = str(page.locator(".readout").text_content())
        assert readout.startswith(f"{piece.strip() or '↵'} attends to {most.strip()}"), readout
    blues = """(all) => all.map((one) => getComputedStyle(one).backgroundColor.match(/[0-9]+/g).map(Number)[0])"""
    reds = page.locator(".attended.from > span").evaluate_all(blues)
    assert reds.index(min(reds)) == weights.index(max(weights)), "in light the strongest is the bluest"


def test_pointing_links_both_texts_and_the_map(show: Show) -> None:
    page, screen = show("translator")
    weights = screen["translations"][0]["attention"]["weights"]
    page.locator(".attended.from > span").nth(1).hover()
    best = max(range(len(weights)), key=lambda t: weights[t][1])
    page.wait_for_function(f"() => document.querySelectorAll('.columns span')[{best}].className === 'now'")
    assert page.locator(".rows span.now").all_text_contents() == ["red"]
    heat = page.locator(".heat")
    heat.focus()
    page.mouse.move(0, 0)
    for key in ("Home", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    page.wait_for_function("() => document.querySelector('.rows span.now').textContent === 'red'")
    assert page.locator(".columns span").nth(1).get_attribute("class") == "now"
    box = heat.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3, box["y"] + box["height"] - 3)
    page.wait_for_function("() => document.querySelector('.rows span.now').textContent === 'two'")
    assert page.locator(".columns span").nth(0).get_attribute("class") == "now"


def test_another_translation_shows_its_own_attention(show: Show) -> None:
    page, screen = show("translator")
    page.locator(".translations button").nth(1).click()
    probed(page, "use", "it.rank === 1")
    target = screen["translations"][1]["attention"]["target"]
    assert page.locator(".attended.to > span").count() == len(target)
    page.locator("[data-text]").fill("dog")
    probed(page, "use", "it.text === 'dog'")
    assert page.locator(".translations button[aria-pressed=true]").count() == 1


def test_without_attention_it_says_so(show: Show) -> None:
    page, screen = show("blind")
    assert screen["translations"][0]["attention"] is None and page.locator(".heat").count() == 0
    assert "This translator has no attention" in str(page.get_by_label("Attention").text_content())


def test_a_forecast_is_drawn_with_its_interval(show: Show) -> None:
    page, _ = show("waves")
    page.get_by_role("button", name="Show as table").click()
    page.wait_for_selector(".chart table")
    legend = page.locator(".chart .legend li").all_text_contents()
    assert [item.strip() for item in legend][:4] == ["known", "median", "10 % quantile", "90 % quantile"], legend
    last = page.locator(".chart tbody tr").last.locator("td").all_text_contents()
    assert float(last[3].replace("−", "-")) <= float(last[2].replace("−", "-")) <= float(last[4].replace("−", "-"))


def test_labels_of_a_sequence_and_a_wrong_line(show: Show) -> None:
    page, screen = show("sides")
    assert screen["labels"][0]["label"] == "left"
    assert page.locator(".chances .name").first.text_content() == "left"
    page.locator("[data-text]").fill("1 2")
    page.wait_for_selector("text=line 1: “1 2” is no number")
    page.locator("[data-text]").fill("1,2\n3,x")
    page.wait_for_selector("text=line 2: “x” is no number")
    page.locator("[data-text]").fill("1,2\n3")
    page.wait_for_selector("text=line 2: there are 1 numbers")


def test_for_everybody_in_both_themes_and_in_a_narrow_window(
    browser: Any,
    tasks: Running,
    axe: Path,
) -> None:
    with visiting(browser, tasks) as visit:
        page = visit("#/use", bypass_csp=True, reduced_motion="reduce")
        for name in TEXTS:
            page.set_viewport_size({"width": 360, "height": 860})
            typed(page, tasks, name)
            assert overflow(page)[0] <= 0, name
            page.set_viewport_size({"width": 1280, "height": 860})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.wait_for_timeout(150)
                assert violations(page, axe) == [], name

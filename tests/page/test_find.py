"""Find in a real browser: a pattern works as it is typed, and a search stays."""

from typing import TYPE_CHECKING

from page.conftest import Visit, probed

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATTERN = "Pattern (Python's re)"


def opened(visit: Visit, pattern: str = "cat") -> "Page":
    page = visit(f"#/find?model=book&prop=re:{pattern}")
    page.set_viewport_size({"width": 1280, "height": 800})
    probed(page, "find", "it.labels")
    return page


def test_a_pattern_labels_the_text_while_it_is_typed(visit: Visit) -> None:
    page = opened(visit)
    before = probed(page, "find")["labels"]
    page.get_by_label(PATTERN).fill("cat sat")  # an input without Enter, and without leaving the box
    after = probed(page, "find", 'it.property === "re:cat sat" && it.labels')
    page.wait_for_function("was => window.__studio.find.labels?.join() !== was", arg=",".join(f"{v:g}" for v in before))
    assert after["property"] == "re:cat sat"
    page.wait_for_function("() => location.hash.includes('cat+sat')")


def test_one_click_right_after_typing_searches_for_what_was_typed(visit: Visit) -> None:
    page = opened(visit)
    button = page.get_by_role("button", name="Search all units")
    assert "Search all units" in str(button.get_attribute("title"))
    page.get_by_label(PATTERN).fill("mat")
    asked = []
    page.on("request", lambda request: asked.append(request.post_data) if request.url.endswith("/find") else None)
    button.click()
    probed(page, "find", 'it.state === "done"', 120_000)
    assert len(asked) == 1 and '"re:mat"' in str(asked[0])
    place = page.get_by_role("region", name="Findings").bounding_box()
    assert place is not None and place["y"] < 600, "the result is in sight"


def test_a_search_survives_a_reload_and_a_visit_to_another_screen(visit: Visit) -> None:
    page = opened(visit, "sat")
    page.get_by_role("button", name="Search all units").click()
    findings = probed(page, "find", "it.findings", 120_000)["findings"]
    page.reload()
    assert probed(page, "find", "it.findings")["findings"] == findings
    page.keyboard.press("2")
    probed(page, "type", "it.symbols.length > 0")
    page.keyboard.press("4")
    page.wait_for_selector("section[aria-label=Findings] table")
    page.get_by_label(PATTERN).fill("mat")
    page.wait_for_function("() => window.__studio.find.state === null", timeout=10_000)


def test_in_a_narrow_window_all_of_a_finding_is_in_sight(visit: Visit) -> None:
    page = opened(visit)
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("button", name="Search all units").click()
    probed(page, "find", "it.findings", 120_000)
    page.wait_for_timeout(200)
    edges = page.locator("table.found td").evaluate_all("all => all.map((cell) => cell.getBoundingClientRect().right)")
    assert edges and max(edges) <= 360
    first = page.locator("table.found tbody tr").first
    verdict, chance = first.locator("[class^=verdict-]").bounding_box(), first.locator("[data-label=p]").bounding_box()
    assert verdict is not None and chance is not None and verdict["y"] < chance["y"], "the verdict stands first"


def test_a_pattern_that_cannot_be_read_has_no_labels(visit: Visit) -> None:
    page = opened(visit)
    # The server refuses the request, which the browser reports in the console: it is answered here instead.
    page.route(
        "**/api/inside/labels",
        lambda route: route.fulfill(status=200, content_type="application/octet-stream", body=b"\x02\x00\x00\x00{}"),
    )
    page.get_by_label(PATTERN).fill("(")
    assert probed(page, "find", 'it.property === "re:(" && it.labels === null')["labels"] is None
    assert page.get_by_role("button", name="Search all units").is_disabled()

"""The screens for everybody: what axe-core finds wrong, what Tab reaches, and what moves."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from page.conftest import Visit, probed, violations

if TYPE_CHECKING:
    from playwright.sync_api import Page

TEXT = "the%20cat%20sat%20on%20a%20mat.%20"
PLACES = {
    "train": "it.baselines",
    "type": "it.symbols.length > 0",
    "cells": "it.now && it.order.length",
    "find": "it.labels",
    "memory": "it.models.length",
    "similar": "it.rows",
    "compare": "it.pieces.length > 0",
    "sample": "it.busy === 0 && it.columns.length && it.columns.every(({ids}) => ids.length === 300)",
    "use": "it.labels.length && it.errors",
    "serve": "true",
    "unrolled": "it.models.length",
}
"""Each screen, and what holds once it shows something."""


def shown(visit: Visit, screen: str, **context: Any) -> "Page":
    """Open a screen and wait until it shows something."""
    page = visit(f"#/{screen}?model=book&run=book&against=small&text={TEXT * 12}", **context)
    probed(page, screen, PLACES[screen])
    return page


NAMES = """() => [...document.querySelectorAll('main button.small, main button.quiet')]
  .map((button) => button.ariaLabel ?? button.textContent)"""


@pytest.mark.parametrize("screen", PLACES)
def test_axe_finds_nothing_that_matters_in_either_theme(visit: Visit, axe: Path, screen: str) -> None:
    page = shown(visit, screen, bypass_csp=True, color_scheme="light", reduced_motion="reduce")
    assert violations(page, axe) == []
    assert [name for name, count in Counter(page.evaluate(NAMES)).items() if count > 1] == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(100)  # charts are drawn anew
    assert violations(page, axe) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_forms_and_dialogs(visit: Visit, axe: Path, scheme: str) -> None:
    page = visit("#/train?new=1", bypass_csp=True, color_scheme=scheme)
    page.get_by_label("Name").wait_for()
    assert violations(page, axe) == []
    page.locator("h1").click()
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    assert violations(page, axe) == []


def test_axe_would_find_a_fault(visit: Visit, axe: Path) -> None:
    page = visit("#/serve?model=book", bypass_csp=True)
    page.evaluate(
        """() => {
          const button = document.createElement("button");
          const pale = document.createElement("p");
          pale.textContent = "hard to read";
          pale.style.cssText = "color: #ddd; background: #eee";
          document.querySelector("main").append(button, pale);
        }"""
    )
    assert {one.split(":")[0] for one in violations(page, axe)} == {"button-name", "color-contrast"}


REACH = """() => {
  const kinds = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  const named = (one) =>
    `${one.tagName} ${one.getAttribute("aria-label") ?? one.name ?? ""} ${one.textContent.slice(0, 30)}`;
  // Of a group of radio buttons Tab reaches the chosen one, and the arrows the others.
  const wanted = [...document.querySelectorAll(kinds)].filter((one) => !one.disabled && one.checkVisibility()
    && !one.closest("fieldset:disabled") && !(one.type === "radio" && !one.checked));
  const ringed = (one) => [one, one.nextElementSibling, one.parentElement].some((near) => {
    const style = near && getComputedStyle(near);
    return style && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 && style.opacity !== "0";
  });
  const missed = new Set(wanted);
  const plain = new Set();
  window.reach = () => [wanted.length, [...missed].map(named), [...plain]];
  document.addEventListener("focusin", ({ target }) => {
    missed.delete(target);
    if (!ringed(target)) plain.add(named(target));
  });
  document.activeElement?.blur();
  return wanted.length;
}"""


@pytest.mark.parametrize("screen", PLACES)
def test_tab_reaches_every_control_and_one_sees_where_it_is(visit: Visit, screen: str) -> None:
    page = shown(visit, screen)
    for _ in range(page.evaluate(REACH) + 3):
        page.keyboard.press("Tab")
    controls, missed, unmarked = page.evaluate("window.reach()")
    assert controls > 12
    assert missed == []
    assert unmarked == []


def test_a_control_out_of_reach_would_be_seen(visit: Visit) -> None:
    page = shown(visit, "serve")
    page.evaluate(
        """() => {
          const [far, bare] = [1, 2].map(() => document.createElement("button"));
          [far.textContent, bare.textContent] = ["far", "bare"];
          far.inert = true;
          bare.style.outline = "none";
          document.querySelector("main").append(far, bare);
        }"""
    )
    count = page.evaluate(REACH)
    for _ in range(count + 3):
        page.keyboard.press("Tab")
    _, missed, unmarked = page.evaluate("window.reach()")
    assert [missed, unmarked] == [["BUTTON  far"], ["BUTTON  bare"]]


def test_the_form_of_a_training_fits_a_narrow_window(visit: Visit) -> None:
    page = visit("#/train?new=1", width=320)
    page.get_by_label("Name").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize(("motion", "moves"), [("no-preference", 1), ("reduce", 0)])
def test_nothing_pulses_where_motion_is_not_wanted(visit: Visit, motion: str, moves: int) -> None:
    """The mark of what trains is all that moves by itself."""
    page = shown(visit, "serve", reduced_motion=motion)
    page.evaluate(
        "document.querySelector('main').append(Object.assign(document.createElement('i'), { className: 'pulse' }))"
    )
    assert page.evaluate("document.getAnimations().length") == moves

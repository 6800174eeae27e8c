"""The page on memories: well-formed, self-contained, of the numbers; and what it says in words."""

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from insight.memory.cases import made, memory_of, octaves
from unroll.insight.memory.contexts import (
    Gradient,
)
from unroll.insight.memory.measure import Memory, Span
from unroll.insight.memory.report import agreement, context_readings, disturbed_readings, gradient_readings, page
from unroll.insight.plots import labels


def texts(tree: ElementTree.Element) -> str:
    return " ".join(tree.itertext())


def test_the_page_is_well_formed_self_contained_and_says_the_numbers(several: Memory) -> None:
    html = page(several)
    tree = ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))
    content = texts(tree)
    assert len(tree.findall(".//{http://www.w3.org/2000/svg}svg")) == 3
    for report in several.figures()["models"]:
        for _, nats in report["context_loss"]:
            assert f"{nats / math.log(2):.4f}" in content
        for name in ("shuffled", "replaced"):
            assert all(f"{round(nats / math.log(2), 4) + 0.0:.4f}" in content for _, nats in report[name][:-1])
        assert all(f"{size:.2e}" in content for lag, size in report["gradient"] if lag in (1, 2, 4, 8, 16) and size)
    for lines in (context_readings, disturbed_readings, gradient_readings, agreement):
        for line in lines(several):
            assert line in content
    # Nothing is fetched from anywhere, every id is one.
    addresses = re.findall(r'(?:src|href)\s*=\s*["\']([^"\']*)', html) + re.findall(r"url\(([^)]*)\)", html)
    assert addresses and all(address.startswith("#") for address in addresses)
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len({*ids}) and {address[1:] for address in addresses} <= {*ids}
    assert "<metadata>" not in html and page(several) == html


def test_names_cannot_become_markup(several: Memory) -> None:
    html = page(several)
    assert "<script" not in html and "\x07" not in html and "\u202e" not in html
    content = texts(ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n")))
    assert '<script>alert("1")</script>&amp; \' ]]> <!--\\x07\\u202e: 40 characters' in content
    assert content.count("<script>alert") > 10, "as text, in the tables and the pictures too"


def test_readings_are_computed_from_the_numbers() -> None:
    falls, slower = made(octaves), made(lambda k: 2 / k)
    quick = replace(falls, model="a/quick", context=8)
    (line, leak) = context_readings(memory_of(quick))
    assert "quick (lstm, char) reaches 99 % of its gain within 16 characters (16 to 16): it pays 7.21 bits" in line
    assert "should be flat after 8" in leak and "something leaks" in leak
    assert "keeps gaining beyond 32 characters" in next(context_readings(memory_of(slower)))
    assert "shows no significant gain" in next(context_readings(memory_of(made(lambda k: 1.0))))
    astray = made(lambda k: octaves(k) + 1.5 * (k == 16), targets=400, spread=0.1)
    assert astray.rise is not None and astray.rise[:2] == (8, 16) and astray.rise[2] == pytest.approx(0.5, abs=0.05)
    assert "hurts made (lstm, char) between 8 and 16 characters, by 0.7" in [*context_readings(memory_of(astray))][1]
    assert falls.rise is None and made(lambda k: 1.0, targets=400, spread=0.1).rise is None
    said = [*agreement(memory_of(replace(falls, model="falls"), replace(slower, model="slower")))]
    order = "falls (lstm, char), then slower (lstm, char)."
    assert said == [f"Both views agree, from the shortest memory to the longest: {order}"]
    assert not [*agreement(memory_of(falls))]


def test_a_window_has_its_place_where_it_has_a_figure() -> None:
    """It has no half-life, and is ranked by the two other views."""
    window, *others = (made(lambda k, n=n: 1 + max(0.0, n - math.log2(k))) for n in (1, 2, 4))
    gradients = [Gradient(0.5 ** (np.arange(30) / life), {}, life) for life in (3.0, 9.0)]
    models = [replace(window, model="window", arch="window", context=2)] + [
        replace(one, model=name, gradient=gradient)
        for one, name, gradient in zip(others, ("short", "long"), gradients, strict=True)
    ]
    first, *views = agreement(memory_of(*models))
    assert first.startswith("No view contradicts another")
    in_order = "short (lstm, char), then long (lstm, char)."
    whole = f"{labels(models)[0]}, then {in_order}"
    assert views[:2] == [f"by length of context: {whole}", f"by replaced symbols: {whole}"]
    assert views[2] == f"by gradients: {in_order}"


def test_models_whose_intervals_overlap_are_not_ranked() -> None:
    spans = {"a": Span(10, 6, 14), "b": Span(12, 9, 20), "c": Span(40, 30, math.inf), "d": Span(*[math.nan] * 3)}
    models = [replace(made(octaves), model=name) for name in spans]
    for model in models:
        vars(model).update(span_99=spans[model.model], replaced_99=spans[model.model])
    (said,) = agreement(memory_of(*models))
    assert said.endswith(": a (lstm, char) and b (lstm, char) (their intervals overlap), then c (lstm, char).")


@pytest.mark.parametrize("agree", [True, False])
def test_whether_the_views_agree_is_told(agree: bool) -> None:
    short, long = (made(lambda k, n=n: 1 + max(0.0, n - math.log2(k))) for n in (2, 4))
    half_lives = (3.0, 9.0) if agree else (9.0, 3.0)
    norms = [0.5 ** (np.arange(30) / life) for life in half_lives]
    a, b = (
        replace(report, model=name, gradient=Gradient(size, {}, life))
        for report, name, size, life in zip((short, long), ("a/short", "b/long"), norms, half_lives, strict=True)
    )
    lines = [*agreement(memory_of(b, a))]
    if agree:
        assert lines[0].startswith("All three views agree, from the shortest memory to the longest: short (lstm, char)")
        assert lines[0].endswith(", then long (lstm, char).") and len(lines) == 1
    else:
        assert lines[0].startswith("The views contradict each other") and lines[1:] == [
            "by length of context: short (lstm, char), then long (lstm, char).",
            "by replaced symbols: short (lstm, char), then long (lstm, char).",
            "by gradients: long (lstm, char), then short (lstm, char).",
        ]
    assert [*gradient_readings(memory_of(a))] == [
        f"The gradient of short (lstm, char) halves every {half_lives[0]:.0f} characters"
        + (" until 1 % is left, 21 back" if agree else "")
        + f"; after 29, {norms[0][-1] / norms[0][1]:.1g} is left."
    ]

"""The picture of growth: its panels, its dashed ceiling, and the same bytes for the same numbers."""

import pytest

import unroll
from insight.style.cases import c_source, grown, model_with
from unroll.insight.style.measure import Style
from unroll.insight.style.picture import picture


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Style:
    text = c_source(60)
    samples = {step: grown(text, order, 600) for order, step in enumerate((0, 100, 300))}
    return unroll.style(model_with(tmp_path_factory.mktemp("style"), text, samples))


def test_a_picture_has_a_panel_for_each_measure_and_the_ceilings(style: Style) -> None:
    svg = picture(style, ".svg").decode()
    for name in style.ceiling:
        assert f">{name}<" in svg
    known = [ceiling for ceiling in style.ceiling.values() if ceiling is not None]
    assert svg.count("stroke-dasharray") == len(known) + 1  # and in the legend
    assert svg.count("too few to measure") >= sum(
        all(sample["measures"][name] is None for sample in style.samples) for name in style.ceiling
    )
    assert picture(style, ".svg").decode() == svg
    assert picture(style, ".png").startswith(b"\x89PNG")

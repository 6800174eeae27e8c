"""The picture of long-range tasks shows the numbers."""

from xml.etree import ElementTree

import pytest

from insight.longrange.test_table import made_up
from unroll.insight.longrange.measure import (
    make_plan,
)
from unroll.insight.longrange.picture import picture, point
from unroll.insight.longrange.table import (
    ARCHS,
    LongRange,
    named,
    table,
)


def test_the_picture_is_of_the_numbers() -> None:
    plan = make_plan("pronouns", seeds=3)
    longrange = table(plan, made_up(plan))
    svg = picture(longrange, ".svg")
    assert svg == picture(longrange, ".svg") and picture(longrange, ".png").startswith(b"\x89PNG")
    root = ElementTree.fromstring(svg)
    texts = ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for arch in ARCHS:
        assert any(text.startswith(f"{named(arch)}, ") for text in texts)
    assert {"chance: 50 %", "as far back as the window sees", "100", "20"} <= {*texts}
    assert any("mean of 3 seeds, 95 % interval" in text for text in texts)
    for row in longrange.results:
        y, low, high = point(row)
        assert low <= y <= high and y == pytest.approx(100 * row.accuracy)
    assert svg != picture(table(plan, made_up(plan)[:-1]), ".svg")


@pytest.mark.parametrize(("distances", "seeds"), [([100], 1), ([100], 3), ([20, 50], 1)])
def test_sums_are_drawn_by_their_error(distances: list[int], seeds: int) -> None:
    plan = make_plan("adding", distances=distances, seeds=seeds)
    longrange: LongRange = table(plan, made_up(plan))
    svg = picture(longrange, ".svg").decode()
    assert "mean squared error" in svg and "solved: 0.01" in svg and "always the middle: 0.167" in svg
    assert ("95 % interval" in svg) == (seeds > 1)
    assert point(longrange.results[0])[0] == pytest.approx(distances[0] / 1000)

"""The picture of an attribution shows the scores and is the same each time."""

from pathlib import Path

from unroll.insight.attribution.measure import attribute
from unroll.insight.attribution.picture import picture
from unroll.insight.attribution.scores import METHODS


def test_a_picture_shows_the_scores(folder: Path) -> None:
    for method in METHODS:
        attribution = attribute(folder / "model", "the car\n", target="a", against="e", method=method)
        svg = picture(attribution, "a $title_", ".svg").decode()
        assert all(what in svg for what in ("a $title_", "log p(a) − log p(e)", "leave-one-out", "↵", "␣"))


def test_a_picture_is_the_same_each_time(folder: Path) -> None:
    attribution = attribute(folder / "model", "the car", method="gradient")
    first, second = (picture(attribution, "title", ".png") for _ in range(2))
    assert first == second and first.startswith(b"\x89PNG")

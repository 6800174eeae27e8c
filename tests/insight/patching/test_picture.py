"""The picture of patching shows the curves and is the same each time."""

from pathlib import Path

import pytest

from unroll.insight.patching.measure import (
    patch,
)
from unroll.insight.patching.picture import picture


@pytest.mark.parametrize("arch", ["lstm", "window"])
def test_a_picture_shows_the_curves(arch: str, folder: Path) -> None:
    patched = patch(folder / arch, "the cat\nwas a", "she cat\nwas a", target="a", against="e")
    first, second = (picture(patched, "a $title_", ".svg") for _ in range(2))
    assert first == second
    svg = first.decode()
    assert all(what in svg for what in ("a $title_", "log p(a) − log p(e)", "second text", "↵", "␣", "state"))
    assert ("units patched together" in svg) == (arch == "lstm") == ("layer1" in svg)

"""Forecasts as pictures: PNG and SVG, the same bytes each time."""

from pathlib import Path

import pytest

from tasks.forecast.toy import written
from unroll.artifact.forecaster import open_forecaster
from unroll.errors import UserError
from unroll.progress import result
from unroll.tasks.forecast.picture import draw_forecasts
from unroll.tasks.forecast.predict import read_series_of


@pytest.mark.parametrize("behind", [0, 4])
def test_a_picture_is_drawn_with_its_interval(toy: Path, tmp_path: Path, behind: int) -> None:
    model = open_forecaster(toy)
    series = result(read_series_of(model, written(tmp_path / "waves.csv", series=2, missing=3)))
    out = tmp_path / ("a.png" if behind else "a.svg")
    draw_forecasts(model, series, out, behind=behind)
    if behind:
        assert out.read_bytes().startswith(b"\x89PNG")
        return
    picture = out.read_text()
    assert all(words in picture for words in ("shop0", "shop1", "sold", "80 % interval", "the last season again"))
    assert "what came" not in picture
    draw_forecasts(model, series, tmp_path / "b.svg")
    assert (tmp_path / "b.svg").read_text() == picture


def test_a_series_too_short_to_look_back_is_refused(toy: Path, table: Path, tmp_path: Path) -> None:
    model = open_forecaster(toy)
    series = result(read_series_of(model, table))
    with pytest.raises(UserError, match="has 60 steps"):
        draw_forecasts(model, series, tmp_path / "a.svg", behind=49)

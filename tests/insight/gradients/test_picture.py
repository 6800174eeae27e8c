"""The picture of gradients shows the numbers and is the same each time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from unroll.insight.gradients.measure import (
    GradientReport,
)
from unroll.insight.gradients.picture import _by_lag, gradients, named, picture, power


@pytest.fixture(scope="module")
def report(models: dict[str, Path]) -> GradientReport:
    return gradients(list(models.values()), lags=20)


def test_the_picture_shows_the_numbers(report: GradientReport) -> None:
    axes = Figure().subplots()
    entries = list(_by_lag(axes, report, named(report)))
    lines = {label: line.get_xydata() for line, label in entries}
    assert len(lines) == 4 + 1 + 2 + 1 + 1, "h and c of two layers; h of two; and all by their inputs, for the window"
    lstm, rnn, window = report.models
    for model, name, label in (
        (lstm, "layer1/c", "lstm (lstm, char): by c of layer 1"),
        (rnn, "layer0/h", "rnn (rnn, char): by h of layer 0"),
        (window, "x", "window (window of 4, char): by the input, 0 beyond 4 symbols"),
    ):
        (curve,) = (points for label_drawn, points in lines.items() if label_drawn.startswith(label))
        norms = model.norms.mean(name)
        np.testing.assert_allclose(curve, np.stack([np.arange(21), norms], axis=1)[norms > 1e-12 * norms.max()])
    assert len(next(points for label_drawn, points in lines.items() if "beyond" in label_drawn)) == 4
    single = replace(report, models=report.models[:1])
    assert len(list(_by_lag(Figure().subplots(), single, named(single)))) == 4, "no inputs where no window is"


def test_the_picture_is_whole_and_the_same_each_time(report: GradientReport) -> None:
    curve = picture(report, ".svg", curve=True)
    assert curve == picture(report, ".svg", curve=True)
    assert picture(report, ".png").startswith(b"\x89PNG")
    svg = curve.decode()
    for label_drawn in ("halves in", "training step", "while training, clipped at 0.2", "10⁻", "the validation part"):
        assert label_drawn in svg
    assert "training step" not in picture(report, ".svg").decode() and "mathdefault" not in svg
    assert [power(v) for v in (1e-12, 2e-5, 0.001, 0.5, 100.0, 1e4)] == [
        "10⁻¹²",
        "2·10⁻⁵",
        "0.001",
        "0.5",
        "100",
        "10⁴",
    ]

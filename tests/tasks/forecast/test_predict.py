"""How series continue: their times, the rules beside, and what a forecast does not depend on."""

from pathlib import Path

import numpy as np
import pytest

from tasks.forecast.toy import HORIZON, SEASON, trained, written
from unroll.artifact.forecaster import OpenForecaster, open_forecaster
from unroll.data.history import History
from unroll.errors import UserError
from unroll.tasks.forecast.predict import forecast, quantiles_after


@pytest.fixture(scope="module")
def opened(toy: Path) -> OpenForecaster:
    return open_forecaster(toy)


def test_series_continue_with_times_quantiles_and_rules(toy: Path, table: Path) -> None:
    forecasts = forecast(toy, table)
    assert [row["id"] for row in forecasts] == ["shop0", "shop1", "shop2"]
    values = [float(line.split(",")[2]) for line in table.read_text().splitlines()[1:61]]
    steps = forecasts[0]["steps"]
    assert [step["time"] for step in steps] == ["2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05"]
    assert [step["last"] for step in steps] == [values[-1]] * HORIZON
    assert [step["seasonal"] for step in steps] == values[-SEASON:][:HORIZON]
    for row in forecasts:
        for step in row["steps"]:
            low, middle, high = step["quantiles"].values()
            assert low < middle < high
    # The waves go on: half way up from the middle to the top.
    truth = np.sin(2 * np.pi * np.arange(60, 64) / SEASON) + 0.02 * np.arange(60, 64)
    assert np.abs([step["quantiles"]["0.5"] for step in steps] - truth).mean() < 0.3


def test_a_forecast_moves_and_stretches_with_its_series(opened: OpenForecaster) -> None:
    values = np.random.default_rng(0).normal(size=50)
    ends = np.array([30, 50])
    plain = quantiles_after(opened, History.of(values), ends)
    moved = quantiles_after(opened, History.of(1e4 - 50 + 3 * values), ends)
    np.testing.assert_allclose(moved, 1e4 - 50 + 3 * plain, atol=1e-4)


def test_a_forecast_depends_on_its_past_alone(opened: OpenForecaster) -> None:
    values = np.random.default_rng(0).normal(size=50)
    ends = np.array([20, 24, 29])
    other = np.concatenate([values[:29], np.full(21, 99.0)])
    expected = quantiles_after(opened, History.of(values), ends)
    np.testing.assert_array_equal(quantiles_after(opened, History.of(other), ends), expected)
    np.testing.assert_allclose(quantiles_after(opened, History.of(values), ends[:1]), expected[:1], atol=1e-5)


def test_of_short_series_what_there_is_is_read(opened: OpenForecaster) -> None:
    values = History.of(np.random.default_rng(0).normal(size=25))
    together = quantiles_after(opened, values, np.array([12, 15, 19, 25]))
    assert np.isfinite(together).all() and together.shape == (4, HORIZON, 3)


def test_missing_values_at_the_end_are_forecast_from_the_last_one(toy: Path, tmp_path: Path) -> None:
    table = written(tmp_path / "short.csv", series=1)
    table.write_text(table.read_text() + "shop0,2026-03-02,,open\n")
    (row,) = forecast(toy, table)
    assert row["steps"][0]["time"] == "2026-03-03"
    assert row["steps"][0]["last"] == float(table.read_text().splitlines()[60].split(",")[2])


def test_a_series_that_is_too_short_is_refused_by_name(toy: Path, tmp_path: Path) -> None:
    table = written(tmp_path / "short.csv", series=2, steps=11)
    with pytest.raises(UserError, match=r"series 'shop0' of .* has 11 steps"):
        forecast(toy, table)


def test_without_times_steps_are_numbered(tmp_path: Path) -> None:
    table = tmp_path / "v.csv"
    table.write_text("v\n" + "".join(f"{k % 5}\n" for k in range(60)))
    model = trained(table, tmp_path / "model", target="v", id=None, time=None, steps=3)
    (row,) = forecast(model, table)
    assert row["id"] == "v" and [step["time"] for step in row["steps"]] == [61, 62, 63, 64]

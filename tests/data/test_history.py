"""Series of numbers: how they are filled and scaled, and which season is found in them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from unroll.data.history import History, season_of

NAN = float("nan")


def test_a_missing_value_is_the_last_before_it() -> None:
    history = History.of(np.array([NAN, NAN, 1.0, NAN, NAN, 4.0, NAN]))
    np.testing.assert_array_equal(history.values, [1, 1, 1, 4, 4])
    np.testing.assert_array_equal(history.present, [True, False, False, True, False])
    assert len(History.of(np.array([NAN, NAN]))) == 0


@pytest.mark.parametrize("season", [1, 2, 5])
def test_the_scale_is_of_distances_from_the_season_that_ends(season: int) -> None:
    values = np.random.default_rng(0).normal(size=30)
    pairs = range(1, 30) if season == 1 else range(season - 1, 30)
    centres = [values[k - 1] if season == 1 else values[k - season + 1 : k + 1].mean() for k in pairs]
    distances = values[list(pairs)] - np.array(centres)
    expected = np.sqrt((distances**2).sum() / (30 if season == 1 else len(distances)))
    history = History.of(values)
    assert history.scale(season) == pytest.approx(expected)
    assert History.of(values[:20]).scale(season) == history.scale(season, 20)
    assert History.of(1e6 + 3 * values).scale(season) == pytest.approx(3 * expected, rel=1e-6)


def test_a_constant_series_has_the_scale_one() -> None:
    assert History.of(np.full(9, 0.1)).scale(3) == 1.0
    assert History.of(np.array([5.0])).scale(1) == 1.0


def wave(steps: int, season: int, noise: float) -> NDArray[np.float64]:
    time = np.arange(steps)
    drawn = np.random.default_rng(season).normal(size=steps)
    return np.asarray(0.05 * time + np.sin(2 * np.pi * time / season) + noise * drawn)


@pytest.mark.parametrize(("steps", "season"), [(120, 12), (400, 52), (60, 7), (900, 24)])
def test_a_season_is_found_under_a_trend_and_noise(steps: int, season: int) -> None:
    assert season_of([History.of(wave(steps, season, 0.05))]) == season


def test_many_short_series_show_a_season_together() -> None:
    series = [History.of(wave(30, 6, 0.3)[k:]) for k in range(6)]
    assert season_of([*series, History.of(np.ones(4)), History.of(np.zeros(0))]) == 6


def test_noise_and_wandering_have_no_season() -> None:
    rng = np.random.default_rng(0)
    assert [season_of([History.of(rng.normal(size=n))]) for n in (10, 50, 300)] == [1, 1, 1]
    assert [season_of([History.of(rng.normal(size=n).cumsum())]) for n in (50, 300)] == [1, 1]
    assert season_of([History.of(np.ones(50))]) == season_of([]) == 1

"""The search over all shifts is what shifting by hand gives; chance is found as often as is stated, and no more."""

import numpy as np
import pytest
from numpy.typing import NDArray

from unroll.insight.cells.search import SHIFT, Searched, score, search, spectra

Floats = NDArray[np.float64]


def slow(count: int, seed: int, binary: bool = False) -> Floats:
    """Return numbers that change slowly, or runs of 1 and 0 as long."""
    walk = np.convolve(np.random.default_rng(seed).normal(size=count + 40), np.ones(40) / 40, "valid")[:count]
    return (walk > 0).astype(np.float64) if binary else walk


def by_hand(units: Floats, labels: Floats, shift: int, binary: bool) -> Floats:
    """Return what every unit reaches in its weaker half with the labels of both halves shifted."""
    half, weaker = len(labels) // 2, []
    for unit in units.T:
        first, second = (
            score(unit[part], np.roll(labels[part], shift), binary=binary) - (0.5 if binary else 0.0)
            for part in (slice(0, half), slice(half, 2 * half))
        )
        weaker.append(min(abs(first), np.sign(first) * second))
    return np.array(weaker)


@pytest.mark.parametrize("binary", [True, False])
def test_all_shifts_at_once_are_every_shift_by_hand(binary: bool) -> None:
    units = np.stack([slow(400, seed) for seed in range(5)], axis=1)
    labels = slow(400, 9, binary)
    searched = search(spectra(units, binary=binary), labels)
    assert searched.weaker == pytest.approx(by_hand(units, labels, 0, binary), abs=1e-5)
    least = int(SHIFT * 200)
    expected = [by_hand(units, labels, shift, binary).max() for shift in range(least, 200 - least + 1)]
    assert searched.null == pytest.approx(expected, abs=1e-5)
    # The fault: the better half, or the second alone, is another search.
    assert not np.allclose(searched.weaker, searched.held, atol=1e-3)


def p_of_best(searched: Searched) -> float:
    return searched.p_value(float(searched.weaker.max()))


def test_chance_is_found_as_often_as_is_stated() -> None:
    """Labels that have nothing to do with the units, as slow as they are: one p-value in twenty is below 1/20."""
    transformed = spectra(np.stack([slow(4000, seed) for seed in range(30)], axis=1), binary=True)
    values = np.array([p_of_best(search(transformed, slow(4000, 1000 + k, binary=True))) for k in range(300)])
    assert 0.02 < (values <= 0.05).mean() < 0.09 and 0.4 < (values <= 0.5).mean() < 0.6


def test_what_is_there_in_one_half_alone_is_not_found() -> None:
    labels = slow(4000, 3, binary=True)
    units = np.stack([slow(4000, seed) for seed in range(10, 20)], axis=1)
    units[2000:, 4] = labels[2000:] + 0.01 * units[2000:, 4]
    searched = search(spectra(units, binary=True), labels)
    assert searched.held.max() > 0.4 and searched.null.max() < searched.held.max()
    assert p_of_best(searched) > 0.01
    units[:2000, 4] = labels[:2000] + 0.01 * units[:2000, 4]
    searched = search(spectra(units, binary=True), labels)
    assert int(np.argmax(searched.weaker)) == 4 and p_of_best(searched) <= 0.01

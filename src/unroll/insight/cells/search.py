"""Which of many units track labels: AUROC or correlation of all at once, against all shifts of the labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

SHIFT = 0.1
"""Smallest shift of the labels, as a share of a half."""
TOGETHER = 64
"""Units transformed at a time."""
BLOCKS = 40
"""Blocks of a half, drawn with replacement."""
DRAWS = 1000
BINS = 1024
"""Bins of ranks in resampled blocks."""
LEVEL = 0.95


def score(values: Floats, labels: Floats, *, binary: bool) -> float:
    """Return the AUROC of values (n,) for labels of 0 and 1, else their correlation.

    AUROC: the probability that a value labelled 1 is above one labelled 0; ties count half. Correlation is Pearson's,
    0 where all values are equal.
    """
    return float(_measures(values, binary=binary) @ _weights(labels, binary=binary)) + (0.5 if binary else 0.0)


def mid_ranks(values: Floats) -> Floats:
    """Return ranks (..., n) along the last axis from -1/2 to 1/2 with mean 0; equal values share their mean rank."""
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    is_first = np.ones(values.shape, np.bool_)
    np.not_equal(ordered[..., 1:], ordered[..., :-1], out=is_first[..., 1:])
    starts = np.flatnonzero(is_first)  # of runs of equal values, which no two rows share
    counts = np.diff(np.append(starts, is_first.size))
    places = np.repeat(starts + (counts - 1) / 2, counts).reshape(values.shape)
    count = values.shape[-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (places - places.mean(axis=-1, keepdims=True)) / count, axis=-1)
    return ranks


def _measures(values: Floats, *, binary: bool) -> Floats:
    """Return the factor of values (..., n) that the weights of labels multiply: ranks, or vectors of length 1."""
    if binary:
        return mid_ranks(values)
    centred = values - values.mean(axis=-1, keepdims=True, dtype=np.float64)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-12))


def _weights(labels: Floats, *, binary: bool) -> Floats:
    """Return weights whose product with the measures of values is the AUROC less 1/2, or the correlation."""
    if not binary:
        return _measures(labels, binary=False)
    positives = float(labels.sum())
    return np.where(labels == 1, 1 / positives, -1 / (len(labels) - positives))


@dataclass(frozen=True)
class Spectra:
    """Fourier transforms of the measures of K units in both halves of a text; they give all shifts at once."""

    halves: tuple[NDArray[np.complex64], NDArray[np.complex64]]
    """(K, m // 2 + 1) each."""
    length: int
    """m, the symbols of a half."""
    binary: bool
    """True for labels of 0 and 1, False for numbers."""


def spectra(units: Floats, *, binary: bool) -> Spectra:
    """Return the transforms of units (n, K); if n is odd, the last is left out."""
    length = len(units) // 2
    halves = []
    for half in (units[:length], units[length : 2 * length]):
        transforms = np.empty((half.shape[1], length // 2 + 1), np.complex64)
        for first in range(0, half.shape[1], TOGETHER):
            rows = np.ascontiguousarray(half[:, first : first + TOGETHER].T)
            transforms[first : first + TOGETHER] = np.fft.rfft(_measures(rows, binary=binary))
        halves.append(transforms)
    return Spectra((halves[0], halves[1]), length, binary)


@dataclass(frozen=True)
class Searched:
    """How every unit tracks labels: from 0, not at all, to 1/2 (AUROC less 1/2) or 1 (correlation), perfectly."""

    fit: Floats
    """Scores in the first half (K,), with their signs."""
    held: Floats
    """Scores in the second half (K,), above 0 where the sign is that of the first."""
    null: Floats
    """The same search with shifted labels: the largest of `weaker` for each shift (S,)."""

    @property
    def weaker(self) -> Floats:
        """The smaller score of the two halves (K,): what tracks a property does so in both."""
        return np.minimum(np.abs(self.fit), self.held)

    def p_value(self, score: float) -> float:
        """Return the share of all shifts, the one by 0 among them, whose best unit is as good in its weaker half."""
        return float(1 + np.count_nonzero(self.null >= score)) / (1 + len(self.null))

    def quantile(self, alpha: float) -> float:
        """Return the score to pass for a p-value of at most `alpha`."""
        return float(np.sort(self.null)[::-1][max(0, int(alpha * (1 + len(self.null))) - 1)])


def search(transformed: Spectra, labels: Floats) -> Searched:
    """Measure all units against labels (n,) and against the labels shifted in their halves, all shifts at once.

    Every unit gets its sign in the first half and its score in the second, and counts by the weaker of the two.
    Labels shift in a circle, in both halves equally, by at least a tenth of a half; shifted labels are as
    autocorrelated as the labels are (Politis & Romano 1994). For each shift the best unit counts, which corrects for
    trying K units.
    """
    length = transformed.length
    conjugates = [
        np.conj(np.fft.rfft(_weights(labels[k * length : (k + 1) * length], binary=transformed.binary))) for k in (0, 1)
    ]
    least = max(1, int(SHIFT * length))
    count = len(transformed.halves[0])
    fit, tested = np.empty(count), np.empty(count)
    null = np.full(max(0, length - 2 * least + 1), -np.inf)
    for first in range(0, count, TOGETHER):
        rows = slice(first, first + TOGETHER)
        # Cross-correlation theorem: number s of each unit is the sum over t of measure[t] · weight[t - s].
        first_half, second_half = (
            np.fft.irfft(half[rows] * conjugate, length)
            for half, conjugate in zip(transformed.halves, conjugates, strict=True)
        )
        signed = np.sign(first_half) * second_half
        fit[rows], tested[rows] = first_half[:, 0], signed[:, 0]
        weaker = np.minimum(np.abs(first_half), signed)[:, least : length - least + 1]
        np.maximum(null, weaker.max(axis=0), out=null)
    return Searched(fit, tested, null)


def resampled(values: Floats, labels: Floats, *, binary: bool) -> Floats:
    """Return the scores (DRAWS,) of values (n,) over resampled blocks, the same blocks at each call.

    `BLOCKS` stretches, long compared to quotations or lines, are drawn with replacement (Künsch 1989). A draw sums
    the contributions of its blocks: counts of values by rank and label, or moments.
    """
    blocks = np.arange(len(values)) * BLOCKS // len(values)
    counts = np.random.default_rng(0).multinomial(BLOCKS, np.full(BLOCKS, 1 / BLOCKS), DRAWS).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw without positives has no AUROC
        if not binary:
            x, y = values - values.mean(dtype=np.float64), labels - labels.mean()
            moments = [np.bincount(blocks, moment) for moment in (np.ones(len(x)), x, y, x * x, y * y, x * y)]
            n, sx, sy, sxx, syy, sxy = (counts @ moment for moment in moments)
            return np.asarray((sxy - sx * sy / n) / np.sqrt((sxx - sx * sx / n) * (syy - sy * sy / n)))
        ranks = np.minimum((mid_ranks(values) + 0.5) * BINS, BINS - 1).astype(np.int64)
        below, above = (
            counts
            @ np.bincount(blocks[of_label] * BINS + ranks[of_label], minlength=BLOCKS * BINS).reshape(BLOCKS, BINS)
            for of_label in (labels == 0, labels == 1)
        )
        pairs = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        return np.asarray(pairs / (below.sum(axis=1) * above.sum(axis=1)))


def interval(scores: Floats) -> tuple[float, float]:
    """Return the middle 95 % of scores."""
    low, high = np.nanquantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)

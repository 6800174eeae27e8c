"""How well a property is predicted by the last characters, by all units, and by a few. Needs scikit-learn."""

import warnings
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from unroll.insight.cells.properties import Labels, Text
from unroll.insight.trace import Floats, Ids

RECENT = 8
"""Characters that a claim of memory must outdo."""
COMMON = 254
"""Most frequent characters kept distinct; trees of scikit-learn know 255 categories."""
SIZES = (1, 2, 4, 8)
"""Sizes of the small sets of units."""
STRENGTH = 0.01
"""Regularisation per symbol of ridge and logistic regression on standardised units: 1/C."""


def installed() -> bool:
    """Return True if scikit-learn is installed."""
    return find_spec("sklearn") is not None


def recent(text: Text, following: int = 0) -> Ids:
    """Return the last `RECENT` characters (N, 8) at each symbol as categories from 1 on, 0 outside the text.

    `following` adds so many columns with the characters behind it.
    """
    codes = np.frombuffer(text.content.encode("utf-32-le", "surrogatepass"), "<u4")
    kinds, number_of, counts = np.unique(codes, return_inverse=True, return_counts=True)
    ranks = np.zeros(len(kinds), np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.minimum(np.arange(len(kinds)), COMMON - 1) + 1
    padded = np.pad(ranks[number_of], (RECENT - 1, following))
    return np.asarray(padded[text.ends[:, None] + np.arange(RECENT + following)])


def guesses_by_recent(characters: Ids, labels: Labels, half: int, places: Ids) -> Floats:
    """Return guesses for labels (N,) after the symbols at `places` by boosted trees on characters (N, 8).

    Fitted on all symbols before number `half`. Histogram gradient boosting (Ke et al. 2017) with the characters as
    categories: the strongest of those we tried, so that a gain over it means something.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    fixed = {"categorical_features": list(range(characters.shape[1])), "early_stopping": False, "random_state": 0}
    first_half, values = characters[:half], labels.values[:half]
    if labels.binary:
        trees = HistGradientBoostingClassifier(**fixed).fit(first_half, values)
        return np.asarray(trees.predict_proba(characters[places])[:, 1])
    return np.asarray(HistGradientBoostingRegressor(**fixed).fit(first_half, values).predict(characters[places]))


def guesses_by_units(units: Floats, labels: Labels, values: Floats) -> Floats:
    """Return guesses for the second half of labels `values` (n,) by a linear probe on units (n, K).

    Fitted on the first half: logistic regression, or ridge regression where the property is a number.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    half = len(values) // 2
    standard = standardised(units)
    if not labels.binary:
        return np.asarray(Ridge(alpha=STRENGTH * half).fit(standard[:half], values[:half]).predict(standard[half:]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 steps are enough
        probe = LogisticRegression(C=1 / (STRENGTH * half), max_iter=200).fit(standard[:half], values[:half])
    return np.asarray(probe.decision_function(standard[half:]))


def small_sets(units: Floats, values: Floats, sizes: Sequence[int] = SIZES) -> list[list[int]]:
    """Return the best small sets of columns of units (n, K) for labels (n,), found on the first half.

    Orthogonal matching pursuit (Pati et al. 1993): the next unit is the one that correlates best with the residual of
    the labels after a least-squares fit of the units so far.
    """
    half = len(values) // 2
    standard = standardised(units)[:half]
    centred = values[:half] - values[:half].mean()
    residual, chosen = centred, list[int]()
    for _ in range(min(max(sizes), standard.shape[1])):
        correlations = np.abs(residual.astype(np.float32) @ standard)
        correlations[chosen] = -1
        chosen.append(int(np.argmax(correlations)))
        basis = standard[:, chosen].astype(np.float64)
        residual = centred - basis @ np.linalg.lstsq(basis, centred, rcond=None)[0]
    return [chosen[:size] for size in sizes if size <= len(chosen)]


def standardised(units: Floats) -> Floats:
    """Return units (n, K) with mean 0 and standard deviation 1 in the first half; those that never move stay 0."""
    first = units[: len(units) // 2]
    deviation = first.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 1e-9, 1 / np.maximum(deviation, 1e-9), 0).astype(np.float32)
    return np.asarray((units - first.mean(axis=0, dtype=np.float64).astype(np.float32)) * scale)

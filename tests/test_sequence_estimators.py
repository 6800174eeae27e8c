"""The estimators of sequences pass scikit-learn's own checks, and read sequences of any length."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from unroll.artifact.series import open_series
from unroll.errors import UserError
from unroll.sklearn import InputError, SequenceClassifier, SequenceRegressor

QUICK: dict[str, Any] = {
    "steps": 20, "random_state": 0, "device": "cpu",
    "settings": {"arch": "rnn", "hidden_size": 32, "bidirectional": False, "pooling": "last", "learning_rate": 0.06,
                 "dropout": 0.0, "noise": 0.0, "input_dropout": 0.0, "averaging": 0.0, "threads": 1, "batch_size": 64,
                 "log_every": 20, "valid_every": 10, "save_every": 20},
}  # fmt: skip


LEARNING = ("check_classifiers_train", "check_classifiers_classes", "check_regressors_train")
"""The checks that ask for accuracy; the others need a fitted model, however good."""


@parametrize_with_checks([SequenceClassifier(**QUICK), SequenceRegressor(**QUICK | {"steps": 40})])  # type: ignore[untyped-decorator]
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator if check.func.__name__ in LEARNING else clone(estimator).set_params(steps=2))


def rises(count: int, seed: int = 0) -> tuple[list[NDArray[Any]], list[str], NDArray[Any]]:
    """Return sequences of two channels, which of them rises, and how steeply."""
    chance = np.random.default_rng(seed)
    rows, labels, slopes = [], [], chance.uniform(1, 3, count)
    for slope in slopes:
        row = 0.2 * chance.normal(size=(int(chance.integers(4, 9)), 2))
        channel = int(chance.integers(2))
        row[:, channel] += slope * np.arange(len(row))
        rows.append(row)
        labels.append(("left", "right")[channel])
    return rows, labels, slopes


def test_sequences_of_any_length_are_read() -> None:
    rows, labels, slopes = rises(80)
    classifier, regressor = (
        SequenceClassifier(**QUICK).fit(rows, labels),
        SequenceRegressor(**QUICK | {"steps": 80}).fit(rows, slopes),
    )
    others, truth, steep = rises(40, seed=1)
    assert classifier.score(others, truth) > 0.9 and regressor.score(others, steep) > 0.5
    assert classifier.classes_.tolist() == ["left", "right"] and not hasattr(classifier, "n_features_in_")
    again = pickle.loads(pickle.dumps(classifier))
    probabilities = classifier.predict_proba(others)
    np.testing.assert_array_equal(again.predict_proba(others), probabilities)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    alone = np.concatenate([classifier.predict_proba([row]) for row in others[:5]])
    np.testing.assert_allclose(alone, probabilities[:5], rtol=1e-12)
    with pytest.raises(InputError, match="X has 1 channels, and 2 in training"):
        classifier.predict([row[:, :1] for row in others])
    with pytest.raises(InputError, match="80 sequences and y 79 targets"):
        clone(classifier).fit(rows, labels[:-1])
    with pytest.raises(InputError, match=r"X\[1\] has 1 channels"):
        clone(classifier).fit([rows[0], rows[1][:, :1]], labels[:2])


def test_three_dimensions_are_steps_of_channels_and_may_lack_values() -> None:
    rows, labels, _ = rises(60)
    cube = np.full((60, 8, 2), np.nan)
    for k, row in enumerate(rows):
        cube[k, : len(row)] = row
    classifier = SequenceClassifier(**QUICK).fit(cube, labels)
    assert classifier.score(cube, labels) > 0.9
    np.testing.assert_array_equal(classifier.predict(cube.tolist()), classifier.predict(cube))
    with pytest.raises(ValueError, match="infinity"):
        classifier.predict(np.where(np.isnan(cube), np.inf, cube))
    with pytest.raises(InputError, match="above 1e"):
        classifier.predict(np.where(np.isnan(cube), 1e200, cube))


def test_an_array_of_rows_is_one_channel_and_is_validated_in_folds() -> None:
    chance = np.random.default_rng(0)
    labels = np.arange(60) % 2
    X = chance.normal(size=(60, 6)) + np.outer(2 * labels - 1, np.arange(6))
    assert cross_val_score(SequenceClassifier(**QUICK), X, labels, cv=2).min() > 0.8


def test_a_model_is_saved_and_loaded_as_a_directory(tmp_path: Path) -> None:
    rows, labels, slopes = rises(40)
    classifier, regressor = SequenceClassifier(**QUICK).fit(rows, labels), SequenceRegressor(**QUICK).fit(rows, slopes)
    classifier.save(tmp_path / "labels")
    regressor.save(tmp_path / "numbers")
    assert open_series(tmp_path / "labels").info.labels == ("left", "right")
    loaded = SequenceClassifier.load(tmp_path / "labels")
    np.testing.assert_array_equal(loaded.predict_proba(rows), classifier.predict_proba(rows))
    np.testing.assert_array_equal(SequenceRegressor.load(tmp_path / "numbers").predict(rows), regressor.predict(rows))
    with pytest.raises(InputError, match="was trained to classify"):
        SequenceRegressor.load(tmp_path / "labels")
    with pytest.raises(UserError, match="exists"):
        classifier.save(tmp_path / "labels")

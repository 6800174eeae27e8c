"""What a classifier is taught: batches without repeats, targets that are smoothed, labels that weigh the same."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from unroll.artifact.classifier import read_classifier, read_reader
from unroll.data.ragged import Ragged
from unroll.tasks.classify import store
from unroll.tasks.classify.lesson import Classification
from unroll.tasks.classify.recipe import ClassifyTraining


@pytest.fixture(scope="module")
def lesson(toy: Path) -> Classification:
    info, stored = read_classifier(toy), store.load(toy)
    config = ClassifyTraining(batch_size=16, steps=60)
    return Classification(info, read_reader(toy, info), stored.train, stored.valid, config)


def with_labels(lesson: Classification, rows: list[list[int]], **options: Any) -> Classification:
    """Return the lesson with other labels of its first examples, and no others."""
    texts = lesson.train.texts.select(np.arange(len(rows)))
    part = replace(lesson.train, texts=texts, labels=Ragged.of(rows))
    return replace(lesson, train=part, config=replace(lesson.config, **options))


def at_step(lesson: Classification, step: int) -> Any:
    """Return what a lesson asks of a run."""
    return SimpleNamespace(step=step, config=lesson.config, model=SimpleNamespace(config=lesson.info.config))


def test_an_epoch_has_each_example_once(lesson: Classification) -> None:
    for number in range(3):
        rows = np.concatenate(lesson.epochs.of(number))
        assert sorted(rows.tolist()) == list(range(len(lesson.train)))
    assert not np.array_equal(np.concatenate(lesson.epochs.of(0)), np.concatenate(lesson.epochs.of(1)))


def test_a_batch_depends_on_the_step_alone(lesson: Classification) -> None:
    last = 2 * lesson.epochs.size + 1
    run = at_step(lesson, last)
    first = lesson.batch(run)
    for run.step in range(last + 1):
        again = lesson.batch(run)
    for name, array in first.arrays().items():
        assert np.array_equal(array, again.arrays()[name]), name  # type: ignore[arg-type]


def test_the_perturbation_grows_to_its_length(lesson: Classification) -> None:
    full, steps = lesson.info.config.perturbation, lesson.config.steps
    lengths = [lesson.batch(at_step(lesson, step)).perturbation for step in range(0, steps, 6)]
    assert full and lengths[0] == 0 and lengths[4:] == [full] * 6
    np.testing.assert_allclose(np.diff(lengths[:5]), full / 4)


def test_targets_are_smoothed(lesson: Classification) -> None:
    one = with_labels(lesson, [[0], [2]], label_smoothing=0.3)
    np.testing.assert_allclose(one.targets(np.arange(2)), [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]], rtol=1e-6)
    several = with_labels(lesson, [[0, 2], []], label_smoothing=0.2)
    info = replace(several.info, config=replace(several.info.config, multi_label=True))
    np.testing.assert_allclose(
        replace(several, info=info).targets(np.arange(2)), [[0.9, 0.1, 0.9], [0.1, 0.1, 0.1]], rtol=1e-6
    )


def test_balanced_labels_weigh_the_same(lesson: Classification) -> None:
    rows = [[0]] * 5 + [[1]] * 2 + [[2]]
    weights = with_labels(lesson, rows, class_weights="balanced").weights
    sums = np.bincount(np.concatenate(rows), weights)
    np.testing.assert_allclose(sums, 8 / 3, rtol=1e-6)
    assert with_labels(lesson, rows).weights.tolist() == [1] * 8


def test_an_example_of_several_labels_weighs_as_their_mean(lesson: Classification) -> None:
    rows = [[0], [0], [], [0, 1], [2], []]
    weights = with_labels(lesson, rows, class_weights="balanced").weights
    inverse = [1 / 3, 1, 1]
    expected = np.array([1 / 3, 1 / 3, np.mean(inverse), (1 / 3 + 1) / 2, 1, np.mean(inverse)])
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-6)

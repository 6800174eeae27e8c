"""What a tagger is taught: batches that are functions of the step; rare tokens are read as unknown ones more often."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from unroll.artifact.tagger import read_reader, read_tagger
from unroll.data.ragged import Ragged
from unroll.tasks.tag import store
from unroll.tasks.tag.lesson import TaggedRows, Tagging
from unroll.tasks.tag.recipe import TagTraining


@pytest.fixture(scope="module")
def lesson(toy: Path) -> Tagging:
    info, stored = read_tagger(toy), store.load(toy)
    reader, ids = read_reader(toy, info), {tag: id for id, tag in enumerate(info.tags)}

    def rows(part: store.Part) -> TaggedRows:
        tags = Ragged.of([[ids[tag] for tag in row] for row in part.tags])
        return TaggedRows(reader.read_tokens(part.sentences), tags)

    config = TagTraining(batch_size=16, steps=60, unknown=0.5, label_smoothing=0.1)
    return Tagging(info, rows(stored.train), rows(stored.valid), config)


def at_step(lesson: Tagging, step: int, **shape: Any) -> Any:
    """Return what a lesson asks of a run."""
    config = replace(lesson.info.config, **shape)
    return SimpleNamespace(step=step, config=lesson.config, model=SimpleNamespace(config=config))


def test_a_batch_depends_on_the_step_alone(lesson: Tagging) -> None:
    last = 2 * lesson.epochs.size + 1
    run = at_step(lesson, last)
    first = lesson.batch(run)
    for run.step in range(last + 1):
        again = lesson.batch(run)
    for name, array in first.arrays().items():
        assert np.array_equal(array, again.arrays()[name]), name  # type: ignore[arg-type]


def test_rare_tokens_are_read_as_unknown_more_often(lesson: Tagging) -> None:
    ids = lesson.train.reading.units.values
    counts, hidden = np.bincount(ids, minlength=len(lesson.unknown_rates)), np.zeros(len(lesson.unknown_rates))
    epochs = 40
    for step in range(epochs * lesson.epochs.size):
        rows = lesson.epochs.batch(step)
        true, lengths = lesson.train.reading.units.padded(rows)
        read = lesson.batch(at_step(lesson, step)).arrays()["ids"]
        assert read is not None
        inside = np.arange(true.shape[1]) < lengths[:, None]
        assert np.isin(read[inside], [0, *ids]).all() and ((read == true) | (read == 0))[inside].all()
        np.add.at(hidden, true[inside & (read == 0)], 1)
    for count in (1, 2, 3):
        own = (counts == count) & (np.arange(len(counts)) > 1)
        if own.any():
            assert hidden[own].sum() / (epochs * count * own.sum()) == pytest.approx(0.5 / (0.5 + count), abs=0.05)
    none = replace(lesson, config=replace(lesson.config, unknown=0.0))
    assert not none.unknown_rates[1:].any()

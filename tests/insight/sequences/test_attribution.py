"""Attribution of a label to values: left out as the engine says, and gradients add up to what they explain."""

from pathlib import Path

import numpy as np
import pytest

from tasks.sequences.toy import without
from unroll.artifact.series import OpenSeries, open_series
from unroll.data.ragged import Vectors
from unroll.data.series_files import read_series
from unroll.errors import UserError
from unroll.insight.sequences import attribution as module
from unroll.insight.sequences.attribution import attribute_sequence
from unroll.insight.sequences.picture import picture
from unroll.progress import result
from unroll.tasks.sequences.predict import answer, answers, columns_of


@pytest.fixture
def file(unseen: Path) -> Path:
    """A table with the channels of training."""
    return without(unseen, "slope")


def vectors(opened: OpenSeries, table: Path, at: int) -> Vectors:
    return result(read_series(table, columns_of(opened, required=False))).rows.select(np.array([at - 1]))


@pytest.mark.parametrize("at", [1, 2, 5])
def test_leaving_out_is_reading_the_mean(sides: Path, file: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 3)
    opened = open_series(sides)
    rows = vectors(opened, file, at)
    scores = attribute_sequence(opened, file, "left", at=at, against="right")
    left, _, right = np.log(answer(opened, rows)[0])
    assert scores.value == pytest.approx(left - right, abs=1e-5)
    for step, channel in ((0, 0), (len(rows.values) - 1, 1)):
        values = np.array(rows.values, np.float64)
        values[step, channel] = opened.info.scaling.means[channel]
        left, _, right = np.log(answer(opened, Vectors(values, rows.ends))[0])
        assert scores.table[step, channel] == pytest.approx(scores.value - (left - right), abs=1e-5)
    assert scores.table.shape == rows.values.shape and scores.channels == ("a", "b")


def test_integrated_gradients_are_complete_and_the_derivative_is_the_first_order(sides: Path, file: Path) -> None:
    scores = attribute_sequence(sides, file, at=3, method="integrated", steps=200)
    assert abs(scores.value - scores.baseline) > 1e-3 and scores.probability == pytest.approx(np.exp(scores.value))
    assert scores.scores.sum() == pytest.approx(scores.value - scores.baseline, abs=1e-2)
    few = attribute_sequence(sides, file, at=3, method="gradient")
    assert few.agreement is not None and few.scores.shape == scores.scores.shape
    figures = scores.figures()
    assert np.shape(figures["scores"]) == np.shape(figures["leave_out"]) == scores.table.shape
    assert figures["id"] == "s2" and picture(scores, "why", ".svg").startswith(b"<?xml")


def test_the_channel_that_rises_decides(sides: Path, file: Path) -> None:
    opened = open_series(sides)
    series = result(read_series(file, columns_of(opened, required=False)))
    lefts = np.flatnonzero(result(answers(opened, series.rows)).argmax(axis=1) == 0)[:3]
    effects = np.sum([attribute_sequence(opened, file, at=at + 1).table.sum(axis=0) for at in lefts.tolist()], axis=0)
    assert effects[0] > effects[1]


def test_what_cannot_be_scored_is_refused(
    sides: Path, slopes: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in (0, 81):
        with pytest.raises(UserError, match=rf"no sequence {at} in .*\n.*1 to 80"):
            attribute_sequence(sides, file, at=at)
    with pytest.raises(UserError, match="never saw the label 'up'"):
        attribute_sequence(sides, file, "up")
    with pytest.raises(UserError, match="predicts numbers"):
        attribute_sequence(slopes, file)
    monkeypatch.setattr(module, "MOST", 7)
    with pytest.raises(UserError, match=r"sequence 1 of .* values\n.*at most 7"):
        attribute_sequence(sides, file)

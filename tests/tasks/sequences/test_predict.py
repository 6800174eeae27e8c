"""What a model of sequences predicts: as evaluated, each sequence by itself, without torch; and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tasks.sequences import toy
from unroll.artifact.directory import read_kind
from unroll.artifact.series import open_series, read_series_info
from unroll.data.series_files import read_series
from unroll.errors import UserError
from unroll.progress import result
from unroll.tasks.sequences.evaluate import evaluate_sequences, number_figures
from unroll.tasks.sequences.picture import draw_numbers
from unroll.tasks.sequences.predict import answer, answers, columns_of, predict_sequences
from unroll.tasks.sequences.quantize import quantize_sequences


def test_each_sequence_is_answered_by_itself(sides: Path, unseen: Path) -> None:
    opened = open_series(sides)
    series = result(read_series(toy.without(unseen, "slope"), columns_of(opened, required=True)))
    together = result(answers(opened, series.rows))
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=0, atol=1e-12)
    for row in range(0, len(series), 7):
        np.testing.assert_allclose(answer(opened, series.rows.select([row]))[0], together[row], rtol=0, atol=1e-5)


def test_targets_are_not_needed_and_the_best_label_comes_first(sides: Path, unseen: Path) -> None:
    table = toy.without(unseen, "slope", "side")
    rows = predict_sequences(sides, table, top=2)
    assert [row["id"] for row in rows] == [f"s{k}" for k in range(80)]
    for row in rows:
        first, second = row["labels"]
        assert first["probability"] >= second["probability"]
    same = evaluate_sequences(sides, toy.without(unseen, "slope"))
    assert same["per_class"].keys() == {"left", "none", "right"}
    assert predict_sequences(sides, toy.without(unseen, "slope"), top=2) == rows


def test_numbers_are_in_the_units_of_the_file(slopes: Path, unseen: Path) -> None:
    table = toy.without(unseen, "side")
    figures = evaluate_sequences(slopes, table)
    assert [row["prediction"] for row in predict_sequences(slopes, table)] == figures["predicted"]
    assert 0.5 < np.mean(figures["predicted"]) < 2.0


def test_figures_of_numbers_by_hand() -> None:
    figures = number_figures(np.array([1.0, 3.0]), np.array([2.0, 3.0]), 1.0)
    assert figures["mae"] == 0.5 and figures["rmse"] == pytest.approx(0.5**0.5) and figures["r2"] == 0.5
    assert figures["baseline"] == {"mean": 1.0, "mae": 1.0, "rmse": pytest.approx(2**0.5)}
    assert number_figures(np.ones(2), np.ones(2), 1.0)["r2"] is None


def test_another_number_of_channels_is_refused(sides: Path, unseen: Path) -> None:
    with pytest.raises(UserError, match="1 channel: a; in training there were 2 channels: a, b"):
        predict_sequences(sides, toy.without(unseen, "slope", "b"))
    with pytest.raises(UserError, match="3 channels"):
        predict_sequences(sides, unseen)


def test_a_label_that_training_never_saw_is_refused(sides: Path, tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("id,t,a,b,side\nx,1,1,2,up\n")
    with pytest.raises(UserError, match="never saw the label 'up'"):
        evaluate_sequences(sides, table)


def test_eight_bits_are_measured_on_what_was_held_out(sides: Path, slopes: Path, tmp_path: Path) -> None:
    for model, name in ((sides, "accuracy"), (slopes, "mae")):
        path = Path(shutil.copytree(model, tmp_path / name))
        cost = quantize_sequences(path)
        assert cost == json.loads((path / "int8.json").read_text())
        assert cost["count"] > 0 and abs(cost[f"int8_{name}"] - cost[f"float32_{name}"]) < 0.1


def test_numbers_are_drawn(slopes: Path, unseen: Path, tmp_path: Path) -> None:
    draw_numbers(evaluate_sequences(slopes, toy.without(unseen, "side")), tmp_path / "a.svg")
    assert "mean absolute error" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("labels", ["left", "left", "right"], "different labels"),
        ("channels", ["a"], "1 channels"),
        ("scaling", {"means": [0.0], "deviations": [1.0]}, "not that of 2 channels"),
        ("scaling", {"means": [0.0, 1.0], "deviations": [1.0, -1.0]}, "not that of 2 channels"),
        ("goals", {"means": [0.0], "deviations": [1.0]}, "not that of 0 channels"),
        ("result", {"protocol": 1}, "protocol"),
        ("target_column", 3, "target_column"),
    ],
)
def test_a_damaged_description_is_refused(sides: Path, tmp_path: Path, key: str, value: object, part: str) -> None:
    description = read_kind(sides) | {key: value}
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=part):
        read_series_info(tmp_path)

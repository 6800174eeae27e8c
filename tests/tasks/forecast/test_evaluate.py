"""How far off a forecaster is: held to a loop over origins, and beside the two rules."""

from pathlib import Path

import numpy as np
import pytest

from tasks.forecast.toy import HORIZON, SEASON, written
from unroll.artifact.forecaster import open_forecaster
from unroll.data.history import History
from unroll.errors import UserError
from unroll.tasks.forecast.evaluate import evaluate_forecaster
from unroll.tasks.forecast.predict import quantiles_after


def columns(table: Path) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for line in table.read_text().splitlines()[1:]:
        id, _, value, _ = line.split(",")
        values.setdefault(id, []).append(float(value or "nan"))
    return values


@pytest.mark.parametrize("missing", [0, 9])
def test_the_figures_are_those_of_a_loop_over_origins(toy: Path, tmp_path: Path, missing: int) -> None:
    table, model = written(tmp_path / "waves.csv", missing=missing), open_forecaster(toy)
    figures = evaluate_forecaster(model, table, origins=5)
    errors, last, seasonal, pinball, inside, scaled = [], [], [], [], [], []
    for values in columns(table).values():
        history = History.of(np.array(values))
        filled, first = history.values, len(values) - HORIZON - 4
        easy = [abs(values[k] - values[k - SEASON]) for k in range(SEASON, first)]
        for end in range(first, first + 5):
            (ahead,) = quantiles_after(model, history, np.array([first, end]))[1:]
            for step in range(HORIZON):
                value = values[end + step]
                if np.isnan(value):
                    continue
                errors.append(value - ahead[step, 1])
                last.append(value - filled[end - 1])
                seasonal.append(value - filled[end - SEASON + step])
                inside.append(ahead[step, 0] <= value <= ahead[step, 2])
                scaled.append(abs(errors[-1]) / np.nanmean(easy))
                apart = zip((0.1, 0.5, 0.9), value - ahead[step], strict=True)
                pinball.append(2 * np.mean([max(q * d, (q - 1) * d) for q, d in apart]))
    assert figures["count"] == len(errors) and (len(errors) < 3 * 5 * HORIZON) == (missing > 0)
    assert figures["mae"] == pytest.approx(np.abs(errors).mean())
    assert figures["rmse"] == pytest.approx(np.sqrt(np.square(errors).mean()))
    assert figures["rules"]["last"]["mae"] == pytest.approx(np.abs(last).mean())
    assert figures["rules"]["seasonal"]["rmse"] == pytest.approx(np.sqrt(np.square(seasonal).mean()))
    assert figures["pinball"] == pytest.approx(np.mean(pinball))
    assert figures["coverage"] == pytest.approx(np.mean(inside))
    assert figures["mase"] == pytest.approx(np.mean(scaled))
    assert figures["nominal"] == 0.8
    assert np.mean(figures["by_step"]["model"]) == pytest.approx(figures["mae"], rel=0.2)


def test_a_file_of_the_training_is_named_as_such(toy: Path, table: Path, tmp_path: Path) -> None:
    (note,) = evaluate_forecaster(toy, table)["notes"]
    assert "trained on this very file" in note
    assert evaluate_forecaster(toy, written(tmp_path / "other.csv", steps=61))["notes"] == []


def test_too_few_steps_for_the_origins_are_refused(toy: Path, table: Path) -> None:
    assert evaluate_forecaster(toy, table, origins=45)["origins"] == 45
    with pytest.raises(UserError, match=r"'shop0' of .* has 60 steps .* 46 origins\n.*at most 45.*\n.*--origins 45"):
        evaluate_forecaster(toy, table, origins=46)
    with pytest.raises(UserError, match="number of origins is 0"):
        evaluate_forecaster(toy, table, origins=0)


def test_of_constant_series_there_is_no_scaled_error(toy: Path, tmp_path: Path) -> None:
    table = tmp_path / "flat.csv"
    days = np.datetime64("2026-01-01") + np.arange(60)
    table.write_text("shop,day,sold\n" + "".join(f"a,{day},5\n" for day in days))
    figures = evaluate_forecaster(toy, table)
    assert figures["mase"] is None and figures["rules"]["last"]["mae"] == 0.0 and figures["mae"] < 1

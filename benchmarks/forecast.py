"""Forecasts of yearly sunspots and weekly CO₂ over rolling origins, beside exponential smoothing; needs statsmodels.

The last 20 origins that 12 values follow, one step apart. The network is trained once, on what lies before the first
origin, and then reads what comes; Holt and Winters' smoothing is fitted anew at each origin, in every variant that
applies, and the one whose errors turn out least is the contender.
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import statsmodels
from numpy.typing import NDArray
from statsmodels.datasets import co2, sunspots
from statsmodels.tsa.holtwinters import ExponentialSmoothing

from measure import run_json, show

HORIZON, ORIGINS = 12, 20
TREND = {"trend": "add", "damped_trend": False}
DAMPED = {"trend": "add", "damped_trend": True}
VARIANTS: dict[str, dict[str, Any]] = {
    "additive": TREND | {"seasonal": "add"},
    "additive, damped": DAMPED | {"seasonal": "add"},
    "additive, no trend": {"seasonal": "add"},
    "multiplicative": TREND | {"seasonal": "mul"},
    "multiplicative, damped": DAMPED | {"seasonal": "mul"},
}
"""Seasons may be multiplicative where all values are positive."""


def main() -> None:
    """Train, forecast and compare on both series."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--steps", type=int, help="a budget in steps, in place of minutes: for a machine that is busy")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    budget = ["--minutes", str(options.minutes)] if options.steps is None else ["--steps", str(options.steps)]
    weekly, yearly = co2.load_pandas().data["co2"], sunspots.load_pandas().data
    rows = []
    for name, times, values, season in (
        ("sunspots", [str(int(year)) for year in yearly["YEAR"]], yearly["SUNACTIVITY"].to_numpy(np.float64), 11),
        ("co2", [str(week)[:10] for week in weekly.index], weekly.to_numpy(np.float64), 52),
    ):
        row: dict[str, Any] = {"data": name, "values": len(values), "missing": int(np.isnan(values).sum())}
        row |= {"season": season, "contender": contender(filled(values), season)}
        print(row, file=sys.stderr, flush=True)
        row["unroll"] = forecasters(times, values, season, options.seeds, budget)
        row["ratio"] = row["unroll"]["mae"] / row["contender"]["mae"]
        rows.append(row)
    show({
        "benchmark": "forecast",
        "horizon": HORIZON,
        "origins": f"the last {ORIGINS} that {HORIZON} values follow, one step apart",
        "network": "trained once before the first origin",
        "contender": "exponential smoothing, fitted anew at each origin; the best of its variants by these errors",
        "statsmodels": statsmodels.__version__,
        "budget": budget,
        "rows": rows,
    })  # fmt: skip


def filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values with those missing on straight lines between their neighbours: the contender reads no others."""
    places, present = np.arange(len(values)), ~np.isnan(values)
    return np.interp(places, places[present], values[present])


def contender(values: NDArray[np.float64], season: int) -> dict[str, Any]:
    """Return the errors of exponential smoothing by variant, and the least."""
    last = len(values) - HORIZON
    errors = {}
    for name, variant in VARIANTS.items():
        if name.startswith("multiplicative") and (values <= 0).any():
            continue
        apart = []
        for origin in range(last - ORIGINS + 1, last + 1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an optimizer that has not converged
                model = ExponentialSmoothing(values[:origin], seasonal_periods=season, **variant)
                forecast = model.fit().forecast(HORIZON)
            apart.append(np.abs(forecast - values[origin : origin + HORIZON]))
        errors[name] = float(np.mean(apart))
    best = min(errors, key=errors.__getitem__)
    return {"variant": best, "mae": errors[best], "variants": errors}


def forecasters(
    times: list[str], values: NDArray[np.float64], season: int, seeds: int, budget: list[str]
) -> dict[str, Any]:
    """Return the mean error over seeds, and what each training gave."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"{time},{'' if np.isnan(value) else value}" for time, value in zip(times, values, strict=True)]
        whole, known = Path(folder) / "whole.csv", Path(folder) / "known.csv"
        whole.write_text("\n".join(["time,value", *lines]) + "\n")
        known.write_text("\n".join(["time,value", *lines[: len(lines) - HORIZON - ORIGINS + 1]]) + "\n")
        for seed in range(seeds):
            out = Path(folder) / f"seed{seed}"
            trained = run_json(
                "sequences", "train", known, "--target", "value", "--time", "time", "--task", "forecast", "--horizon",
                str(HORIZON), "--season", str(season), "--seed", str(seed), "--out", out, *budget,
            )  # fmt: skip
            figures = run_json("sequences", "eval", out, whole, "--origins", str(ORIGINS))
            kept = ("steps", "best_step", "parameters", "wall_seconds", "valid_mae")
            runs.append({"seed": seed, **{name: trained[name] for name in kept}} | {
                name: figures[name] for name in ("mae", "rmse", "mase", "pinball", "coverage", "nominal", "rules")
            })  # fmt: skip
    errors = [run["mae"] for run in runs]
    return {"mae": float(np.mean(errors)), "least": min(errors), "most": max(errors), "runs": runs}


if __name__ == "__main__":
    main()

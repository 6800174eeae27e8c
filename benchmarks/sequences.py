"""`unroll sequences` on scikit-learn's digits as 8 rows of 8, and on Japanese Vowels: accuracy over seeds.

Digits: the first half of scikit-learn's file for training, the second for testing. Japanese Vowels: the split of
sktime and aeon, whose folder of that name is yours to bring (`JapaneseVowels_TRAIN.ts`, `JapaneseVowels_TEST.ts`).
Contenders see the same standardised values, flattened and padded with zeros: the nearest neighbour, and logistic
regression whose penalty cross-validation chooses.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegressionCV
from sklearn.neighbors import KNeighborsClassifier

from measure import run_json, show
from unroll.data.scaling import Scaling
from unroll.data.series import Series
from unroll.data.series_files import read_series
from unroll.data.series_reading import Columns
from unroll.lm.intervals import wilson
from unroll.progress import result


def main() -> None:
    """Train and test on both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vowels", type=Path, metavar="FOLDER", help="the folder JapaneseVowels of aeon or sktime")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--steps", type=int, help="a budget in steps, in place of minutes: for a machine that is busy")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    budget = ["--minutes", str(options.minutes)] if options.steps is None else ["--steps", str(options.steps)]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        files = {"digits": digits(Path(place))}
        if options.vowels:
            parts = ("TRAIN", "TEST")
            files["Japanese Vowels"] = tuple(options.vowels / f"JapaneseVowels_{part}.ts" for part in parts)
        for name, (train, test) in files.items():
            rows.append({"data": name, "contenders": contenders(train, test)})
            rows[-1]["unroll"] = [trained(train, test, Path(place) / f"{name}{seed}", seed, budget)
                                  for seed in range(options.seeds)]  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    show({"benchmark": "sequences", "budget": budget, "scikit_learn": sklearn.__version__, "rows": rows})


def digits(folder: Path) -> tuple[Path, Path]:
    """Write both halves of scikit-learn's digits, a step for each row of an image."""
    data = load_digits()
    images, half = data.data.reshape(-1, 8, 8), len(data.data) // 2
    for name, part in (("train", slice(None, half)), ("test", slice(half, None))):
        np.savez(folder / f"{name}.npz", X=images[part], y=data.target[part])
    return folder / "train.npz", folder / "test.npz"


def trained(train: Path, test: Path, out: Path, seed: int, budget: list[str]) -> dict[str, Any]:
    """Train by the command, and measure on the test part."""
    started = time.monotonic()
    info = run_json("sequences", "train", train, "--out", out, "--seed", str(seed), *budget)
    seconds = time.monotonic() - started
    figures = {precision: run_json("sequences", "eval", out, test, "--precision", precision)
               for precision in ("float32", "int8")}  # fmt: skip
    return {
        "seed": seed,
        "accuracy": figures["float32"]["accuracy"],
        "interval": figures["float32"]["interval"],
        "int8_accuracy": figures["int8"]["accuracy"],
        "calibration_error": figures["float32"]["calibration_error"],
        "held_out_accuracy": info["valid_accuracy"],
        "parameters": info["parameters"],
        "steps": info["steps"],
        "seconds": round(seconds, 1),
    }


def contenders(train: Path, test: Path) -> dict[str, Any]:
    """Return the accuracy of models that read the values flattened."""
    parts: list[Series] = [result(read_series(path, Columns("classify"))) for path in (train, test)]
    scaling, longest = Scaling.of(parts[0].rows), max(int(part.rows.lengths.max()) for part in parts)

    def flat(part: Series) -> Any:
        padded, _ = scaling.read(part.rows, marks=False).padded()
        return np.pad(padded, ((0, 0), (0, longest - padded.shape[1]), (0, 0))).reshape(len(part), -1)

    x, y = flat(parts[0]), np.array(parts[0].labels)
    models = {
        "nearest neighbour": KNeighborsClassifier(1),
        "logistic regression": LogisticRegressionCV(
            Cs=(0.001, 0.01, 0.1, 1.0), max_iter=2000, l1_ratios=(0,), use_legacy_attributes=False
        ),
    }
    found = {}
    for name, model in models.items():
        right = model.fit(x, y).predict(flat(parts[1])) == np.array(parts[1].labels)
        low, high = wilson(np.array([right.sum()]), np.array([len(right)]))
        found[name] = {"accuracy": float(right.mean()), "interval": [float(low[0]), float(high[0])]}
    return {"examples": [len(part) for part in parts], **found}


if __name__ == "__main__":
    main()

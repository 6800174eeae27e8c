"""A language model that labels steer, on surnames of 18 languages: labels by Bayes' rule, and samples by label.

The folder is yours to bring: one file of surnames for each language, as `benchmarks/classify.py` reads it, with its
split. A classifier that `unroll classify train` makes of the same names says of which language each sample is.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from classify import Parts, description, names, write_table
from measure import run_json, show
from unroll import classify, sample
from unroll.artifact.open import open_model

COLUMNS = ("--text", "text", "--label", "label")
TEMPERATURES = {"temperature_1": 1.0, "temperature_07": 0.7}


def main() -> None:
    """Train with several seeds, and measure each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=Path, metavar="FOLDER", required=True)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--steps", type=int, help="a budget in steps, in place of minutes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=200, help="of each label")
    parser.add_argument("--classifier", type=Path, help="one that is trained already, on the same part")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the recipe")
    options = parser.parse_args()
    parts = names(options.names)
    budget = ["--minutes", str(options.minutes)] if options.steps is None else ["--steps", str(options.steps)]
    budget += [text for setting in options.set for text in ("--set", setting)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("train", "valid", "test"):
            write_table(folder / f"{name}.tsv", getattr(parts, name))
        data = (folder / "train.tsv", *COLUMNS, "--valid", folder / "valid.tsv")
        judge = options.classifier or folder / "classifier"
        if options.classifier is None:
            run_json("classify", "train", *data, "--out", judge, "--minutes", "3")
        judged = run_json("classify", "eval", judge, folder / "test.tsv")
        rows = []
        for seed in range(options.seeds):
            model = folder / f"seed-{seed}"
            trained = run_json("train", *data, "--seed", str(seed), "--out", model, *budget)
            figures = measured(model, judge, folder, parts, options.samples)
            rows.append({"seed": seed, "train_seconds": trained["wall_seconds"], **figures})
            print(rows[-1], file=sys.stderr, flush=True)
        recipe = (model / "recipe.toml").read_text(encoding="utf-8")
    show({
        "benchmark": "steering",
        "data": "names",
        **description(parts),
        "budget": budget,
        "classifier": {"accuracy": judged["accuracy"], "macro_accuracy": macro(judged)},
        "accuracy": mean(rows, "accuracy"),
        "macro_accuracy": mean(rows, "macro_accuracy"),
        "recognised": {
            temperature: {figure: round(float(np.mean([row["samples"][temperature][figure] for row in rows])), 4)
                          for figure in ("macro", "micro", "in_training")}
            for temperature in rows[0]["samples"]
        },
        "seeds": rows,
        "recipe": recipe,
    })  # fmt: skip


def measured(model: Path, judge: Path, folder: Path, parts: Parts, count: int) -> dict[str, Any]:
    """Return how often the label by Bayes' rule is right, and how often samples are recognised."""
    tested = run_json("classify", "eval", model, folder / "test.tsv")
    return {
        "accuracy": tested["accuracy"],
        "interval": tested["interval"],
        "macro_accuracy": macro(tested),
        "nats": round(tested["nats"], 4),
        "eval_seconds": tested["wall_seconds"],
        "samples": {name: recognised(model, judge, parts, count, value) for name, value in TEMPERATURES.items()},
    }


def macro(tested: dict[str, Any]) -> float:
    """Return the mean of the recalls of the labels that occur."""
    return round(float(np.mean([row["recall"] for row in tested["per_class"].values() if row["count"]])), 4)


def mean(rows: list[dict[str, Any]], figure: str) -> dict[str, Any]:
    """Return the mean of a figure over seeds, and its spread."""
    values = [row[figure] for row in rows]
    return {"mean": round(float(np.mean(values)), 4), "spread": [min(values), max(values)]}


def recognised(model: Path, judge: Path, parts: Parts, count: int, temperature: float) -> dict[str, Any]:
    """Return the share of samples of a label that the classifier takes for that label.

    `macro` is the mean over labels, `micro` weighs each by how frequent it is in training; `in_training` is the share
    of samples, weighed so, that are names of the training part.
    """
    opened, learned = open_model(model), {text for text, _ in parts.train}
    counts = Counter(label for _, label in parts.train)
    hits, copies = {}, {}
    for label in sorted(counts):
        drawn = (sample(opened, length=60, temperature=temperature, stream=k, label=label) for k in range(count))
        texts = ["".join(symbol.text for symbol in symbols) for symbols in drawn]
        predicted = [row["labels"][0]["label"] for row in classify(judge, texts, top=1)]
        hits[label] = round(sum(other == label for other in predicted) / count, 4)
        copies[label] = sum(text in learned for text in texts) / count
    weights = {label: number / counts.total() for label, number in counts.items()}
    return {
        "macro": round(float(np.mean(list(hits.values()))), 4),
        "micro": round(sum(weights[label] * hits[label] for label in hits), 4),
        "in_training": round(sum(weights[label] * copies[label] for label in hits), 4),
        "per_label": hits,
    }


if __name__ == "__main__":
    main()

"""`unroll classify` on TREC, SST-2 and surnames: accuracy over seeds, beside logistic regression on TF-IDF.

The folders are yours to bring: TREC's `train.txt` and `test.txt` (`COARSE:fine question` a line), SST-2's `train.txt`,
`dev.txt` and `test.txt` (`label sentence` a line), and a folder of surnames with one file for each language.
"""

import argparse
import csv
import hashlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union

from measure import run_json, show
from unroll.lm.intervals import wilson

Examples = list[tuple[str, str]]
"""Texts with their labels."""

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Values of C, the inverse strength of the penalty, that cross-validation chooses from."""


@dataclass(frozen=True)
class Parts:
    """A data set: what is learned, what chooses, what is reported."""

    train: Examples
    valid: Examples
    test: Examples
    split: str


def main() -> None:
    """Train and test on each data set whose folder is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in READERS:
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--steps", type=int, help="a budget in steps, in place of minutes: for a machine that is busy")
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings; 0 runs the contender alone")
    parser.add_argument("--pretrained", type=Path, help="a language model to start from, for the sets of words")
    parser.add_argument("--contender", type=Path, help="results of an earlier run, to take the contender's from")
    options = parser.parse_args()
    budget = ["--minutes", str(options.minutes)] if options.steps is None else ["--steps", str(options.steps)]
    earlier = json.loads(options.contender.read_text(encoding="utf-8"))["rows"] if options.contender else []
    contenders = {row["data"]: row["contender"] for row in earlier}
    rows = []
    for name, read in READERS.items():
        if folder := getattr(options, name):
            parts = read(folder)
            row = {"data": name, **description(parts), "contender": contenders.get(name) or contender(parts)}
            print(row, file=sys.stderr, flush=True)
            if options.seeds:
                start = ["--pretrained", options.pretrained] if options.pretrained and name != "names" else []
                budget = (
                    ["--minutes", str(options.minutes)] if options.steps is None else ["--steps", str(options.steps)]
                )
                row["unroll"] = classifiers(parts, options.seeds, [*budget, *start])
                row["above_contender"] = row["unroll"]["accuracy"] > row["contender"]["accuracy"]
            rows.append(row)
    show({
        "benchmark": "classify",
        "minutes": options.minutes if options.steps is None else None,
        "steps": options.steps,
        "pretrained": (options.pretrained / "recipe.toml").read_text(encoding="utf-8") if options.pretrained else None,
        "scikit_learn": sklearn.__version__,
        "rows": rows,
    })  # fmt: skip


# ---- the data sets


def fold(text: str, folds: int = 10) -> int:
    """Return the part that a text belongs to, whatever else is in the file: its SHA-256 modulo `folds`."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % folds


def trec(folder: Path) -> Parts:
    """Read the questions with their coarse class; a tenth of training, by the hash of the question, is held out."""
    train, test = (
        [(text, kind.partition(":")[0]) for kind, text in first_words(folder / f"{part}.txt")]
        for part in ("train", "test")
    )
    return Parts(
        [example for example in train if fold(example[0])],
        [example for example in train if not fold(example[0])],
        test,
        "the standard 5,452 and 500 questions; of training, those whose SHA-256 is divisible by 10 validate",
    )


def sst2(folder: Path) -> Parts:
    """Read the sentences; only whole ones, no phrases."""
    train, valid, test = (
        [(text, {"0": "negative", "1": "positive"}[label]) for label, text in first_words(folder / f"{part}.txt")]
        for part in ("train", "dev", "test")
    )
    return Parts(train, valid, test, "the standard 6,920, 872 and 1,821 sentences")


def names(folder: Path) -> Parts:
    """Read the pairs of name and language without repeats; all pairs of a name are in one part."""
    pairs = sorted({
        (name, path.stem)
        for path in folder.glob("*.txt")
        for line in path.read_text(encoding="utf-8").splitlines()
        if (name := line.strip())
    })  # fmt: skip
    return Parts(
        [pair for pair in pairs if fold(pair[0]) > 1],
        [pair for pair in pairs if fold(pair[0]) == 1],
        [pair for pair in pairs if fold(pair[0]) == 0],
        "the SHA-256 of the name in UTF-8, modulo 10: 0 tests, 1 validates, the rest trains",
    )


def first_words(path: Path) -> Iterable[tuple[str, str]]:
    """Yield the first word of each line and what follows."""
    for line in path.read_text(encoding="utf-8").splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest


READERS: dict[str, Callable[[Path], Parts]] = {"trec": trec, "sst2": sst2, "names": names}


def description(parts: Parts) -> dict[str, Any]:
    """Return the sizes of the parts, what repeats in them, and the accuracy of the commonest class."""
    learned = {text for text, _ in parts.train + parts.valid}
    common = Counter(label for _, label in parts.train + parts.valid).most_common(1)[0][0]
    return {
        "split": parts.split,
        "examples": [len(parts.train), len(parts.valid), len(parts.test)],
        "classes": len({label for _, label in parts.train}),
        "repeats_in_training": len(parts.train + parts.valid) - len(set(parts.train + parts.valid)),
        "test_texts_in_training": sum(text in learned for text, _ in parts.test),
        "commonest_class": round(sum(label == common for _, label in parts.test) / len(parts.test), 4),
    }


# ---- those who classify


def contender(parts: Parts) -> dict[str, Any]:
    """Return what logistic regression on TF-IDF reaches: fitted to training and validation, C by cross-validation."""
    texts, labels = zip(*parts.train + parts.valid, strict=True)
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", sublinear_tf=True),
        TfidfVectorizer(ngram_range=(1, 5), analyzer="char", lowercase=False, sublinear_tf=True),
    )
    model = make_pipeline(features, LogisticRegression(max_iter=1000))
    search = GridSearchCV(model, {"logisticregression__C": STRENGTHS}, cv=5, n_jobs=2).fit(texts, labels)
    predicted = search.predict([text for text, _ in parts.test])
    right = np.array([label for _, label in parts.test]) == predicted
    return {
        **figures(parts.test, right),
        "C": search.best_params_["logisticregression__C"],
        "cross_validated": round(float(search.best_score_), 4),
    }


def figures(test: Examples, right: np.ndarray) -> dict[str, Any]:
    """Return the accuracy with its 95 % interval (Wilson), and the mean of the classes' accuracies."""
    low, high = wilson(np.array([right.sum()]), np.array([len(right)]))
    classes = np.array([label for _, label in test])
    return {
        "accuracy": round(float(right.mean()), 4),
        "interval": [round(float(low[0]), 4), round(float(high[0]), 4)],
        "macro_accuracy": round(float(np.mean([right[classes == label].mean() for label in np.unique(classes)])), 4),
    }


def classifiers(parts: Parts, seeds: int, options: list[str]) -> dict[str, Any]:
    """Train with several seeds and return what each reaches on the test part."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("train", "valid", "test"):
            write_table(folder / f"{name}.tsv", getattr(parts, name))
        columns = ["--text", "text", "--label", "label"]
        for seed in range(seeds):
            model = folder / f"seed-{seed}"
            trained = run_json(
                "classify", "train", folder / "train.tsv", *columns, "--valid", folder / "valid.tsv",
                "--seed", str(seed), "--out", model, *options,
            )  # fmt: skip
            tested = run_json("classify", "eval", model, folder / "test.tsv")
            recalls = [row["recall"] for row in tested["per_class"].values() if row["count"]]
            rows.append({
                "seed": seed,
                "accuracy": tested["accuracy"],
                "interval": tested["interval"],
                "macro_accuracy": round(float(np.mean(recalls)), 4),
                "train_seconds": trained["wall_seconds"],
                "eval_seconds": tested["wall_seconds"],
            })  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
        recipe = (model / "recipe.toml").read_text(encoding="utf-8")
    accuracies = [row["accuracy"] for row in rows]
    return {
        "accuracy": round(float(np.mean(accuracies)), 4),
        "spread": [min(accuracies), max(accuracies)],
        "macro_accuracy": round(float(np.mean([row["macro_accuracy"] for row in rows])), 4),
        "seeds": rows,
        "recipe": recipe,
    }


def write_table(path: Path, examples: Examples) -> None:
    """Write texts and labels with a header, values apart by tabs."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["text", "label"])
        writer.writerows(examples)


if __name__ == "__main__":
    main()

"""`unroll tag` on a treebank: accuracy over seeds, beside the commonest tag of each word and a CRF of features.

The three parts, in CoNLL-U, are yours to bring: the first trains, the second chooses weights, the third is reported.
The contenders learn from the first part alone, too. The CRF is that of sklearn-crfsuite, where it is installed.
"""

import argparse
import hashlib
import importlib.util
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from measure import run_json, show
from unroll.data.tagged import Tagged, read_tagged
from unroll.lm.intervals import wilson
from unroll.progress import result

Rows = Sequence[Sequence[str]]
PARTS = ("train", "valid", "test")


def main() -> None:
    """Train, test and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in PARTS:
        parser.add_argument(name, type=Path)
    parser.add_argument("--column", default="upos")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--steps", type=int, help="a budget in steps, in place of minutes: for a machine that is busy")
    parser.add_argument("--seeds", type=int, default=1, help="number of trainings; 0 runs the contenders alone")
    parser.add_argument("--pretrained", type=Path, help="a language model of characters, whose states are read, too")
    parser.add_argument("--contenders", type=Path, help="results of an earlier run, to take the contenders' from")
    options = parser.parse_args()
    files = {name: getattr(options, name) for name in PARTS}
    parts = {name: result(read_tagged(file, options.column)) for name, file in files.items()}
    train, test = parts["train"], parts["test"]
    earlier = json.loads(options.contenders.read_text(encoding="utf-8")) if options.contenders else {}
    found: dict[str, Any] = {
        "benchmark": "tag",
        "column": options.column,
        "minutes": options.minutes if options.steps is None else None,
        "steps": options.steps,
        "parts": {name: described(part) for name, part in parts.items()},
        "contenders": earlier.get("contenders") or {name: measured(tag, train, test) for name, tag in TAGGERS.items()},
        "pretrained": (options.pretrained / "recipe.toml").read_text(encoding="utf-8") if options.pretrained else None,
    }
    print(found["contenders"], file=sys.stderr, flush=True)
    if options.seeds:
        budget = ["--minutes", str(options.minutes)] if options.steps is None else ["--steps", str(options.steps)]
        start = ["--pretrained", options.pretrained] if options.pretrained else []
        found["unroll"] = taggers(files, options.seeds, ["--column", options.column, *budget, *start])
    show(found)


def described(part: Tagged) -> dict[str, Any]:
    """Return the sizes of a part and the digest of its file."""
    return {
        "sentences": len(part.sentences),
        "tokens": sum(map(len, part.sentences)),
        "tags": len(set(chain.from_iterable(part.tags))),
        "sha256": hashlib.sha256(part.path.read_bytes()).hexdigest(),
    }


# ---- contenders


def commonest(train: Tagged, sentences: Rows) -> Rows:
    """Give each word the tag that it has most often in training, and a word that is not there the commonest of all."""
    of_word: dict[str, Counter[str]] = defaultdict(Counter)
    for token, tag in zip(chain.from_iterable(train.sentences), chain.from_iterable(train.tags), strict=True):
        of_word[token][tag] += 1
    most = Counter(chain.from_iterable(train.tags)).most_common(1)[0][0]
    known = {token: counts.most_common(1)[0][0] for token, counts in of_word.items()}
    return [[known.get(token, most) for token in sentence] for sentence in sentences]


def crf_of_features(train: Tagged, sentences: Rows) -> Rows:
    """Fit a linear-chain CRF on words, their endings, beginnings and shapes, and on their neighbours."""
    from sklearn_crfsuite import CRF

    model = CRF(algorithm="lbfgs", c1=0.1, c2=0.1, max_iterations=100)
    model.fit([features(sentence) for sentence in train.sentences], [list(tags) for tags in train.tags])
    predicted: Rows = model.predict([features(sentence) for sentence in sentences])
    return predicted


def features(sentence: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the CRF reads of each token."""
    lower = ["<s>", *(token.lower() for token in sentence), "</s>"]
    return [
        {
            "word": token,
            "lower": lower[k + 1],
            **{f"end{n}": token[-n:] for n in (1, 2, 3, 4)},
            **{f"begin{n}": token[:n] for n in (1, 2, 3)},
            "title": token.istitle(),
            "upper": token.isupper(),
            "digit": any(letter.isdigit() for letter in token),
            "before": lower[k],
            "after": lower[k + 2],
            "first": k == 0,
        }
        for k, token in enumerate(sentence)
    ]


TAGGERS: dict[str, Callable[[Tagged, Rows], Rows]] = {"commonest": commonest}
if importlib.util.find_spec("sklearn_crfsuite"):
    TAGGERS["crf_of_features"] = crf_of_features


def measured(tag: Callable[[Tagged, Rows], Rows], train: Tagged, test: Tagged) -> dict[str, Any]:
    """Return the accuracy of a contender on all tokens and on those that training has not, and its seconds."""
    start = time.perf_counter()
    predicted = list(chain.from_iterable(tag(train, test.sentences)))
    seconds = time.perf_counter() - start
    right = np.array(predicted) == np.array(list(chain.from_iterable(test.tags)))
    words = {token.lower() for token in chain.from_iterable(train.sentences)}
    unknown = np.array([token.lower() not in words for token in chain.from_iterable(test.sentences)])
    low, high = wilson(np.array([right.sum()]), np.array([len(right)]))
    return {
        "accuracy": round(float(right.mean()), 4),
        "interval": [round(float(low[0]), 4), round(float(high[0]), 4)],
        "unknown": round(float(right[unknown].mean()), 4),
        "seconds": round(seconds, 1),
    }


# ---- unroll


def taggers(files: dict[str, Path], seeds: int, options: list[str]) -> dict[str, Any]:
    """Train with several seeds and return what each reaches on the test part."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for seed in range(seeds):
            model = Path(place) / f"seed-{seed}"
            trained = run_json(
                "tag", "train", files["train"], "--valid", files["valid"], "--seed", str(seed), "--out", model,
                *options,
            )  # fmt: skip
            tested, int8 = (
                run_json("tag", "eval", model, files["test"], "--precision", precision)
                for precision in ("float32", "int8")
            )
            rows.append({
                "seed": seed,
                "accuracy": tested["accuracy"],
                "interval": tested["interval"],
                "known": tested["known"],
                "unknown": tested["unknown"],
                "valid_accuracy": trained["valid_accuracy"],
                "int8_accuracy": int8["accuracy"],
                "steps": trained["steps"],
                "best_step": trained["best_step"],
                "train_seconds": trained["wall_seconds"],
                "eval_seconds": tested["wall_seconds"],
                "int8_eval_seconds": int8["wall_seconds"],
            })  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
        recipe = (model / "recipe.toml").read_text(encoding="utf-8")
    accuracies = [row["accuracy"] for row in rows]
    return {
        "accuracy": round(float(np.mean(accuracies)), 4),
        "spread": [min(accuracies), max(accuracies)],
        "seeds": rows,
        "recipe": recipe,
    }


if __name__ == "__main__":
    main()

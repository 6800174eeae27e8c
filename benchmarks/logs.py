"""A language model finds the odd lines of a log: replaced words among 500 lines, after training on 1,500 others.

The log is yours to bring: the 2,000 lines of loghub's HDFS sample. In 100 of the last 500 the level, the component or
the verb is replaced by another one of the log. The score of a line is the surprisal of its words, read from a fresh
state; unknown words and those with a digit, as numbers of blocks and addresses, are read but not counted.
"""

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

import unroll
from measure import run_json, show

LEVELS = ("INFO", "WARN")
COMPONENTS = (
    "dfs.DataBlockScanner", "dfs.DataNode$DataXceiver", "dfs.DataNode$PacketResponder", "dfs.FSDataset",
    "dfs.FSNamesystem",
)  # fmt: skip
VERBS = (
    "terminating", "Received", "Receiving", "Deleting", "added", "updated", "Served", "serving", "succeeded",
)  # fmt: skip
TRAINED, ODD = 1500, 100


def main() -> None:
    """Train on the first lines, score the others over seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, metavar="FILE", help="HDFS_2k.log")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--steps", type=int, help="a budget in steps, in place of minutes: for a machine that is busy")
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings, each with replacements of its own")
    options = parser.parse_args()
    lines = options.log.read_text(encoding="utf-8").splitlines()
    budget = ["--minutes", str(options.minutes)] if options.steps is None else ["--steps", str(options.steps)]
    runs = [measured(lines, seed, budget) for seed in range(options.seeds)]
    aucs = [run["auc"] for run in runs]
    show({
        "benchmark": "logs",
        "lines": {"training": TRAINED, "test": len(lines) - TRAINED, "replaced": ODD},
        "minutes": options.minutes if options.steps is None else None,
        "steps": options.steps,
        "auc": round(float(np.mean(aucs)), 4),
        "lowest": min(aucs),
        "highest": max(aucs),
        "runs": runs,
    })  # fmt: skip


def measured(lines: list[str], seed: int, budget: list[str]) -> dict[str, Any]:
    """Train with a seed; return the area under the curve of the surprisal of lines, of all and by what was replaced."""
    tested, kinds = with_odd_lines(lines[TRAINED:], random.Random(seed))
    with tempfile.TemporaryDirectory() as folder:
        file, model = Path(folder, "train.log"), Path(folder, "model")
        file.write_text("\n".join(lines[:TRAINED]) + "\n", encoding="utf-8")
        options = ["--level", "word", "--words", "unicode", "--set", "min_count=2", "--seed", str(seed)]
        training = run_json("train", file, *options, *budget, "--out", model)
        scores = unroll.score(model, tested, unknown="exclude")
    nats = np.array([
        sum(token.nats or 0.0 for token in score.per_token if not any(map(str.isdigit, token.token)))
        for score in scores
    ])  # fmt: skip
    whole = np.array([score.nats for score in scores])
    odd = np.array([kind != "" for kind in kinds])
    by_kind = {
        kind: round(float(roc_auc_score(rows[chosen], nats[chosen])), 4)
        for kind in ("level", "component", "verb")
        if (rows := np.array([own == kind for own in kinds])).any()
        for chosen in [rows | ~odd]
    }
    return {
        "seed": seed,
        "auc": round(float(roc_auc_score(odd, nats)), 4),
        "auc_of_all_words": round(float(roc_auc_score(odd, whole)), 4),
        "by_kind": by_kind,
        "replaced": {kind: kinds.count(kind) for kind in by_kind},
        "steps": training["steps"],
        "train_seconds": training["train_seconds"],
    }


def with_odd_lines(lines: list[str], chance: random.Random) -> tuple[list[str], list[str]]:
    """Replace a word in some lines; return all lines, and what was replaced in each, empty where nothing was."""
    odd = set(chance.sample(range(len(lines)), ODD))
    kinds = [""] * len(lines)
    changed = list(lines)
    for number in sorted(odd):
        words = lines[number].split(" ")
        places = {
            "level": [k for k, word in enumerate(words) if word in LEVELS][:1],
            "component": [k for k, word in enumerate(words) if word.rstrip(":") in COMPONENTS][:1],
            "verb": [k for k, word in enumerate(words) if word in VERBS][:1],
        }
        kind = chance.choice([kind for kind, place in places.items() if place])
        (place,) = places[kind]
        others = {"level": LEVELS, "component": COMPONENTS, "verb": VERBS}[kind]
        own = words[place].rstrip(":")
        words[place] = words[place].replace(own, chance.choice([other for other in others if other != own]))
        changed[number], kinds[number] = " ".join(words), kind
    return changed, kinds


if __name__ == "__main__":
    main()

"""Subject and verb: how often word models find the right number, on colorless-green's original and nonsense sentences.

Items with a word that a model does not know are left out for all of them, and counted.
"""

import argparse
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import unroll
from measure import run_json, show
from minimal_pairs import published
from unroll.lm.pairs import PairsResult, mcnemar

KINDS = ("original", "nonsense")
RIVALS = ("window", "rnn", "lstm")
"""As the lesson orders them."""


def main() -> None:
    """Let the models read the items, compare them two by two, and count the published scores by the same scorer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="model directories of words")
    parser.add_argument("--items", type=Path, required=True, help="generated.tab")
    parser.add_argument("--published", type=Path, required=True, help="the folder of the files with published scores")
    told = parser.parse_args()
    found = unroll.pairs(told.models, told.items)
    known = [run_json("info", path) for path in told.models]
    rows = [
        {
            "model": path.name,
            **{name: its[name] for name in ("arch", "parameters")},
            "unknown_rate": one.nats.unknown_rate,
            "excluded": int((~one.nats.scored).sum()),
            **{kind: one.sets[kind].figures() for kind in KINDS},
        }
        for path, its, one in zip(told.models, known, found.models, strict=True)
    ]
    rank = {row["arch"]: row["nonsense"]["accuracy"] for row in rows}
    show(
        {
            "benchmark": "agreement",
            "items": {kind: sum(pair.set == kind for pair in found.pairs) for kind in KINDS},
            "excluded": int((~found.counted).sum()),
            "models": rows,
            "comparisons": list(comparisons(found, [path.name for path in told.models])),
            "ordered": all(arch in rank for arch in RIVALS) and rank["window"] < rank["rnn"] < rank["lstm"],
            "published": published(told.published),
        }
    )


def comparisons(found: PairsResult, names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield what only the one and only the other of two models gets right, with McNemar's exact p, by kind of item."""
    for kind in KINDS:
        its = found.counted & [pair.set == kind for pair in found.pairs]
        right = [its & (one.nats.good < one.nats.bad) for one in found.models]
        for first, second in combinations(range(len(names)), 2):
            only = int((right[first] & ~right[second]).sum()), int((right[second] & ~right[first]).sum())
            yield {"items": kind, "models": [names[first], names[second]],
                   "only_first": only[0], "only_second": only[1], "p": mcnemar(*only)}  # fmt: skip


if __name__ == "__main__":
    main()

"""How good, how large and how fast Kneser-Ney n-grams of a text are, order by order; prints one JSON object.

python benchmarks/kneser_ney.py train.txt --level word --orders 3,5 --valid valid.txt --test test.txt
python benchmarks/kneser_ney.py book.txt --orders 5,10,20 --split 80/10/10
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import unroll
from encode import peak_mb
from unroll.artifact.directory import DATA
from unroll.artifact.open import open_model
from unroll.data.corpus import load_corpus
from unroll.predict.predictor import Predictor
from unroll.predict.protocols import lines, stream

SOME = 200_000
"""Symbols of the counted text that speed is measured on where nothing was held back."""


def count(arguments: argparse.Namespace, order: int, out: Path) -> dict[str, Any]:
    """Count an n-gram in this process."""
    start = time.perf_counter()
    held = {name: getattr(arguments, name) for name in ("level", "split", "valid", "test")}
    for _ in unroll.ngram(arguments.files, order=order, out=out, **held):
        pass
    return {"count_seconds": round(time.perf_counter() - start, 1), "count_peak_rss_mb": round(peak_mb())}


def use(out: Path) -> dict[str, Any]:
    """Open an n-gram in this process, and score what was held back."""
    start = time.perf_counter()
    opened = open_model(out)
    found: dict[str, Any] = {"open_seconds": round(time.perf_counter() - start, 2), "parts": {}}
    corpus, start_id = load_corpus(out / DATA), opened.tokenizer.start_id
    held = {"valid": corpus.valid, "test": corpus.test}
    parts = {name: ids for name, ids in held.items() if ids is not None and len(ids)}
    for name, ids in (parts or {"counted": corpus.train[:SOME]}).items():
        start = time.perf_counter()
        nats = sum(float(some.sum()) for some, _ in stream(opened.predictor, ids, start_id)) / len(ids)
        found["parts"][name] = {
            "tokens": len(ids),
            "nats_per_token": nats,
            "perplexity": math.exp(nats),
            "tokens_per_second": round(len(ids) / (time.perf_counter() - start)),
        }
        if opened.tokenizer.level == "word":
            each = np.split(ids, np.flatnonzero(ids[:-1] == start_id) + 1)
            total = sum(float(nats.sum()) for some in lines(opened.predictor, each, start_id) for nats in some)
            found["parts"][name]["perplexity_lines"] = math.exp(total / len(ids))
    return found | {
        "distributions_per_second": round(distributions_per_second(opened.predictor, corpus.train[:500])),
        "use_peak_rss_mb": round(peak_mb()),
    }


def distributions_per_second(predictor: Predictor, ids: Any) -> float:
    """Return how many times a second the whole next distribution is told, one symbol after the other."""
    state, start = None, time.perf_counter()
    for symbol in ids:
        _, state = predictor.logits(np.array([[symbol]], np.int64), state)
    return len(ids) / (time.perf_counter() - start)


def measure(order: int, folder: Path) -> dict[str, Any]:
    """Count and use an n-gram, each in a process of its own, whose memory is then its own."""
    out = folder / f"{order}gram"
    found: dict[str, Any] = {"order": order}
    for step in ("count", "use"):
        command = [sys.executable, *sys.argv, "--step", step, "--orders", str(order), "--out", str(out)]
        found |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    known = unroll.info(out)
    return found | {
        "ngrams": known["parameters"],
        "vocab_size": known["vocab_size"],
        "counted_tokens": known["tokens_seen"],
        "weights_mb": round(known["weights_bytes"] / 1e6, 1),
    }


def main() -> None:
    """Measure every order, or take one step of it in a child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--level", default="char")
    parser.add_argument("--orders", default="5")
    parser.add_argument("--split")
    parser.add_argument("--valid", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    orders = [int(order) for order in arguments.orders.split(",")]
    if arguments.step:
        print(
            json.dumps(count(arguments, orders[0], arguments.out) if arguments.step == "count" else use(arguments.out))
        )
        return

    from measure import show  # Not above: it imports torch, whose memory a child would count as its own.

    with tempfile.TemporaryDirectory() as name:
        results = [measure(order, Path(name)) for order in orders]
    show(
        {
            "benchmark": "kneser_ney",
            "files": [file.name for file in arguments.files],
            "level": arguments.level,
            "split": arguments.split,
            "numpy": version("numpy"),
            "results": results,
        }
    )


if __name__ == "__main__":
    main()

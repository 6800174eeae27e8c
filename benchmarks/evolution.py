"""How like their texts the samples of models are, by step, beside noise, the training text and held-out text."""

import argparse
import random
import time
from pathlib import Path
from typing import Any

from measure import show
from unroll.insight.style.measure import (
    Measures,
    ceiling_of,
    length_of,
    mean,
    measures,
    pieces,
    read_reference,
    training_texts,
)
from unroll.insight.style.measure import style as style_of
from unroll.progress import result

NOISE = 32
"""Pieces of noise: symbols of the text, each as probable as the others."""


def main() -> None:
    """Measure the samples of each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="model directories with their texts beside them")
    arguments = parser.parse_args()
    show({"benchmark": "evolution", "noise": NOISE, "models": {path.name: measured(path) for path in arguments.models}})


def measured(path: Path) -> dict[str, Any]:
    """Return the measures of a model's samples, of noise and of its text, and the seconds that counting took."""
    texts = training_texts(path)
    if texts is None:
        raise SystemExit(f"{path} has no text beside it")
    train, held_out = texts
    start = time.process_time()
    reference = result(read_reference(train, held_out))
    seconds = time.process_time() - start
    samples, choose, alphabet = style_of(path).samples, random.Random(0), sorted(set(train))
    length = length_of([sample["text"] for sample in samples])
    noise = ["".join(choose.choices(alphabet, k=length)) for _ in range(NOISE)]
    return {
        "kind": reference.kind,
        "characters": len(train),
        "counting_cpu_seconds": round(seconds, 2),
        "length": length,
        "noise": rounded(mean([measures(text, reference) for text in noise], reference.kind)),
        "train": rounded(mean([measures(text, reference) for text in pieces(train, length)], reference.kind)),
        "held_out": rounded(ceiling_of(reference, length)[0]),
        "samples": {f"{sample['step']}": rounded(sample["measures"]) for sample in samples},
        "last": rounded(samples[-1]["measures"]),
    }


def rounded(values: Measures) -> Measures:
    """Return measures with three digits."""
    return {name: None if value is None else round(value, 3) for name, value in values.items()}


if __name__ == "__main__":
    main()

"""LSTM, GRU, RNN and window of the same size on one text, same steps: the lesson's order, measured."""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measure import run_json, show
from quality import evaluate

RATES = {"lstm": (1.6e-2, 8e-3), "gru": (8e-3, 4e-3), "rnn": (3e-3, 1.5e-3), "window": (4e-3, 2e-3)}
"""Peak rates tried; an architecture is given the better one by validation."""


def main() -> None:
    """Train each architecture at each of its rates, single-threaded, two at a time, and print the better."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--split", default="80/10/10")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--hidden", type=int, default=256)
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp())

    def one(job: tuple[str, float]) -> dict[str, Any]:
        arch, rate = job
        settings = {
            "hidden_size": told.hidden,
            "dropout": 0.0,
            "learning_rate": rate,
            "threads": 1,
            "window": 10,
            "precision": "bfloat16" if arch == "lstm" else "float32",
        }
        out = folder / f"{arch}-{rate}"
        trained = run_json(
            "train",
            told.text,
            "--split",
            told.split,
            "--steps",
            str(told.steps),
            "--arch",
            arch,
            "--out",
            out,
            *[text for key, value in settings.items() for text in ("--set", f"{key}={value}")],
        )
        return {"arch": arch, "learning_rate": rate, "parameters": trained["parameters"], **evaluate(out)}

    with ThreadPoolExecutor(2) as pool:
        tried = list(pool.map(one, [(arch, rate) for arch, rates in RATES.items() for rate in rates]))
    best = [
        min((row for row in tried if row["arch"] == arch), key=lambda row: row["valid"]["stream_nats"])
        for arch in RATES
    ]
    show(
        {
            "benchmark": "architectures",
            "text": told.text.name,
            "steps": told.steps,
            "hidden": told.hidden,
            "rows": best,
            "tried": tried,
        }
    )


if __name__ == "__main__":
    main()

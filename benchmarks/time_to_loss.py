"""Seconds of training to a loss under nanoGPT's protocol, by a recipe whose last step is where it gets there."""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from measure import run_json, show
from quality import evaluate
from unroll.artifact.events import read_events


def main() -> None:
    """Train the recipe with several seeds and print each one's loss and seconds, validation and samples left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--target", type=float, default=1.886)
    parser.add_argument("--seeds", type=int, default=3)
    told = parser.parse_args()
    rows = []
    for seed in range(told.seeds):
        out = Path(tempfile.mkdtemp()) / "model"
        trained = run_json(
            "train", told.text, "--split", "90/10", "--recipe", told.recipe, "--seed", str(seed), "--out", out
        )
        rates = [event["tokens_per_second"] for event in read_events(out / "metrics.jsonl") if event["kind"] == "train"]
        seconds = trained["tokens_seen"] / statistics.median(rates)
        rows.append(
            {
                "seed": seed,
                "steps": trained["steps"],
                "training_seconds": round(seconds, 1),
                "wall_seconds": trained["wall_seconds"],
                **evaluate(out)["valid"],
            }
        )
        shutil.rmtree(out.parent)
    reached = all(row["crops_nats"] <= told.target for row in rows)
    show(
        {
            "benchmark": "time to loss",
            "text": told.text.name,
            "target": told.target,
            "reached": reached,
            "median_training_seconds": statistics.median(row["training_seconds"] for row in rows),
            "rows": rows,
        }
    )


if __name__ == "__main__":
    main()

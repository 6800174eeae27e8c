"""The budget's own choice against the best of a random search at the same budget, on texts it was not tuned on."""

import argparse
import random
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measure import run_json, show


def random_settings(rng: random.Random) -> dict[str, Any]:
    """Draw one configuration from a generous space around what practice recommends."""
    layers = rng.choice([1, 1, 2])
    return {
        "hidden_size": rng.choice([128, 192, 256, 384, 512] if layers == 1 else [128, 192, 256, 384]),
        "num_layers": layers,
        "batch_size": rng.choice([8, 16, 16, 32]),
        "seq_len": rng.choice([32, 64, 64, 128]),
        "learning_rate": float(f"{10 ** rng.uniform(-2.5, -1.5):.2g}"),
        "dropout": rng.choice([0.0, 0.1, 0.2, 0.3]),
        "weight_decay": rng.choice([0.01, 0.05, 0.1]),
        "reset_probability": rng.choice([0.0, 0.01, 0.03]),
        "schedule": rng.choice(["linear", "linear", "cosine"]),
    }


def main() -> None:
    """Run the budget's choice and the search on every text and print the losses and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, each with one thread if more than one")
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp())

    def one(job: tuple[Path, int, dict[str, Any]]) -> dict[str, Any]:
        text, number, settings = job
        out = folder / f"{text.stem}-{number}"
        # All of the validation part for all: figures over different stretches could not be compared.
        same = {"final_tokens": 10_000_000} | ({"threads": 1} if told.jobs > 1 else {})
        flags = [part for key, value in (settings | same).items() for part in ("--set", f"{key}={value}")]
        row = run_json("train", text, "--split", "90/10", "--minutes", str(told.minutes), "--out", out, *flags)
        shutil.rmtree(out)
        return {
            "settings": settings,
            "steps": row["steps"],
            "nats": row["valid_nats_per_token"],
            "wall_seconds": row["wall_seconds"],
        }

    rows = []
    for text in told.texts:
        rng = random.Random(0)
        jobs: list[tuple[Path, int, dict[str, Any]]] = [(text, 0, {})] + [
            (text, number, random_settings(rng)) for number in range(1, told.runs + 1)
        ]
        with ThreadPoolExecutor(told.jobs) as pool:
            chosen, *search = pool.map(one, jobs)
        best = min(search, key=lambda row: row["nats"])
        rows.append(
            {
                "text": text.name,
                "chosen": chosen,
                "best_of_search": best,
                "ratio": round(chosen["nats"] / best["nats"], 4),
                "search": sorted(row["nats"] for row in search),
            }
        )
        print(f"{text.name}: {chosen['nats']:.4f} against {best['nats']:.4f}", flush=True, file=sys.stderr)
    show(
        {
            "benchmark": "budget against search",
            "minutes": told.minutes,
            "runs": told.runs,
            "jobs": told.jobs,
            "worst_ratio": max(row["ratio"] for row in rows),
            "rows": rows,
        }
    )


if __name__ == "__main__":
    main()

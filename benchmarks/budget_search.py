"""The budget's own choice against the best of a random search at the same budget, on texts it was not tuned on.

All runs are begun; one whose quick validation figure lies far behind the best of the search's other runs at the same
part of its steps is given up there (successive halving's idea, with thresholds so wide that the best is not lost).
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measure import show, unroll_command
from unroll.artifact.events import read_events
from unroll.training.recipe import read_recipe

GIVEN_UP = {0.3: 1.05, 0.6: 1.025}
"""By part of the steps done: how many times the best figure there a run may be at."""


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


def watch(
    process: "subprocess.Popen[str]", out: Path, due: dict[float, float], best: dict[float, float]
) -> float | None:
    """Follow a training to its end, or stop it far behind `best`, updated here; returns the part of its steps done."""
    while process.poll() is None:
        time.sleep(0.5)
        metrics, recipe = out / "metrics.jsonl", out / "recipe.toml"
        if not due or not metrics.exists() or not recipe.exists():
            continue
        steps = read_recipe(recipe).training.steps
        for event in read_events(metrics):
            part = min(due, default=1.0)
            if event["kind"] == "valid" and event["step"] >= part * steps and due:
                factor = due.pop(part)
                best[part] = min(best[part], event["nats"])
                if event["nats"] > factor * best[part]:
                    process.send_signal(signal.SIGINT)
                    process.wait()
                    return float(round(event["step"] / steps, 2))
    return None


def main() -> None:
    """Run the budget's choice and the search on every text and print the losses and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, each with one thread if more than one")
    parser.add_argument("--against", type=Path, help="measure the choice alone, against the search of this result")
    told = parser.parse_args()
    former = json.loads(told.against.read_text()) if told.against else {"minutes": told.minutes, "rows": []}
    if former["minutes"] != told.minutes:
        parser.error(f"{told.against} was measured with {former['minutes']} minutes a run")
    searched = {row["text"]: row for row in former["rows"]}
    folder = Path(tempfile.mkdtemp())
    best_at: dict[Path, dict[float, float]] = {}

    def one(job: tuple[Path, int, dict[str, Any]]) -> dict[str, Any]:
        text, number, settings = job
        out = folder / f"{text.stem}-{number}"
        # All of the validation part for all: figures over different stretches could not be compared.
        same = {"final_tokens": 10_000_000} | ({"threads": 1} if told.jobs > 1 else {})
        flags = [part for key, value in (settings | same).items() for part in ("--set", f"{key}={value}")]
        start = time.perf_counter()
        command = unroll_command(
            "train", text, "--split", "90/10", "--minutes", str(told.minutes), "--out", out, *flags, "--json"
        )
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            stages = {} if number == 0 else best_at.setdefault(text, dict.fromkeys(GIVEN_UP, float("inf")))
            given_up = watch(process, out, dict(GIVEN_UP) if number else {}, stages)
            assert process.stdout is not None
            printed = process.stdout.read()
        row = {"settings": settings, "wall_seconds": round(time.perf_counter() - start, 1)}
        if given_up is None:
            trained = json.loads(printed)
            row |= {"steps": trained["steps"], "nats": trained["valid_nats_per_token"]}
        else:
            row |= {"given_up_after": given_up}
        shutil.rmtree(out)
        return row

    def search(text: Path) -> tuple[dict[str, Any], dict[str, Any], list[float], list[dict[str, Any]]]:
        rng = random.Random(0)
        jobs: list[tuple[Path, int, dict[str, Any]]] = [(text, 0, {})] + [
            (text, number, random_settings(rng)) for number in range(1, told.runs + 1)
        ]
        with ThreadPoolExecutor(told.jobs) as pool:
            chosen, *runs = pool.map(one, jobs)
        finished = sorted((row for row in runs if "nats" in row), key=lambda row: float(row["nats"]))
        return chosen, finished[0], [row["nats"] for row in finished], [row for row in runs if "nats" not in row]

    rows = []
    with ThreadPoolExecutor(told.jobs) as pool:
        # Texts side by side where there is nothing else to run.
        alone = list(pool.map(one, [(text, 0, {}) for text in told.texts])) if told.against else []
    for index, text in enumerate(told.texts):
        if told.against:
            row = searched[text.name]
            chosen, best, losses, given_up = alone[index], row["best_of_search"], row["search"], row["given_up"]
        else:
            chosen, best, losses, given_up = search(text)
        rows.append(
            {
                "text": text.name,
                "chosen": chosen,
                "best_of_search": best,
                "ratio": round(chosen["nats"] / best["nats"], 4),
                "search": losses,
                "given_up": given_up,
            }
        )
        print(f"{text.name}: {chosen['nats']:.4f} against {best['nats']:.4f}", flush=True, file=sys.stderr)
    show(
        {
            "benchmark": "budget against search",
            "minutes": told.minutes,
            "runs": former.get("runs", told.runs),
            "jobs": told.jobs,
            "search_of": None if told.against is None else former["machine"] | {"jobs": former["jobs"]},
            "given_up_beyond": {f"{part:g} of the steps": factor for part, factor in GIVEN_UP.items()},
            "worst_ratio": max(row["ratio"] for row in rows),
            "rows": rows,
        }
    )


if __name__ == "__main__":
    main()

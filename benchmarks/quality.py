"""Train on a text by budget or by recipe, the whole process included, and evaluate by both protocols."""

import argparse
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from measure import BareLoop, run_json, show
from unroll.artifact.directory import data_path
from unroll.artifact.events import read_events
from unroll.artifact.open import load
from unroll.data.corpus import load_corpus
from unroll.predict.protocols import crops_nats, stream_nats
from unroll.predict.torch import TorchPredictor


def evaluate(path: Path) -> dict[str, Any]:
    """Return the nats of every part but the training one by `stream` and `crops` (nanoGPT's, of 256)."""
    corpus, predictor = load_corpus(data_path(path)), TorchPredictor(load(path).model)
    parts = {"valid": corpus.valid} | ({} if corpus.test is None else {"test": corpus.test})
    return {
        part: {
            "tokens": len(ids),
            "stream_nats": round(stream_nats(predictor, ids, corpus.tokenizer.start_id), 5),
            "crops_nats": None if (crop := crops_nats(predictor, ids)) is None else round(crop, 5),
        }
        for part, ids in parts.items()
    }


def bare_rate(path: Path) -> float:
    """Return the rate of a bare loop of the model's shape now, in tokens per second."""
    recipe = run_json("info", path)["recipe"]
    model, training = recipe["model"], recipe["training"]
    torch.set_flush_denormal(True)
    torch.set_num_threads(training["threads"])
    loop = BareLoop(
        model["vocab_size"],
        model["embedding_size"],
        model["hidden_size"],
        training["batch_size"],
        training["seq_len"],
        training["precision"],
    )
    return loop.tokens_per_second(3.0)


def main() -> None:
    """Run one training, or evaluate one that has finished, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("--trained", type=Path, help="evaluate this finished model directory instead of training")
    parser.add_argument("--split", default="90/10")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--seeds", default="0", help="comma separated")
    parser.add_argument("--set", action="append", default=[])
    told = parser.parse_args()
    rows = []
    for seed in [0] if told.trained else map(int, told.seeds.split(",")):
        out = Path(told.trained or Path(tempfile.mkdtemp()) / "model")
        if told.trained:
            trained: dict[str, Any] = {
                name: value
                for name, value in run_json("info", out).items()
                if name in ("steps", "tokens_seen", "train_seconds")
            }
        else:
            budget = ["--recipe", told.recipe] if told.recipe else ["--minutes", str(told.minutes or 3)]
            settings = [text for key in told.set for text in ("--set", key)]
            trained = run_json(
                "train", told.text, "--split", told.split, *budget, *settings, "--seed", str(seed), "--out", out
            )
        end = [event for event in read_events(out / "metrics.jsonl") if event["kind"] == "end"][-1]
        rate = end["tokens_seen"] / end["seconds"]
        copied = run_json("sample", out, "--length", "2000", "--seed", "1", "--copied")["samples"][0]["copied"]
        figures = evaluate(out)
        rows.append(
            {
                "seed": seed,
                "recipe": run_json("info", out)["recipe"],
                "train_seconds": end["seconds"],
                "wall_seconds": trained.get("wall_seconds"),
                "steps": end["step"],
                "tokens_seen": end["tokens_seen"],
                "tokens_per_second": round(rate),
                "bare_loop_tokens_per_second": None if told.trained else round(bare_rate(out)),
                "copied": copied,
                **figures,
            }
        )
        if not told.trained:
            shutil.rmtree(out.parent)
    spread = {}
    if len(rows) > 1:
        for part in ("valid", "test"):
            values = [row[part]["stream_nats"] for row in rows if part in row]
            if values:
                mean = sum(values) / len(values)
                deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
                spread[part] = {"mean": round(mean, 5), "standard_deviation": round(deviation, 5)}
    show(
        {
            "benchmark": "quality",
            "text": told.text.name if told.text else None,
            "split": rows[0]["recipe"]["data"]["split"],
            "rows": rows,
            "spread": spread,
        }
    )


if __name__ == "__main__":
    main()

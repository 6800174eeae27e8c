"""Minimal pairs: how long BLiMP takes, and the published colorless-green scores counted by our own scorer."""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

import unroll
from measure import run_json, show
from unroll.artifact.checkpoint import save_tensors
from unroll.artifact.directory import WEIGHTS, save_description
from unroll.data.tokenizer import CharTokenizer
from unroll.lm.pair_files import read_pairs
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model

PUBLISHED = {
    "best_model.tab": (80.5, 71.8), "best_model_srnn.tab": (73.2, 64.2), "best_model_ngram_lstm.tab": (70.7, 56.6),
}  # fmt: skip
"""Gulordava et al. 2018, English: % right of original and of nonsense sentences; LSTM, simple RNN, 5-gram LSTM."""


def published(folder: Path) -> list[dict[str, Any]]:
    """Return what our scorer counts in the files with published scores, beside what was published."""
    found = []
    for name, figures in PUBLISHED.items():
        (model,) = unroll.pairs([], folder / name, scored=True).models
        ours = tuple(round(100 * (model.sets[kind].accuracy or 0), 1) for kind in ("original", "nonsense"))
        found.append({
            "file": name, "original": ours[0], "nonsense": ours[1], "published": figures, "equal": ours == figures,
            "sets": {kind: count.figures() for kind, count in model.sets.items()},
        })  # fmt: skip
    return found


def random_model(folder: Path, files: list[Path], hidden: int, layers: int) -> Path:
    """Write a character model with random weights that knows every symbol of the pairs."""
    tokenizer = CharTokenizer.learn({c for pair in read_pairs(files) for c in pair.good + pair.bad})
    torch.manual_seed(0)
    config = ModelConfig(
        arch="lstm", vocab_size=tokenizer.vocab_size, embedding_size=64, hidden_size=hidden, num_layers=layers
    )
    folder.mkdir()
    tokenizer.save(folder / "tokenizer.json")
    save_tensors(folder / WEIGHTS, dict(Model(config).named_parameters()), {})
    save_description(folder, config, tokenizer)
    return folder


def main() -> None:
    """Count the published scores, then time the whole command on BLiMP."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("blimp", type=Path, help="the folder of BLiMP's 67 jsonl files")
    parser.add_argument("colorless", type=Path, help="the folder of the files with published scores")
    parser.add_argument("--model", type=Path, help="a model directory; else one with random weights")
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="only every so manieth file, to try it out")
    told = parser.parse_args()
    files = sorted(told.blimp.glob("*.jsonl"))[:: told.every]
    with tempfile.TemporaryDirectory() as temporary:
        model = told.model or random_model(Path(temporary) / "random", files, told.hidden, told.layers)
        before = os.times()
        blimp = run_json("pairs", model, *files)
        after = os.times()
    known = {name: blimp[name] for name in ("pairs", "excluded", "accuracy", "interval", "wall_seconds")}
    known["cpu_seconds"] = round(
        after.children_user + after.children_system - before.children_user - before.children_system, 1
    )
    if told.model:
        known |= {name: blimp[name] for name in ("by_set", "by_group")}
    show({
        "benchmark": "minimal pairs",
        "threads": torch.get_num_threads(),
        "model": str(told.model.name) if told.model else f"random lstm, {told.layers} of {told.hidden}",
        "blimp": known | {"files": len(files), "pairs_per_second": round(blimp["given"] / blimp["wall_seconds"])},
        "published": published(told.colorless),
    })  # fmt: skip


if __name__ == "__main__":
    main()

"""The limit of a window: loss against its length, beside the n-gram, the RNN and the LSTM; a table and a picture."""

import argparse
import math
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from measure import run_json, show

WINDOWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
RATES = {"lstm": 1.6e-2, "rnn": 3e-3, "window": 4e-3}
COLOURS = {"window": "#0072B2", "ngram": "#E69F00", "rnn": "#D55E00", "lstm": "#009E73"}


def main() -> None:
    """Train a window of every length, an n-gram that sees as much, an RNN and an LSTM, for the same steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--split", default="80/10/10")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--out", type=Path, help="the picture to write, .svg or .png")
    told = parser.parse_args()
    folder = Path(tempfile.mkdtemp())

    def one(job: tuple[str, int]) -> dict[str, Any]:
        arch, context = job
        out = folder / f"{arch}-{context}"
        if arch == "ngram":
            order = ["--order", str(context + 1), "--level", "char"]
            made = run_json("ngram", told.text, *order, "--split", told.split, "--out", out)
        else:
            settings = {
                "hidden_size": told.hidden,
                "dropout": 0.0,
                "learning_rate": RATES[arch],
                "threads": 1,
                "window": max(1, context),
                "precision": "bfloat16" if arch == "lstm" else "float32",
                "final_tokens": 10**9,
            }
            flags = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
            steps = ["--steps", str(told.steps), "--arch", arch]
            made = run_json("train", told.text, "--split", told.split, *steps, *flags, "--out", out)
        return {
            "arch": arch,
            "context": context or None,
            "parameters": made["parameters"],
            "nats": made["valid_nats_per_token"],
            "bits": made["valid_nats_per_token"] / math.log(2),
        }

    jobs = [(arch, n) for n in WINDOWS for arch in ("window", "ngram")] + [("rnn", 0), ("lstm", 0)]
    with ThreadPoolExecutor(told.jobs) as pool:
        rows = list(pool.map(one, jobs))
    if told.out:
        draw(rows, told.out, told.text.name)
    show(
        {
            "benchmark": "the limit of a window",
            "text": told.text.name,
            "split": told.split,
            "part": "valid, carried state",
            "steps": told.steps,
            "hidden": told.hidden,
            "rows": rows,
        }
    )


def draw(rows: list[dict[str, Any]], out: Path, text: str) -> None:
    """Draw bits per character over the symbols that a model sees; those without a limit are level lines."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for arch, label, marker in (("ngram", "n-gram (modified Kneser-Ney)", "s"), ("window", "fixed window", "o")):
        found = [row for row in rows if row["arch"] == arch]
        axes.plot(
            [row["context"] for row in found],
            [row["bits"] for row in found],
            color=COLOURS[arch],
            marker=marker,
            label=label,
        )
    for arch, label, dash in (("rnn", "RNN", "--"), ("lstm", "LSTM", "-")):
        (row,) = (row for row in rows if row["arch"] == arch)
        axes.axhline(row["bits"], color=COLOURS[arch], ls=dash, label=f"{label}, no limit: {row['bits']:.2f}")
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    axes.set_xlabel("characters that the model sees")
    axes.set_ylabel("bits per character, validation")
    axes.set_title(f"Never large enough: the window on {text}", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e4e4", lw=0.7)
    axes.legend(frameon=False)
    figure.savefig(out, dpi=150, metadata={"Date": None} if out.suffix == ".svg" else None)


if __name__ == "__main__":
    main()

"""`unroll translate` on Multi30k or any other pairs: BLEU of the test part, of one training, with or without attention.

The folder is yours to bring: `train.LANGUAGE`, `val.LANGUAGE` and `test_2016_flickr.LANGUAGE`, a text in each line.
"""

import argparse
import hashlib
import resource
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import sacrebleu

from measure import run_json, show

TEST = "test_2016_flickr"
FIGURES = ("bleu", "chrf", "nats", "length_ratio", "count", "signatures", "beam")


def main() -> None:
    """Train, translate, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("source", help="language of the sources, as en")
    parser.add_argument("target", help="language of the targets, as de")
    parser.add_argument("--attention", choices=["additive", "dot", "none"], default="dot")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--steps", type=int, help="a budget in steps, in place of minutes: for a machine that is busy")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="a key of the recipe")
    parser.add_argument("--out", type=Path, help="the model directory to keep; a training that stopped is resumed")
    options = parser.parse_args()
    budget = ["--minutes", str(options.minutes)] if options.steps is None else ["--steps", str(options.steps)]
    files = {
        part: [options.folder / f"{part}.{language}" for language in (options.source, options.target)]
        for part in ("train", "val", TEST)
    }
    with tempfile.TemporaryDirectory() if options.out is None else nullcontext(options.out.parent) as folder:
        out = Path(folder) / "model" if options.out is None else options.out
        if (out / "model.json").exists():
            run_json("translate", "train", "--resume", out)
        else:
            fixed = [part for setting in options.set for part in ("--set", setting)]
            run_json(
                "translate", "train", *files["train"], "--valid", *files["val"], "--attention", options.attention,
                "--out", out, *budget, *fixed,
            )  # fmt: skip
        trained = run_json("info", out)
        cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
        rows = []
        for beam in (5, 1):
            for part in ("val", TEST):
                figures = run_json("translate", "eval", out, *files[part], "--beam", str(beam))
                seconds = figures["wall_seconds"]
                rows.append({"part": part, **{name: figures[name] for name in FIGURES}, "seconds": seconds})
    recipe: dict[str, Any] = trained["recipe"]
    show({
        "benchmark": "translate",
        "sacrebleu": sacrebleu.__version__,
        "pairs": f"{options.source} to {options.target}",
        "sha256": {path.name: sha256(path) for paths in files.values() for path in paths},
        "minutes": options.minutes if options.steps is None else None,
        "steps": trained["steps"],
        "best_step": trained["best_step"],
        "parameters": trained["parameters"],
        "train_seconds": trained["train_seconds"],
        "user_seconds": round(cpu.ru_utime),
        "recipe": recipe,
        "rows": rows,
    })  # fmt: skip


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()

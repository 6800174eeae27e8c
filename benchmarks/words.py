"""Words of raw text against words at white space, and models of words beside models of characters; prints JSON.

python benchmarks/words.py book.txt --minutes 1
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from measure import show, unroll_command
from unroll.data.corpus import Corpus, DataConfig, load_corpus, write_corpus
from unroll.progress import result


def prepared(text: Path, out: Path, config: DataConfig) -> dict[str, Any]:
    """Return the distinct words of the training part, and what of the validation part is unknown."""
    result(write_corpus([text], out, config))
    corpus: Corpus = load_corpus(out)
    valid = corpus.info.parts["valid"]
    return {
        "words": corpus.info.config.words,
        "distinct": corpus.tokenizer.vocab_size - 2,
        "train_tokens": len(corpus.train),
        "valid_unknown": round(valid.unknown / valid.tokens, 4),
        "valid_unknown_without_newlines": round(
            valid.unknown / int((corpus.valid != corpus.tokenizer.start_id).sum()), 4
        ),
    }


def trained(text: Path, out: Path, level: str, minutes: float) -> dict[str, Any]:
    """Train a model of this level; return its figures, with `<unk>` as it is predicted and with its word spelt."""
    flags = ["--level", level, "--split", "90/10", "--minutes", str(minutes), "--out", str(out), "--json"]
    done = subprocess.run(unroll_command("train", text, *flags), check=True, stdout=subprocess.PIPE, text=True)
    known = json.loads(done.stdout)
    held = Path(out) / "held.txt"
    valid = known["parts"]["valid"]
    data = text.read_bytes().decode()  # with its line ends
    held.write_bytes(data[len(data) - valid["chars"] :].encode())
    command = unroll_command("score", out, "--file", held, "--unit", "line", "--unknown", "penalise", "--json")
    lines = json.loads(subprocess.check_output(command))["units"]
    nats = math.fsum(line["nats"] for line in lines)
    return {
        "level": level,
        "min_count": known["min_count"],
        "vocab_size": known["vocab_size"],
        "hidden_size": known["hidden_size"],
        "steps": known["steps"],
        "tokens_seen": known["tokens_seen"],
        "valid_unknown": round(valid["unknown"] / valid["tokens"], 4),
        "perplexity": known["valid_perplexity"],
        "nats_per_char_with_unk": known["valid_nats_per_token"] * valid["tokens"] / valid["chars"],
        "nats_per_char_with_unk_spelt": nats / valid["chars"],
    }


def main() -> None:
    """Measure each text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=1.0, help="of each training; 0 trains nothing")
    options = parser.parse_args()
    rows = []
    for text in options.texts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            space, raw = (
                prepared(text, folder / words, DataConfig(level="word", split="90/10", words=words))
                for words in ("space", "unicode")
            )
            levels = ("word", "char") if options.minutes else ()
            models = [trained(text, folder / level, level, options.minutes) for level in levels]
        ratios = {
            f"{key}_ratio": round(raw[key] / space[key], 4)
            for key in ("distinct", "train_tokens", "valid_unknown", "valid_unknown_without_newlines")
        }
        rows.append({"text": text.name, "space": space, "unicode": raw, **ratios, "models": models})
    show({"benchmark": "words", "split": "90/10", "minutes": options.minutes, "rows": rows})


if __name__ == "__main__":
    main()

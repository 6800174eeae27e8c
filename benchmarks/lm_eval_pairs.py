"""lm-evaluation-harness over HTTP against our own scores of the same sentences, on minimal pairs.

The harness is run as a program of its own (`--harness`, say /tmp/harness/bin/lm_eval, from `pip install lm-eval[api]`
in an environment of its own), with `local-completions` and a task file over a local jsonl: it downloads nothing.

With `--levels` one server has four models, of characters, bytes, words and pieces, and four harnesses ask at once, each
at the address of its model: it never says whose vocabulary it asks for. Without the address it must end with an error.
"""

import argparse
import json
import math
import os
import subprocess
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measure import show
from serving import serving
from unroll.artifact.open import open_model
from unroll.data.tokenizer import BpeTokenizer, ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.lm.pair_files import read_pairs
from unroll.lm.surprisal import score_texts

TASK = """\
task: unroll_pairs
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: ""
target_delimiter: ""
doc_to_target: 0
doc_to_choice: "{{{{[good, bad]}}}}"
num_fewshot: 0
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


def run_harness(harness: Path, base: str, model: str, folder: Path, batch: int) -> dict[str, Any]:
    """Run the harness; return its scores of each sentence, and what it says as a whole."""
    told = ",".join([
        f"model={model}", f"base_url={base}/v1/completions", "tokenizer_backend=remote", "tokenized_requests=True",
        "num_concurrent=4", "max_retries=1", "max_length=8192",
    ])  # fmt: skip
    out = folder / f"out-{model}"
    command = [
        str(harness), "--model", "local-completions", "--model_args", told, "--tasks", "unroll_pairs",
        "--include_path", str(folder), "--output_path", str(out), "--log_samples",
        "--batch_size", str(batch),
    ]  # fmt: skip
    offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / f"cache-{model}")}
    subprocess.run(command, check=True, env=os.environ | offline, stdout=subprocess.DEVNULL)
    (samples,) = out.rglob("samples_unroll_pairs_*.jsonl")
    (results,) = out.rglob("results_*.json")
    rows = sorted((json.loads(line) for line in samples.read_text().splitlines()), key=lambda row: row["doc_id"])
    scores = [[float(each[0][0]) for each in row["resps"]] for row in rows]
    found = json.loads(results.read_text())
    return {
        "scores": scores,
        "accuracy": found["results"]["unroll_pairs"]["acc,none"],
        "version": found.get("lm_eval_version"),
    }


def compared(model: Path, sentences: list[str], harness: dict[str, Any]) -> dict[str, Any]:
    """Return how far the scores of the harness are from our own."""
    opened = open_model(model)
    ours = [-score.nats for score in score_texts(opened, sentences, unknown="as-unk")]
    theirs = [score for row in harness["scores"] for score in row]
    differences = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    right = sum(good > bad for good, bad in zip(ours[::2], ours[1::2], strict=True)) / (len(ours) // 2)
    size = sum(len(sentence.encode()) for sentence in sentences)
    return {
        "largest_difference_nats": max(differences),
        "equal_to_1e-4": max(differences) < 1e-4,
        "accuracy": {"ours": right, "harness": harness["accuracy"]},
        "bits_per_byte": {
            "ours": round(-math.fsum(ours) / math.log(2) / size, 4),
            "harness": round(-math.fsum(theirs) / math.log(2) / size, 4),
        }
        if opened.tokenizer.lossless
        else None,
    }


def tokenizers(text: str) -> dict[str, Tokenizer]:
    """Return vocabularies of the four levels that know a text."""
    return {
        "char": CharTokenizer.learn(text),
        "byte": ByteTokenizer(),
        "word": WordTokenizer.learn(Counter(text.split())),
        "bpe": BpeTokenizer.learn([text], vocab_size=600),
    }


def main() -> None:
    """Score the same pairs both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, nargs="+", help="files of minimal pairs, as `unroll pairs` reads them")
    parser.add_argument("--harness", type=Path, required=True, help="the program lm_eval")
    parser.add_argument("--model", type=Path, help="a model directory; by default one of random weights is made")
    parser.add_argument("--levels", action="store_true", help="four models of one server at once, of random weights")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--batch", type=int, default=16)
    told = parser.parse_args()
    every = list(read_pairs(told.pairs))
    pairs = every[:: max(1, len(every) // told.count)][: told.count]
    sentences = [text for pair in pairs for text in (pair.good, pair.bad)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = folder / "pairs.jsonl"
        data.write_text("".join(json.dumps({"good": pair.good, "bad": pair.bad}) + "\n" for pair in pairs))
        (folder / "unroll_pairs.yaml").write_text(TASK.format(data=data))
        vocabularies = tokenizers("\n".join(sentences))
        if told.levels:
            models = [random_model(folder / level, tokenizer) for level, tokenizer in vocabularies.items()]
        else:
            models = [told.model or random_model(folder / "model", vocabularies["char"])]
        with serving(models[0], *map(str, models[1:])) as served, ThreadPoolExecutor(len(models)) as threads:
            url = f"http://127.0.0.1:{served.port}"
            started = time.perf_counter()
            running = [
                threads.submit(run_harness, told.harness, f"{url}/models/{model.name}", model.name, folder, told.batch)
                for model in models
            ]
            harnesses = [each.result() for each in running]
            seconds = time.perf_counter() - started
            refused = None
            if told.levels:
                try:
                    run_harness(told.harness, url, models[-1].name, folder, told.batch)
                    refused = False
                except subprocess.CalledProcessError:
                    refused = True
        rows = [
            {"model": model.name, **compared(model, sentences, harness)}
            for model, harness in zip(models, harnesses, strict=True)
        ]
    show({
        "benchmark": "lm-evaluation-harness over HTTP",
        "lm_eval": harnesses[0]["version"],
        "pairs": len(pairs),
        **({"models": rows, "without_an_address_refused": refused} if told.levels else rows[0]),
        "harness_seconds": round(seconds, 1),
    })  # fmt: skip


def random_model(folder: Path, tokenizer: Tokenizer) -> Path:
    """Write a model of random weights."""
    import torch

    from unroll.artifact.checkpoint import save_tensors
    from unroll.artifact.directory import WEIGHTS, save_description
    from unroll.nn.config import ModelConfig
    from unroll.nn.model import Model

    torch.manual_seed(0)
    network = Model(ModelConfig(vocab_size=tokenizer.vocab_size, hidden_size=256, embedding_size=64))
    folder.mkdir()
    info = {"step": 0, "tokens_seen": 0, "valid_nats": None}
    save_tensors(folder / WEIGHTS, dict(network.named_parameters()), info)
    tokenizer.save(folder / "tokenizer.json")
    save_description(folder, network.config, tokenizer)
    return folder


if __name__ == "__main__":
    main()

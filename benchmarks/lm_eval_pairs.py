"""lm-evaluation-harness over HTTP against our own scores of the same sentences, on minimal pairs.

The harness is run as a program of its own (`--harness`, say /tmp/harness/bin/lm_eval, from `pip install lm-eval[api]`
in an environment of its own), with `local-completions` and a task file over a local jsonl: it downloads nothing.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import show
from serving import serving
from unroll.data.tokenizer import CharTokenizer
from unroll.lm.open import open_model
from unroll.lm.pairs import read_pairs
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


def run_harness(harness: Path, url: str, model: str, folder: Path, batch: int) -> dict[str, Any]:
    """Run the harness; return its scores of each sentence, and what it says as a whole."""
    told = ",".join([
        f"model={model}", f"base_url={url}/v1/completions", "tokenizer_backend=remote", "tokenized_requests=True",
        "num_concurrent=4", "max_retries=1", "max_length=8192",
    ])  # fmt: skip
    command = [
        str(harness), "--model", "local-completions", "--model_args", told, "--tasks", "unroll_pairs",
        "--include_path", str(folder), "--output_path", str(folder / "out"), "--log_samples",
        "--batch_size", str(batch),
    ]  # fmt: skip
    offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    subprocess.run(command, check=True, env=os.environ | offline, stdout=subprocess.DEVNULL)
    (samples,) = (folder / "out").rglob("samples_unroll_pairs_*.jsonl")
    (results,) = (folder / "out").rglob("results_*.json")
    rows = sorted((json.loads(line) for line in samples.read_text().splitlines()), key=lambda row: row["doc_id"])
    scores = [[float(each[0][0]) for each in row["resps"]] for row in rows]
    return {"scores": scores, "accuracy": json.loads(results.read_text())["results"]["unroll_pairs"]["acc,none"]}


def main() -> None:
    """Score the same pairs both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, nargs="+", help="files of minimal pairs, as `unroll pairs` reads them")
    parser.add_argument("--harness", type=Path, required=True, help="the program lm_eval")
    parser.add_argument("--model", type=Path, help="a model directory; by default one of random weights is made")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--batch", type=int, default=16)
    told = parser.parse_args()
    every = list(read_pairs(told.pairs))
    pairs = every[:: max(1, len(every) // told.count)][: told.count]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = told.model or random_model(folder / "model", "".join(pair.good + pair.bad for pair in pairs))
        data = folder / "pairs.jsonl"
        data.write_text("".join(json.dumps({"good": pair.good, "bad": pair.bad}) + "\n" for pair in pairs))
        (folder / "unroll_pairs.yaml").write_text(TASK.format(data=data))
        opened = open_model(model)
        sentences = [text for pair in pairs for text in (pair.good, pair.bad)]
        ours = [-score.nats for score in score_texts(opened, sentences, unknown="as-unk")]
        with serving(model) as served:
            started = time.perf_counter()
            harness = run_harness(told.harness, f"http://127.0.0.1:{served.port}", model.name, folder, told.batch)
            seconds = time.perf_counter() - started
    theirs = [score for row in harness["scores"] for score in row]
    differences = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    right = sum(good > bad for good, bad in zip(ours[::2], ours[1::2], strict=True)) / len(pairs)
    show({
        "benchmark": "lm-evaluation-harness over HTTP",
        "pairs": len(pairs),
        "largest_difference_nats": max(differences),
        "equal_to_1e-4": max(differences) < 1e-4,
        "accuracy": {"ours": right, "harness": harness["accuracy"]},
        "harness_seconds": round(seconds, 1),
    })  # fmt: skip


def random_model(folder: Path, text: str) -> Path:
    """Write a model of random weights that knows every symbol of the text."""
    import torch

    from unroll.lm.checkpoint import WEIGHTS, save_tensors
    from unroll.lm.directory import save_description
    from unroll.nn.model import Model, ModelConfig

    tokenizer = CharTokenizer.learn(text)
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

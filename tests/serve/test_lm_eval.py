"""lm-evaluation-harness itself, as a program, against four models of one server at once.

What it sends is replayed in `test_several.py`; this is whether that is what it sends. It needs an environment of its
own: `python -m venv DIR && DIR/bin/pip install 'lm_eval[api]'`, and then `LM_EVAL=DIR/bin/lm_eval`.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from serve.live import TOKENIZERS, Live
from unroll.artifact.open import open_model
from unroll.lm.surprisal import score_texts

LM_EVAL = os.environ.get("LM_EVAL") or shutil.which("lm_eval")
PAIRS = [
    ("the cat sat on the mat.", "mat the on sat cat the."),
    ("a cat and a dog, who was it?", "who a dog was, and it a cat?"),
    ("the dog sat on the log.", "log log log log log log."),
]
TASK = """\
task: pairs
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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(LM_EVAL is None, reason="no lm_eval here: name it in LM_EVAL"),
]


def start(folder: Path, base_url: str, level: str) -> "subprocess.Popen[str]":
    """Start the harness with the vocabulary of the server."""
    assert LM_EVAL is not None
    arguments = ",".join([
        f"model={level}", f"base_url={base_url}", "tokenizer_backend=remote", "tokenized_requests=True",
        "num_concurrent=2", "max_retries=1", "max_length=8192",
    ])  # fmt: skip
    command = [
        LM_EVAL, "run", "--model", "local-completions", "--model_args", arguments, "--tasks", "pairs",
        "--include_path", str(folder), "--output_path", str(folder / level), "--log_samples", "--batch_size", "2",
    ]  # fmt: skip
    offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / f"cache-{level}")}
    return subprocess.Popen(
        command, env=os.environ | offline, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps({"good": good, "bad": bad}) + "\n" for good, bad in PAIRS))
    (tmp_path / "pairs.yaml").write_text(TASK.format(data=data))
    return tmp_path


def test_four_models_at_once_have_our_own_figures(live: Live, folders: dict[str, Path], folder: Path) -> None:
    running = {level: start(folder, f"{live.url}/models/{level}/v1/completions", level) for level in TOKENIZERS}
    outputs = {level: process.communicate(timeout=300)[0] for level, process in running.items()}
    for level, process in running.items():
        assert process.returncode == 0, outputs[level][-2000:]
        (samples,) = (folder / level).rglob("samples_pairs_*.jsonl")
        rows = sorted((json.loads(line) for line in samples.read_text().splitlines()), key=lambda row: row["doc_id"])
        theirs = [float(each[0][0]) for row in rows for each in row["resps"]]
        sentences = [sentence for pair in PAIRS for sentence in pair]
        ours = [-score.nats for score in score_texts(open_model(folders[level]), sentences)]
        assert theirs == pytest.approx(ours, abs=1e-4), level
        (results,) = (folder / level).rglob("results_*.json")
        accuracy = sum(good > bad for good, bad in zip(ours[::2], ours[1::2], strict=True)) / len(PAIRS)
        assert json.loads(results.read_text())["results"]["pairs"]["acc,none"] == pytest.approx(accuracy)


def test_without_the_address_it_ends_with_an_error(live: Live, folder: Path) -> None:
    process = start(folder, f"{live.url}/v1/completions", "word")
    output = process.communicate(timeout=300)[0]
    assert process.returncode != 0 and "/tokenizer_info failed" in output and "400" in output
    assert not list((folder / "word").rglob("results_*.json"))

"""What model.json says is checked, and what does not belong there is refused; a directory has one writer."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from artifact.saved import change, refused
from tiny import SMALL, overrides, trained
from unroll.artifact.checkpoint import load_tensors, save_tensors
from unroll.artifact.directory import WEIGHTS, locked, read_description, read_info
from unroll.artifact.open import load
from unroll.data.tokenizer import CharTokenizer
from unroll.errors import UserError
from unroll.settings import to_mapping


def test_what_a_file_says_of_itself_is_read_without_its_tensors(directory: Path) -> None:
    info = {"step": 3, "valid_nats": 1.0625, "averaged": True, "text": "é\n\"'", "nothing": None}
    save_tensors(directory / "x.safetensors", {"x": torch.ones(2, 3)}, info)
    assert read_info(directory / "x.safetensors") == info
    assert torch.equal(load_tensors(directory / "x.safetensors")["x"], torch.ones(2, 3))


def test_a_missing_directory_or_file_is_named(directory: Path, tmp_path: Path) -> None:
    assert "no model directory" in refused(tmp_path / "nowhere").what
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "no model directory")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "model.json")
    for name in ("model.json", "tokenizer.json", WEIGHTS):
        copy = tmp_path / "copy"
        shutil.copytree(directory, copy)
        (copy / name).unlink()
        refused(copy, name)
        (copy / name).mkdir()
        refused(copy, name)
        shutil.rmtree(copy)


@pytest.mark.parametrize(
    "content",
    ["", "{", "null", "[]", "3", '"text"', "{}", '{"kind": "model"}', "[" * 100_000, "\x00", '{"kind": NaN}',
     '{"architectures": ["LlamaForCausalLM"], "vocab_size": 32000}'],
    ids=lambda content: content[:12],
)  # fmt: skip
def test_a_foreign_description_is_refused(content: str, directory: Path) -> None:
    (directory / "model.json").write_text(content)
    refused(directory, "model.json")


@pytest.mark.parametrize("version", [2, 99, 0, -1, "1", 1.5, None, [1]], ids=str)
def test_another_version_is_refused(version: object, directory: Path) -> None:
    change(directory, format_version=version)
    assert str(version) in refused(directory, "version").what


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"hidden_size": 11}, WEIGHTS),
        ({"hidden_size": 9}, "weight"),
        ({"num_layers": 3}, WEIGHTS),
        ({"num_layers": 1, "hidden_size": 10, "arch": "gru"}, "weight"),
        ({"arch": "transformer"}, "arch"),
        ({"arch": ["lstm"]}, "arch"),
        ({"skip": "concat"}, "skip"),
        ({"hidden_size": "10"}, "hidden_size"),
        ({"hidden_size": 10.0}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"hidden_size": -10}, "hidden_size"),
        ({"hiden_size": 10}, "hidden_size"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"vocab_size": 13}, "13"),
        ({"tie_weights": True}, "weight"),
        ({"layers_before": 1}, ""),
        ({"forget_bias": 10**400}, "forget_bias"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_configuration_that_does_not_fit_is_refused(model: dict[str, Any], message: str, directory: Path) -> None:
    change(directory, model=model)
    refused(directory, message)


@pytest.mark.parametrize("value", [None, [], "lstm", 3], ids=str)
def test_no_configuration_is_refused(value: object, directory: Path) -> None:
    change(directory, model=value)
    refused(directory, "model.json")


def test_another_tokenizer_is_refused(directory: Path) -> None:
    CharTokenizer.learn("abcdefghik").save(directory / "tokenizer.json")
    refused(directory, "tokenizer")
    # Also where the description was made to agree, but the sizes do not.
    tokenizer = CharTokenizer.learn("abc")
    tokenizer.save(directory / "tokenizer.json")
    change(directory, tokenizer_digest=tokenizer.digest)
    refused(directory, "symbols")
    change(directory, tokenizer_digest=None)
    refused(directory, "tokenizer")


def test_a_directory_is_locked_for_one(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(UserError, match="another process"), locked(tmp_path):
            pass
        (tmp_path / ".model.json.1.tmp").write_text("of another file system, perhaps")
    with locked(tmp_path):
        assert [file.name for file in tmp_path.iterdir()] == ["resume"]


def test_the_description_names_what_was_trained(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "run", overrides(), 4)
    description = read_description(tmp_path / "run")
    assert description["model"] == to_mapping(load(tmp_path / "run").model.config) and description["level"] == "char"
    assert description["model"] | SMALL == description["model"]
    result = description["result"]
    assert result["protocol"] == "stream" and result["steps"] == 4 and result["tokens_seen"] == 4 * 30
    assert np.isfinite(result["valid_nats_per_token"]) and result["valid_tokens"] == 300


def test_an_ngrams_code_is_not_loaded_to_read_a_directory() -> None:
    program = "import sys, unroll.artifact.directory; print([name for name in sys.modules if 'ngram' in name])"
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "['unroll.predict.ngram']"

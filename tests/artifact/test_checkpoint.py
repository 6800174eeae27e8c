"""The tensors of a model directory: whatever was damaged or forged is refused before anything is allocated."""

import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from artifact.saved import CONFIG, change, damage, refused, save_model
from tiny import begin_training, overrides
from unroll.artifact import checkpoint
from unroll.artifact.checkpoint import load_tensors, save_tensors
from unroll.artifact.directory import STATE, WEIGHTS, read_info
from unroll.errors import UserError
from unroll.nn.model import Model
from unroll.training.request import resume


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    for name in ("one", "other"):
        save_model(tmp_path / name)
    for file in (WEIGHTS, "model.json", "tokenizer.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


HUGE: list[dict[str, Any]] = [
    {"hidden_size": 2**40},
    {"hidden_size": 2**15},
    {"num_layers": 10**12},
    {"num_layers": 10**7},
    {"embedding_size": 2**33},
    {"vocab_size": 10**15},
    {"layers_before": 10**12},
    {"layers_after": 10**12},
    {"window": 10**12, "arch": "window"},
    {"vocab_size": 10**4000, "embedding_size": 10**4000},
    {"hidden_size": 10**4000},
    {"num_layers": 2**63},
]


@pytest.mark.parametrize("model", HUGE, ids=lambda model: "-".join(model))
def test_huge_sizes_are_refused_before_anything_is_allocated(
    model: dict[str, Any], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(directory, model=model)
    monkeypatch.setattr(checkpoint, "Model", None)
    refused(directory)


def test_a_file_that_only_claims_to_be_large_is_refused_before_anything_is_allocated(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse file of eight gigabytes takes no room on the disk."""
    change(directory, model={"hidden_size": 10_000})
    os.truncate(directory / WEIGHTS, 2**33)
    monkeypatch.setattr(checkpoint, "Model", None)
    refused(directory, WEIGHTS)


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


INFO = {"__metadata__": {"info": "{}"}}

FORGERIES: dict[str, bytes] = {
    "empty": b"",
    "seven bytes": b"\x01" * 7,
    "no header": struct.pack("<Q", 0),
    "hostile length": struct.pack("<Q", 2**63) + b"{}",
    "long header": struct.pack("<Q", 2**40) + b"{}",
    "length beyond the end": safetensors(INFO, length=10**6),
    "not json": safetensors(b"\xff\xfe{}"),
    "deep": safetensors(b"[" * 100_000),
    "a list": safetensors([1]),
    "no metadata": safetensors({}),
    "null metadata": safetensors({"__metadata__": None}),
    "no info": safetensors({"__metadata__": {}}),
    "info is no text": safetensors({"__metadata__": {"info": 3}}),
    "info is no json": safetensors({"__metadata__": {"info": "{"}}),
    "info is a list": safetensors({"__metadata__": {"info": "[]"}}),
    "no tensors": safetensors(INFO),
    "beyond the data": safetensors(INFO | {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    "negative": safetensors(INFO | {"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
    "overflow": safetensors(INFO | {"x": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}}, b"1234"),
    "unknown type": safetensors(INFO | {"x": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
    "pickle": pickle.dumps({"weights": [1.0, 2.0]}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_weights_file_is_refused(name: str, directory: Path) -> None:
    # Padded to the size of the true weights, so that it is read at all, and as it is.
    for padding in (0, 4 * 10**5):
        (directory / WEIGHTS).write_bytes(FORGERIES[name] + b"\0" * padding)
        refused(directory, WEIGHTS)


def test_a_torch_file_is_refused(directory: Path) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(directory / WEIGHTS).items()}
    torch.save(tensors, directory / WEIGHTS)
    assert zipfile.is_zipfile(directory / WEIGHTS)
    refused(directory, WEIGHTS)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_weights_are_refused(share: float, directory: Path) -> None:
    file = directory / WEIGHTS
    os.truncate(file, int(share * file.stat().st_size))
    refused(directory, WEIGHTS)


def rewrite(directory: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    file = directory / WEIGHTS
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    edit(tensors)
    save_file(tensors, file, metadata={"info": "{}"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, directory: Path) -> None:
    for name in dict(Model(CONFIG).named_parameters()):
        save_model(directory)
        rewrite(directory, lambda tensors, name=name: tensors[name].view(-1)[-1:].fill_(value))  # type: ignore[misc]
        refused(directory, name)


@pytest.mark.parametrize(
    "edit",
    [
        lambda tensors: tensors.pop("head.weight"),
        lambda tensors: tensors.update({"head.weight": tensors["head.weight"].T.contiguous()}),
        lambda tensors: tensors.update({"head.weight": tensors["head.weight"].flatten()}),
        lambda tensors: tensors.update({"head.weight": tensors["head.weight"].double()}),
        lambda tensors: tensors.update({"head.weight": tensors["head.weight"].to(torch.int32)}),
        lambda tensors: tensors.update({"head.weight": torch.zeros(0)}),
    ],
    ids=["missing", "transposed", "flat", "double", "integers", "empty"],
)
def test_weights_of_another_shape_or_type_are_refused(
    edit: Callable[[dict[str, torch.Tensor]], None], directory: Path
) -> None:
    rewrite(directory, edit)
    rewrite(directory, lambda tensors: tensors.update({"padding": torch.zeros(10_000)}))
    refused(directory, "head.weight")


# ---- whatever else may have happened to the files


@pytest.mark.parametrize("inside", [False, True], ids=["prepared", "text"])
def test_a_damaged_training_goes_on_or_is_refused(inside: bool, corpus: Path, tmp_path: Path) -> None:
    """Every file that resuming reads, one at a time; the encoded text lies elsewhere or in the directory."""
    path, chance = tmp_path / "run", random.Random(1)
    if inside:
        corpus = corpus.with_name("text0.txt")
    reports = begin_training(corpus, path, overrides(optim={"averaging": 0.5}), 4)
    for report in reports:
        if report.kind == "save":
            break
    reports.close()
    contents = {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
    assert len(contents) >= 7
    continued = 0
    for file in contents:
        for _ in range(16):
            for other, content in contents.items():
                other.write_bytes(content)
            file.write_bytes(damage(contents[file], chance))
            try:
                list(resume(path, device="cpu"))
            except UserError as error:
                assert error.what
            else:
                continued += 1
    assert continued > 20


@pytest.mark.parametrize(
    "name", ["last/head.bias", "average/head.bias", "exp_avg/head.bias", "step/head.bias", "state/1/0"]
)
@pytest.mark.parametrize("fault", ["missing", "shape", "type"])
def test_a_checkpoint_that_lacks_something_is_refused(name: str, fault: str, corpus: Path, tmp_path: Path) -> None:
    reports = begin_training(corpus, tmp_path / "run", overrides(optim={"averaging": 0.5}), 4)
    next(report for report in reports if report.kind == "save")
    reports.close()
    file = tmp_path / "run" / STATE
    tensors, info = load_tensors(file), read_info(file)
    if fault == "missing":
        del tensors[name]
    else:
        tensors[name] = torch.zeros(3, 3) if fault == "shape" else tensors[name].to(torch.int64)
    save_tensors(file, tensors, info)
    with pytest.raises(UserError) as refusal:
        list(resume(tmp_path / "run", device="cpu"))
    assert name in refusal.value.what and refusal.value.fix


@pytest.mark.parametrize("key", ["step", "best_figure", "best_step", "seconds", "log_sizes", "cuts", "losses"])
@pytest.mark.parametrize("value", [None, "x", [], {}], ids=str)
def test_a_checkpoint_whose_notes_are_damaged_is_refused(key: str, value: object, corpus: Path, tmp_path: Path) -> None:
    reports = begin_training(corpus, tmp_path / "run", overrides(), 4)
    next(reports)
    reports.close()
    file = tmp_path / "run" / STATE
    save_tensors(file, load_tensors(file), read_info(file) | {key: value})
    with pytest.raises(UserError, match="damaged"):
        list(resume(tmp_path / "run", device="cpu"))


def test_a_recipe_that_is_not_the_models_is_refused(corpus: Path, tmp_path: Path) -> None:
    reports = begin_training(corpus, tmp_path / "run", overrides(), 4)
    next(reports)
    reports.close()
    recipe = tmp_path / "run" / "recipe.toml"
    for line, replacement in (
        ("hidden_size = 10", "hidden_size = 11"),
        ('arch = "lstm"', 'arch = "gru"'),
        ("batch_size = 3", "batch_size = 4"),
        ("steps = 4", "stepps = 4"),
        ("[optim]", "[optim"),
    ):
        text = recipe.read_text()
        assert line in text
        recipe.write_text(text.replace(line, replacement))
        with pytest.raises(UserError):
            list(resume(tmp_path / "run", device="cpu"))
        recipe.write_text(text)
    assert list(resume(tmp_path / "run", device="cpu"))[-1].kind == "end"

"""What a user can do wrong at the command line: three parts, code 2, no traceback, nothing half-written."""

import gzip
import os
import shutil
from pathlib import Path

import pytest

from cli.command import text, unroll
from cli.conftest import Refused, Trained

STEPS = ("--steps", "5", "--device", "cpu")


def nothing_written(tmp_path: Path, *given: Path) -> bool:
    """Tell whether there is nothing but what was there before, and an empty runs/ at most."""
    return {path for path in tmp_path.rglob("*") if path.name != "runs"} == set(given)


def test_an_empty_file(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "empty.txt"
    file.touch()
    said = refused("train", file, "--out", tmp_path / "run", *STEPS)
    assert f"{file} is empty" in said
    assert "\n  fix: " in said
    assert nothing_written(tmp_path, file)


def test_a_text_shorter_than_one_window(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("Too short to learn anything from it.\n")
    said = refused("train", file, "--out", tmp_path / "run", *STEPS, "--set", "seq_len=64")
    assert "33 symbols" in said
    assert "\n  allowed: " in said
    assert "\n  fix: " in said
    assert nothing_written(tmp_path, file)


def test_binary_data(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "picture"
    file.write_bytes(b"header\x00\x01\x02" * 1000)
    said = refused("train", file, "--out", tmp_path / "run", *STEPS)
    assert "6" in said
    assert "--level byte" in said
    assert nothing_written(tmp_path, file)


def test_broken_utf8_names_the_offset(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "latin1.txt"
    file.write_bytes(b"x" * 4821 + "é".encode("latin-1") + b" and so on" * 1000)
    said = refused("train", file, "--out", tmp_path / "run", *STEPS)
    assert "4821" in said.replace(",", "")
    assert "UTF-8" in said
    assert nothing_written(tmp_path, file)


def test_damaged_gzip(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "text.gz"
    file.write_bytes(gzip.compress(text(9000).encode())[:-20])
    assert "gzip" in refused("train", file, "--out", tmp_path / "run", *STEPS)
    assert nothing_written(tmp_path, file)


def test_a_file_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    assert "nowhere.txt" in refused("train", tmp_path / "nowhere.txt", "--out", tmp_path / "run", *STEPS)
    assert nothing_written(tmp_path)


def test_an_unknown_key_of_a_recipe_names_the_nearest(refused: Refused, book: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[optim]\nlearning_rat = 0.1\n")
    said = refused("train", book, "--recipe", recipe, "--out", tmp_path / "run", *STEPS)
    assert "unknown key 'learning_rat' in [optim]" in said
    assert "did you mean 'learning_rate'?" in said
    said = refused("train", book, "--set", "hiden_size=3", "--out", tmp_path / "run", *STEPS)
    assert "did you mean 'hidden_size'?" in said
    assert nothing_written(tmp_path, book, recipe)


@pytest.mark.parametrize(
    ("setting", "says"),
    [("hidden_size=big", "hidden_size"), ("hidden_size=0", "hidden_size"), ("hidden_size", "KEY=VALUE"),
     ("dropout=1.5", "dropout"), ("arch=transformer", "lstm, gru, rnn, window"), ("steps=0", "steps")],
)  # fmt: skip
def test_a_bad_setting(refused: Refused, book: Path, tmp_path: Path, setting: str, says: str) -> None:
    assert says in refused("train", book, "--set", setting, "--out", tmp_path / "run", "--device", "cpu")
    assert nothing_written(tmp_path, book)


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "0.00001"])
def test_a_budget_too_small_for_one_step(refused: Refused, book: Path, tmp_path: Path, minutes: str) -> None:
    fixed = ("--set", "threads=1", "--set", "precision=float32", "--set", "hidden_size=32")
    said = refused("train", book, "--minutes", minutes, "--out", tmp_path / "run", "--device", "cpu", *fixed)
    assert "minutes" in said
    assert "\n  allowed: " in said
    assert nothing_written(tmp_path, book)


def test_a_gpu_that_is_not_there(refused: Refused, book: Path, tmp_path: Path) -> None:
    import torch

    missing = "mps" if torch.cuda.is_available() else "cuda"
    said = refused("train", book, "--device", missing, "--steps", "5", "--out", tmp_path / "run")
    assert f"no {missing} device" in said
    assert "cpu" in said
    assert nothing_written(tmp_path, book)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(refused: Refused, book: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert "cannot write" in refused("train", book, "--out", folder / "run", *STEPS)
    assert nothing_written(tmp_path, book, folder)


def test_an_output_that_cannot_be_a_folder(refused: Refused, book: Path, tmp_path: Path) -> None:
    """What root meets as well: the parent is a file."""
    assert "book.txt" in refused("train", book, "--out", book / "run", *STEPS)
    assert nothing_written(tmp_path, book)


def test_an_output_that_exists(refused: Refused, trained: Trained, book: Path) -> None:
    before = sorted(trained.path.rglob("*"))
    said = refused("train", book, "--out", trained.path, *STEPS)
    assert f"{trained.path} exists" in said
    assert "--resume" in said
    assert "--force" in said
    assert sorted(trained.path.rglob("*")) == before


def test_force_replaces_models_only(refused: Refused, book: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    refused("train", book, "--out", precious, "--force", *STEPS)
    assert (precious / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("verb", ["info", "sample", "evolution"])
def test_a_foreign_model_directory(refused: Refused, tmp_path: Path, verb: str) -> None:
    assert "no model directory" in refused(verb, tmp_path / "nowhere")
    (tmp_path / "model.json").write_text('{"kind": "another"}')
    assert "does not describe an unroll model" in refused(verb, tmp_path)


@pytest.mark.parametrize("name", ["model.json", "tokenizer.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "noise", "missing"])
def test_a_damaged_model_directory(refused: Refused, trained: Trained, tmp_path: Path, name: str, damage: str) -> None:
    copy = tmp_path / "model"
    shutil.copytree(trained.path, copy)
    file = copy / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else bytes(len(content)))
    said = refused("sample", copy)
    assert name in said
    assert "\n  fix: " in said


def test_settings_that_contradict_each_other(refused: Refused, trained: Trained, book: Path, tmp_path: Path) -> None:
    run = ("--out", tmp_path / "run")
    assert "minutes and steps" in refused("train", book, *run, "--minutes", "1", "--steps", "5")
    assert "minutes and steps" in refused("train", book, *run, "--minutes", "1", "--set", "training.steps=5")
    assert "a split and a validation file" in refused("train", book, *run, "--split", "90/10", "--valid", book)
    assert "'--steps' beside --resume" in refused("train", "--resume", trained.path, "--steps", "5")
    assert "beside --resume" in refused("train", book, "--resume", trained.path)
    assert "cannot change" in refused("train", book, "--from", trained.path, *run, *STEPS, "--set", "hidden_size=9")
    assert "--prompt-file" in refused("sample", trained.path, "--prompt", "a", "--prompt-file", book)
    assert nothing_written(tmp_path, book)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--temperature", "-1"), ("--top-k", "-1"), ("--top-p", "0"), ("--min-p", "2"), ("--length", "0"),
     ("--count", "0"), ("--seed", "-1"), ("--prompt", "\udcff"), ("--prompt-file", "/nowhere")],
)  # fmt: skip
def test_a_bad_way_to_sample(refused: Refused, trained: Trained, option: str, value: str) -> None:
    refused("sample", trained.path, option, value)


def test_a_prompt_file_that_is_not_utf8(refused: Refused, trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "prompt").write_bytes(b"caf\xe9")
    said = refused("sample", trained.path, "--prompt-file", tmp_path / "prompt")
    assert "0xe9 at offset 3" in said


def test_resuming_what_was_never_trained(refused: Refused, tmp_path: Path) -> None:
    assert "no model directory" in refused("train", "--resume", tmp_path / "nowhere")


def test_words_that_are_no_command_and_no_option(refused: Refused) -> None:
    assert "trian" in refused("trian")
    said = refused("train", "--minuts", "3")
    assert "'--minutes'" in said
    assert "`unroll train --help`" in said
    assert "'lstm', 'gru', 'rnn', 'window'" in refused("train", "--arch", "transformer")


def test_data_refuses_what_it_does_not_know(refused: Refused, book: Path, tmp_path: Path) -> None:
    assert "did you mean 'tinyshakespeare'?" in refused("data", "fetch", "tinyshakespear", "--out", tmp_path)
    assert "did you mean 'min_count'?" in refused(
        "data", "prepare", book, "--set", "mincount=2", "--out", tmp_path / "x"
    )
    assert "FILE" in refused("data", "prepare", "--out", tmp_path / "x")
    assert "exists" in refused("data", "prepare", book, "--out", tmp_path)
    assert nothing_written(tmp_path, book)


def test_tensorboard_that_is_not_installed(
    refused: Refused, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = refused("train", book, "--out", tmp_path / "run", "--tensorboard", *STEPS)
    assert "pip install unroll-lm[tensorboard]" in said
    assert nothing_written(tmp_path, book)


def test_torch_that_is_not_installed(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = unroll("sample", trained.path, PYTHONPATH=path)
    assert (done.code, done.out) == (2, "")
    assert done.err == 'unroll: this needs PyTorch\n  fix: pip install "unroll-lm[train]"\n'

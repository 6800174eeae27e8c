"""What a user can do wrong at the command line: three parts, code 2, no traceback, nothing half-written."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import text, unroll
from cli.conftest import Here, Refused, Trained
from unroll.errors import install

STEPS = ("--steps", "5", "--device", "cpu")


def nothing_written(tmp_path: Path, *arguments: Path) -> bool:
    """Tell whether there is nothing but what was there before, and an empty runs/ at most."""
    return {path for path in tmp_path.rglob("*") if path.name != "runs"} == set(arguments)


def test_an_empty_file(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "empty.txt"
    file.touch()
    message = refused("train", file, "--out", tmp_path / "run", *STEPS)
    assert f"{file} is empty" in message
    assert "\n  fix: " in message
    assert nothing_written(tmp_path, file)


def test_a_text_shorter_than_one_window(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("Too short to learn anything from it.\n" * 20)
    message = refused("train", file, "--out", tmp_path / "run", *STEPS, "--set", "seq_len=667")
    assert "666 symbols" in message
    assert "\n  allowed: " in message
    assert "\n  fix: " in message
    assert nothing_written(tmp_path, file)


def test_the_precision_of_a_device_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("What a GPU rounds to, a processor does not.\n" * 50)
    message = refused("train", file, "--out", tmp_path / "run", *STEPS, "--set", "precision=tf32")
    assert "tf32 needs an NVIDIA GPU" in message
    assert "\n  allowed: float32, bfloat16" in message
    assert "\n  fix: leave precision out" in message
    assert nothing_written(tmp_path, file)


def test_binary_data(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "picture"
    file.write_bytes(b"header" + bytes(range(256)) * 40)
    message = refused("train", file, "--out", tmp_path / "run", *STEPS)
    assert "6" in message
    assert "--level byte" in message
    assert nothing_written(tmp_path, file)


def test_broken_utf8_names_the_offset(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "latin1.txt"
    file.write_bytes(b"x" * 4821 + "é".encode("latin-1") + b" and so on" * 1000)
    message = refused("train", file, "--out", tmp_path / "run", *STEPS)
    assert "4821" in message.replace(",", "")
    assert "UTF-8" in message
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
    message = refused("train", book, "--recipe", recipe, "--out", tmp_path / "run", *STEPS)
    assert "unknown key 'learning_rat' in [optim]" in message
    assert "did you mean 'learning_rate'?" in message
    message = refused("train", book, "--set", "hiden_size=3", "--out", tmp_path / "run", *STEPS)
    assert "did you mean 'hidden_size'?" in message
    assert nothing_written(tmp_path, book, recipe)


@pytest.mark.parametrize(
    ("setting", "says"),
    [("hidden_size=big", "hidden_size"), ("hidden_size=0", "hidden_size"), ("hidden_size", "KEY=VALUE"),
     ("dropout=1.5", "dropout"), ("arch=transformer", "lstm, gru, mingru, rnn, window"), ("steps=0", "steps")],
)  # fmt: skip
def test_a_bad_setting(refused: Refused, book: Path, tmp_path: Path, setting: str, says: str) -> None:
    assert says in refused("train", book, "--set", setting, "--out", tmp_path / "run", "--device", "cpu")
    assert nothing_written(tmp_path, book)


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "0.00001"])
def test_a_budget_too_small_for_one_step(refused: Refused, book: Path, tmp_path: Path, minutes: str) -> None:
    fixed = ("--set", "threads=1", "--set", "precision=float32", "--set", "hidden_size=32")
    message = refused("train", book, "--minutes", minutes, "--out", tmp_path / "run", "--device", "cpu", *fixed)
    assert "minutes" in message
    assert "\n  allowed: " in message
    assert nothing_written(tmp_path, book)


def test_a_gpu_that_is_not_there(refused: Refused, book: Path, tmp_path: Path) -> None:
    import torch

    missing = "mps" if torch.cuda.is_available() else "cuda"
    message = refused("train", book, "--device", missing, "--steps", "5", "--out", tmp_path / "run")
    assert f"no {missing} device" in message
    assert "cpu" in message
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
    message = refused("train", book, "--out", trained.path, *STEPS)
    assert f"{trained.path} exists" in message
    assert "--resume" in message
    assert "--force" in message
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
    message = refused("sample", copy)
    assert name in message
    assert "\n  fix: " in message


DAMAGES: dict[str, Callable[[Path], object]] = {
    "metrics a list": lambda path: (path / "metrics.jsonl").write_text("[]\n"),
    "metrics no json": lambda path: (path / "metrics.jsonl").write_text("{\n"),
    "metrics nan": lambda path: (path / "metrics.jsonl").write_text('{"seconds": NaN}\n'),
    "metrics a text for a step": lambda path: (path / "metrics.jsonl").write_text('{"step": "x"}\n'),
    "metrics a folder": lambda path: as_folder(path / "metrics.jsonl"),
    "recipe a folder": lambda path: as_folder(path / "recipe.toml"),
    "recipe no toml": lambda path: (path / "recipe.toml").write_text("[" * 5000),
    "training a number": lambda path: (path / "recipe.toml").write_text("training = 3\n"),
    "about a number": lambda path: (path / "recipe.toml").write_text("about = 3\n"),
    "about a number in it": lambda path: (path / "recipe.toml").write_text("[about]\nfine_tuned_from = 3\n"),
    "a date": lambda path: (path / "recipe.toml").write_text("[about]\ndevice = 2020-01-01\n"),
    "steps a text": lambda path: (path / "recipe.toml").write_text("[training]\nsteps = 'x'\n"),
    "result a text": lambda path: describe_as(path, result="x"),
    "result empty": lambda path: describe_as(path, result={}),
    "result incomplete": lambda path: describe_as(path, result={"protocol": "stream", "valid_nats_per_token": 1.0}),
    "parameters a text": lambda path: describe_as(path, parameters="x"),
    "parameters missing": lambda path: describe_as(path, parameters=None),
    "level unknown": lambda path: describe_as(path, level="syllable"),
    "hidden_size a text": lambda path: describe_as(path, model={"vocab_size": 3, "hidden_size": "x"}),
    "model a text": lambda path: describe_as(path, model="lstm"),
    "samples without steps": lambda path: (path / "samples.jsonl").write_text('{"text": "x"}\n'),
    "samples a list": lambda path: (path / "samples.jsonl").write_text("[]\n"),
    "samples a folder": lambda path: as_folder(path / "samples.jsonl"),
    "corpus a list": lambda path: (path / "resume" / "data" / "corpus.json").write_text("[]"),
    "ids missing": lambda path: (path / "resume" / "data" / "train.bin").unlink(),
    "the path of the text a folder": lambda path: (path / "resume" / "data.path").mkdir(),
}

READS = {
    "info": {name for name in DAMAGES if not name.startswith("samples")},
    "evolution": {
        name
        for name in DAMAGES
        if name.startswith(("samples", "result", "param", "level", "hidd", "model", "corpus", "ids"))
    },
    "resume": {name for name in DAMAGES if not name.startswith("samples")},
    "from": {name for name in DAMAGES if name.startswith(("result", "param", "level", "hidd", "model"))},
    "sample": {
        name for name in DAMAGES if name.startswith(("result", "param", "level", "hidd", "model", "corpus", "ids"))
    },
}


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def describe_as(path: Path, **values: object) -> None:
    """Change entries of model.json."""
    description = json.loads((path / "model.json").read_text())
    (path / "model.json").write_text(json.dumps(description | values))


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_verb_refuses_or_does_without_what_is_damaged(
    here: Here, trained: Trained, book: Path, tmp_path: Path, damage: str
) -> None:
    """No verb ends with a traceback: it names what is damaged where it needs it, and works where it does not."""
    copy = tmp_path / "model"
    shutil.copytree(trained.path, copy)
    DAMAGES[damage](copy)
    commands: dict[str, tuple[str | Path, ...]] = {
        "info": ("info", copy),
        "evolution": ("evolution", copy),
        "resume": ("train", "--resume", copy),
        "from": ("train", book, "--from", copy, "--out", tmp_path / "out", *STEPS),
        "sample": ("sample", copy, "--length", "3", "--copied"),
    }
    for verb, command in commands.items():
        if damage not in READS[verb] and verb != "sample" and verb != "evolution":
            continue  # what it does then is seen elsewhere
        result = here(*command)
        if damage in READS[verb]:
            assert (result.code, "\n  fix: " in result.err) == (2, True), (verb, result.err)
        assert result.code in (0, 2), result.err


def test_memory_that_is_out(here: Here, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from unroll.training import request

    for error in (
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.\nmore"),
    ):

        def fails(*arguments: object, error: Exception = error, **rest: object) -> None:
            raise error

        monkeypatch.setattr(request, "train", fails)
        result = here("train", book, "--out", tmp_path / "run", *STEPS)
        message = result.err
        assert result.code == 1 and "Traceback" not in message
        assert message.startswith("unroll: out of memory")
        assert "\n  allowed: " in message
        assert "hidden_size" in message
        assert "batch_size" in message
        assert "more" not in message


def test_another_runtime_error_is_not_one_of_memory(here: Here, book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unroll.training import request

    def fails(*arguments: object, **rest: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(request, "train", fails)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        here("train", book)


def test_settings_that_contradict_each_other(refused: Refused, trained: Trained, book: Path, tmp_path: Path) -> None:
    run = ("--out", tmp_path / "run")
    assert "minutes and steps" in refused("train", book, *run, "--minutes", "1", "--steps", "5")
    assert "minutes and steps" in refused("train", book, *run, "--minutes", "1", "--set", "training.steps=5")
    assert "a split and a validation file" in refused("train", book, *run, "--split", "90/10", "--valid", book)
    assert "unroll: --steps cannot be combined with --resume" in refused(
        "train", "--resume", trained.path, "--steps", "5"
    )
    assert "cannot be combined with --resume" in refused("train", book, "--resume", trained.path)
    assert "--more-steps without --resume" in refused("train", book, "--more-steps", "0")
    assert "steps is 0" in refused("train", "--resume", trained.path, "--more-steps", "0")
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
    message = refused("sample", trained.path, "--prompt-file", tmp_path / "prompt")
    assert "byte e9 at byte offset 3" in message


def test_resuming_what_was_never_trained(refused: Refused, tmp_path: Path) -> None:
    assert "no model directory" in refused("train", "--resume", tmp_path / "nowhere")


def test_words_that_are_no_command_and_no_option(refused: Refused) -> None:
    assert "trian" in refused("trian")
    message = refused("train", "--minuts", "3")
    assert message.endswith("fix: did you mean `--minutes`?\n")
    assert "'lstm', 'gru', 'mingru', 'rnn', 'window'" in refused("train", "--arch", "transformer")


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
    message = refused("train", book, "--out", tmp_path / "run", "--tensorboard", *STEPS)
    assert install("tensorboard") in message
    assert nothing_written(tmp_path, book)


def test_torch_that_is_not_installed(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = unroll("gradients", trained.path, PYTHONPATH=path)
    assert (result.code, result.out) == (2, "")
    assert result.err == f"unroll: this needs PyTorch\n  fix: {install('train')}\n"
    adapting = unroll("eval", trained.path, trained.text, "--adapt", "dynamic", PYTHONPATH=path)
    assert (adapting.code, adapting.err) == (2, result.err)


@pytest.mark.parametrize(
    "verb",
    [
        ["sample", "--length", "20"],
        ["sample", "--length", "20", "--precision", "int8"],
        ["score", "the"],
        ["score", "--file", "TEXT", "--unit", "word"],
        ["next", "the"],
        ["next", "the", "--whole-words"],
        ["eval", "TEXT"],
        ["eval", "TEXT", "--adapt", "cache", "--set", "size=10"],
        ["embed", "TEXT"],
        ["similar", "--symbol", "e"],
        ["info"],
        ["evolution"],
    ],
    ids=" ".join,
)
def test_what_does_not_train_needs_no_torch(verb: list[str], trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    output = [str(trained.text) if word == "TEXT" else word for word in verb[1:]]
    result = unroll(verb[0], trained.path, *output, cwd=tmp_path, PYTHONPATH=path)  # `embed` writes beside its caller
    assert result.code == 0, result.err
    assert result.out

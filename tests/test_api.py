"""The verbs as functions: what each argument becomes, and what `info` says of a directory in any condition."""

import ast
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import unroll
from tiny import STEPS, TRAINING, begin_training, make_corpus, overrides, text, trained
from unroll import HOMES
from unroll.artifact.directory import output_folder
from unroll.data.corpus import DataConfig, load_corpus
from unroll.files import Files
from unroll.progress import Progress
from unroll.training import request
from unroll.training.budget import Budget
from unroll.training.recipe import Overrides, read_recipe
from unroll.training.report import Report

Call = tuple[list[Path], Path, Budget, Overrides, dict[str, Any]]


@pytest.fixture(scope="session")
def model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, trained to the end."""
    out = tmp_path_factory.mktemp("api") / "model"
    trained(corpus, out, overrides())
    return out


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What `prepare` is asked for, instead of doing it; a text given only for a while is read."""
    calls: list[Call] = []

    def prepare(
        locks: ExitStack, files: list[Path], out: Path, budget: Budget, overrides: Overrides, **options: Any
    ) -> Iterator[Progress]:
        assert all(file.exists() for file in files if file.suffix == ".txt")
        calls.append((files, out, budget, overrides, options))
        yield from ()

    monkeypatch.setattr(request, "prepare", prepare)
    return calls


def test_arguments_become_overrides_and_a_budget(asked: list[Call], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[model]\narch = "gru"\ndropout = 0.5\n[training]\nsteps = 70\nseed = 1\n[data]\nsplit = "80/20"\n'
    )
    list(unroll.train(["a/book.txt.gz", "b"], recipe=recipe, seed=9, settings=["dropout=0.25", "model.num_layers=2"]))
    list(
        unroll.train("book", recipe=recipe, minutes=2, arch="rnn", settings={"sample_prompt": "9", "skip": "residual"})
    )
    list(unroll.train(Path("x"), steps=5, out="here", level="byte", split="90/10", device="cpu", force=True))
    list(unroll.train("x"))
    (files, out, budget, fixed, _), second, third, fourth = asked
    assert (files, out) == ([Path("a/book.txt.gz"), Path("b")], Path("runs/book"))
    assert budget == Budget(steps=70)
    assert fixed["model"] == {"arch": "gru", "dropout": 0.25, "num_layers": 2}
    assert fixed["training"] == {"steps": 70, "seed": 9}
    assert fixed["data"] == {"split": "80/20"}
    assert second[2] == Budget(minutes=2)
    assert second[3]["model"] == {"arch": "rnn", "dropout": 0.5, "skip": "residual"}
    assert second[3]["training"] == {"seed": 1, "sample_prompt": "9"}
    assert third[1:3] == (Path("here"), Budget(steps=5))
    assert third[3]["training"] == {"steps": 5}
    assert third[3]["data"] == {"level": "byte", "split": "90/10"}
    assert (third[4]["device"], third[4]["force"]) == ("cpu", True)
    assert fourth[2] == Budget(minutes=3)


@pytest.fixture
def byte_model(tmp_path: Path) -> Path:
    """A tiny model of bytes."""
    corpus = make_corpus(tmp_path, [text(170)], DataConfig(level="byte", split="90/10"))
    trained(corpus, tmp_path / "model", overrides(), steps=2)
    return tmp_path / "model"


def test_a_base_brings_its_level(byte_model: Path, asked: list[Call]) -> None:
    list(unroll.train("x", steps=5, base=byte_model))
    list(unroll.train("x", steps=5, base=byte_model, level="word"))
    assert [call[3]["data"] for call in asked] == [{"level": "byte"}, {"level": "word"}]
    assert asked[0][4]["base"] == byte_model


def test_no_files_are_the_default_corpus_for_as_long_as_it_is_read(asked: list[Call], tmp_path: Path) -> None:
    list(unroll.train(out=tmp_path / "run", steps=1))
    ((file,), *_) = asked[0]
    assert file.name.startswith("python-3.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "folder"),
    [
        (None, "python-stdlib"),
        ("a/b.c.txt", "b.c"),
        ("book.v1.txt", "book.v1"),
        ("book.v2.TXT.gz", "book.v2"),
        ("en-train.conllu", "en-train"),
        ("book", "book"),
        (["x.txt", "y.txt"], "x"),
        ("data/words/", "words"),
        (".hidden", "hidden"),
        ("...", "text"),
    ],
)
def test_the_output_folder_is_named_after_the_text(files: Files | None, folder: str) -> None:
    assert output_folder(files) == Path("runs") / folder


def test_train_yields_progress_and_reports_and_resume_goes_on(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(text(170))
    settings = {"hidden_size": 8, "embedding_size": 4, **TRAINING, "steps": STEPS}
    reports = unroll.train(tmp_path / "book.txt", out=tmp_path / "run", settings=settings, device="cpu")
    events: list[Progress | Report] = []
    for report in reports:
        events.append(report)
        if isinstance(report, Report) and report.step >= 5:
            break
    reports.close()
    assert isinstance(events[0], Progress)
    half = unroll.info(tmp_path / "run")
    assert half["finished"] is False
    assert 5 <= half["steps"] < STEPS
    rest = list(unroll.resume(tmp_path / "run", device="cpu"))
    assert rest[-1].kind == "end"
    assert unroll.info(tmp_path / "run")["finished"] is True
    assert list(unroll.resume(tmp_path / "run")) == []


def test_sample_takes_a_folder_or_a_loaded_model(model: Path) -> None:
    opened = unroll.load(model)
    first = list(unroll.sample(model, "the", 20, seed=3))
    with_torch = list(unroll.sample(opened, "the", 20, seed=3))
    assert [symbol.id for symbol in with_torch] == [symbol.id for symbol in first]
    assert [symbol.nats for symbol in with_torch] == pytest.approx([symbol.nats for symbol in first], abs=1e-5)
    assert list(unroll.sample(opened, "the", 20, seed=3, stream=1)) != first
    assert len(first) == 20
    with pytest.raises(unroll.UserError, match="never seen"):
        unroll.sample(opened, "€")
    with pytest.raises(unroll.UserError, match="length is 0"):
        unroll.sample(opened, length=0)


def test_the_defaults_of_sample_are_those_of_the_samples_on_the_way(model: Path) -> None:
    *_, last = unroll.evolution(model)
    assert last["temperature"] == 0.8
    assert unroll.info(model)["best_step"] == STEPS  # so the last sample is of the weights that were kept
    symbols = unroll.sample(model, last["prompt"], TRAINING["sample_length"], seed=last["seed"])
    assert "".join(symbol.text for symbol in symbols) == last["text"]


def test_evolution_is_samples_jsonl(model: Path, tmp_path: Path) -> None:
    lines = (model / "samples.jsonl").read_text().splitlines()
    assert unroll.evolution(model) == [json.loads(line) for line in lines]
    with pytest.raises(unroll.UserError, match="no model directory"):
        unroll.evolution(tmp_path / "nowhere")


def test_prepare_makes_what_train_takes(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(text(170))
    progress = list(unroll.prepare(tmp_path / "book.txt", tmp_path / "data", level="word", split="80/20",
                                   settings={"min_count": 2, "data.documents": True}))  # fmt: skip
    assert progress[-1].done == progress[-1].total
    config = load_corpus(tmp_path / "data").info.config
    assert config == DataConfig(level="word", split="80/20", min_count=2, words="unicode", documents=True)
    with pytest.raises(unroll.UserError, match="unknown key 'hidden_size'"):
        unroll.prepare("x", tmp_path / "y", settings=["hidden_size=3"])


def test_info_says_what_is_known(model: Path, corpus: Path) -> None:
    info = unroll.info(model)
    result = json.loads((model / "model.json").read_text())["result"]
    assert info["valid_nats_per_token"] == result["valid_nats_per_token"]
    assert info["valid_bits_per_char"] == pytest.approx(result["valid_nats_per_token"] / math.log(2))
    assert info["valid_perplexity"] == pytest.approx(math.exp(result["valid_nats_per_token"]))
    assert (info["steps"], info["planned_steps"]) == (STEPS, STEPS)
    assert info["tokens_seen"] == STEPS * TRAINING["batch_size"] * TRAINING["seq_len"]
    assert info["recipe"]["training"]["seq_len"] == read_recipe(model / "recipe.toml").training.seq_len
    parts = load_corpus(corpus).info.parts
    assert info["parts"]["valid"]["tokens"] == parts["valid"].tokens
    assert json.loads(json.dumps(info, allow_nan=False)) == info


@pytest.mark.parametrize("level", ["char", "byte", "bpe", "word"])
@pytest.mark.parametrize("whole", [True, False])
def test_bits_are_of_the_symbols_that_were_read(tmp_path: Path, level: Any, whole: bool) -> None:
    """Over a part of the validation part only what is one unit by nature has bits per unit."""
    corpus = make_corpus(tmp_path, [text(170).replace("cat", "kätzchen")], DataConfig(level=level, split="90/10"))
    tokens = load_corpus(corpus).info.parts["valid"].tokens
    trained(corpus, tmp_path / "model", overrides(training={"final_tokens": tokens if whole else 100}), steps=2)
    info = unroll.info(tmp_path / "model")
    valid, bits = info["parts"]["valid"], info["valid_nats_per_token"] / math.log(2)
    assert valid["unknown"] == 0
    ratios = {unit: valid["tokens"] / valid[unit] if whole else None for unit in ("chars", "bytes")}
    natural: dict[str, dict[str, float | None]] = {
        "char": {"chars": 1.0},
        "byte": {"bytes": 1.0},
    }
    ratios |= natural.get(level, {})
    for unit, name in (("chars", "valid_bits_per_char"), ("bytes", "valid_bits_per_byte")):
        assert info[name] == (ratios[unit] and pytest.approx(bits * ratios[unit])), name
    assert any("only the whole part was counted" in note for note in info["notes"]) == (None in ratios.values())


def test_unknown_symbols_have_no_bits_per_byte(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, [text(170)[:-1] + "€"], DataConfig(split="90/10"))
    trained(corpus, tmp_path / "model", overrides(), steps=2)
    info = unroll.info(tmp_path / "model")
    assert info["valid_bits_per_byte"] is None
    assert info["valid_bits_per_char"] is not None
    assert any("bits per byte do not apply" in note for note in info["notes"])


def test_another_validation_text_has_no_split(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model")
    recipe = tmp_path / "model" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("[about]", '[about]\nvalid_file = "other.txt"'))
    info = unroll.info(tmp_path / "model")
    assert (info["split"], info["valid_file"], info["test_file"]) == (None, "other.txt", None)
    assert unroll.info(model)["split"] is not None


def test_settings_keep_the_text_of_strings(asked: list[Call]) -> None:
    list(unroll.train("x", steps=5, settings=["sample_prompt=42", "split=90/10", "arch= gru", "dropout = 0"]))
    list(unroll.train("x", steps=5, settings=["sample_prompt=It was ", "steps=7"]))
    list(unroll.train("x", steps=5, settings=['sample_prompt="a\\n"']))
    list(unroll.train("x", steps=5, settings={"sample_prompt": 'true\n€\x7f"', "hidden_size": 8}))
    assert [call[3]["training"]["sample_prompt"] for call in asked] == ["42", "It was ", "a\n", 'true\n€\x7f"']
    assert (asked[0][3]["model"], asked[0][3]["data"]) == ({"arch": "gru", "dropout": 0.0}, {"split": "90/10"})
    with pytest.raises(unroll.UserError) as refusal:
        unroll.train("x", settings=["hidden_size=big"])
    assert refusal.value.allowed and refusal.value.fix
    with pytest.raises(unroll.UserError, match="hidden_size"):
        unroll.train("x", settings=["hidden_size=3\nx=1"])
    with pytest.raises(unroll.UserError) as refusal:
        unroll.train("x", settings=["model.arch=lstn"])
    assert "'lstm'" in refusal.value.fix


def test_what_killed_processes_left_is_removed(asked: list[Call], tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for name in (f".run.{process.pid}.text", f".run.{os.getppid()}.text", f".other.{process.pid}.text", ".run.x.text"):
        (tmp_path / name).mkdir()
    list(unroll.train(out=tmp_path / "run", steps=1))
    (tmp_path / f".data.{process.pid}.tmp").mkdir()
    (tmp_path / "book.txt").write_text(text(50))
    list(unroll.prepare(tmp_path / "book.txt", tmp_path / "data"))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f".run.{os.getppid()}.text", f".other.{process.pid}.text", ".run.x.text", "book.txt", "data"}


def test_public_corpora_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "tinyshakespeare" in [source.name for source in unroll.sources()]
    with pytest.raises(unroll.UserError, match="no public corpus 'tinyshakespear'"):
        unroll.fetch("tinyshakespear", tmp_path)
    (tmp_path / "tinyshakespeare.txt").write_text("it is there")
    reports = unroll.fetch("tinyshakespeare", tmp_path)
    with pytest.raises(StopIteration) as end:
        next(reports)
    assert end.value.value == [tmp_path / "tinyshakespeare.txt"]


def test_what_is_gone_is_none_with_a_note(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model", ignore=shutil.ignore_patterns("resume", "*.jsonl"))
    info = unroll.info(tmp_path / "model")
    assert (info["steps"], info["tokens_seen"]) == (STEPS, unroll.info(model)["tokens_seen"])
    assert (info["trained_on"], info["parts"], info["train_seconds"]) == (None, None, None)
    assert (
        info["notes"][-1]
        == "the training text is not beside the model: what it was trained on, and its bytes, are not known"
    )
    os.remove(tmp_path / "model" / "recipe.toml")
    assert unroll.info(tmp_path / "model")["recipe"] is None


def test_a_run_at_its_first_step_is_described(corpus: Path, tmp_path: Path) -> None:
    reports = begin_training(corpus, tmp_path / "model", overrides())
    next(reports)
    info = unroll.info(tmp_path / "model")
    reports.close()
    assert (info["steps"], info["finished"], info["valid_nats_per_token"]) == (0, False, None)
    assert info["notes"] == [f"not finished: step 0 of {STEPS}; the exact validation figure comes at the end"]


def imported_names(source: str) -> dict[str, str]:
    """Return the names that type checkers are shown, each imported as itself, and where from."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    pairs = [(alias, str(node.module)) for node in nodes for alias in node.names]
    return {alias.name: module for alias, module in pairs if alias.asname == alias.name and module in HOMES.values()}


def test_the_public_names_stand_in_one_table_and_others_are_not_found() -> None:
    source = Path(unroll.__file__).read_text()
    assert imported_names(source) == HOMES
    assert imported_names(source.replace("import sample as sample", "import generate as generate")) != HOMES
    assert list(HOMES) == sorted(unroll.__all__)
    assert set(HOMES) <= set(dir(unroll))
    for name, home in HOMES.items():
        assert getattr(unroll, name).__module__ == home
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        unroll.trian  # type: ignore[attr-defined]  # noqa: B018

"""What stands in place of the right word is answered with the nearest one, and what is advised works."""

import json
import math
import os
import re
import shutil
from pathlib import Path

import pytest

from cli.command import QUICK
from cli.conftest import Here, Refused, Trained
from unroll.artifact.directory import locked
from unroll.training.memory import Memory


@pytest.mark.parametrize(
    ("command", "right"),
    [
        ("sampel runs/a", "`unroll sample`"),
        ("train a.txt --hidden_size 64", "`--set hidden_size=...`"),
        ("train a.txt --hiden-size=64", "`--set hidden_size=...`"),
        ("train a.txt --minuts 3", "`--minutes`"),
        ("eval runs/a a.txt --protocoll lines", "`--protocol`"),
        ("data fetsh a", "`unroll data fetch`"),
        ("data fetch wiki", "'wikitext-2'"),
        ("data fetch tinyshakespear", "'tinyshakespeare'"),
        ("train a.txt --set hiden_size=64", "'hidden_size'"),
        ("train a.txt --set arch=lsmt", "'lstm'"),
        ("longrange --task pronoun", "'pronouns'"),
        ("data prepare a.txt --levl char", "`--level`"),
    ],
)
def test_the_nearest_word_is_named(refused: Refused, command: str, right: str) -> None:
    assert refused(*command.split()).endswith(f"\n  fix: did you mean {right}?\n")


@pytest.mark.parametrize(
    ("command", "fix"),
    [
        ("qqqqqq", "`unroll --help` shows what there is"),
        ("train a.txt --qqqqqq", "`unroll train --help` shows what there is"),
        ("score runs/a --hidden_size 64", "`unroll score --help` shows what there is"),
        ("data fetch qqqqqq", "choose one of them: `unroll data list` describes them"),
        ("train a.txt --set qqqqqq=1", "remove it"),
    ],
)
def test_where_none_is_near_none_is_named(refused: Refused, command: str, fix: str) -> None:
    assert refused(*command.split()).endswith(f"\n  fix: {fix}\n")


def test_a_model_in_place_of_a_text(here: Here, refused: Refused, trained: Trained, book: Path, tmp_path: Path) -> None:
    run = ("--steps", "3", *QUICK, "--out", tmp_path / "run")
    message = refused("train", trained.path, *run)
    assert f"{trained.path} is a model, not a text" in message
    assert f"{trained.path} is a model" in refused("train", book, *run, "--valid", trained.path)
    resumed, tuned = re.findall(r"--(?:resume|from) [^,\n]+", message)
    assert here("train", *resumed.split()).code == 0
    assert here("train", *tuned.replace("FILE", str(book)).split(), "--steps", "3", *run[-2:]).code == 0


def test_the_name_of_a_file_in_place_of_a_text(here: Here, trained: Trained, book: Path) -> None:
    result = here("score", trained.path, book)
    (advised,) = re.findall(
        r"note: .* is a file, and only its name was scored: to score what it holds, (--file .*)", result.err
    )
    result = here("score", trained.path, *advised.split())
    assert "20,000 symbols" in result.err and "is a file" not in result.err


def test_a_folder_of_models_in_place_of_a_model(here: Here, refused: Refused, trained: Trained) -> None:
    (advised,) = re.findall(r"fix: name one in it, as (.*)", refused("info", trained.path.parent))
    assert here("info", advised).code == 0


def test_a_table_of_which_no_column_is_named(here: Here, refused: Refused, trained: Trained, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("id,Text\n1,the cat\n")
    assert "--text COL reads one column of it" in here("eval", trained.path, table).err
    (advised,) = re.findall(r"fix: (--text .*)", refused("eval", trained.path, table, "--text", "text"))
    result = here("eval", trained.path, table, *advised.split())
    assert result.code == 0 and "COL" not in result.err


def test_a_property_and_a_budget_that_are_mistyped(refused: Refused, trained: Trained) -> None:
    assert "did you mean 'line'?" in refused("cells", trained.path, "--file", trained.text, "--property", "lines")
    assert "fix: write --more-steps instead" in refused("train", "--resume", trained.path, "--steps", "5")


def test_a_pipe_that_is_not_read(here: Here, trained: Trained) -> None:
    kept, (end, other) = os.dup(0), os.pipe()
    try:
        os.dup2(end, 0)
        said = here("train", "--out", trained.path).err
    finally:
        os.dup2(kept, 0)
        for descriptor in (kept, end, other):
            os.close(descriptor)
    notice = "Standard input is not read; to train on it, name it as the FILE -."
    assert notice in said and notice not in here("train", "--out", trained.path).err


def test_a_text_beside_resume(refused: Refused, trained: Trained, book: Path) -> None:
    assert "unroll: FILE cannot be combined with --resume" in refused("train", book, "--resume", trained.path)


def test_a_model_that_cannot_be_written_to_is_measured_as_a_copy(
    here: Here, refused: Refused, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("unroll.artifact.quantize.os.access", lambda path, mode: path != trained.path)
        message = refused("quantize", trained.path)
        assert f"{trained.path} cannot be written" in message and "fix: measure a copy of the folder" in message
        shutil.copytree(trained.path, tmp_path / "copy")
        assert here("quantize", tmp_path / "copy").code == 0
    assert not (trained.path / "int8.json").exists()


def test_the_marks_of_the_list_of_corpora_are_explained(here: Here) -> None:
    result = here("data", "list")
    marks = {re.split(r"\s{2,}", line)[2] for line in result.out.splitlines()}
    assert marks == {"checked", "unverified"}
    assert all(f"{mark}: " in result.err for mark in marks)


LINE = "It was a bright cold day in April, and the clocks were striking thirteen.\n"


def test_a_text_of_one_line(here: Here, refused: Refused, tmp_path: Path) -> None:
    """Three symbols tell nothing about which weights are best: the advised split does, or a longer text."""
    file, run = tmp_path / "line.txt", ("--steps", "3", *QUICK, "--out", tmp_path / "run")
    file.write_text(LINE)
    message = refused("train", file, *run)
    assert "the validation part has 3 symbols, too few to tell which weights are best" in message
    (split,) = re.findall(r"(--split \S+),", message)
    assert not (tmp_path / "run").exists()
    assert here("train", file, *run, *split.split()).code == 0
    file.write_text("It was a bright cold day.\n")
    message = refused("train", file, *run, "--force")
    assert "has 1 symbol, too few" in message and message.endswith("\n  fix: give a longer text\n")
    (tmp_path / "other.txt").write_text("It was late.\n")
    message = refused("train", file, *run, "--force", "--valid", tmp_path / "other.txt")
    assert message.endswith("fix: give a longer text with --valid\n")


def test_a_test_text_gets_its_figure(here: Here, trained: Trained, book: Path, tmp_path: Path) -> None:
    held = tmp_path / "held.txt"
    held.write_text(LINE.lower() * 3)
    run = ("--steps", "5", *QUICK, "--out", tmp_path / "run", "--json")
    outcome = here("train", book, "--valid", held, "--test", held, *run)
    result = json.loads(outcome.out)
    (bits,) = re.findall(r"^test +([\d.]+) bits/char(?: · .* <unk>)? · of held.txt$", outcome.err, re.M)
    assert float(bits) == round(result["test_nats_per_token"] / math.log(2), 2)
    assert result["test_tokens"] == 3 * len(LINE)
    figures = json.loads(here("eval", tmp_path / "run", held, "--json").out)
    assert math.isclose(figures["nats_per_token"], result["test_nats_per_token"], abs_tol=1e-6)
    assert trained.result["test_nats_per_token"] is None, "a part of the text that nobody asked about stays unread"


def test_what_happens_before_the_first_step_is_said(here: Here, book: Path, tmp_path: Path) -> None:
    fixed = ("--set", "threads=1", "--set", "precision=float32", "--minutes", "0.02")
    result = here("train", book, *QUICK, *fixed, "--out", tmp_path / "run")
    assert result.err.startswith("measuring this machine …\nreading …\n"), result.err


def test_a_large_model_is_announced_before_it_is_made(
    here: Here, refused: Refused, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ("--steps", "2", "--device", "cpu", "--out", tmp_path / "run", "--set", "sample_length=2")
    with monkeypatch.context() as patch:
        patch.setattr("unroll.training.memory.memory_of", lambda device: Memory(10**7, 2 * 10**7))
        message = refused("train", book, *run, "--set", "hidden_size=2000")
        assert "weights takes" in message and "this machine has 0.0 GB" in message and not (tmp_path / "run").exists()
        (setting,) = re.findall(r"fix: make it smaller: (--set hidden_size=\d+)", message)
        patch.setattr("unroll.training.memory.LARGE", 10**6)
        result = here("train", book, *run, *setting.split())
    assert result.code == 0, result.err
    first, *rest = result.err.splitlines()
    assert re.fullmatch(
        r"this model has \d+ million weights: training takes about 0.0 GB of memory, .* a step …", first
    )
    assert f"note: {first.removesuffix(' …')}" in rest, "it stays above the bar"


def test_what_a_killed_process_left_is_removed(here: Here, book: Path, tmp_path: Path) -> None:
    """Of another name too; but not a model that was trained to its end and could not be put in its place."""
    for name in (".lost.partial", ".kept.partial", ".aside.partial"):
        (tmp_path / name / "resume").mkdir(parents=True)
        (tmp_path / name / "resume" / "lock").touch()
    (tmp_path / ".kept.partial" / "model.json").touch()
    (tmp_path / ".aside.replaced").mkdir()
    (tmp_path / ".other.partial").mkdir()
    (tmp_path / ".busy.partial").mkdir()
    with locked(tmp_path / ".busy.partial"):
        assert here("train", book, "--steps", "2", *QUICK, "--out", tmp_path / "run").code == 0
    left = sorted(path.name for path in tmp_path.glob(".*"))
    assert left == [".aside.partial", ".aside.replaced", ".busy.partial", ".kept.partial", ".other.partial"]

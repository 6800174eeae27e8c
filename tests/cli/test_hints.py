"""What stands in place of the right word is answered with the nearest one, and what is advised works."""

import re
import shutil
from pathlib import Path

import pytest

from cli.command import QUICK
from cli.conftest import Here, Refused, Trained


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
    said = refused("train", trained.path, *run)
    assert f"{trained.path} is a model, not a text" in said
    assert f"{trained.path} is a model" in refused("train", book, *run, "--valid", trained.path)
    resumed, tuned = re.findall(r"--(?:resume|from) [^,\n]+", said)
    assert here("train", *resumed.split()).code == 0
    assert here("train", *tuned.replace("FILE", str(book)).split(), "--steps", "3", *run[-2:]).code == 0


def test_the_name_of_a_file_in_place_of_a_text(here: Here, trained: Trained, book: Path) -> None:
    done = here("score", trained.path, book)
    (advised,) = re.findall(
        r"note: .* is a file, and only its name was scored: to score what it holds, (--file .*)", done.err
    )
    done = here("score", trained.path, *advised.split())
    assert "20,000 symbols" in done.err and "is a file" not in done.err


def test_a_text_beside_resume(refused: Refused, trained: Trained, book: Path) -> None:
    assert "unroll: FILE cannot be combined with --resume" in refused("train", book, "--resume", trained.path)


def test_a_model_that_cannot_be_written_to_is_measured_as_a_copy(
    here: Here, refused: Refused, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("unroll.artifact.quantize.os.access", lambda path, mode: path != trained.path)
        said = refused("quantize", trained.path)
        assert f"{trained.path} cannot be written" in said and "fix: measure a copy of the folder" in said
        shutil.copytree(trained.path, tmp_path / "copy")
        assert here("quantize", tmp_path / "copy").code == 0
    assert not (trained.path / "int8.json").exists()


def test_the_marks_of_the_list_of_corpora_are_explained(here: Here) -> None:
    done = here("data", "list")
    marks = {re.split(r"\s{2,}", line)[2] for line in done.out.splitlines()}
    assert marks == {"checked", "unverified"}
    assert all(f"{mark}: " in done.err for mark in marks)

"""`unroll memory` by the real command."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import unroll as library
from cli.command import text, unroll
from cli.conftest import Here, Refused, Trained
from cli.test_start import loaded

FEW = ("--targets", "40", "--limit", "16")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "test.txt"
    path.write_text(text(1000, seed=5), encoding="utf-8")
    return path


def test_a_report_a_picture_and_the_numbers_are_of_one_measurement(
    trained: Trained, file: Path, tmp_path: Path
) -> None:
    out, plot = tmp_path / "memory.html", tmp_path / "memory.svg"
    result = unroll("memory", trained.path, "--file", file, *FEW, "--report", out, "--plot", plot, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert (report["file"], report["report"], report["plot"], report["limit"]) == (str(file), str(out), str(plot), 16)
    (model,) = report["models"]
    assert model["model"] == str(trained.path)
    assert {"context_loss", "span_99", "gradient", "half_life"} <= set(model)
    assert [k for k, _ in model["context_loss"][:-1]] == [1, 2, 4, 8, 16]
    tree = ElementTree.fromstring(out.read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>\n"))
    assert "book (lstm, char)" in " ".join(tree.itertext())
    assert "What is context worth?" in plot.read_text(encoding="utf-8")
    same = library.memory(trained.path, file=file, targets=40, limit=16).figures()
    for repeat, first in zip(same["models"][0]["context_loss"], model["context_loss"], strict=True):
        assert repeat == pytest.approx(first, rel=1e-5)


def test_what_a_person_sees(trained: Trained, here: Here) -> None:
    result = here("memory", trained.path, *FEW, "--context", "unrelated", "--seed", "4")
    assert result.code == 0, result.err
    rows = dict(line.split("  ", 1) for line in result.out.splitlines())
    assert rows["text"].strip() == f"the validation part of {trained.path}: 40 targets, after 1 to 16 symbols"
    message = rows["book (lstm, char)"]
    assert "% of its gain" in message or "gains nothing" in message
    assert "Traceback" not in result.err


def test_numbers_alone_load_no_matplotlib(trained: Trained, file: Path) -> None:
    assert loaded("-m", "unroll", "memory", "--help").isdisjoint(("matplotlib", "torch", "numpy"))
    ask = ("-m", "unroll", "memory", str(trained.path), "--file", str(file), *FEW, "--json")
    assert "matplotlib" not in loaded(*ask)


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (["--report", "memory.pdf"], "is not a .html"),
        (["--report", "nowhere/memory.html"], "does not exist"),
        (["--plot", "memory.gif"], "is not a .png or .svg"),
        (["--limit", "100000"], "too few for a context of 100,000"),
        (["--limit", "0"], "limit is 0"),
        (["--targets", "0"], "targets is 0"),
        (["--context", "old"], "old"),
        (["--file", "nowhere.txt"], "nowhere.txt"),
        (["nowhere"], "no model directory"),
    ],
)
def test_refusals(arguments: list[str], subject: str, trained: Trained, refused: Refused) -> None:
    assert subject in refused("memory", trained.path, *arguments)


def test_many_models_are_refused_in_one_picture_only(trained: Trained, refused: Refused, tmp_path: Path) -> None:
    message = refused("memory", *[trained.path] * 8, "--plot", tmp_path / "m.png")
    assert "8 models in one picture" in message

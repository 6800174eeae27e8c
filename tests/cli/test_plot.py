"""`unroll plot`, driven for real."""

import json
import math
from pathlib import Path

import pytest

import unroll as library
from cli.command import text, unroll
from cli.conftest import Here, Refused, Trained
from cli.test_start import loaded


@pytest.fixture
def short(tmp_path: Path) -> Path:
    file = tmp_path / "short.txt"
    file.write_text("the cat sat on\na $mat.\n")
    return file


@pytest.fixture
def other(tmp_path: Path, trained: Trained) -> Path:
    """An n-gram of the same text."""
    path = tmp_path / "counted"
    assert unroll("ngram", trained.text, "--order", "3", "--level", "char", "--out", path).code == 0
    return path


@pytest.fixture
def test_text(tmp_path: Path) -> Path:
    file = tmp_path / "test.txt"
    file.write_text(text(4000, seed=5))
    return file


@pytest.mark.parametrize("kind", ["reliability", "position", "surprisal"])
def test_pictures_are_drawn_the_same_by_every_process(
    kind: str, trained: Trained, other: Path, short: Path, test_text: Path, tmp_path: Path
) -> None:
    file = short if kind == "surprisal" else test_text
    for name in ("a.png", "b.png", "a.svg", "b.svg"):
        result = unroll(
            "plot", kind, trained.path, other, file, "--out", name, cwd=tmp_path, PYTHONHASHSEED=str(ord(name[0]))
        )
        assert result.code == 0, result.err
        assert [line.split()[0] for line in result.out.splitlines()] == ["book", "counted", "picture"]
        assert result.out.endswith(f"{name}\n")
    for ending, begin in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        first, repeat = ((tmp_path / f"{name}{ending}").read_bytes() for name in "ab")
        assert first == repeat and first.startswith(begin)


def test_json_holds_the_numbers_behind_the_picture(
    trained: Trained, other: Path, here: Here, test_text: Path, short: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.svg"
    result = here("plot", "position", trained.path, other, test_text, "--length", "256", "--out", out, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert (report["kind"], report["file"], report["out"], report["notes"]) == (
        "position",
        str(test_text),
        str(out),
        [],
    )
    assert out.exists()
    for path, model in zip((trained.path, other), report["models"], strict=True):
        crops = json.loads(here("eval", path, test_text, "--protocol", "crops", "--json").out)
        assert math.isclose(model["nats_per_token"], crops["nats_per_token"], rel_tol=1e-9)
        assert model["model"] == str(path)
        assert len(model["nats"]) == len(model["low"]) == 256
    assert [model["context"] for model in report["models"]] == [None, 2]
    report = json.loads(here("plot", "reliability", trained.path, test_text, "--json").out)
    (model,) = report["models"]
    assert report["out"] is None
    assert (model["positions"], sum(model["predictions"])) == (4000, 4000 * model["vocab_size"])
    assert sum(model["hits"]) == 4000
    report = json.loads(here("plot", "surprisal", trained.path, short, "--unit", "word", "--json").out)
    (model,) = report["models"]
    units = json.loads(here("score", trained.path, "--file", short, "--unit", "word", "--json").out)["units"]
    assert [unit["nats"] for unit in model["units"]] == [unit["nats"] for unit in units]


def test_options_reach_the_picture(trained: Trained, here: Here, test_text: Path, short: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.svg"
    assert here("plot", "position", trained.path, test_text, "--length", "64", "--smooth", "--out", out).code == 0
    assert "eight to the octave" in out.read_text() and "Crops of 64 symbols" in out.read_text()
    plain = here("plot", "surprisal", trained.path, short, "--unit", "token", "--out", out)
    assert "bits, " in plain.out and "note: " in plain.err and "symbols that count as <unk>: 1" in plain.err
    assert "Bits of each symbol of short.txt" in out.read_text()
    assert library.plot("surprisal", trained.path, short, unit="token").notes[0] in plain.err


def test_numbers_alone_load_no_matplotlib(other: Path, short: Path, tmp_path: Path) -> None:
    """Nor torch, where the model is an n-gram."""
    ask = ("-m", "unroll", "plot", "surprisal", str(other), str(short), "--json")
    assert loaded(*ask).isdisjoint(("matplotlib", "torch"))
    assert "matplotlib" in loaded(*ask, "--out", str(tmp_path / "a.png"))
    assert loaded("-m", "unroll", "plot", "--help").isdisjoint(("matplotlib", "torch", "numpy"))


def test_refusals(trained: Trained, refused: Refused, test_text: Path, short: Path, tmp_path: Path) -> None:
    def said(*arguments: str | Path) -> str:
        """Return what is said of a picture, which has three parts."""
        report = refused("plot", *arguments)
        assert "allowed: " in report and "fix: " in report
        return report

    model, out = trained.path, ("--out", tmp_path / "a.png")
    assert "nowhere to draw" in said("position", model, test_text)
    assert f"name it {tmp_path / 'a.png'}" in said("position", model, test_text, "--out", tmp_path / "a.pdf")
    assert "does not exist" in said("position", model, test_text, "--out", tmp_path / "none" / "a.png")
    assert "one crop of 256 symbols" in said("position", model, short, *out)
    assert "length is 0" in said("position", model, short, "--length", "0", *out)
    assert "more than 300 words" in said("surprisal", model, test_text, *out)
    assert "more than 300 symbols" in said("surprisal", model, test_text, "--unit", "token", "--json")
    assert "8 models in one picture" in said("position", *[model] * 8, test_text, *out)
    assert "--length applies to position only" in said("surprisal", model, short, "--length", "9", *out)
    assert "--unit applies to surprisal only" in said("reliability", model, short, "--unit", "word", *out)
    assert "--smooth applies to position only" in said("reliability", model, short, "--smooth", *out)
    assert "no model directory" in refused("plot", "position", tmp_path / "none", test_text, *out)
    assert "cannot read" in refused("plot", "position", model, tmp_path / "none.txt", *out)
    assert "is not one of" in refused("plot", "loss", model, test_text, *out)
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    for kind in ("reliability", "position", "surprisal"):
        assert "is empty" in refused("plot", kind, model, empty, *out)
    assert not (tmp_path / "a.png").exists()

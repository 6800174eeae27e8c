"""`unroll gradients` by the real command."""

import json
from pathlib import Path

import pytest

from cli.command import text, unroll
from cli.conftest import Here, Refused, Trained
from tasks.classify.toy import written


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gradients") / "short.txt"
    file.write_text(text(120), encoding="utf-8")
    return file


def test_as_json(trained: Trained, here: Here) -> None:
    result = here("gradients", trained.path, "--lags", "12", "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert (report["file"], report["lags"], report["plot"]) == (None, 12, None)
    (model,) = report["models"]
    assert model["model"] == str(trained.path) and model["arch"] == "lstm" and model["positions"] == 128
    assert [(item["layer"], item["signal"]) for item in model["signals"]] == [(0, "h"), (0, "c"), (None, "x")]
    for item in model["signals"]:
        assert [lag for lag, _ in item["gradient"]] == list(range(13))
        assert len(item["low"]) == len(item["high"]) == 13 and all(norm > 0 for _, norm in item["gradient"])
    assert model["half_life"] == [model["signals"][1]["half_life"]]
    assert 0 < model["spectral_radius"]["least"] <= model["spectral_radius"]["mean"] <= model["singular_value"]["mean"]
    assert model["training"]["grad_clip"] == 1.0 and model["training"]["curve"] is None
    assert len(model["advice"]) >= 1


def test_as_a_lecturer_shows_it(trained: Trained, short: Path, tmp_path: Path) -> None:
    picture = tmp_path / "g.svg"
    result = unroll(
        "gradients", trained.path, "--file", short, "--lags", "30", "--fresh", "--curve", "--plot", picture
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.err == "", "quiet where that is no terminal"
    lines = result.out.splitlines()
    assert lines[0].startswith(f"── {trained.path} ─") and any(f"{trained.path}, untrained" in line for line in lines)
    assert lines[1].split() == ["lag", "1", "3", "10", "30", "half-life"]
    assert [line.split()[0] for line in lines[2:5]] == ["layer0/h", "layer0/c", "x"]
    assert sum(line.startswith("advice") for line in lines) >= 2
    assert any(line.startswith("one step") and "spectral radius" in line for line in lines)
    assert any(line.startswith("training") and "clipped at 1" in line for line in lines)
    curve = [line.split() for line in lines[lines.index("step  norm") + 1 :]][:4]
    assert [step for step, _ in curve] == ["10", "20", "30", "40"]
    written = picture.read_text(encoding="utf-8")
    assert "untrained" in written and "training step" in written and "short.txt" in written


def test_several_models_and_what_a_window_says(trained: Trained, short: Path, tmp_path: Path, here: Here) -> None:
    window = tmp_path / "window"
    quick = ("--steps", "3", "--set", "hidden_size=16", "--set", "sample_length=5", "--device", "cpu")
    assert here("train", short, "--arch", "window", "--split", "80/20", "--out", window, *quick).code == 0
    result = here("gradients", trained.path, window, "--file", short, "--lags", "20", "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    last = report["models"][1]
    assert last["signals"][0]["gradient"][8:] == [[lag, 0.0] for lag in range(8, 21)]
    assert last["spectral_radius"] is None and "no recurrence" in last["notes"][0]
    assert last["advice"][0].startswith("sees 8 symbols")
    assert "different vocabularies" in report["notes"][0]
    result = here("gradients", window, "--file", short, "--lags", "20")
    assert "note: " in result.err and "half-life" not in result.out


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (["--lags", "0"], "the largest lag is 0"),
        (["--lags", "-3"], "the largest lag is -3"),
        (["--lags", "120"], "has 120 symbols, too few to look 120 steps back"),
        (["--file", "nowhere.txt"], "nowhere.txt"),
        (["--plot", "x.gif"], "is not a .png or .svg"),
        (["--plot", "not/there.png"], "does not exist"),
        (["--lags", "many"], "many"),
    ],
)
def test_refusals(arguments: list[str], subject: str, trained: Trained, short: Path, refused: Refused) -> None:
    file = [] if "--file" in arguments else ["--file", short]
    message = refused("gradients", trained.path, *file, *arguments)
    assert subject in message


def test_other_refusals(trained: Trained, short: Path, refused: Refused, here: Here, tmp_path: Path) -> None:
    assert "no model directory" in refused("gradients", tmp_path / "nowhere")
    assert here("ngram", short, "--order", "2", "--out", tmp_path / "n").code == 0
    assert "is an n-gram" in refused("gradients", tmp_path / "n", "--file", short, "--lags", "3")
    assert "\n  fix: " in refused("gradients", trained.path, "--lags", "5000")
    assert "Missing argument" in refused("gradients")


def test_help_has_examples(here: Here) -> None:
    result = here("gradients", "--help")
    assert result.code == 0 and "unroll gradients runs/book --fresh" in result.out and "1 % of lag 1" in result.out


def test_of_a_classifier(classifier: Path, here: Here, tmp_path: Path) -> None:
    table, drawn = classifier.with_name("toy.tsv"), tmp_path / "g.svg"
    result = here("gradients", classifier, "--file", table, "--lags", "4", "--curve", "--plot", drawn, "--fresh")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    names = [f"{way}0/{signal}" for way in ("forwards", "backwards") for signal in "hcy"]
    assert [line.split()[0] for line in lines[2:8]] == names and lines[1].split() == ["lag", "1", "3", "4", "half-life"]
    assert sum(line.startswith("advice") for line in lines) == 4 and "step  norm" in lines
    assert "more than 4 units" in result.err and "delimiters" not in result.err
    assert "by the outputs of backwards0" in drawn.read_text(encoding="utf-8")
    (report,) = json.loads(here("gradients", classifier, "--json").out)["models"]
    assert [(item["name"], item["layer"], item["signal"]) for item in report["signals"]] == [
        (name, 0, name[-1]) for name in names
    ]
    assert report["texts"] > 0 and report["training"]["grad_clip"] is not None and len(report["advice"]) == 2
    assert report["signals"][0]["gradient"][0] == [0, None] and report["signals"][2]["gradient"][0][1] > 0


def test_refusals_of_classifiers(classifier: Path, trained: Trained, refused: Refused, tmp_path: Path) -> None:
    table = classifier.with_name("toy.tsv")
    other = written(tmp_path / "other.tsv", [("meow meow meow", "cat"), ("moo moo moo", "cow")])
    short = written(tmp_path / "short.tsv", [("meow", "cat"), ("woof", "dog")])
    for arguments, subject in (
        ((classifier, "--file", table, "--text", "text"), "--text names the column"),
        ((classifier, "--file", table, "--lags", "30"), "has more than 30 units"),
        ((classifier, "--lags", "0"), "the largest lag is 0"),
        ((classifier, trained.path), "language models and classifiers have no gradients of the same loss"),
        ((classifier, "--file", other), "line 3 of"),
        ((classifier, "--file", short), "allowed: texts of 2 units or more\n  fix: give longer texts\n"),
        ((classifier, "--file", trained.text), "fix: call the right one label, as in training"),
    ):
        assert subject in refused("gradients", *arguments), arguments

"""`unroll trace` by the real command."""

import json
from pathlib import Path

import numpy as np
import pytest

from cli.command import unroll
from cli.conftest import Here, Refused, Trained
from insight.tagger.test_trace import opened_of as tagger_of


def test_a_text_is_traced_to_a_file(trained: Trained, here: Here, tmp_path: Path) -> None:
    result = here("trace", trained.path, "the cat", "--out", tmp_path / "t.npz", "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    with np.load(tmp_path / "t.npz") as arrays:
        assert set(report["arrays"]) | {"ids"} == set(arrays)
        assert arrays["layer0/c"].shape[0] == report["tokens"] == 7
        assert arrays["nats"].sum() == pytest.approx(report["nats"], rel=1e-5)
    score = json.loads(here("score", trained.path, "the cat", "--json").out)["texts"][0]
    assert report["nats"] == pytest.approx(score["nats"], rel=1e-5)


def test_a_text_is_coloured_by_a_unit(trained: Trained, tmp_path: Path) -> None:
    file = tmp_path / "page.txt"
    file.write_text("the <b> cat\n", encoding="utf-8")
    page = tmp_path / "cell.html"
    result = unroll("trace", trained.path, "--file", file, "--unit", "0:1", "--unit", "0:2", "--html", page)
    assert result.code == 0, result.err
    rows = [line for line in result.out.splitlines() if not line.startswith("──")]
    assert len(rows) == 2 * 12 and rows[0].endswith("'t'")
    written = page.read_text(encoding="utf-8")
    assert written.count("<pre>") == 2 and "http" not in written and "layer0/c, unit 2" in written
    assert f'title="{float(rows[0].split()[0]):.4f}"' in written


def test_of_a_long_file_the_beginning_is_coloured(
    trained: Trained, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unroll.cli.trace.MOST_COLOURED", 5)
    file, out = tmp_path / "long.txt", tmp_path / "t.npz"
    file.write_text("the cat sat\n", encoding="utf-8")
    result = here("trace", trained.path, "--file", file, "--unit", "0:1", "--out", out)
    assert result.code == 0 and "note: only the first 5 of 12 symbols are coloured" in result.err
    assert [line.split("  ")[-1] for line in result.out.splitlines()[1:]] == ["'t'", "'h'", "'e'", "' '", "'c'"]
    with np.load(out) as arrays:
        assert len(arrays["layer0/c"]) == 12


def test_a_heat_map_is_drawn_and_is_the_same_each_time(trained: Trained, here: Here, tmp_path: Path) -> None:
    for name in ("one.png", "two.png", "one.svg"):
        result = here("trace", trained.path, "the cat sat\n", "--signal", "f", "--plot", tmp_path / name)
        assert result.code == 0, result.err
    first, second = (tmp_path / "one.png").read_bytes(), (tmp_path / "two.png").read_bytes()
    assert first == second and first.startswith(b"\x89PNG")
    drawn = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert "layer0/f" in drawn and "↵" in drawn and "unit" in drawn


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        ([], "nothing to trace"),
        (["a", "--file", "x"], "both a text and a file"),
        (["a", "--unit", "0:100000"], "is not a unit"),
        (["a", "--unit", "zero"], "is not a unit"),
        (["a", "--html", "x.html"], "--html needs --unit"),
        (["a", "--layer", "7"], "no layer 7"),
        (["a", "--plot", "x.gif"], "is not a .png or .svg"),
        (["a" * 401, "--plot", "x.png"], "401 symbols"),
        (["a", "--signal", "r"], "no signal r"),
    ],
)
def test_refusals(arguments: list[str], subject: str, trained: Trained, refused: Refused) -> None:
    assert subject in refused("trace", trained.path, *arguments)


def test_a_classifier_is_traced_in_both_directions(classifier: Path, here: Here, tmp_path: Path) -> None:
    out, text = tmp_path / "t.npz", "the old animal says woof"
    result = here("trace", classifier, text, "--out", out, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    with np.load(out) as arrays:
        assert set(report["arrays"]) | {"ids"} == set(arrays)
        assert arrays["backwards0/c"].shape == arrays["forwards0/h"].shape == (5, 8) and report["tokens"] == 5
        assert arrays["logits"].argmax() == 1 and len(arrays["characters/ends"]) == 5
    predicted = json.loads(here("classify", "predict", classifier, text, "--json").out)["predictions"][0]["labels"][0]
    assert report["label"] == predicted["label"] == "dog"
    assert report["probability"] == pytest.approx(predicted["probability"], abs=1e-5)
    assert [layer["name"] for layer in report["layers"]] == ["forwards0", "backwards0"]


def test_a_classifiers_text_is_coloured_and_drawn(classifier: Path, here: Here, tmp_path: Path) -> None:
    file, page, drawn = tmp_path / "t.txt", tmp_path / "cell.html", tmp_path / "map.svg"
    file.write_text("the old animal says woof\n", encoding="utf-8")
    units = ("--unit", "backwards0:1", "--unit", "forwards0:2")
    result = here("trace", classifier, "--file", file, *units, "--signal", "f", "--html", page, "--plot", drawn)
    assert result.code == 0, result.err
    rows = [line for line in result.out.splitlines() if not line.startswith("──")]
    assert len(rows) == 2 * 5 and rows[0].endswith("'the '") and "dog" in result.err
    assert "backwards0/f, unit 1" in page.read_text(encoding="utf-8")
    assert "unit of backwards0/f" in drawn.read_text(encoding="utf-8")
    whole = here("trace", classifier, "the old animal says woof", *units, "--signal", "f")
    assert whole.out == result.out


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (("the", "--unit", "0:1"), "--unit 0:1 is not a unit"),
        (("the", "--unit", "backwards1:1"), "L of forwards0, backwards0"),
        (("the", "--signal", "nats"), "has no signal nats"),
        (("the", "--layer", "1"), "there is no layer 1"),
        (("",), "nothing to trace"),
        (("the " * 401, "--plot", "x.png"), "the text has 401 units"),
    ],
)
def test_refusals_of_classifiers(arguments: tuple[str, ...], subject: str, classifier: Path, refused: Refused) -> None:
    assert subject in refused("trace", classifier, *arguments)


def test_a_sentence_is_traced_through_a_tagger(tmp_path: Path, here: Here, refused: Refused) -> None:
    path = tagger_of(tmp_path / "model").path
    sentence = " the woof  says meow the gnu says\n"
    drawn, page = tmp_path / "a.svg", tmp_path / "a.html"
    result = here(
        "trace", path, sentence, "--unit", "backwards0:1", "--signal", "f", "--plot", drawn, "--html", page, "--json"
    )
    assert result.code == 0, result.err
    report, told = json.loads(result.out), json.loads(here("tag", "predict", path, sentence, "--json").out)
    assert [tag["tag"] for tag in report["tags"]] == [item["tag"] for item in told["predictions"][0]["tokens"]]
    assert (
        report["symbols"] == [" the ", "woof  ", "says ", "meow ", "the ", "gnu ", "says\n"]
        and len(report["units"][0]["values"]) == 7
    )
    assert "L of forwards0, backwards0" in refused("trace", path, sentence, "--unit", "0:1")
    assert "has no signal pooled" in refused("trace", path, sentence, "--signal", "pooled")

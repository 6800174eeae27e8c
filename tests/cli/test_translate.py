"""`unroll translate predict` and `eval`: what they print, and what they refuse."""

import io
import json
import random
import sys
from pathlib import Path
from shutil import copytree

import pytest

from cli.conftest import Here, Refused
from tasks.translate.toy import sources, translated, written
from toys import Toys


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return written(tmp_path_factory.mktemp("pairs"), sources(random.Random(0), 240))


@pytest.fixture(scope="module")
def model(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copytree(toys.translator, tmp_path_factory.mktemp("translator") / "model")


def test_a_line_for_each_text(here: Here, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = "".join(f"{translated(text)}\n" if text else "\n" for text in ("one cat", "", "red dog"))
    assert here("translate", "predict", model, "one cat", "", "red dog").out == expected
    (tmp_path / "texts.csv").write_bytes(b"\xef\xbb\xbfone cat\r\n\n red dog \n")  # lines, whatever it is called
    assert here("translate", "predict", model, "--file", tmp_path / "texts.csv").out == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one cat\n\nred dog")))
    assert here("translate", "predict", model, "--file", "-", "--beam", "1", "--precision", "int8").out == expected


def test_several_translations_stand_behind_their_scores(here: Here, model: Path) -> None:
    lines = here("translate", "predict", model, "one cat", "--n-best", "3").out.splitlines()
    scores, texts = zip(*(line.split("\t") for line in lines), strict=True)
    assert len(lines) == 3 and texts[0] == "katze eins" and [*map(float, scores)] == sorted(map(float, scores))[::-1]
    done = json.loads(here("translate", "predict", model, "one cat", "--n-best", "3", "--json").out)
    (row,) = done["predictions"]
    assert row["text"] == "one cat" and [entry["text"] for entry in row["translations"]] == [*texts]
    assert all(set(entry) == {"text", "score", "nats"} for entry in row["translations"])


def test_attention_as_json_and_as_a_picture(here: Here, model: Path, tmp_path: Path) -> None:
    plot = tmp_path / "attention.svg"
    done = here("translate", "predict", model, "one cat", "--json", "--attention", "--plot", plot)
    attention = json.loads(done.out)["predictions"][0]["translations"][0]["attention"]
    assert attention["source"] == ["one ", "cat"] and attention["target"] == ["katze", " eins", "<eos>"]
    assert all(f">{piece}<" in plot.read_text() for piece in ("one", "cat", "katze", "eins"))


def test_a_long_text_is_cut_with_a_remark(here: Here, model: Path) -> None:
    done = here("translate", "predict", model, "one " * 300)
    assert done.code == 0 and "50 units behind the most that is read" in done.err


def test_figures(here: Here, model: Path, pairs: tuple[Path, Path]) -> None:
    figures = json.loads(here("translate", "eval", model, *pairs, "--json").out)
    shown = here("translate", "eval", model, *pairs).out
    assert f"{figures['bleu']:.2f}" in shown and figures["signatures"]["bleu"] in shown
    for group in figures["by_length"]:
        assert "–".join(map(str, dict.fromkeys(group["units"]))) in shown and f"{group['chrf']:.2f}" in shown
    assert "tok:none" in here("translate", "eval", model, *pairs, "--tokenize", "none", "--beam", "1").out


def test_int8_has_its_cost(here: Here, model: Path) -> None:
    shown = here("quantize", model).out
    assert "nats per symbol" in shown and "symbols of held-out targets" in shown
    assert json.loads(here("quantize", model, "--json").out)["model"] == str(model)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "there is nothing to translate"),
        (("one", "--file", "FILE"), "there are both texts and --file"),
        (("one", "--attention"), "--attention without --json"),
        (("one", "two", "--plot", "a.svg"), "--plot with 2 texts"),
        (("--file", "FILE", "--plot", "a.svg"), "--plot with 0 texts"),
        (("one", "--plot", "a.jpg"), "a.jpg is not a .png or .svg"),
        (("one", "--beam", "0"), "beam is 0"),
        (("one", "--n-best", "6"), "n_best is 6, and beam 5"),
    ],
)
def test_what_makes_no_sense_is_refused(
    refused: Refused,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    what: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("one\n")
    message = refused("translate", "predict", model, *arguments)
    assert what in message and "fix: " in message and not (tmp_path / "a.svg").exists()


def test_files_of_different_length_are_refused(refused: Refused, model: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntwo\n")
    (tmp_path / "b").write_text("eins\n")
    message = refused("translate", "eval", model, tmp_path / "a", tmp_path / "b")
    assert "2 lines" in message and " 1\n" in message

"""`unroll attribute` by the real command."""

import json
import re
from pathlib import Path

import pytest

from cli.command import unroll
from cli.conftest import Here, Refused, Trained
from engine.test_translator import model_of as translator_of
from export.test_translator import save as save_translator
from insight.tagger.test_trace import opened_of as tagger_of
from serve.live import make_model
from unroll.data.words import UnicodeWordTokenizer


def test_every_symbol_has_a_score(trained: Trained, here: Here) -> None:
    result = here("attribute", trained.path, "the cat sat", "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["target"] == "t" and report["at"] == 10 and report["method"] == "integrated"
    assert [item["symbol"] for item in report["symbols"]] == list("the cat sat")
    assert report["symbols"][-1]["score"] == 0
    assert report["sum"] == pytest.approx(sum(item["score"] for item in report["symbols"]))
    assert report["sum"] == pytest.approx(report["value"] - report["baseline"], abs=1e-6)
    assert abs(report["residual"]) < 1e-6 and -1 <= report["agreement"] <= 1
    spent = json.loads(here("score", trained.path, "the cat sat", "--json").out)["texts"][0]["per_token"]
    assert report["value"] == pytest.approx(-spent[-1]["nats"], rel=1e-4), "it is what score says of the last symbol"


def test_methods_and_what_is_asked(trained: Trained, here: Here) -> None:
    outs = {}
    for method in ("gradient", "leave-out"):
        result = here(
            "attribute", trained.path, "the ca", "--target", "t", "--against", "s", "--method", method, "--json"
        )
        assert result.code == 0, result.err
        outs[method] = json.loads(result.out)
    scores = [item["score"] for item in outs["leave-out"]["symbols"]]
    assert scores == [item["leave_out"] for item in outs["gradient"]["symbols"]]
    assert outs["leave-out"]["residual"] is None and outs["leave-out"]["agreement"] is None


def test_lines_page_and_picture(trained: Trained, tmp_path: Path) -> None:
    page, drawn = tmp_path / "a.html", tmp_path / "a.svg"
    result = unroll("attribute", trained.path, "the <b> cat", "--target", "\\n", "--html", page, "--plot", drawn)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert len(lines) == 11 and lines[0].endswith("'t'") and len(lines[0].split()) == 3
    assert "residual" in result.err and "Spearman" in result.err and "'<'" in result.err
    written = page.read_text(encoding="utf-8")
    assert (
        written.count("<pre>") == 2
        and "<b>" not in written
        and "&lt;unk&gt;" in written
        and "integrated gradients" in written
    )
    assert "leave-one-out" in drawn.read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [("attribute",), ("trace", "--unit", "0:1")], ids=lambda value: value[0])
def test_words_stand_as_they_were_written(arguments: tuple[str, ...], here: Here, tmp_path: Path) -> None:
    text = "the cat, the (cat) - the well-cat."
    model = make_model(tmp_path / "words", UnicodeWordTokenizer.learn([text]))
    result = here(arguments[0], model, text, *arguments[1:], "--html", tmp_path / "page.html")
    assert result.code == 0, result.err
    (first, *_) = re.findall("<pre>(.*?)</pre>", (tmp_path / "page.html").read_text(encoding="utf-8"), re.S)
    assert re.sub("<.*?>", "", first) == text


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (["a"], "no symbol comes before"),
        (["the", "--target", "the"], "'the' (target) is not a symbol"),
        (["the", "--against", "€"], "'€' (against) is not a symbol"),
        (["the", "--at", "3"], "a prediction after 3 symbols"),
        (["the", "--steps", "0"], "0 steps"),
        (["the", "--plot", "x.gif"], "is not a .png or .svg"),
    ],
)
def test_refusals(arguments: list[str], subject: str, trained: Trained, refused: Refused) -> None:
    assert subject in refused("attribute", trained.path, *arguments)


def test_words_that_decided_a_label(classifier: Path, here: Here, tmp_path: Path) -> None:
    text, drawn, page = "The old animal says woof again", tmp_path / "a.svg", tmp_path / "a.html"
    result = here("attribute", classifier, text, "--plot", drawn, "--html", page)
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines()]
    assert [word for _, word in lines] == ["'The'", "'old'", "'animal'", "'says'", "'woof'", "'again'"]
    assert max(lines, key=lambda line: float(line[0]))[1] == "'woof'"
    assert "log p(dog) =" in result.err and "all units unknown" in result.err
    assert "woof" in drawn.read_text(encoding="utf-8") and "say dog?" in drawn.read_text(encoding="utf-8")
    (block,) = re.findall("<pre>(.*?)</pre>", page.read_text(encoding="utf-8"), re.S)
    assert re.sub("<.*?>", "", block) == text
    report = json.loads(here("attribute", classifier, text, "--label", "cat", "--against", "dog",
                             "--method", "integrated", "--json").out)  # fmt: skip
    assert (report["label"], report["against"], report["steps"]) == ("cat", "dog", 64)
    assert report["sum"] == pytest.approx(report["value"] - report["baseline"], abs=0.02)
    assert min(report["units"], key=lambda unit: unit["score"])["text"] == "woof"


def test_options_of_the_other_kind_are_refused(classifier: Path, trained: Trained, refused: Refused) -> None:
    for options in (("--target", "x"), ("--at", "0")):
        assert f"{options[0]} does not apply to a classifier" in refused("attribute", classifier, "woof", *options)
    said = refused("attribute", trained.path, "the", "--label", "dog")
    assert "--label does not apply to a language model" in said and "allowed: --target" in said
    assert "did you mean 'dog'" in refused("attribute", classifier, "woof", "--label", "dgo")


def test_an_ngram_is_refused(book: Path, here: Here, refused: Refused, tmp_path: Path) -> None:
    assert here("ngram", book, "--order", "2", "--out", tmp_path / "ngram").code == 0
    assert "is an n-gram" in refused("attribute", tmp_path / "ngram", "the cat")
    assert "is an n-gram" in refused("patch", tmp_path / "ngram", "a c", "b c", "--target", "a", "--against", "t")


def test_tokens_that_decided_a_tag(here: Here, refused: Refused, tmp_path: Path) -> None:
    path, page, drawn = tagger_of(tmp_path / "model").path, tmp_path / "a.html", tmp_path / "a.svg"
    sentence = "the woof says meow"
    result = here("attribute", path, sentence, "--at", "2", "--html", page, "--plot", drawn, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert (report["token"], len(report["units"])) == ("woof", 4)
    assert "of token 2?" in drawn.read_text(encoding="utf-8") and "woof" in page.read_text(encoding="utf-8")
    assert here("attribute", path, sentence, "--label", "O", "--method", "integrated").code == 0
    assert "--target does not apply to a tagger" in refused("attribute", path, sentence, "--target", "O")


def test_pieces_that_made_a_piece_of_a_translation(here: Here, refused: Refused, tmp_path: Path) -> None:
    path, drawn = save_translator(tmp_path / "model", translator_of()), tmp_path / "a.svg"
    result = here("attribute", path, "w1 w2 gnu", "--at", "2", "--plot", drawn, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert len(report["units"]) == len(report["attention"]) == 3 and report["piece"] in drawn.read_text(
        encoding="utf-8"
    )
    plain = here("attribute", path, "w1 w2 gnu", "--method", "gradient")
    assert plain.code == 0 and "attention" in plain.err and "1:" in plain.err
    assert "--label does not apply to a translator" in refused("attribute", path, "w1", "--label", "w2")

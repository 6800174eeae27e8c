"""`unroll attribute` by the real command."""

import json
import re
from pathlib import Path

import pytest

from cli.command import unroll
from cli.conftest import Here, Refused, Trained
from serve.live import make_model
from unroll.data.words import UnicodeWordTokenizer


def test_every_symbol_has_a_score(trained: Trained, here: Here) -> None:
    done = here("attribute", trained.path, "the cat sat", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["target"] == "t" and found["at"] == 10 and found["method"] == "integrated"
    assert [each["symbol"] for each in found["symbols"]] == list("the cat sat")
    assert found["symbols"][-1]["score"] == 0
    assert found["sum"] == pytest.approx(sum(each["score"] for each in found["symbols"]))
    assert found["sum"] == pytest.approx(found["value"] - found["baseline"], abs=1e-6)
    assert abs(found["residual"]) < 1e-6 and -1 <= found["agreement"] <= 1
    spent = json.loads(here("score", trained.path, "the cat sat", "--json").out)["texts"][0]["per_token"]
    assert found["value"] == pytest.approx(-spent[-1]["nats"], rel=1e-4), "it is what score says of the last symbol"


def test_methods_and_what_is_asked(trained: Trained, here: Here) -> None:
    outs = {}
    for method in ("gradient", "leave-out"):
        done = here(
            "attribute", trained.path, "the ca", "--target", "t", "--against", "s", "--method", method, "--json"
        )
        assert done.code == 0, done.err
        outs[method] = json.loads(done.out)
    scores = [each["score"] for each in outs["leave-out"]["symbols"]]
    assert scores == [each["leave_out"] for each in outs["gradient"]["symbols"]]
    assert outs["leave-out"]["residual"] is None and outs["leave-out"]["agreement"] is None


def test_lines_page_and_picture(trained: Trained, tmp_path: Path) -> None:
    page, drawn = tmp_path / "a.html", tmp_path / "a.svg"
    done = unroll("attribute", trained.path, "the <b> cat", "--target", "\\n", "--html", page, "--plot", drawn)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert len(lines) == 11 and lines[0].endswith("'t'") and len(lines[0].split()) == 3
    assert "residual" in done.err and "Spearman" in done.err and "'<'" in done.err
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
    done = here(arguments[0], model, text, *arguments[1:], "--html", tmp_path / "page.html")
    assert done.code == 0, done.err
    (first, *_) = re.findall("<pre>(.*?)</pre>", (tmp_path / "page.html").read_text(encoding="utf-8"), re.S)
    assert re.sub("<.*?>", "", first) == text


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["a"], "no symbol comes before"),
        (["the", "--target", "the"], "'the' (target) is not a symbol"),
        (["the", "--against", "€"], "'€' (against) is not a symbol"),
        (["the", "--at", "3"], "a prediction after 3 symbols"),
        (["the", "--steps", "0"], "0 steps"),
        (["the", "--plot", "x.gif"], "is not a .png or .svg"),
    ],
)
def test_refusals(arguments: list[str], what: str, trained: Trained, refused: Refused) -> None:
    assert what in refused("attribute", trained.path, *arguments)


def test_an_ngram_is_refused(book: Path, here: Here, refused: Refused, tmp_path: Path) -> None:
    assert here("ngram", book, "--order", "2", "--out", tmp_path / "ngram").code == 0
    assert "is an n-gram" in refused("attribute", tmp_path / "ngram", "the cat")
    assert "is an n-gram" in refused("patch", tmp_path / "ngram", "a c", "b c", "--target", "a", "--against", "t")

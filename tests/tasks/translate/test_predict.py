"""Translations: right where the pairs are simple, the same for a text whatever stands beside it, and without torch."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.translate import toy as pairs_of
from tasks.translate.toy import sources, trained, translated
from unroll.artifact.translator import open_translator
from unroll.errors import UserError
from unroll.tasks.translate.predict import stream, translate

TEXTS = [
    "one red cat",
    "",
    "two",
    "  blue dog ",
    "never heard of it",
    "ÄÖÜ 漢字 🙂",
    " \n",
    "a\tb\rc",
    "three red dog cat one",
]


def test_it_translates(toy: Path) -> None:
    unseen = sources(random.Random(7), 40)
    rows = translate(toy, unseen)
    right = [row["translations"][0]["text"] == translated(row["text"]) for row in rows]
    assert sum(right) > 0.8 * len(right)


def test_scores_are_means_and_fall(toy: Path) -> None:
    for row, text in zip(translate(toy, TEXTS, n_best=3), TEXTS, strict=True):
        scores = [entry["score"] for entry in row["translations"]]
        assert row["text"] == text and scores == sorted(scores, reverse=True) and max(scores) <= 0
        for entry in row["translations"]:
            symbols = len(entry["text"].split()) + 1
            assert entry["nats"] == pytest.approx(-entry["score"] * symbols) and "<unk>" not in entry["text"]
        assert len(scores) == (3 if text.strip() else 1)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("beam", [1, 4])
def test_a_text_depends_on_nothing_beside_it(toy: Path, beam: int, precision: Any) -> None:
    opened = open_translator(toy, precision)
    together = translate(opened, TEXTS, beam=beam)
    assert [translate(opened, [text], beam=beam)[0] for text in TEXTS] == together


def test_an_empty_text_has_an_empty_translation(toy: Path) -> None:
    for row in translate(toy, ["", " \n"], attention=True):
        (entry,) = row["translations"]
        assert (entry["text"], entry["score"], entry["nats"]) == ("", 0, 0)
        assert entry["attention"] == {"source": [], "target": [], "weights": []}
    assert translate(toy, []) == [] and [*stream(toy, " ")] == []


def test_attention_has_a_row_for_each_piece(toy: Path) -> None:
    (row,) = translate(toy, [" one red cat"], attention=True)
    what = row["translations"][0]["attention"]
    assert what["source"] == ["one ", "red ", "cat"]
    assert "".join(what["target"][:-1]) == row["translations"][0]["text"] and what["target"][-1] == "<eos>"
    weights = np.array(what["weights"])
    assert weights.shape == (len(what["target"]), 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


def test_a_stream_is_the_translation_by_a_beam_of_one(toy: Path) -> None:
    for text in ("one red cat", "never heard of it", "three red dog cat one"):
        pieces, nats = zip(*stream(toy, text), strict=True)
        (entry,) = translate(toy, [text], beam=1)[0]["translations"]
        assert "".join(pieces) == entry["text"] and len(pieces) == len(entry["text"].split()) + 1
        assert sum(nats) == pytest.approx(entry["nats"], rel=1e-5)


@pytest.mark.parametrize(("level", "shared"), [("bpe", True), ("char", True), ("bpe", False)])
def test_other_levels_give_text_back(level: Any, shared: bool, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    fixed = {"pieces": 280} if level == "bpe" else {}
    model = trained(pairs, tmp_path / "model", steps=30, level=level, settings={"shared": shared, **fixed})
    (row,) = translate(model, ["one red cat"], n_best=2, attention=True)
    for entry in row["translations"]:
        *pieces, end = entry["attention"]["target"]
        assert "".join(pieces) == entry["text"] and end == ("\\n" if level == "char" else "<eos>")
        assert "".join(entry["attention"]["source"]) == "one red cat"


def test_a_long_text_is_cut_with_a_remark(toy: Path) -> None:
    from unroll.progress import result
    from unroll.tasks.translate.predict import translations

    opened = open_translator(toy)
    long, short = ("one " * 1000, "one " * opened.info.max_units)
    done = result(translations(opened, [long, "two"], beam=1))
    assert done.cut == 1000 - opened.info.max_units
    assert f"the first {opened.info.max_units} are read" in done.remark
    assert done.of_texts[0][0].text == result(translations(opened, [short], beam=1)).of_texts[0][0].text


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"beam": 0}, "beam is 0"),
        ({"beam": 65}, "beam is 65"),
        ({"n_best": 0}, "n_best is 0"),
        ({"beam": 2, "n_best": 3}, "n_best is 3, and beam 2"),
    ],
)
def test_what_makes_no_sense_is_refused(toy: Path, wrong: dict[str, int], what: str) -> None:
    with pytest.raises(UserError, match=what) as refusal:
        translate(toy, ["one"], **wrong)  # type: ignore[arg-type]
    assert refusal.value.allowed and refusal.value.fix


def test_without_attention_there_is_none_to_show(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    model = trained(pairs, tmp_path / "model", steps=5, attention="none")
    assert translate(model, ["one"])[0]["translations"]
    with pytest.raises(UserError, match="has no attention to show") as refusal:
        translate(model, ["one"], attention=True)
    assert "--attention" in refusal.value.allowed


def test_translating_needs_no_torch(toy: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from unroll import translate\n"
        f"print(translate({str(toy)!r}, ['one cat'])[0]['translations'][0]['text'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "katze eins"


def test_the_toy_is_reversed() -> None:
    assert pairs_of.translated("one red cat") == "katze rot eins"

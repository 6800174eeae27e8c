"""Pictures of models on a text: valid, the same each time, with legends that say what is what."""

import io
import math
import re
import struct
import sys
import zlib
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

import unroll
from tiny import make_corpus, overrides, text, trained
from unroll.errors import UserError, install
from unroll.insight.curves.picture import picture
from unroll.insight.plots import COLOURS, shown
from unroll.lm.curves import Curve, Kind, PositionLoss, Surprisal
from unroll.lm.reliability import Reliability
from unroll.lm.units import Unit

SVG = "{http://www.w3.org/2000/svg}"


def curve(kind: Kind, model: str = "runs/book", arch: str = "lstm", level: str = "char", seed: int = 0) -> Curve:
    """Return made-up numbers."""
    rng = np.random.default_rng(seed)
    numbers: Reliability | PositionLoss | Surprisal
    match kind:
        case "reliability":
            predictions = rng.integers(0, 4000, 17)
            predictions[3] = 0
            predicted = np.where(predictions > 0, 10 ** (np.arange(-16.5, 0.5) / 4), np.nan)
            hits = rng.binomial(predictions, np.nan_to_num(predicted))
            top = rng.integers(1, 50, 15)
            sums = (top * 0.45).astype(np.float64)
            numbers = Reliability(int(top.sum()), 12, predictions, hits, predicted, top, top // 2, sums)
        case "position":
            places = np.arange(1, 33)
            numbers = PositionLoss(32, 9, places, places, 1 + 1 / places + rng.random(32) / 9, rng.random(32) / 9)
        case "surprisal":
            words = ["the ", "cat ", "costs ", "$5 ", "& ", "<b> ", "$x$\n", "\tan_d ", "extraordinarily_long_word\n"]
            units = [Unit(k, k + 1, word, 1, float(rng.exponential(3)), 0) for k, word in enumerate(words)]
            numbers = Surprisal("word", tuple(units))
    return Curve(model, arch, level, {"window": 8, "ngram": 4}.get(arch), numbers)


def curves(kind: Kind) -> list[Curve]:
    return [
        curve(kind),
        curve(kind, "runs/_window", "window", "bpe", seed=1),
        curve(kind, "other/book", "ngram", seed=2),
    ]


def texts(data: bytes) -> list[str]:
    """Return all that is written in an SVG."""
    root = ElementTree.fromstring(data)
    assert root.tag == f"{SVG}svg"
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


def size_of_png(data: bytes) -> tuple[int, int]:
    """Return the width and height of a PNG of which every part is whole."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    file, kinds, width, height = io.BytesIO(data[8:]), [], 0, 0
    while head := file.read(8):
        length, kind = struct.unpack(">I4s", head)
        body = file.read(length)
        assert struct.unpack(">I", file.read(4)) == (zlib.crc32(kind + body),)
        kinds.append(kind)
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
    assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND" and b"IDAT" in kinds
    assert b"tEXt" not in kinds, "nothing in it tells when or by what it was made"
    return width, height


KINDS: tuple[Kind, ...] = ("reliability", "position", "surprisal")


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_valid_and_says_what_is_what(kind: Kind) -> None:
    drawn_curves = curves(kind)
    width, height = size_of_png(picture(kind, drawn_curves, "test.txt", ".png")[0])
    assert 900 < width < 2000 and 400 < height < 2000
    labels = texts(picture(kind, drawn_curves, "test.txt", ".svg")[0])
    for name in ("runs/book (lstm, char): ", "_window (window of 8, bpe): ", "other/book (5-gram, char): "):
        assert sum(line.startswith(name) for line in labels) == 1, name
    title = {"reliability": "probabilities right?", "position": "context worth?", "surprisal": "surprises?"}[kind]
    assert any(title in line and "test.txt" in line for line in labels)


def test_what_legends_and_axes_say() -> None:
    drawn_curves = curves("reliability")
    labels = texts(picture("reliability", drawn_curves, "a", ".svg")[0])
    for drawn_curve in drawn_curves:
        assert isinstance(drawn_curve.numbers, Reliability)
        assert any(line.endswith(f"ECE {drawn_curve.numbers.ece:.3f}") for line in labels)
    assert {"as predicted", "0.0001", "1", "observed frequency (95 % interval)"} <= {*labels}
    assert "never occurred: the upper end of the interval" in labels
    drawn_curves = curves("position")
    labels = texts(picture("position", drawn_curves, "a", ".svg")[0])
    for drawn_curve in drawn_curves:
        assert isinstance(drawn_curve.numbers, PositionLoss)
        assert any(f": {drawn_curve.numbers.nats_per_token / math.log(2):.2f} bits" in line for line in labels)
    assert {"bits per symbol (95 % interval)", "as far back as a model sees", "16", "32"} <= {*labels}
    assert "bits per character (95 % interval)" in texts(picture("position", drawn_curves[:1], "a", ".svg")[0])
    assert not any("averaged" in line for line in labels), "what is smoothed is said to be"
    labels = texts(picture("surprisal", curves("surprisal"), "a", ".svg")[0])
    assert {"the", "costs", "$5", "&", "<b>", "$x$↵", "⇥an_d", "extraordinarily…"} <= {*labels}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_the_same_numbers_give_the_same_bytes(kind: Kind, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At another time, and whatever settings its user has made the default, which stay as they are."""
    first, _ = picture(kind, curves(kind), "test.txt", ending)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": None, "axes.facecolor": "red"}):
        repeat, _ = picture(kind, curves(kind), "test.txt", ending)
        assert matplotlib.rcParams["font.size"] == 20
    assert first == repeat
    assert b"dc:date" not in first
    assert "matplotlib.pyplot" not in sys.modules, "no state of a window that someone else draws in"


def test_other_numbers_give_other_bytes() -> None:
    """Planted fault: one number is another."""
    for kind in KINDS:
        assert picture(kind, [curve(kind)], "a", ".png") != picture(kind, [curve(kind, seed=9)], "a", ".png")


def test_long_texts_are_broken_into_rows_of_panels() -> None:
    def bars(words: list[str]) -> int:
        units = tuple(Unit(k, k + 1, word, 1, 1.0, 0) for k, word in enumerate(words))
        data, _ = picture("surprisal", [Curve("a", "lstm", "char", None, Surprisal("token", units))], "a", ".svg")
        labels = texts(data)
        for word in {*words}:
            assert labels.count(shown(word)) == words.count(word)
        return labels.count("bits")  # one label for each panel

    assert bars(["x"] * 60) == 1
    assert bars(["x"] * 61) == 2
    assert bars(["word "] * 26) == 1
    assert bars(["word "] * 300) == 12


def test_what_the_font_lacks_is_reported() -> None:
    unit = Unit(0, 3, "漢 ", 1, 2.0, 0)
    drawn_curve = Curve("a", "lstm", "char", None, Surprisal("word", (unit,)))
    assert picture("surprisal", [drawn_curve], "a", ".png")[1]
    data, missing = picture("surprisal", [drawn_curve], "a", ".svg")
    assert missing and "漢" in texts(data)
    assert not picture("surprisal", [curve("surprisal")], "a", ".png")[1]


# ---- the function


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    corpus = make_corpus(folder, [text(200)])
    for arch in ("lstm", "window"):
        trained(corpus, folder / arch, overrides({"arch": arch}))
    return [folder / "lstm", folder / "window"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "test.txt"
    path.write_text(text(30, seed=7))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_plot_writes_the_picture_of_the_numbers_it_returns(
    kind: Kind, models: list[Path], file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "picture.SVG"
    plotted = unroll.plot(kind, models, file, out=out, length=20)
    assert (plotted.kind, plotted.file, plotted.out, plotted.notes) == (kind, file, out, ())
    assert out.read_bytes() == picture(kind, plotted.curves, "test.txt", ".svg")[0]
    assert [drawn_curve.arch for drawn_curve in plotted.curves] == ["lstm", "window"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["picture.SVG", "test.txt"]
    single = unroll.plot(kind, models[0], file, length=20)
    assert single.out is None
    assert single.figures()["models"] == plotted.figures()["models"][:1]


def test_what_cannot_be_drawn_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    nowhere, not_a_picture = tmp_path / "nowhere", "is not a .png or .svg"
    for out, message in (("a.jpg", not_a_picture), ("a", not_a_picture), ("x/a.png", "does not exist")):
        with pytest.raises(UserError, match=message) as error:
            unroll.plot("position", nowhere, nowhere, out=tmp_path / out)
        assert error.value.allowed and error.value.fix
    with pytest.raises(UserError, match="8 models in one picture"):
        unroll.plot("position", [nowhere] * (len(COLOURS) + 1), nowhere)
    with pytest.raises(UserError, match="0 models"):
        unroll.plot("position", [], nowhere)
    with pytest.raises(UserError, match="the kind of picture is 'loss'"):
        unroll.plot("loss", nowhere, nowhere)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the unit is 'line'"):
        unroll.plot("surprisal", nowhere, nowhere, unit="line")  # type: ignore[arg-type]


def test_without_matplotlib_there_are_numbers_and_no_picture(
    models: list[Path], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if re.match(r"matplotlib\b", name)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert unroll.plot("position", models, file, length=20).curves
    with pytest.raises(UserError, match="matplotlib") as error:
        unroll.plot("position", models, file, out=tmp_path / "a.png")
    assert error.value.fix == install("insight")


def test_models_that_take_a_text_apart_in_other_ways_are_not_put_side_by_side(
    models: list[Path], file: Path, tmp_path: Path
) -> None:
    list(unroll.ngram(file, order=2, level="word", words="space", out=tmp_path / "words"))
    pair = [models[0], tmp_path / "words"]
    short = tmp_path / "short.txt"
    short.write_text("the cat was Ω\nand\n")
    with pytest.raises(UserError, match="different ways"):
        unroll.plot("surprisal", pair, short)
    (note,) = unroll.plot("surprisal", models[0], short, unit="token").notes
    assert note == f"{models[0]}: symbols that count as <unk>: 1"
    (note,) = unroll.plot("position", pair, file, length=20).notes
    assert "different vocabularies" in note
    assert unroll.plot("reliability", pair, file).notes == ()

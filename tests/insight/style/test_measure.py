"""The text is near its ceiling, noise near zero, and what is between grows: on two corpora."""

from pathlib import Path
from statistics import fmean

import pytest

import unroll
from insight.style.cases import c_source, grown, model_with, python_source
from tiny import text as toy_text
from unroll.insight.style.kinds import Kind
from unroll.insight.style.measure import COMMON, Measures, Reference, mean, measures, parts_of, pieces, read_reference
from unroll.progress import result

LENGTH = 1500


@pytest.fixture(scope="module", params=[(python_source, None), (c_source, "c")], ids=["python", "c"])
def reference(request: pytest.FixtureRequest) -> tuple[str, Reference]:
    """The training part of a corpus, and what was counted of it."""
    source, kind = request.param
    train, held_out = parts_of(source(), "80/20")
    known = result(read_reference(train, held_out))
    assert known.kind == kind
    return train, known


def over(texts: list[str], known: Reference) -> Measures:
    return mean([measures(text, known) for text in texts], known.kind)


def test_text_is_near_its_ceiling_noise_near_zero_and_growth_between(reference: tuple[str, Reference]) -> None:
    train, known = reference
    ceiling = over(pieces(known.held_out, LENGTH), known)
    own = over(pieces(train, LENGTH)[:16], known)
    levels = [over([grown(train, order, LENGTH, seed) for seed in range(3)], known) for order in (0, 1, 2, 4)]
    assert own["words"] == own["pairs"] == 1
    for name, top in ceiling.items():
        value, noise = own[name], levels[0][name]
        assert top is not None and value is not None, name
        assert value > top - 0.2, name
        assert noise is None or noise < 0.35 * top, name
    shares = [fmean((level[name] or 0) / (ceiling[name] or 1) for name in ceiling) for level in levels]
    assert shares == sorted(shares), shares
    assert shares[0] < 0.15 and shares[-1] > 0.7, shares


def test_measures_without_the_text_are_those_of_the_sample_alone() -> None:
    values = measures(c_source(5), None, "c")
    assert [name for name, value in values.items() if value is None] == ["words", "pairs", "punctuation", "capitals"]
    assert set(measures("", None)) == set(COMMON)


def test_pieces_begin_as_lines_do_and_spread_over_the_text() -> None:
    text = "".join(f"{number} is the number of this line\n" for number in range(400))
    cut = pieces(text, 100)
    assert len(cut) == 32 and {len(piece) for piece in cut} == {100}
    assert all(piece.split(" ")[1] == "is" for piece in cut)
    assert cut[0].startswith("0 ") and int(cut[-1].split(" ")[0]) > 390
    assert all(piece.startswith("word ") for piece in pieces("word " * 200, 99)), "within a line, with a word"
    assert [len(piece) for piece in pieces("x" * 250, 100)] == [100, 100]
    assert pieces("x" * 99, 100) == pieces("", 1) == pieces("xx", 0) == []


@pytest.mark.parametrize(
    ("split", "parts"), [("80/10/10", (80, 10)), ("50/50", (50, 50)), ("100", (100, 0)), (None, (90, 5))]
)
def test_a_named_text_is_cut_as_the_recipe_has_it(split: str | None, parts: tuple[int, int]) -> None:
    assert tuple(map(len, parts_of("x" * 100, split))) == parts


SAMPLES = {0: grown(toy_text(170), 0, 200), 100: grown(toy_text(170), 8, 200)}


def test_the_samples_of_a_model_are_measured_beside_its_text(tmp_path: Path) -> None:
    style = unroll.style(model_with(tmp_path, toy_text(170), SAMPLES))
    assert (style.kind, style.length, style.notes) == ("plain", 200, ())
    assert style.pieces >= 2
    first, last = (sample["measures"] for sample in style.samples)
    assert last["words"] == style.ceiling["words"] == 1
    assert (first["words"] < 0.2 and first["pairs"] is None) or first["pairs"] < 0.2
    assert [sample["text"] for sample in style.samples] == list(SAMPLES.values())
    assert style.figures()["ceiling"] == style.ceiling


def test_a_text_that_is_gone_leaves_its_measures_null(tmp_path: Path) -> None:
    path = model_with(tmp_path, toy_text(170), SAMPLES, beside=False)
    style = unroll.style(path, kind="c")
    assert "not beside the model" in style.notes[0]
    assert style.samples[1]["measures"]["words"] is None and style.samples[1]["measures"]["lines"] is not None
    assert set(style.ceiling.values()) == {None} and style.pieces == 0
    (path / "resume" / "data.path").unlink()
    (path / "resume" / "data").mkdir()
    other = model_with(tmp_path / "other", "€" + toy_text(170), {})
    (path / "resume" / "data").rmdir()
    (path / "resume" / "data").symlink_to((other / "resume" / "data.path").read_text())
    assert "not beside the model" in unroll.style(path).notes[0]


@pytest.mark.parametrize(
    ("text", "samples", "note"),
    [
        ("081109 203615 148 INFO dfs.Data: block\n" * 50, {0: "x" * 20}, "no known kind"),
        (toy_text(170), {0: "x" * 2000}, "no piece of 2,000 characters"),
        ("彼は言った。そして彼女は笑った。\n" * 50, {0: "x" * 20}, "no known kind"),
        ("彼は言った。そして彼女は笑った。\n" * 50, {0: "x" * 20}, "no spaces between words"),
    ],
)
def test_what_does_not_apply_is_explained(tmp_path: Path, text: str, samples: dict[int, str], note: str) -> None:
    style = unroll.style(model_with(tmp_path, text, samples))
    assert any(note in line for line in style.notes)
    assert style.samples[0]["measures"]["pairs"] is None


def test_a_run_without_samples_has_no_measures(tmp_path: Path) -> None:
    style = unroll.style(model_with(tmp_path, toy_text(170), {}))
    assert (style.samples, style.pieces, style.notes) == ((), 0, ())


@pytest.mark.parametrize(("kind", "near"), [("latec", "latex"), ("plan", "plain")])
def test_an_unknown_kind_names_the_nearest(tmp_path: Path, kind: Kind, near: str) -> None:
    with pytest.raises(unroll.UserError, match=f"did you mean '{near}'"):
        unroll.style(model_with(tmp_path, toy_text(9), {}), kind=kind)

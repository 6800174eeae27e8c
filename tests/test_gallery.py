"""The gallery: its pages are what their results render to, and its marks, names and passages are what they claim."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gallery_page
from coloured_text import coloured
from gallery import copied, copied_lines, longest, pieces
from gallery_corpora import CORPORA, by_rule, character_names, corpus_named
from unroll.errors import UserError
from unroll.training.recipe import read_overrides

ROOT = Path(__file__).resolve().parent.parent
RESULTS = sorted(gallery_page.RESULTS.glob("gallery-*.json"))
TEXTS = st.text("ab", max_size=40)


def test_the_pages_are_what_their_results_render_to() -> None:
    made = gallery_page.pages()
    for path, content in made.items():
        assert path.read_text() == content, f"{path.relative_to(ROOT)} is stale: make gallery"
    stale = {path for path in gallery_page.GALLERY.rglob("*.*") if path.suffix in (".md", ".svg")} - set(made)
    assert {path.name for path in stale} <= {"memory.svg", "evolution.svg"}, "pages without results"


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_a_page_is_made_by_its_committed_recipe(file: Path) -> None:
    figures = gallery_page.read(file)
    fixed = read_overrides(ROOT / "recipes" / f"{file.stem}.toml")
    for table, keys in fixed.items():
        assert keys.items() <= figures["recipe"][table].items(), f"[{table}] of {file.stem}"
    assert figures["steps"] == figures["recipe"]["training"]["steps"]


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_a_page_has_what_a_reader_looks_for(file: Path) -> None:
    figures = gallery_page.read(file)
    written = "".join(text for text, _ in figures["sample"]["pieces"])
    assert figures["line"] and figures["line"] in written, "the line of the list is the network's own"
    assert [taken["step"] for taken in figures["samples"]][:7] == [0, 100, 300, 500, 700, 1200, 2000]
    assert figures["samples"][-1]["step"] == figures["steps"]
    assert len(figures["cells"]) == 3
    page = (gallery_page.GALLERY / f"{figures['name']}.md").read_text()
    assert figures["text"]["sha256"] in page


# ---- what is marked


@given(TEXTS, TEXTS, st.integers(1, 6))
def test_a_character_is_marked_if_a_copied_piece_covers_it(written: str, training: str, shortest: int) -> None:
    runs = {
        (i, j) for i in range(len(written)) for j in range(i + shortest, len(written) + 1) if written[i:j] in training
    }
    covered = [any(i <= place < j for i, j in runs) for place in range(len(written))]
    assert copied(written, training, shortest) == covered


@given(TEXTS, TEXTS)
def test_the_longest_piece_is_the_longest(written: str, training: str) -> None:
    runs = [
        written[i:j] for i in range(len(written) + 1) for j in range(i, len(written) + 1) if written[i:j] in training
    ]
    assert longest(written, training) in runs
    assert len(longest(written, training)) == max(map(len, runs))


def test_whole_lines_are_marked_whole() -> None:
    assert copied_lines("ab\nabc\na", "ab\na\n") == [True] * 3 + [False] * 5


@given(
    TEXTS.flatmap(
        lambda text: st.tuples(st.just(text), st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    )
)
def test_pieces_are_the_text(pair: tuple[str, list[bool]]) -> None:
    text, marks = pair
    assert "".join(piece for piece, _ in pieces(text, marks)) == text
    assert [mark for piece, mark in pieces(text, marks) for _ in piece] == marks


# ---- pages


@given(st.text(st.sampled_from(" \n\t<&ab[](\x00"), max_size=300))
def test_a_sample_is_shown_whole_and_escaped(text: str) -> None:
    shown = gallery_page.pre((text, True)).removeprefix('<pre tabindex="0">\n').removesuffix("\n</pre>")
    plain = shown.replace("<b>", "").replace("</b>", "")
    assert "<" not in plain and "](" not in plain
    restored = plain.replace("&lt;", "<").replace("&#40;", "(").replace("&amp;", "&")
    kept = text.replace("\t", "").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    assert "".join(restored.split()) == "".join(kept.split())
    assert all(len(line) <= gallery_page.WIDTH for line in restored.splitlines())


def test_a_coloured_text_says_what_it_shows() -> None:
    cell = {"layer": 0, "unit": 7, "metric": "auroc", "text": "a <b>\n", "values": [100, 0, -50, -50, -50, 0]}
    picture = coloured(cell | {"labels": [0, 0, 1, 1, 1, 0]})
    assert "unit 0:7" in picture
    assert "&lt;b&gt;" in picture
    assert picture.count('height="1.5"') == 1, "one underline"
    assert picture.count('fill="#d55e00"') == 1, "the highest is vermilion"


# ---- corpora


def test_an_unknown_corpus_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="wikipedia"):
        corpus_named("wikipedea")


def test_names_are_those_that_no_rule_makes() -> None:
    names = character_names()
    assert len(set(names)) == len(names) > 30_000
    assert {"LATIN SMALL LETTER A", "SNOWMAN", "CJK RADICAL BONE"} <= {*names}
    assert not any(name.startswith(("CJK UNIFIED", "HANGUL SYLLABLE", "TANGUT IDEOGRAPH")) for name in names)
    assert by_rule(0x4E00, "CJK UNIFIED IDEOGRAPH-4E00")
    assert not by_rule(0xE0100, "VARIATION SELECTOR-17")
    assert names[:3] != sorted(names)[:3], "shuffled"


def test_every_corpus_has_a_recipe() -> None:
    assert {f"gallery-{name}.toml" for name in CORPORA} == {file.name for file in (ROOT / "recipes").glob("gallery-*")}

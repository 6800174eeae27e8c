"""Entities are read and written alike, broken tags are counted, and the figures are those of seqeval in strict mode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unroll.engine.crf import Scheme
from unroll.errors import UserError
from unroll.tasks.tag.entities import PREFIXES, Entity, check_scheme, entities, measure_entities, tags_of

TYPES = ["PER", "LOC"]
SCHEMES: list[Scheme] = ["bio", "bioes"]


def tags(scheme: Scheme) -> st.SearchStrategy[list[str]]:
    """Return any tags of a scheme, in any order."""
    return st.lists(st.sampled_from(["O", *(f"{prefix}-{type}" for prefix in PREFIXES[scheme] for type in TYPES)]))


@st.composite
def located(draw: st.DrawFn) -> tuple[list[Entity], int]:
    """Return entities that do not overlap, and the length of their sentence."""
    found, place = [], 0
    for gap, length, type in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(TYPES)))):
        found.append(Entity(place + gap, place + gap + length, type))
        place += gap + length
    return found, place + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(located())
def test_what_is_written_is_read(scheme: Scheme, sentence: tuple[list[Entity], int]) -> None:
    assert entities(tags_of(*sentence, scheme), scheme) == (sentence[0], 0)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(st.data())
def test_tags_are_broken_unless_their_entities_are_written_so(scheme: Scheme, data: st.DataObject) -> None:
    row = data.draw(tags(scheme))
    found, broken = entities(row, scheme)
    again = tags_of(found, len(row), scheme)
    assert (broken == 0) == ([*again] == row)
    assert entities(again, scheme) == (found, 0)


@pytest.mark.parametrize(
    ("scheme", "row", "found", "broken"),
    [
        ("bio", "O I-PER I-PER O", [(1, 3, "PER")], 1),
        ("bio", "B-PER I-LOC I-LOC", [(0, 1, "PER"), (1, 3, "LOC")], 1),
        ("bio", "B-PER B-PER", [(0, 1, "PER"), (1, 2, "PER")], 0),
        ("bioes", "B-PER O", [(0, 1, "PER")], 1),
        ("bioes", "B-PER E-LOC", [(0, 1, "PER"), (1, 2, "LOC")], 2),
        ("bioes", "S-PER I-PER E-PER", [(0, 1, "PER"), (1, 3, "PER")], 1),
        ("bioes", "B-PER E-PER E-PER", [(0, 2, "PER"), (2, 3, "PER")], 1),
        ("bio", "B-a-b I-a-b I-a", [(0, 2, "a-b"), (2, 3, "a")], 1),
        ("bio", "", [], 0),
    ],
)
def test_broken_tags_are_read_by_the_rule(scheme: Scheme, row: str, found: list[Entity], broken: int) -> None:
    assert entities(row.split(), scheme) == (found, broken)


def test_the_figures_are_those_of_seqeval() -> None:
    """By seqeval 1.2.2, `classification_report(..., mode="strict", scheme=IOB2)`."""
    true = ["B-LOC I-LOC O B-LOC O O", "B-LOC O B-PER I-PER I-PER", "O B-ORG I-ORG O O O B-PER I-PER",
            "O B-PER I-PER I-PER"]  # fmt: skip
    said = ["B-LOC I-LOC O B-LOC O O", "B-LOC O O O O", "B-ORG B-LOC I-LOC O O B-LOC I-LOC I-LOC",
            "O B-PER I-PER I-PER"]  # fmt: skip
    figures = measure_entities([row.split() for row in true], [row.split() for row in said], "bio")
    assert figures is not None and "its last token and its type" in figures["definition"]
    assert figures["per_type"] == {
        "LOC": {"precision": 0.6, "recall": 1.0, "f1": pytest.approx(0.75), "count": 3},
        "ORG": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "count": 1},
        "PER": {"precision": 1.0, "recall": pytest.approx(1 / 3), "f1": 0.5, "count": 3},
    }
    assert figures["micro"] == pytest.approx({"precision": 4 / 7, "recall": 4 / 7, "f1": 4 / 7, "count": 7})
    assert figures["macro"] == pytest.approx({"precision": 1.6 / 3, "recall": 4 / 9, "f1": 1.25 / 3})


def test_broken_tags_are_counted_on_both_sides() -> None:
    figures = measure_entities([["I-a", "O"]], [["O", "I-a"]], "bio")
    assert figures is not None and figures["invalid_true"] == figures["invalid_predicted"] == 1
    assert figures["micro"]["count"] == 1 and figures["micro"]["f1"] == 0
    assert measure_entities([["a"]], [["a"]], "none") is None


def test_without_entities_there_are_no_means() -> None:
    figures = measure_entities([["O"]], [["O"]], "bio")
    assert figures is not None and figures["per_type"] == {} and figures["macro"]["f1"] is None


@pytest.mark.parametrize(
    ("scheme", "tag"), [("bio", "E-X"), ("bio", "X"), ("bio", "B-"), ("bio", "-X"), ("bioes", "L-X"), ("bioes", "o")]
)
def test_a_tag_of_no_scheme_is_refused(scheme: Scheme, tag: str) -> None:
    with pytest.raises(UserError, match=f"the tag '{tag}' in FILE is none of --scheme {scheme}\n.*O, B-TYPE") as error:
        check_scheme(["O", "B-X", tag], scheme, "FILE")
    assert ("try --scheme bioes" in error.value.fix) == (tag == "E-X")
    check_scheme(["O", "B-X", tag], "none", "FILE")

"""`unroll cells` of a classifier by the real command."""

import json
import random
from pathlib import Path

import pytest

from cli.conftest import Here, Refused
from tasks.classify import toy


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More examples than a classifier was trained on."""
    return toy.written(tmp_path_factory.mktemp("animals") / "animals.tsv", toy.rows(random.Random(3), 300))


def test_the_best_unit_of_each_label(classifier: Path, animals: Path, here: Here) -> None:
    result = here("cells", classifier, "--file", animals)
    assert result.code == 0 and result.err == "", result.err
    head, names, *rows = result.out.splitlines()
    assert "300 texts of" in head and names.split()[:3] == ["label", "texts", "unit"]
    assert [row.split()[0] for row in rows] == ["cat", "dog", "owl"]
    assert all(row.split()[2].startswith(("forwards0:", "backwards0:")) for row in rows)
    report = json.loads(here("cells", classifier, "--file", animals, "--json").out)
    assert [item["property"] for item in report["labels"]] == ["label:cat", "label:dog", "label:owl"]
    assert all(len(item["findings"]) == 1 and item["texts"] == 300 for item in report["labels"])


def test_a_label_and_a_property(classifier: Path, animals: Path, here: Here, tmp_path: Path) -> None:
    for asked, shown, read in (("label:dog", "all others", "300 texts of"), ("re:says", "inside says", "units of 300")):
        drawn = tmp_path / "cells.svg"
        result = here("cells", classifier, "--file", animals, "--property", asked, "--top", "2", "--plot", drawn)
        assert result.code == 0, result.err
        assert read in result.out and "see it" in result.out and "clamp it" not in result.out
        assert ("the 8 characters on either side" in result.out) == (asked != "label:dog")
        assert shown in drawn.read_text(encoding="utf-8")
        shown_by_trace = result.out.splitlines()[-1].split("TEXT ")[1].split()
        assert here("trace", classifier, "the dog says woof", *shown_by_trace).code == 0
        figures = json.loads(here("cells", classifier, "--file", animals, "--property", asked, "--json").out)
        assert figures["property"] == asked and figures["findings"][0]["direction"] in ("forwards", "backwards")


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        ((), "only 8 texts of those held out of"),
        (("--plot", "x.png"), "--plot draws one property"),
        (("--property", "label:dgo"), "did you mean 'dog'"),
        (("--property", "qoutes"), "did you mean 'quotes'"),
        (("--property", "quotes", "--text", "text"), "--text names the column"),
    ],
)
def test_refusals(arguments: tuple[str, ...], subject: str, classifier: Path, refused: Refused) -> None:
    assert subject in refused("cells", classifier, *arguments)

"""`unroll patch` by the real command."""

import json
from math import log
from pathlib import Path

import pytest

from cli.command import unroll
from cli.conftest import Here, Refused, Trained

ASKED = ("the cat sat o", "the mat sat o", "--target", "n", "--against", "t")


def test_the_whole_state_recovers_all(trained: Trained, here: Here) -> None:
    result = here("patch", trained.path, *ASKED, "--top", "3", "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert (
        report["at"] == [5, 5]
        and report["positions"] == list(range(5, 13))
        and report["symbols"] == list("cat sat ")[:8]
    )
    parts = {part["name"]: part for part in report["parts"]}
    assert set(parts) == {"state", "layer0/h", "layer0/c"} == set(report["curves"])
    assert parts["state"]["recovery"] == pytest.approx(1) and parts["state"]["value"] == pytest.approx(report["second"])
    assert report["curves"]["state"] == pytest.approx([report["second"]] * 8)
    strongest = [unit["recovery"] for unit in report["units"]]
    assert len(strongest) == 3 and strongest == sorted(strongest, reverse=True)
    likely = json.loads(here("next", trained.path, ASKED[0], "--top", "99", "--json").out)["next"]
    p = {item["token"]: item["probability"] for item in likely}
    assert report["first"] == pytest.approx(log(p["n"] / p["t"]), rel=1e-4), "it is what next says"


def test_a_part_at_a_place(trained: Trained, here: Here) -> None:
    result = here("patch", trained.path, *ASKED, "--after", "sat", "--units", "0:1,0:2", "--signal", "c", "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["at"] == [11, 11] and report["positions"][0] == 5
    assert {part["name"] for part in report["parts"]} == {"state", "layer0/h", "layer0/c", "chosen"}


def test_tables_and_picture(trained: Trained, tmp_path: Path) -> None:
    drawn = tmp_path / "kept.png"
    result = unroll("patch", trained.path, *ASKED, "--at", "5", "--top", "4", "--plot", drawn)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert sum(line.startswith("0:") for line in lines) == 4
    assert [line.split()[2] for line in lines if line.startswith("state ")] == ["100.0%"]
    assert "after 'c', symbol 5 of 13" in result.out and drawn.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (["the cat", "the cat"], "both texts are the same"),
        (["the cat", "the car"], "nothing is read after the point"),
        (["a cat", "the cat", "--at", "1"], "do not align"),
        (["the cat", "a cat", "--after", "mat"], "occurs 0 times in the first text"),
        (["the cat", "a cat", "--units", "0:99999"], "no unit 0:99999"),
        (["the cat", "a cat", "--units", "one"], "names no unit"),
        (["the cat", "a cat", "--layer", "7"], "no layer 7"),
        (["the cat", "a cat", "--signal", "f"], "has no f"),
        (["the cat", "a cat", "--plot", "x.gif"], "is not a .png or .svg"),
        (["the cat", "a cat", "--target", "€"], "'€' (target) is not a symbol"),
    ],
)
def test_refusals(arguments: list[str], subject: str, trained: Trained, refused: Refused) -> None:
    target = [] if "--target" in arguments else ["--target", "n"]
    assert subject in refused("patch", trained.path, *target, "--against", "t", *arguments)

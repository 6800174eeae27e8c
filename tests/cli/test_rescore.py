"""`unroll rescore` by the real command: lists go in and come out, whole or not at all."""

import json
import os
from pathlib import Path

import pytest

import unroll as library
from cli.command import unroll
from cli.conftest import Here, Refused, Trained
from lm.test_pair_files import write

NBEST = (
    "0 ||| eht tac ||| am: 1 ||| -1.5\n0 ||| the cat ||| am: 2 ||| -2\n"
    "1 ||| a mat ||| am: 3 ||| -1\n1 ||| mat ä ||| am: 4 ||| -1\n"
)


def test_the_list_comes_back_the_best_first(trained: Trained, tmp_path: Path) -> None:
    path = write(tmp_path / "nbest", NBEST)
    outcome = unroll("rescore", trained.path, path)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.rsplit(" ||| ", 2)[0] for line in lines] == [NBEST.splitlines()[k] for k in (1, 0, 2, 3)]
    result = library.rescore(trained.path, path)
    assert outcome.out.encode() == result.written()
    assert "the best of 1 groups" in outcome.err
    assert "note: symbols that the model does not know were read as <unk>" in outcome.err
    written = unroll("rescore", trained.path, path, "--out", path, "--json")  # over itself, once all is done
    assert path.read_bytes() == result.written()
    output = json.loads(written.out)
    assert (output["format"], output["groups"], output["hypotheses"], output["changed"]) == ("moses", 2, 4, 1)
    assert "nbest" not in output
    assert os.listdir(tmp_path) == ["nbest"]


def test_the_best_alone(trained: Trained, here: Here, tmp_path: Path) -> None:
    path = write(tmp_path / "nbest", NBEST)
    assert here("rescore", trained.path, path, "--best").out == "the cat\na mat\n"
    assert here("rescore", trained.path, path, "--best", "--weight", "0").out == "eht tac\na mat\n"
    output = json.loads(here("rescore", trained.path, path, "--best", "--word-bonus", "2", "--json").out)
    assert [item["text"] for item in output["nbest"]] == ["the cat", "a mat"]
    assert output["nbest"][0]["rescored"] == pytest.approx(-2 + output["nbest"][0]["lm"] + 4)
    assert output["unknown_rate"] == pytest.approx(1 / 28)


def test_a_weight_is_fitted(trained: Trained, here: Here, tmp_path: Path) -> None:
    path, references = write(tmp_path / "nbest", NBEST), write(tmp_path / "ref", "the cat\nmat a\n")
    output = json.loads(here("rescore", trained.path, path, "--tune", references, "--json").out)
    assert (output["wer_before"], output["wer_possible"], output["reference_words"]) == (1.0, 0.25, 4)
    assert output["wer"] == 0.5
    assert output["weight"] > 0
    plain = here("rescore", trained.path, path, "--tune", references, "--out", tmp_path / "out").out
    assert "50.00 %, by the old scores 100.00 %, at best 25.00 %" in plain


def test_what_rescore_refuses_leaves_nothing_behind(refused: Refused, trained: Trained, tmp_path: Path) -> None:
    damaged, out = write(tmp_path / "damaged", NBEST + "2 ||| a\n"), tmp_path / "out"
    assert f"{damaged}, line 5 has 2 fields, the first line 4" in refused(
        "rescore", trained.path, damaged, "--out", out
    )
    good = write(tmp_path / "good", NBEST)
    assert "both --weight and --tune" in refused("rescore", trained.path, good, "--weight", "1", "--tune", good)
    assert "3 to 4" in refused("rescore", trained.path, good, "--score-field", "9", "--out", out)
    assert "cannot read" in refused("rescore", trained.path, tmp_path / "nowhere", "--out", out)
    assert "no model directory" in refused("rescore", tmp_path / "nowhere", good, "--out", out)
    assert "1 lines for 2 ids" in refused(
        "rescore", trained.path, good, "--tune", write(tmp_path / "ref", "a\n"), "--out", out
    )
    assert sorted(os.listdir(tmp_path)) == ["damaged", "good", "ref"]

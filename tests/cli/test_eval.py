"""`unroll eval` and `unroll compare`, driven for real."""

import json
import math
import re
from pathlib import Path

import pytest

from cli.command import QUICK, text, unroll
from cli.conftest import Here, Refused, Trained


@pytest.fixture(scope="module")
def other(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another kind with the same vocabulary."""
    path = tmp_path_factory.mktemp("other") / "window"
    result = unroll("train", trained.text, "--arch", "window", "--steps", "40", *QUICK, "--out", path)
    assert result.code == 0, result.err
    return path


@pytest.fixture
def test_text(tmp_path: Path) -> Path:
    file = tmp_path / "test.txt"
    file.write_text(text(4000, seed=5))
    return file


def test_figures_agree_with_each_other_and_with_training(trained: Trained, here: Here, tmp_path: Path) -> None:
    whole = trained.text.read_text()
    file = tmp_path / "valid.txt"
    file.write_text(whole[18_000:19_000])  # 90/5/5
    result = here("eval", trained.path, file, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    # One by torch, one by the engine: 1e-7 is what a mean of numbers in float32 may differ by.
    assert abs(report["nats_per_token"] - trained.result["valid_nats_per_token"]) < 1e-7
    assert report["tokens"] == 1000 and report["unknown_rate"] == 0 and report["protocol"] == "stream"
    assert math.isclose(report["perplexity"], math.exp(report["nats_per_token"]))
    assert math.isclose(report["bits_per_char"], report["nats_per_token"] / math.log(2))
    assert report["bits_per_byte"] == report["bits_per_char"]


@pytest.mark.parametrize("rule", ["as-unk", "exclude", "penalise"])
def test_unknown_symbols_cost_what_they_cost_in_score(trained: Trained, here: Here, tmp_path: Path, rule: str) -> None:
    file = tmp_path / "odd.txt"
    file.write_text("the cat sat on a Ω.\n漢 cat\n")
    report = json.loads(here("eval", trained.path, file, "--unknown", rule, "--json").out)
    scored = json.loads(here("score", trained.path, "--file", file, "--unknown", rule, "--json").out)
    assert (report["unknown"], report["tokens"], report["unknown_rate"]) == (
        rule,
        scored["tokens"],
        scored["unknown_rate"],
    )
    assert math.isclose(report["nats_per_token"], scored["nats_per_token"], rel_tol=1e-6)
    assert (report["bits_per_byte"] is not None) == (rule == "penalise")


def test_protocols_are_named_and_differ(trained: Trained, here: Here, test_text: Path) -> None:
    figures = {}
    for protocol in ("stream", "lines", "crops"):
        report = json.loads(here("eval", trained.path, test_text, "--protocol", protocol, "--json").out)
        assert report["protocol"] == protocol
        figures[protocol] = report["nats_per_token"]
    assert len(set(figures.values())) == 3
    plain = here("eval", trained.path, test_text)
    assert plain.out.startswith("stream") and "bits/char" in plain.out and plain.err == ""


def test_adapted_and_mixed_stand_beside_the_static_figure(
    trained: Trained, other: Path, here: Here, test_text: Path
) -> None:
    static = json.loads(here("eval", trained.path, test_text, "--json").out)
    weights = (trained.path / "weights.safetensors").read_bytes()
    result = here(
        "eval", trained.path, test_text, "--adapt", "dynamic", "--set", "learning_rate=0.002", "--mix", other, "--json"
    )
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["nats_per_token"] == static["nats_per_token"], "the static figure is not touched by adaptation"
    assert report["adapted"]["options"] == {"learning_rate": 0.002, "decay": 0.002, "seq_len": 16}
    assert report["adapted"]["nats_per_token"] != static["nats_per_token"]
    assert report["adapted"]["tokens"] == report["mixed"]["tokens"] == static["tokens"]
    assert abs(sum(report["mixed"]["weights"]) - 1) < 1e-9
    assert report["mixed"]["nats_per_token_each"][0] == report["adapted"]["nats_per_token"]
    assert report["mixed"]["nats_per_token"] <= max(report["mixed"]["nats_per_token_each"])
    assert (trained.path / "weights.safetensors").read_bytes() == weights
    shown = here("eval", trained.path, test_text, "--adapt", "cache", "--set", "weight=0.2")
    assert [line.split()[0] for line in shown.out.splitlines()] == ["stream", "cache", "text"]


def test_fitting_on_the_text_that_is_judged_is_said(trained: Trained, other: Path, here: Here, test_text: Path) -> None:
    report = json.loads(here("eval", trained.path, test_text, "--mix", other, "--valid", test_text, "--json").out)
    assert any("this same text" in note for note in report["notes"])
    report = json.loads(here("eval", trained.path, test_text, "--mix", other, "--json").out)
    assert report["notes"] == []


def test_compare(trained: Trained, other: Path, here: Here, test_text: Path) -> None:
    result = here("compare", trained.path, other, test_text, "--json")
    assert result.code == 0, result.err
    table = json.loads(result.out)
    assert [Path(row["model"]).name for row in table["models"]] == ["book", "window"]
    assert {"protocol", "tokens", "nats_per_token", "perplexity", "bits_per_char", "bits_per_byte", "unknown_rate",
            "model", "parameters"} <= set(table["models"][0])  # fmt: skip
    plain = here("compare", trained.path, other, test_text)
    head, first, second, verdict = plain.out.splitlines()
    assert head.split()[:3] == ["model", "arch", "parameters"]
    assert "no limit" in first and second.split()[-1] == "8"
    assert " pays " in verdict and "95 %" in verdict
    assert plain.err == ""


def test_compare_names_the_models_whose_symbols_are_unknown(trained: Trained, here: Here, tmp_path: Path) -> None:
    """A remark that holds of all of them stands alone."""
    (tmp_path / "odd.txt").write_text("the cat Ω\n" * 40)
    assert here("ngram", tmp_path / "odd.txt", "--order", "2", "--out", tmp_path / "knows").code == 0
    item = here("compare", trained.path, tmp_path / "knows", tmp_path / "odd.txt")
    assert re.search(rf"^{trained.path}: unknown symbols: 40, scored as <unk>", item.err, re.M)
    both = here("compare", trained.path, trained.path, tmp_path / "odd.txt")
    assert both.err.startswith("unknown symbols: 40, scored as <unk>")


def test_refusals(trained: Trained, refused: Refused, test_text: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    assert "is empty" in refused("eval", trained.path, empty)
    assert "cannot read" in refused("eval", trained.path, tmp_path / "none.txt")
    message = refused("eval", tmp_path / "none", test_text)
    assert "no model directory" in message and "`unroll classify train`" in message
    assert "did you mean 'decay'" in refused("eval", trained.path, test_text, "--adapt", "dynamic", "--set", "decai=1")
    assert "add --adapt" in refused("eval", trained.path, test_text, "--set", "decay=1")
    assert "protocol lines" in refused("eval", trained.path, test_text, "--adapt", "cache", "--protocol", "lines")
    counted, blank = tmp_path / "counted", tmp_path / "blank.txt"
    blank.write_text(" ")
    assert unroll("ngram", test_text, "--order", "2", "--level", "word", "--words", "space", "--out", counted).code == 0
    # Nothing was held back, so there is nothing to fit on; nor are there words in white space.
    assert "has no validation text" in refused("eval", counted, test_text, "--mix", counted)
    assert "has no validation text" in refused("eval", counted, test_text, "--mix", counted, "--valid", blank)
    strange = tmp_path / "strange.txt"
    strange.write_text("Ω" * 30_000)
    path = tmp_path / "strange"
    assert unroll("train", strange, "--steps", "2", *QUICK, "--out", path).code == 0
    assert "another vocabulary" in refused("eval", trained.path, test_text, "--mix", path)

"""`unroll translate train`: what it prints, and what it refuses with nothing half-written."""

import json
import random
from pathlib import Path

import pytest

from cli.conftest import Here, Refused
from cli.resuming import law_of_signals
from tasks.translate.toy import SMALL, sources, written

TINY = [argument for name, value in SMALL.items() for argument in ("--set", f"{name}={value}")]


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    return written(tmp_path, sources(random.Random(0), 60))


def test_train_and_describe(here: Here, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    valid, out = tmp_path / "valid", tmp_path / "run"
    valid.mkdir()
    written(valid, ["one two", "red cat"])
    done = here(
        "translate", "train", *pairs, "--valid", valid / "toy.en", valid / "toy.de", "--out", out, *TINY,
        "--level", "char", "--attention", "additive", "--steps", "20", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    made = json.loads(done.out)
    assert made["kind"] == "translator" and made["attention"] == "additive" and made["level"] == "char"
    assert made["steps"] == 20 and made["finished"] and made["valid_count"] == 2
    for shown in ("60 for training, 2 held out", "red cat → ", "nats a symbol", "unroll translate predict"):
        assert shown in done.err
    assert done.err.index("step 0/20") < done.err.index("red cat → ")  # the figure stands before its sample
    assert here("translate", "train", "--resume", out).code == 0
    described = here("info", out).out
    assert "attention additive" in described and "2 held-out pairs" in described


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        ((), "a translator needs a file of sources"),
        (("SRC",), "a translator needs a file of sources"),
        (("SRC", "SHORT"), "60 lines, and"),
        (("SRC", "TGT", "--valid", "SRC", "SHORT"), "60 lines, and"),
        (("SRC", "TGT", "--resume", "run"), "cannot be combined with --resume"),
        (("SRC", "missing.de"), "missing.de"),
        (("SRC", "TGT", "--set", "attention=loud"), "loud"),
        (("SRC", "TGT", "--attention", "none", "--set", "input_feeding=true"), "input_feeding without attention"),
        (("SRC", "TGT", "--set", "hiden_size=3"), "hidden_size"),
        (("SRC", "TGT", "--minutes", "1", "--steps", "3"), "both minutes and steps"),
    ],
)
def test_refusals_leave_nothing_behind(
    arguments: tuple[str, ...],
    subject: str,
    refused: Refused,
    pairs: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short.de").write_text("eins\n")
    files = {"SRC": pairs[0].name, "TGT": pairs[1].name, "SHORT": "short.de"}
    assert subject in refused("translate", "train", *(files.get(name, name) for name in arguments))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["short.de", "toy.de", "toy.en"]


def test_a_signal_saves_and_a_resume_finishes(here: Here, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    law_of_signals(here, "translate", [*pairs, *TINY, "--level", "word"], tmp_path)

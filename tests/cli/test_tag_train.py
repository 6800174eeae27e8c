"""`unroll tag train`: what it prints, and what it refuses with nothing half-written."""

import json
import random
import re
from pathlib import Path

import pytest

from cli.conftest import Here, Refused
from cli.resuming import law_of_signals
from cli.test_terminal import screen
from tasks.tag.toy import SMALL, sentences, written

TINY = [argument for name, value in SMALL.items() for argument in ("--set", f"{name}={value}")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "toy.tsv", sentences(random.Random(0), 60))


def test_train_and_describe(here: Here, file: Path) -> None:
    out = file.with_name("run")
    done = here("tag", "train", file, "--out", out, *TINY, "--steps", "30", "--crf", "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)
    assert made["kind"] == "tagger" and made["tags"] == ["ADJ", "ADV", "NOUN", "VERB"] and made["finished"]
    assert made["column"] == "2" and made["crf"] and made["steps"] == 30
    for shown in ("held out", "sentences", "are unknown", "accuracy", "unroll tag predict"):
        assert shown in done.err
    assert "replaced" not in made and "is finished" not in done.err
    again = here("tag", "train", "--resume", out)
    assert again.code == 0 and f"{out} is finished: there is nothing to resume." in again.err
    described = here("info", out).out
    assert "CRF" in described and "4 tags of column 2: ADJ, ADV, NOUN, VERB" in described
    cost = here("quantize", out).out
    assert "nats per token" in cost and "held-out token" in cost and "int8" in here("info", out).out


def test_a_screen_shows_validation_beside_training(file: Path) -> None:
    lines = screen("tag", "train", file, "--out", file.with_name("run"), *TINY, "--steps", "20")
    assert re.search(r"20/20 .*training \d\.\d{3} nats · validation \d\.\d{3} nats, \d+\.\d\d % right", lines)


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        ((), "a tagger needs a file"),
        (("FILE", "--column", "upos"), "columns"),
        (("FILE", "--column", "9"), "column 9"),
        (("FILE", "--scheme", "bio"), "scheme"),
        (("FILE", "--resume", "run"), "cannot be combined with --resume"),
        (("missing.conllu",), "missing.conllu"),
        (("FILE", "--pretrained", "FILE"), "toy.tsv"),
    ],
)
def test_refusals_leave_nothing_behind(
    arguments: tuple[str, ...], subject: str, refused: Refused, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert subject in refused("tag", "train", *(str(file) if name == "FILE" else name for name in arguments))
    assert [path.name for path in file.parent.iterdir()] == ["toy.tsv"]


def test_a_signal_saves_and_a_resume_finishes(here: Here, file: Path, tmp_path: Path) -> None:
    law_of_signals(here, "tag", [file, *TINY], tmp_path)

"""`unroll train --label`, and `--label` of sample and score, as a person types them."""

import json
from pathlib import Path

import pytest

from cli.command import QUICK, unroll
from training.steered.toy import rows, written


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("steering") / "words.tsv", rows(80))


@pytest.fixture(scope="module")
def steered(words: Path) -> Path:
    out = words.with_name("model")
    done = unroll("train", words, "--text", "word", "--label", "place,kind", "--steps", "30", "--out", out, *QUICK)
    assert done.code == 0, done.err
    assert "3 in column place, 2 in column kind" in done.err and "valid: one text in ten" in done.err
    assert "unroll sample" in done.err and "--label" in done.err and "all of" not in done.err
    return out


def test_a_text_begins_with_its_labels(steered: Path) -> None:
    drawn = set()
    for labels in ((), ("--label", "north"), ("--label", "kind=long", "--label", "place=west")):
        printed = json.loads(unroll("sample", steered, "--count", "5", "--json", *labels).out)
        drawn.add(tuple(sampled["text"] for sampled in printed["samples"]))
        assert printed["label"] == list(labels[1::2])
    assert len(drawn) == 3
    nats = [
        json.loads(unroll("score", steered, "bcd", "--eos", "--json", *labels).out)["texts"][0]["nats"]
        for labels in ((), ("--label", "north"), ("--label", "south"))
    ]
    assert nats[1] < min(nats[0], nats[2])


def test_info_lists_the_labels(steered: Path) -> None:
    shown = unroll("info", steered).out
    assert "place: " in shown and "kind: " in shown and "held out" in shown
    labels = json.loads(unroll("info", steered, "--json").out)["labels"]
    assert set(labels["kind"]) == {"long", "short"} and sum(labels["kind"].values()) == sum(labels["place"].values())


def test_other_verbs_read_texts_without_labels(steered: Path, words: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{text}\n" for text, *_ in rows(20, seed=1)))
    for arguments in (
        ("next", steered, "bc"), ("eval", steered, lines, "--protocol", "lines"), ("trace", steered, "bcd"),
        ("quantize", steered), ("score", steered, "--file", lines), ("sample", steered, "--copied"),
    ):  # fmt: skip
        done = unroll(*arguments)
        assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sample", "--label", "nort"), "no label 'nort'"),
        (("score", "bcd", "--label", "lang"), "no label 'lang'"),
        (("score", "--file", "WORDS", "--label", "north"), "--label applies to TEXT arguments only"),
        (("sample", "--label", "north", "--label", "west"), "two labels of the column 'place'"),
    ],
)
def test_a_wrong_label_is_refused(steered: Path, words: Path, arguments: tuple[str, ...], message: str) -> None:
    verb, *rest = (str(words) if argument == "WORDS" else argument for argument in arguments)
    done = unroll(verb, steered, *rest)
    assert done.code == 2 and message in done.err and "allowed: " in done.err and "fix: " in done.err


def test_a_training_says_what_it_needs(words: Path, steered: Path, tmp_path: Path) -> None:
    for options, message in (
        (("--label", "place"), "labels need one table"),
        (("--label", "plase", "--text", "word"), "no column 'plase'"),
        (("--label", "place", "--text", "word", "--separator", "x"), "a separator is given with labels"),
    ):
        done = unroll("train", words, *options, "--steps", "2", "--out", tmp_path / "out", *QUICK)
        assert done.code == 2 and message in done.err and "fix: " in done.err
    done = unroll("train", "--resume", steered, "--label", "place")
    assert done.code == 2 and "--label cannot be combined with --resume" in done.err
    assert unroll("train", "--resume", steered, "--more-steps", "5").code == 0

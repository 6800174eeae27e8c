"""`unroll classify`: what it prints, and what it refuses with nothing half-written."""

import io
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.command import forked
from cli.conftest import Here, Refused
from cli.resuming import law_of_signals
from cli.test_signals import wait_for
from tasks.classify.toy import SMALL

ROWS = "".join(f"{text} {k},{label}\n" for k in range(12) for text, label in (("meow", "cat"), ("woof", "dog")))
TINY = [argument for name, value in (SMALL | {"level": "word"}).items() for argument in ("--set", f"{name}={value}")]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "animals.csv"
    file.write_text("text,label\n" + ROWS)
    return file


def trained(here: Here, table: Path, *options: str | Path) -> Any:
    out = table.with_name("run")
    return here("classify", "train", table, "--text", "text", "--label", "label", "--out", out, *TINY, *options)


def test_train_predict_and_eval(here: Here, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = trained(here, table, "--steps", "60", "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)
    assert (
        made["kind"] == "classifier" and made["labels"] == ["cat", "dog"] and made["finished"] and made["steps"] == 60
    )
    assert "accuracy" in done.err and "held out" in done.err
    out = tmp_path / "run"
    predicted = json.loads(here("classify", "predict", out, "meow 3", "woof 4", "--json").out)["predictions"]
    assert [item["text"] for item in predicted] == ["meow 3", "woof 4"]
    assert [item["labels"][0]["label"] for item in predicted] == ["cat", "dog"]
    assert all(len(item["labels"]) == 2 for item in predicted)
    shown = here("classify", "predict", out, "meow 3").out
    assert "cat" in shown and "%" in shown
    lines = here("classify", "predict", out, "--file", table, "--tsv").out.splitlines()
    assert lines[0] == "label\tprobability\ttext" and len(lines) == 25
    (tmp_path / "lines.txt").write_text("meow 1\nwoof 2\n")
    rows = json.loads(here("classify", "predict", out, "--file", tmp_path / "lines.txt", "--top", "1", "--json").out)
    assert [[label["label"] for label in row["labels"]] for row in rows["predictions"]] == [["cat"], ["dog"]]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"meow 1\nwoof 2\n")))
    piped = here("classify", "predict", out, "--file", "-", "--top", "1", "--json")
    assert json.loads(piped.out)["predictions"] == rows["predictions"]
    shouted = tmp_path / "TABLE.TSV"
    shouted.write_bytes(table.read_bytes())
    assert here("classify", "predict", out, "--file", shouted, "--tsv").out.splitlines() == lines
    figures = json.loads(here("classify", "eval", out, table, "--json", "--plot", tmp_path / "c.svg").out)
    assert figures["accuracy"] == 1 and figures["count"] == 24 and (tmp_path / "c.svg").read_text().count("cat")
    assert "100.00 %" in here("classify", "eval", out, table).out
    assert here("classify", "train", "--resume", out).code == 0
    described = json.loads(here("info", out, "--json").out)
    assert described["valid_accuracy"] == made["valid_accuracy"] and described["kind"] == "classifier"
    assert "2 labels: cat, dog" in here("info", out).out
    million = here("classify", "predict", out, "--file", long_text(tmp_path), "--top", "1", "--json")
    assert json.loads(million.out)["predictions"][0]["labels"][0]["label"] in ("cat", "dog")
    assert "195,000 units" in million.err and "5,000 are read" in million.err


def long_text(folder: Path) -> Path:
    (folder / "long.txt").write_text("meow " * 200_000)
    return folder / "long.txt"


def test_quoted_line_breaks_marks_and_semicolons(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "animals.csv"
    rows = "".join(f'"meow\nsaid ""cat"" {k}";cat\r\nwoof {k};dog\r\n' for k in range(12))
    file.write_bytes(("\ufefftext;label\r\n" + rows).encode())
    done = trained(here, file, "--steps", "5", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["labels"] == ["cat", "dog"]


CASES = {
    "column": ("txt,label\n" + ROWS, [], "no column 'text'", "txt"),
    "label column": ("text,labels\n" + ROWS, [], "no column 'label'", "labels"),
    "empty label": ("text,label\n" + ROWS + "moo,\n", [], "line 26", "label"),
    "one class": ("text,label\nmeow,cat\npurr,cat\n", [], "same 'label'", ""),
    "fields": ("text,label\n" + ROWS + "moo\n", [], "line 26", "fields"),
    "nothing": ("text,label\n", [], "no rows", ""),
    "key": ("text,label\n" + ROWS, ["--set", "hidden=3"], "unknown key 'hidden'", "hidden_size"),
    "value": ("text,label\n" + ROWS, ["--set", "pooling=most"], "most", "max"),
    "budgets": ("text,label\n" + ROWS, ["--minutes", "1"], "one budget", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_table_is_refused(case: str, refused: Refused, tmp_path: Path) -> None:
    content, options, what, hint = CASES[case]
    file = tmp_path / "bad.csv"
    file.write_text(content)
    arguments = ("--text", "text", "--label", "label", "--out", tmp_path / "run", "--steps", "5", *options)
    message = refused("classify", "train", file, *arguments)
    assert what in message and hint in message and "allowed:" in message
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_labels_are_no_texts(refused: Refused, table: Path) -> None:
    message = refused("classify", "train", table, "--text", "text,label", "--label", "label", "--steps", "5")
    assert "of the labels and of the texts" in message and "--text" in message


def test_a_label_that_only_validation_has_is_refused(refused: Refused, table: Path) -> None:
    valid = table.with_name("valid.csv")
    valid.write_text("text,label\nmeow,cats\n")
    arguments = ("--text", "text", "--label", "label", "--valid", valid, "--steps", "5")
    message = refused("classify", "train", table, *arguments, "--out", table.with_name("run"))
    assert "line 2" in message and "'cats'" in message and "'cat'" in message


def test_a_label_that_training_never_saw_is_refused_when_measured(here: Here, refused: Refused, table: Path) -> None:
    assert trained(here, table, "--steps", "2").code == 0
    other = table.with_name("other.csv")
    other.write_text("text,label\nmeow,cat\nmoo,cows\n")
    message = refused("classify", "eval", table.with_name("run"), other)
    assert "'cows'" in message and "allowed: labels of training: cat, dog" in message


def test_a_signal_saves_and_a_resume_finishes(here: Here, table: Path, tmp_path: Path) -> None:
    law_of_signals(here, "classify", [table, "--text", "text", "--label", "label", *TINY], tmp_path)


def test_a_signal_from_outside_stops_a_process(table: Path, tmp_path: Path) -> None:
    """Of every task's training, for they share the frame that heeds it."""
    options = ("--text", "text", "--label", "label", *TINY, "--steps", "3000")
    with forked("classify", "train", table, *options, "--out", "run", cwd=tmp_path) as process:
        wait_for(process, "step 20/3,000")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.poll() == 130, err
    assert "To resume: unroll classify train --resume run\n" in err and "Traceback" not in err
    assert json.loads((tmp_path / "run" / "model.json").read_text())["result"] is None


def test_what_is_odd_is_counted(here: Here, table: Path) -> None:
    table.write_text(table.read_text() + "meow 1,cat\nmoo,cow\n,dog\n")
    valid = table.with_name("valid.csv")
    valid.write_text("text,label\nmeow 1,cat\nwoof 99,dog\n")
    said = trained(here, table, "--steps", "5", "--valid", valid).err
    assert "1 label of" in said and "cow" in said
    assert "1 text of" in said and "also in" in said and "1 empty text" in said and "1 row of" in said


def test_models_of_other_kinds_are_refused(here: Here, refused: Refused, table: Path, tmp_path: Path) -> None:
    assert trained(here, table, "--steps", "5").code == 0
    out = tmp_path / "run"
    (tmp_path / "book.txt").write_text("the cat and the dog. " * 200)
    for verb in ("sample", "score", "next", "eval"):
        extra = ["the text"] if verb in ("score", "next") else [tmp_path / "book.txt"] if verb == "eval" else []
        message = refused(verb, out, *extra)
        assert "is a classifier" in message and "allowed: a language model" in message and "classify" in message
    small = ("--set", "hidden_size=8", "--set", "sample_length=3", "--steps", "2")
    assert here("train", tmp_path / "book.txt", "--out", tmp_path / "model", *small).code == 0
    message = refused("classify", "predict", tmp_path / "model", "meow")
    assert "is a language model" in message and "unroll classify train" in message


@pytest.mark.parametrize("arguments", [["predict", "DIR"], ["predict", "DIR", "meow", "--file", "F"],
                                       ["predict", "DIR", "meow", "--top", "0"], ["train"]])  # fmt: skip
def test_incomplete_requests_are_refused(arguments: list[str], refused: Refused, table: Path) -> None:
    names = {"DIR": str(table.parent), "F": str(table)}
    assert "allowed:" in refused("classify", *(names.get(argument, argument) for argument in arguments))

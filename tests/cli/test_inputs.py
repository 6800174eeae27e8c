"""Every verb reads a text alike from a file, a pipe, standard input, packed, in a table, and in any encoding."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from cli.command import QUICK, UNROLL, environment, text, unroll
from cli.conftest import Here, Refused, Trained
from unroll.artifact.directory import data_path
from unroll.cli import inputs
from unroll.data.corpus import load_corpus
from unroll.errors import UserError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CONTENT = text(3000).rpartition("\n")[0] + "\n"
Way = Callable[[Path, pytest.MonkeyPatch], list[str]]
"""Writes the text into a folder and returns the arguments that name it."""


def written(data: bytes, *how: str) -> Way:
    def write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        (folder / "text").write_bytes(data)
        return [str(folder / "text"), *how]

    return write


def on_stdin(data: bytes) -> Way:
    def write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return ["-"]

    return write


def in_pipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    os.mkfifo(folder / "pipe")
    threading.Thread(target=(folder / "pipe").write_text, args=(CONTENT,), daemon=True).start()
    return [str(folder / "pipe")]


def as_csv() -> bytes:
    table = io.StringIO()
    csv.writer(table).writerows([("id", "body"), *enumerate(CONTENT.splitlines())])
    return table.getvalue().encode()


AS_JSON = "".join(json.dumps({"id": 1, "body": line}) + "\n" for line in CONTENT.splitlines()).encode()
PLAIN = CONTENT.encode()
WAYS: dict[str, Way] = {
    "stdin": on_stdin(PLAIN),
    "packed on stdin": on_stdin(gzip.compress(PLAIN)),
    "pipe": in_pipe,
    "gzip": written(gzip.compress(PLAIN)),
    "bz2": written(bz2.compress(PLAIN)),
    "xz": written(lzma.compress(PLAIN)),
    "zst": written(zstd.compress(PLAIN)),
    "CSV": written(as_csv(), "--text", "body"),
    "JSON lines": written(AS_JSON, "--text", "body"),
    "UTF-16": written(CONTENT.encode("utf-16"), "--encoding", "utf-16"),
    "UTF-32": written(CONTENT.encode("utf-32"), "--encoding", "utf-32"),
    "EBCDIC": written(CONTENT.encode("cp500"), "--encoding", "cp500"),
}
VERBS: dict[str, list[str]] = {
    "eval": ["eval", "MODEL", "TEXT"],
    "eval --valid": ["eval", "MODEL", "PLAIN", "--adapt", "cache", "--valid", "TEXT"],
    "score": ["score", "MODEL", "--file", "TEXT"],
    "compare": ["compare", "MODEL", "NGRAM", "TEXT"],
    "cells": ["cells", "MODEL", "--property", "line", "--file", "TEXT"],
    "ablate": ["ablate", "MODEL", "--cell", "0:1", "--file", "TEXT"],
    "trace": ["trace", "MODEL", "--file", "TEXT"],
    "memory": ["memory", "MODEL", "--targets", "20", "--limit", "8", "--file", "TEXT"],
    "gradients": ["gradients", "MODEL", "--lags", "5", "--file", "TEXT"],
    "plot": ["plot", "position", "MODEL", "TEXT", "--length", "16"],
    "embed": ["embed", "MODEL", "TEXT", "--out", "OUT.npy"],
    "similar": ["similar", "MODEL", "TEXT", "--query", "the cat"],
    "sample --prompt-file": ["sample", "MODEL", "--length", "5", "--prompt-file", "TEXT"],
    "ngram": ["ngram", "TEXT", "--order", "3", "--split", "90/10", "--out", "OUT"],
    "data prepare": ["data", "prepare", "TEXT", "--out", "OUT"],
    "data prepare --valid": ["data", "prepare", "TEXT", "--valid", "TEXT", "--out", "OUT"],
}
OF_PLACES = {
    "by_set", "file", "files", "name", "notes", "out", "overlaps", "path", "seconds", "sets", "sources", "title",
    "tokens_per_second", "train_seconds", "trained_on", "valid_file", "warnings",
}  # fmt: skip
"""Members of answers that name files, or depend on the clock."""


def figures(value: Any) -> Any:
    """Return an answer without what names files or depends on the clock."""
    if isinstance(value, dict):
        return {key: figures(part) for key, part in value.items() if key not in OF_PLACES}
    return [figures(part) for part in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> Path:
    folder = tmp_path_factory.mktemp("counted") / "ngram"
    assert unroll("ngram", trained.text, "--order", "3", "--out", folder).code == 0
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_reads_a_text_alike_however_it_comes(
    verb: str, trained: Trained, counted: Path, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = VERBS[verb]
    (tmp_path / "plain").write_text(CONTENT)

    def answer(name: str, named: list[str]) -> Any:
        out, vectors = tmp_path / name / "out", tmp_path / name / "out.npy"
        texts = {"PLAIN": tmp_path / "plain", "TEXT": named[0]}
        places = {"MODEL": trained.path, "NGRAM": counted, **texts, "OUT": out, "OUT.npy": vectors}
        result = here(*(str(places.get(word, word)) for word in words), *named[1:], "--json")
        assert result.code == 0, (name, result.err)
        return figures(json.loads(result.out)), vectors.read_bytes() if vectors.exists() else None

    (tmp_path / "expected").mkdir()
    expected = answer("expected", [str(tmp_path / "plain")])
    for name, way in WAYS.items():
        (tmp_path / name).mkdir()
        named = way(tmp_path / name, monkeypatch)
        once = ("stdin" in name or name == "pipe") and words.count("TEXT") > 1
        of_all = len(named) > 1 and "PLAIN" in words  # an encoding, or a column, is that of all texts
        if not (once or of_all or ("--text" in named and words[0] == "sample")):
            assert answer(name, named) == expected, name


def test_train_makes_the_same_model_of_a_text_however_it_comes(tmp_path: Path) -> None:
    """Through the whole command: the name of the folder, and no copy left behind."""
    (tmp_path / "text.txt.zst").write_bytes(zstd.compress(PLAIN))
    steps = ("--steps", "2", *QUICK, "--json")
    result = unroll("train", "text.txt.zst", *steps, cwd=tmp_path)
    assert result.code == 0, result.err
    (tmp_path / "copies").mkdir()
    piped = subprocess.run(
        [*UNROLL, "train", "-", *steps], cwd=tmp_path, env=environment(TMPDIR=str(tmp_path / "copies")),
        input=PLAIN, capture_output=True, timeout=120,
    )  # fmt: skip
    assert piped.returncode == 0, piped.stderr
    weights = [(tmp_path / "runs" / name / "weights.safetensors").read_bytes() for name in ("text", "stdin")]
    assert weights[0] == weights[1]
    assert json.loads(piped.stdout)["trained_on"][0]["name"] == "stdin"
    assert list((tmp_path / "copies").glob("unroll-*")) == []


def test_a_copy_outlives_the_start_again_of_its_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`train` starts itself again to set a wait policy: by then standard input has been read to its end."""
    (tmp_path / "copies" / "0").mkdir(parents=True)
    (tmp_path / "copies" / "0" / "stdin").write_text("kept")
    monkeypatch.setenv(inputs.COPIES, f"{os.getpid()}:{tmp_path / 'copies'}")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    texts: list[str] = []

    @click.command()
    @click.argument("file", type=inputs.TEXT)
    @inputs.reads_text
    def verb(file: Path) -> None:
        texts.append(file.read_text())

    verb.main(["-"], standalone_mode=False)
    assert texts == ["kept"]
    assert not (tmp_path / "copies").exists()


def test_rescore_and_pairs_read_standard_input(
    trained: Trained, here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = {"rescore": b"1 ||| the cat ||| a ||| 0\n1 ||| a cat ||| a ||| 1\n", "pairs": b"the cat\tcat the\n"}
    for verb, data in lists.items():
        (tmp_path / verb).write_bytes(data)
        plain = here(verb, trained.path, tmp_path / verb, "--json")
        assert plain.code == 0, plain.err
        for packed in (data, bz2.compress(data)):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
            result = here(verb, trained.path, "-", "--json")
            assert figures(json.loads(result.out)) == figures(json.loads(plain.out)), verb
        (tmp_path / "wide").write_bytes(data.decode().encode("utf-16"))
        result = here(verb, trained.path, tmp_path / "wide", "--encoding", "utf-16", "--json")
        assert result.code == 0, result.err


def test_standard_input_is_read_once_and_not_empty(
    trained: Trained, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    for data, files, says in (
        (b"", ["-"], "standard input is empty"),
        (PLAIN, ["-", "-"], "standard input is named twice"),
        (b"caf\xe9 ", ["-"], "standard input is not UTF-8"),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert says in refused("eval", trained.path, *files)


def test_advice_names_only_what_the_verb_has(trained: Trained, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4\n")
    (tmp_path / "latin").write_bytes(
        "« Je m’endors » – à peine ma bougie éteinte, couché de bonne heure".encode("cp1252")
    )
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    assert "is a PDF\n" in refused("eval", trained.path, tmp_path / "a.pdf")
    assert "fix: add --encoding windows-1252, or" in refused("eval", trained.path, tmp_path / "latin")
    assert "or train at --level byte" in refused("eval", trained.path, tmp_path / "bytes")
    assert "curl -LO https://example.org/a.txt" in refused(
        "train", "https://example.org/a.txt", "--out", tmp_path / "x"
    )
    assert "utf-88" in refused("eval", trained.path, tmp_path / "latin", "--encoding", "utf-88")


def test_a_moved_prepared_folder_is_named(here: Here, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "text").write_text(CONTENT)
    assert here("data", "prepare", tmp_path / "text", "--out", tmp_path / "data").code == 0
    result = here("train", tmp_path / "data", "--steps", "2", *QUICK, "--out", tmp_path / "run")
    assert result.code == 0, result.err
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=f"no longer at {tmp_path / 'data'}"):
        load_corpus(data_path(tmp_path / "run"))


@pytest.mark.parametrize("level", ["char", "word", "bpe"])
def test_a_separator_ends_samples_and_is_scored(level: str, here: Here, tmp_path: Path) -> None:
    """By the network and by the n-gram: the end costs what a symbol costs, a sample ends with it, no text shows it."""
    (tmp_path / "names").write_text("".join(f"{name}<|>" for name in ("anna", "bob", "eve") * 200))
    made = (("train", "--steps", "60", *QUICK), ("ngram", "--order", "4", "--split", "90/10"))
    for name, *flags in made:
        folder = tmp_path / name
        result = here(name, tmp_path / "names", "--separator", "<|>", "--level", level, "--out", folder, *flags)
        assert result.code == 0, result.err
        drawn = json.loads(here("sample", folder, "--count", "5", "--length", "200", "--json").out)["samples"]
        assert any(sample["symbols"] < 200 for sample in drawn)
        assert not any("<|" in sample["text"] for sample in drawn)
        whole, part = json.loads(here("score", folder, "anna<|>", "anna", "--json").out)["texts"]
        end = whole["per_token"][-1]
        assert whole["nats"] == pytest.approx(part["nats"] + end["nats"], rel=1e-5)
        ended = json.loads(here("score", folder, "anna", "--eos", "--json").out)["texts"][0]
        assert ended["nats"] == pytest.approx(whole["nats"], rel=1e-5)
        text = json.loads(here("eval", folder, tmp_path / "names", "--json").out)
        units = json.loads(here("score", folder, "--file", tmp_path / "names", "--json").out)
        assert text["unknown_rate"] == 0
        assert units["nats"] == pytest.approx(text["nats_per_token"] * text["tokens"], rel=1e-5)


def test_a_separator_has_the_escapes_of_a_stop(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("a\n\nb\n")
    message = refused("ngram", tmp_path / "book.txt", "--separator", r"\q", "--out", tmp_path / "model")
    assert r"\q in --separator is no escape" in message and "fix: write \\\\ for a backslash" in message
    assert not (tmp_path / "model").exists()

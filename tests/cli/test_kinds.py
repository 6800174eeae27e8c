"""Every verb on every kind of model: it works, or says why not in words of its own."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest

import unroll
from cli.command import text
from cli.conftest import Here, Refused, Trained
from tasks.classify import toy
from tasks.sequences import toy as toy_series
from tasks.tag import toy as toy_tags
from tasks.translate import toy as toy_pairs
from unroll.cli import kinds
from unroll.cli.app import app
from unroll.cli.kinds import USES
from unroll.errors import Kind, UserError
from unroll.serve import server

MODEL, OUT = "MODEL", "OUT"
"""What stands for the directory of a model, and for the folder that a verb writes into."""
BOOK, TABLE, PAIRS, LISTS, TAGGED = "book.txt", "animals.tsv", "pairs.tsv", "lists.txt", "tagged.tsv"
SERIES = "toy-slope.csv"
CALLS: dict[str, list[str]] = {
    "train": ["--resume", MODEL],
    "sample": [MODEL, "--length", "5"],
    "score": [MODEL, "the cat"],
    "next": [MODEL, "the cat"],
    "evolution": [MODEL],
    "info": [MODEL],
    "eval": [MODEL, BOOK],
    "pairs": [MODEL, PAIRS],
    "rescore": [MODEL, LISTS, "--out", f"{OUT}/lists"],
    "embed": [MODEL, BOOK, "--out", f"{OUT}/vectors.npy"],
    "similar": [MODEL, BOOK, "--query", "the cat"],
    "compare": [MODEL, MODEL, BOOK],
    "plot": ["position", MODEL, BOOK, "--length", "32", "--out", f"{OUT}/plot.svg"],
    "trace": [MODEL, "the cat"],
    "gradients": [MODEL, "--lags", "5"],
    "attribute": [MODEL, "the cat"],
    "patch": [MODEL, "the cat", "the mat", "--target", "s", "--against", "a"],
    "memory": [MODEL, "--file", BOOK, "--limit", "16", "--targets", "50"],
    "cells": [MODEL, "--file", BOOK, "--property", "word"],
    "ablate": [MODEL, "--cell", "0:0", "--file", BOOK],
    "classify train": ["--resume", MODEL],
    "classify predict": [MODEL, "the cat"],
    "classify eval": [MODEL, TABLE],
    "tag train": ["--resume", MODEL],
    "tag predict": [MODEL, "the cat"],
    "tag eval": [MODEL, TAGGED],
    "translate train": ["--resume", MODEL],
    "translate predict": [MODEL, "the cat"],
    "translate eval": [MODEL, BOOK, BOOK],
    "sequences train": ["--resume", MODEL],
    "sequences predict": [MODEL, SERIES],
    "sequences eval": [MODEL, SERIES],
    "export": [MODEL, "--out", f"{OUT}/model.onnx"],
    "quantize": [MODEL],
    "serve": [MODEL, "--port", "0"],
    "studio": [MODEL, "--port", "0", "--no-open"],
}
"""A call of each verb that takes a model."""
OF_NETWORKS = {
    "classify train": [
        TABLE, "--text", "text", "--label", "label", "--pretrained", MODEL, "--out", f"{OUT}/c", "--steps", "1",
        "--set", "level=char", "--device", "cpu",
    ],
    "tag train": [TAGGED, "--pretrained", MODEL, "--out", f"{OUT}/t", "--steps", "1", "--device", "cpu"],
}  # fmt: skip
"""Calls that differ where the model is a network."""


OF_SEQUENCES = {"attribute": [MODEL, SERIES]}
"""Those that differ where it is a model of sequences."""


def verbs(group: click.Group, name: str = "") -> Iterator[str]:
    """Yield every verb of the command line, those of a group with its name before their own."""
    context = click.Context(group)
    for verb in group.list_commands(context):
        command = group.get_command(context, verb)
        if isinstance(command, click.Group):
            yield from verbs(command, f"{verb} ")
        else:
            yield name + verb


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> Path:
    """A folder with a model of each kind and the files of the calls."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / BOOK).write_text(text(5000))
    (folder / PAIRS).write_text("the cat sat\tcat the sat\n")
    (folder / LISTS).write_text("1 ||| the cat sat ||| 0\n1 ||| cat the sat ||| 0.1\n")
    shutil.copytree(trained.path, folder / "network")
    for _ in unroll.ngram(trained.text, order=3, out=folder / "ngram"):
        pass
    toy.trained(toy.written(folder / TABLE, toy.rows(random.Random(0), 60)), folder / "classifier", steps=5)
    tagged = toy_tags.written(folder / TAGGED, toy_tags.sentences(random.Random(0), 40))
    toy_tags.trained(tagged, folder / "tagger", steps=5)
    pairs = toy_pairs.written(folder, toy_pairs.sources(random.Random(0), 40))
    toy_pairs.trained(pairs, folder / "translator", steps=5)
    toy_series.trained(toy_series.written(folder / "toy.csv", 60), folder / "sequence", steps=5)
    return folder


def arguments(verb: str, kind: Kind, out: Path) -> list[str]:
    """Return the call of a verb on a model of a kind."""
    call = {"network": OF_NETWORKS, "sequence": OF_SEQUENCES}.get(kind, {}).get(verb, CALLS[verb])
    return [*verb.split(), *(kind if part == MODEL else part.replace(OUT, str(out)) for part in call)]


def test_every_verb_has_its_row() -> None:
    assert set(verbs(app)) == set(USES)
    assert set(CALLS) == {verb for verb, refusals in USES.items() if refusals is not None}


def test_a_new_verb_without_a_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = app.list_commands(click.Context(app))
    monkeypatch.setattr(app, "list_commands", lambda context: [*names, "sing"])
    with pytest.raises(AssertionError):
        test_every_verb_has_its_row()


def test_no_two_verbs_give_the_same_reason() -> None:
    for kind in get_args(Kind):
        whys = [refusals[kind].why for refusals in USES.values() if refusals and kind in refusals]
        assert len(set(whys)) == len(whys)


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("verb", CALLS)
def test_it_works_or_says_why_not(
    verb: str, kind: Kind, folder: Path, here: Here, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "serve", lambda app, settings, listener, ready: ready())  # and stop
    monkeypatch.chdir(folder)
    call, refusals = arguments(verb, kind, tmp_path), USES[verb]
    assert refusals is not None
    if kind not in refusals:
        done = here(*call)
        assert done.code == 0, done.err
        return
    message = refused(*call)
    assert f"{kind} is a" in message and f": {refusals[kind].why}\n  allowed: " in message
    assert message.endswith(f"\n  fix: {refusals[kind].fix}\n")
    assert not list(tmp_path.iterdir())


def test_a_library_has_words_without_a_verb(folder: Path) -> None:
    def sampled() -> None:
        list(unroll.sample(folder / "classifier", length=1))

    def classified() -> None:
        unroll.classify(folder / "network", ["text"])

    for call in (sampled, classified):
        with pytest.raises(UserError, match=r"is a .+: it predicts") as refusal:
            call()
        assert refusal.value.allowed and refusal.value.fix


def test_a_refusal_elsewhere_keeps_its_words(refused: Refused, folder: Path, monkeypatch: Any) -> None:
    """As of a model given to an option that has no words in the table."""
    monkeypatch.setitem(kinds.USES, "sample", {})
    assert "it predicts the label of a text, not what comes next" in refused("sample", folder / "classifier")

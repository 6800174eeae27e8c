"""A table becomes documents with labels beside them; what does not do as one is refused, and nothing is left behind."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from training.steered.toy import HEADER, begin, rows, trained, written
from unroll.artifact.info import info
from unroll.artifact.open import open_model
from unroll.data.corpus import load_corpus
from unroll.data.labelled import text_number
from unroll.errors import UserError
from unroll.lm.surprisal import score
from unroll.training.request import resume, train
from unroll.training.steered.table import LABELS, filled, windows_of


def test_the_corpus_holds_the_texts_and_the_description_the_labels(words: Path, steered: Path) -> None:
    corpus = load_corpus(steered / "resume" / "data")
    kept, held_out = ([row for row in rows(90) if (text_number(row[0]) % 10 == 0) == out] for out in (False, True))
    for ids, part in ((corpus.train, kept), (corpus.valid, held_out)):
        assert corpus.tokenizer.decode([int(id) for id in ids]) == "".join(f"{text}\n" for text, *_ in part)
    assert load_file(steered / LABELS)["valid"].shape == (len(held_out), 2)
    description = info(steered)
    for number, name in enumerate(HEADER[1:], 1):
        counts = description["labels"][name]
        assert counts == {label: sum(row[number] == label for row in kept) for label in sorted(counts)}
    assert description["protocol"] == "labels" and description["split"] is None
    assert [source["name"] for source in description["trained_on"]] == ["words.tsv", "words.tsv (held out)"]
    assert not (steered / "texts").exists()
    saved = load_file(steered / "weights.safetensors")
    assert description["parameters"] == sum(array.size for array in saved.values())


def test_texts_of_several_lines_end_with_a_separator_of_their_own(tmp_path: Path) -> None:
    table = written(tmp_path / "t.tsv", [(f"{text[:3]}\n{text[3:]}", *labels) for text, *labels in rows(40)])
    opened = open_model(trained(table, tmp_path / "model"))
    assert opened.tokenizer.separator == "\x1e"
    (scored,) = score(opened, "bc\nb", eos=True, label="north")
    assert [token.token for token in scored.per_token] == ["b", "c", "\n", "b", "<end>"]


def test_another_table_validates(words: Path, tmp_path: Path) -> None:
    valid = written(tmp_path / "valid.tsv", [("bbb", "north", "short"), ("aeiouaeiou", "south", "long")])
    out = trained(words, tmp_path / "model", valid=valid)
    corpus = load_corpus(out / "resume" / "data")
    assert corpus.tokenizer.decode([int(id) for id in corpus.valid]) == "bbb\naeiouaeiou\n"
    assert len(load_file(out / LABELS)["train"]) == 90 and info(out)["valid_file"].endswith("valid.tsv")


@pytest.mark.parametrize("level", ["word", "bpe"])
def test_other_levels(level: str, tmp_path: Path) -> None:
    table = written(tmp_path / "t.tsv", [(" ".join(text), *labels) for text, *labels in rows(60)])
    opened = open_model(trained(table, tmp_path / "model", label="place", level=level))
    assert score(opened, "b c d", eos=True, label="north")[0].per_token[-1].token == "<end>"


@pytest.mark.parametrize(
    ("changes", "message", "advice"),
    [
        ({"label": ["plase"]}, "no column 'plase'", "--label place"),
        ({"label": []}, "labels need one table", "name all three"),
        ({"label": ["word"]}, "'word' is a column of labels and of texts", "--text"),
        ({"split": "90/10"}, "a split is given with labels", "leave it out"),
        ({"separator": "x"}, "a separator is given with labels", "leave it out"),
        ({"arch": "window"}, "a window has no state", "leave the architecture out"),
        ({"level": "byte"}, "at level byte", "choose one of them"),
    ],
)  # fmt: skip
def test_what_does_not_do_is_refused(
    words: Path, tmp_path: Path, changes: dict[str, Any], message: str, advice: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        list(begin(words, tmp_path / "out", **changes))
    assert caught.value.allowed and advice in caught.value.fix
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([("a", "north", "long"), ("b", "north", "short")], "all rows of .* have the same 'place'"),
        ([("a", "north", "long"), ("b", "", "short")], "line 3 of .* has no label in 'place'"),
        ([("a", "north", "long"), ("b", "south")], "line 3 of .*"),
        ([("a\x1e\n", "north", "long"), ("b", "south", "short"), ("c", "south", "short")], "line 2 of .* has U.001E"),
    ],
)
def test_rows_that_do_not_do_are_refused(tmp_path: Path, examples: Sequence[tuple[str, ...]], message: str) -> None:
    table = written(tmp_path / "t.tsv", [*examples, *[row for row in rows(20) if row[1] == "north"]])
    with pytest.raises(UserError, match=message):
        list(begin(table, tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["t.tsv"]


def test_a_label_with_one_text_is_a_remark(tmp_path: Path) -> None:
    table = written(tmp_path / "t.tsv", [*rows(40), ("zzz", "moon", "short")])
    reports = list(begin(table, tmp_path / "out", label="place"))
    assert any(report.kind == "warn" and "one example for training: moon" in str(report.text) for report in reports)


def test_labels_that_do_not_fit_the_texts_are_refused(steered: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    shutil.copytree(steered, out)
    labels = load_file(out / LABELS)
    for damage in ({"train": labels["train"][1:]}, {"valid": labels["valid"] + 5}, {"valid": labels["valid"] - 5}):
        save_file(labels | damage, out / LABELS)
        with pytest.raises(UserError, match="is damaged"):
            list(resume(out, more_steps=3))
    save_file({"train": labels["train"].astype(np.int64)}, out / LABELS)
    with pytest.raises(UserError, match="is damaged"):
        list(resume(out, more_steps=3))


def test_a_model_without_labels_takes_none(corpus: Path, tmp_path: Path) -> None:
    small = {"hidden_size": 4, "embedding_size": 4, "sample_length": 3}
    list(train(corpus, out=tmp_path / "plain", steps=2, settings=small, device="cpu"))
    assert "steering" not in json.loads((tmp_path / "plain" / "model.json").read_text())
    with pytest.raises(UserError, match="has no labels, and 'north' is named") as caught:
        score(tmp_path / "plain", "b", label="north")
    assert "unroll train" in caught.value.allowed and caught.value.fix


def test_a_budget_of_minutes_ends_after_some_rounds(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unroll.training.steered.table.MOST_EPOCHS", 2)
    start = next(begin(words, tmp_path / "model", steps=None, minutes=0.1, settings={"seq_len": 24}))
    assert start.detail["steps"] < 60 and 1.5 < start.detail["epochs"] <= 2  # some of it is padding


def test_windows_hold_every_symbol_once_and_their_share_is_counted() -> None:
    lengths = np.array([1, 5, 9, 23, 2, 2, 24, 30])
    windows = windows_of(lengths, 3, 10, seed=0, epoch=1)
    read = np.zeros(8, np.int64)
    for rows_read, first in windows:
        assert len(rows_read) <= 3 and first % 10 == 0
        read[rows_read] += np.clip(lengths[rows_read] - first, 0, 10)
    assert read.tolist() == lengths.tolist()
    widths = [min(10, max(lengths[rows_read]) - first) for rows_read, first in windows]
    assert filled(lengths, windows, 10) == pytest.approx(np.mean(widths) / 10)

"""A steered training reads each text from its labels and resumes bit for bit; scores and samples begin there too."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tiny import law_resume, outcome, stopped_at
from training.steered.toy import LETTERS, STEPS, begin, rows, trained, written
from unroll.artifact.open import load, open_model
from unroll.artifact.steering import Starts
from unroll.engine.network import Precision
from unroll.errors import UserError
from unroll.lm.beam import beam_search
from unroll.lm.sample import sample
from unroll.lm.surprisal import score
from unroll.progress import result
from unroll.state import map_state
from unroll.training.prepare import Training
from unroll.training.request import resume
from unroll.training.steered.lesson import Steered


@contextmanager
def prepared(table: Path, out: Path, **options: Any) -> Iterator[tuple[Steered, Any]]:
    """Give the lesson and the run of a training before its first step."""
    trainings: list[Training] = []

    def stopped(training: Training) -> Iterator[Any]:
        trainings.append(training)
        return iter(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unroll.training.request.reports_of", stopped)
        list(begin(table, out, **options))
    lesson = trainings[0].lesson
    assert isinstance(lesson, Steered)
    yield lesson, trainings[0].run


def test_an_epoch_reads_every_symbol_of_every_text_once_from_its_labels(words: Path, tmp_path: Path) -> None:
    with prepared(words, tmp_path / "run", settings={"reset_probability": 0.0}) as (lesson, run):
        start_id, held_out = lesson.corpus.tokenizer.start_id, len(lesson.held_out)
        read: list[tuple[str, ...]] = []
        texts, labels = [list[int]() for _ in range(7)], np.zeros((0, 2), np.int64)

        def collect() -> None:
            columns = lesson.steering.columns
            for ids, (place, kind) in zip(texts, labels.tolist(), strict=False):
                if ids:  # else padding of the last batch of its length
                    assert ids[-1] == start_id == lesson.corpus.tokenizer.end_id and start_id not in ids[:-1]
                    text = lesson.corpus.tokenizer.decode(ids[:-1])
                    read.append((text, columns[0].labels[place], columns[1].labels[kind]))

        for run.step in range(len(lesson.epoch(0))):
            batch = lesson.batch(run)
            assert batch.inputs.shape == batch.targets.shape and batch.inputs.shape[1] <= 6
            if batch.labels is not None:
                collect()
                texts, labels = [[] for _ in range(7)], batch.labels
                assert (batch.inputs[:, 0] == start_id).all()
            else:
                assert all(row[-1] == first for row, first in zip(texts, batch.inputs[:, 0], strict=True) if first)
            for row, targets in zip(texts, batch.targets, strict=True):
                row += targets[targets >= 0].tolist()
        collect()
    assert len(read) == 90 - held_out and 0 < held_out < 30
    assert sorted(read) == sorted(row for row in rows(90) if row in set(read))


def test_some_labels_are_left_out_each_by_itself(words: Path, tmp_path: Path) -> None:
    with prepared(words, tmp_path / "run", settings={"reset_probability": 0.4, "seq_len": 30}) as (lesson, run):
        named = []
        for run.step in range(60):
            labels = lesson.batch(run).labels
            assert labels is not None
            named.append((labels >= 0)[(lesson.batch(run).targets >= 0).any(1)])
    shares = np.concatenate(named)
    assert abs(shares.mean() - 0.6) < 0.05
    assert abs((shares[:, 0] & shares[:, 1]).mean() - 0.36) < 0.07


@pytest.mark.parametrize("count", [1, 3, 8, 13])
def test_a_training_that_is_stopped_and_resumed_leaves_the_same_bytes(words: Path, tmp_path: Path, count: int) -> None:
    reference = outcome(trained(words, tmp_path / "whole"))
    assert stopped_at(begin(words, tmp_path / "part"), count)
    list(resume(tmp_path / "part"))
    law_resume(reference, tmp_path / "part")


def test_a_finished_training_is_extended(words: Path, steered: Path, tmp_path: Path) -> None:
    out = trained(words, tmp_path / "model")
    list(resume(out, more_steps=4))
    assert open_model(out).description["result"]["steps"] == STEPS + 4
    assert open_model(out).description["steering"] == open_model(steered).description["steering"]


def test_texts_are_scored_from_the_start_state_of_their_labels(steered: Path) -> None:
    """The engine's nats are those of torch from the sum of the two rows in weights.safetensors."""
    network, opened = load(steered), open_model(steered)
    text, columns = "bcdbgf", opened.description["steering"]["columns"]
    place, kind = columns[0]["labels"].index("north"), columns[1]["labels"].index("long")
    weights = load_file(steered / "weights.safetensors")
    state = tuple(
        tuple((weights[f"start.0.{k}.{part}"][place] + weights[f"start.1.{k}.{part}"][kind])[None] for part in "hc")
        for k in range(2)
    )
    ids = [opened.tokenizer.start_id, *opened.tokenizer.encode(text).tolist(), opened.tokenizer.end_id]
    with torch.no_grad():
        logits, _ = network.model(torch.tensor([ids[:-1]]), state)
    nats = -logits.double().log_softmax(-1)[0, range(len(ids) - 1), ids[1:]].numpy()
    for model in (opened, network):
        (scored,) = score(model, text, eos=True, label=("kind=long", "north"))
        np.testing.assert_allclose(np.array([token.nats for token in scored.per_token]), nats, atol=1e-5)
        assert scored.per_token[-1].token == "<end>"
    plain = score(opened, text, eos=True)[0].nats
    assert abs(plain - nats.sum()) > 1e-3, "the label changes nothing"


def test_a_label_of_another_row_breaks_the_law(steered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Starts.state

    def shifted(starts: Starts, ids: Any) -> Any:
        return map_state(lambda part: np.roll(part, 1, axis=1), honest(starts, ids))

    monkeypatch.setattr(Starts, "state", shifted)
    with pytest.raises(AssertionError):
        test_texts_are_scored_from_the_start_state_of_their_labels(steered)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_nats_of_samples_are_those_of_their_score(steered: Path, precision: Precision) -> None:
    opened = open_model(steered, precision)
    for seed in range(12):
        symbols = list(sample(opened, "b", 40, temperature=1.0, seed=seed, label="north"))
        text = "b" + "".join(symbol.text for symbol in symbols)
        if "\n" in text:  # a newline is a symbol, too, though it stands in no text; by itself it reads as <end>
            continue
        ended = symbols[-1].id == opened.tokenizer.end_id
        (scored,) = score(opened, text, eos=ended, label="north")
        scores = np.array([token.nats for token in scored.per_token[1:]])
        np.testing.assert_allclose(scores, np.array([symbol.nats for symbol in symbols]), atol=1e-4)


def test_samples_and_searches_follow_their_label(tmp_path: Path) -> None:
    model = trained(
        written(tmp_path / "words.tsv", rows(300)), tmp_path / "model", steps=150, settings={"hidden_size": 32}
    )
    for place, letters in LETTERS.items():
        texts = ["".join(s.text for s in sample(model, length=30, seed=k, label=place)) for k in range(8)]
        texts.append("".join(s.text for s in result(beam_search(model, length=30, beam=3, label=(place, "short")))))
        written_by_label = "".join(texts)
        assert written_by_label and sum(letter in letters for letter in written_by_label) > 0.9 * len(written_by_label)


def test_the_figure_is_that_of_the_held_out_texts_from_their_labels(words: Path, steered: Path, tmp_path: Path) -> None:
    opened = open_model(steered)
    with prepared(words, tmp_path / "again") as (lesson, _):
        texts = {lesson.corpus.tokenizer.decode(lesson.held_out[k][:-1]) for k in range(len(lesson.held_out))}
    nats, tokens = 0.0, 0
    for text, *labels in rows(90):
        if text in texts:
            (scored,) = score(opened, text, eos=True, label=labels)
            nats, tokens = nats + scored.nats, tokens + scored.tokens
    figures = opened.description["result"]
    assert figures["valid_tokens"] == tokens and figures["protocol"] == "labels"
    assert math.isclose(figures["valid_nats_per_token"], nats / tokens, rel_tol=1e-5)


def test_a_label_and_a_saved_state_exclude_each_other(steered: Path, tmp_path: Path) -> None:
    score(steered, "bcd", save_state=tmp_path / "state", label="north")
    (whole,), (rest,) = score(steered, "bcdbb", label="north"), score(steered, "bb", state=tmp_path / "state")
    assert math.isclose(whole.nats, score(steered, "bcd", label="north")[0].nats + rest.nats, rel_tol=1e-5)
    with pytest.raises(UserError, match="both a label and a saved state"):
        score(steered, "bb", state=tmp_path / "state", label="north")

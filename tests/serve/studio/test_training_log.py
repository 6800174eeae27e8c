"""Logs that are torn, cut back and replaced, and what is read from them."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unroll.artifact.directory import data_path
from unroll.data.corpus import open_corpus
from unroll.serve.studio.training_log import Tail, baselines, progress, thinned


def test_a_torn_line_waits_for_its_end_and_a_cut_log_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    tail = Tail(file)
    tail.update()
    assert tail.lines == []
    file.write_bytes(b'{"step": 1}\n{"st')
    tail.update()
    assert tail.lines == [{"step": 1}]
    with open(file, "ab") as log:
        log.write(b'ep": 2}\nno json\n[1]\n{"step": 3}\n')
    tail.update()
    assert [line["step"] for line in tail.lines] == [1, 2, 3]
    turn = tail.turn
    assert tail.after(turn, 2) == [{"step": 3}]
    os.truncate(file, 12)
    tail.update()
    assert tail.lines == [{"step": 1}]
    assert tail.after(turn, 2) == [{"step": 1}], "who has seen more than there is hears all anew"


def steps_of(tail: Tail) -> list[int]:
    tail.update()
    return [line["step"] for line in tail.lines]


def logged(*steps: int, seconds: float = 0.5) -> bytes:
    return b"".join(json.dumps({"step": step, "seconds": seconds}).encode() + b"\n" for step in steps)


def test_a_log_that_was_cut_back_and_has_grown_beyond_is_not_two_in_one(tmp_path: Path) -> None:
    """A resume cuts it back to the checkpoint; by the next look it may be longer than before."""
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(logged(1, 2, 3, 4))
    tail = Tail(file)
    assert steps_of(tail) == [1, 2, 3, 4]
    turn = tail.turn
    with open(file, "r+b") as log:
        log.truncate(len(logged(1, 2)))
        log.seek(0, 2)
        log.write(logged(3, 4, 5, 6, 7, seconds=0.75))
    assert steps_of(tail) == [1, 2, 3, 4, 5, 6, 7] and tail.turn == turn + 1
    assert [line["seconds"] for line in tail.lines] == [0.5] * 2 + [0.75] * 5
    with open(file, "ab") as log:
        log.write(logged(8))
    assert steps_of(tail)[-1] == 8 and tail.turn == turn + 1
    file.write_bytes(logged(1, 2, seconds=0.25))  # the same inode, cut to nothing and written anew
    assert steps_of(tail) == [1, 2] and tail.turn == turn + 2
    file.write_bytes(b"")
    assert steps_of(tail) == []


def test_a_log_that_is_replaced_while_it_is_read_is_not_two_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another training took the folder after the file was opened: what was read is the old one's, to the end."""
    from unroll.serve.studio import training_log

    file, replacement = tmp_path / "metrics.jsonl", tmp_path / "new"
    file.write_bytes(logged(1, 2, 3))
    tail, real = Tail(file), os.fstat

    def replaced(number: int) -> os.stat_result:
        if not replacement.exists():
            replacement.write_bytes(logged(10, 20, 30, 40, seconds=0.75))
            os.link(replacement, tmp_path / "linked")
            (tmp_path / "linked").replace(file)
        return real(number)

    monkeypatch.setattr(training_log.os, "fstat", replaced)  # type: ignore[attr-defined]
    assert steps_of(tail) == [1, 2, 3]
    assert steps_of(tail) == [10, 20, 30, 40] and tail.turn == 2


def test_two_that_look_at_once_see_each_line_once(tmp_path: Path) -> None:
    file, count = tmp_path / "metrics.jsonl", 400
    tail = Tail(file)
    finish = threading.Event()

    def look() -> None:
        while not finish.is_set():
            tail.update()

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    with open(file, "ab", buffering=0) as log:
        for step in range(count):
            log.write(logged(step))
    finish.set()
    for looker in lookers:
        looker.join()
    assert steps_of(tail) == list(range(count))


def test_thinning_keeps_every_extreme() -> None:
    random = np.random.default_rng(0)
    events = [{"kind": "train", "step": k, "nats": float(v)} for k, v in enumerate(random.random(20_000))]
    events[7777]["nats"], events[8888]["nats"] = 9.0, -9.0
    events.insert(5000, {"kind": "valid", "step": 5000, "nats": 1.0})
    thin = thinned(events, most=1000)
    assert len(thin) <= 1003
    steps = {(event["kind"], event["step"]) for event in thin}
    assert {("train", 7777), ("train", 8888), ("valid", 5000), ("train", 0), ("train", 19_999)} <= steps
    assert [event["step"] for event in thin] == sorted(event["step"] for event in thin)


def test_progress_tells_what_is_left() -> None:
    events: list[dict[str, Any]] = [{"kind": "start", "step": 0, "seconds": 0.0, "steps": 1000}]
    events += [
        {"kind": "train", "step": k, "seconds": k / 50, "tokens_per_second": 7, "nats": 1.0} for k in range(10, 510, 10)
    ]
    position = progress(events)
    assert (position["step"], position["steps"], position["rate"]) == (500, 1000, 7)
    assert position["left"] == pytest.approx(10.0)
    assert progress([*events, {"kind": "start", "step": 501, "steps": 2000}])["steps"] == 2000  # it was extended
    assert progress([{"kind": "train", "step": float("nan")}, {"kind": "odd"}])["step"] == 0


def test_the_lines_across_are_what_they_say(runs: Path) -> None:
    corpus = open_corpus(data_path(runs / "book"))
    lines = {line["label"]: line["nats"] for line in baselines(corpus)}
    train, valid = np.asarray(corpus.train, np.int64), np.asarray(corpus.valid, np.int64)
    size = corpus.tokenizer.vocab_size
    counts = np.bincount(train, minlength=size) + 1.0
    assert lines["unigram"] == pytest.approx(float(-np.log(counts / counts.sum())[valid].mean()))
    # The pairs' predictions are a distribution: so they sum to one after every symbol.
    pairs = np.zeros((size, size))
    np.add.at(pairs, (train[:-1], train[1:]), 1)
    kinds = (pairs > 0).sum(axis=1, keepdims=True)
    p = (pairs + kinds * (counts / counts.sum())) / np.maximum(1, pairs.sum(axis=1, keepdims=True) + kinds)
    occurring = pairs.sum(axis=1) > 0
    assert p[occurring].sum(axis=1) == pytest.approx(np.ones(occurring.sum()))
    assert lines["bigram"] == pytest.approx(float(-np.log(p[valid[:-1], valid[1:]]).mean()))

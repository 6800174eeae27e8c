"""What stands behind the page: texts read on, texts compared, logs that are torn, trainings that pause and go on."""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from cli.command import QUICK, text
from page.conftest import Running, Visit, probed, start_studio, stop_studio
from unroll.artifact.directory import data_path
from unroll.artifact.open import Opened, open_model
from unroll.data.corpus import open_corpus
from unroll.errors import UserError
from unroll.lm.sample import read_prompt
from unroll.predict.predictor import log_probabilities
from unroll.serve.studio.reading import Prefixes, as_typed, compared, expectations
from unroll.serve.studio.routes import listed_files
from unroll.serve.studio.training_log import Tail, baselines, known_words, progress, thinned
from unroll.serve.studio.trainings import Plan, Trainings

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def book(runs: Path) -> Opened:
    return open_model(runs / "book")


@pytest.fixture
def ask(studio: Running) -> Iterator[Ask]:
    """Ask the studio as the page does."""
    with httpx.Client(base_url=studio.url, headers={"Authorization": f"Bearer {studio.token}"}, timeout=30) as client:

        def send(path: str, body: Any = None) -> httpx.Response:
            return client.get(f"/api/{path}") if body is None else client.post(f"/api/{path}", json=body)

        yield send


# ---- Reading


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 400])
@pytest.mark.parametrize("since", [0, 1, 100, 128, 399])
def test_reading_on_is_reading_at_once(book: Opened, length: int, since: int) -> None:
    """Whatever was read before and is kept, what is expected at each place is what a fresh reading expects."""
    ids = np.asarray(book.tokenizer.encode(text(600, seed=3)[:length]), np.int64)
    prefixes = Prefixes()
    list(expectations(book, ids[: length // 2], 0, prefixes))
    since = min(since, length)
    found = {first + k: row for first, rows in expectations(book, ids, since, prefixes) for k, row in enumerate(rows)}
    assert sorted(found) == list(range(since, length + 1))
    for place in {since, (since + length) // 2, length}:
        expected, _ = read_prompt(book.predictor, [book.tokenizer.start_id, *ids[:place].tolist()])
        assert found[place] == pytest.approx(expected[0], abs=1e-4)


def test_a_stale_state_would_be_seen(book: Opened) -> None:
    """The law above, with a fault: a state that is kept under the wrong text."""
    ids = np.asarray(book.tokenizer.encode("the cat sat"), np.int64)
    prefixes = Prefixes()
    list(expectations(book, ids, 0, prefixes))
    state, logits = prefixes.kept[ids.tobytes()]
    prefixes.kept[ids[:5].tobytes()] = (state, logits)
    *_, (_, wrong) = expectations(book, ids[:6], 6, prefixes)
    right, _ = read_prompt(book.predictor, [book.tokenizer.start_id, *ids[:6].tolist()])
    assert np.abs(wrong[-1] - right).max() > 1e-3


def test_states_that_are_kept_take_bounded_memory(book: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unroll.serve.studio.reading.MOST_BYTES", 20_000)
    prefixes = Prefixes()
    for k in range(60):
        as_typed(book, "the cat sat on a mat"[: 1 + k % 20] + "s" * k, 0, prefixes)
    assert prefixes.size <= 20_000
    assert prefixes.size == sum(map(prefixes._bytes, prefixes.kept))


def test_next_in_the_middle_of_a_text(book: Opened) -> None:
    whole = as_typed(book, "the cat sat", 0, Prefixes(), at=4)
    part = as_typed(book, "the ", 0, Prefixes())
    assert whole["place"] == 4
    assert whole["next"]["ids"] == part["next"]["ids"]
    assert len(whole["nats"]) == 11


def test_an_ngram_is_read_along_too(tmp_path: Path, book: Opened) -> None:
    from unroll.artifact.ngram import ngram

    (tmp_path / "book.txt").write_text(text(5000))
    list(ngram(tmp_path / "book.txt", order=3, out=tmp_path / "tri"))
    opened = open_model(tmp_path / "tri")
    shown = as_typed(opened, "the cat", 0, Prefixes())
    logits, _ = read_prompt(opened.predictor, [opened.tokenizer.start_id, *opened.tokenizer.encode("the ca").tolist()])
    target = int(opened.tokenizer.encode("t")[0])
    assert shown["nats"][-1] == pytest.approx(-float(log_probabilities(logits)[0, target]))


def test_models_of_other_vocabularies_meet_where_both_begin_a_symbol(tmp_path: Path, book: Opened) -> None:
    from unroll.artifact.ngram import ngram

    (tmp_path / "book.txt").write_text(text(5000))
    list(ngram(tmp_path / "book.txt", order=2, level="byte", out=tmp_path / "bytes"))
    other = open_model(tmp_path / "bytes")
    content = "the cät sat“ on"
    found = compared(book, other, content, (Prefixes(), Prefixes()))
    assert "".join(found["pieces"]) == content
    assert found["symbols"] == [len(content), len(content.encode())]
    for opened, nats in zip((book, other), found["nats"], strict=True):
        assert sum(nats) == pytest.approx(sum(as_typed(opened, content, 0, Prefixes())["nats"]), rel=1e-5)


# ---- Logs


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

    file, new = tmp_path / "metrics.jsonl", tmp_path / "new"
    file.write_bytes(logged(1, 2, 3))
    tail, real = Tail(file), os.fstat

    def replaced(number: int) -> os.stat_result:
        if not new.exists():
            new.write_bytes(logged(10, 20, 30, 40, seconds=0.75))
            os.link(new, tmp_path / "linked")
            (tmp_path / "linked").replace(file)
        return real(number)

    monkeypatch.setattr(training_log.os, "fstat", replaced)  # type: ignore[attr-defined]
    assert steps_of(tail) == [1, 2, 3]
    assert steps_of(tail) == [10, 20, 30, 40] and tail.turn == 2


def test_two_that_look_at_once_see_each_line_once(tmp_path: Path) -> None:
    file, count = tmp_path / "metrics.jsonl", 400
    tail = Tail(file)
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            tail.update()

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    with open(file, "ab", buffering=0) as log:
        for step in range(count):
            log.write(logged(step))
    done.set()
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
    at = progress(events)
    assert (at.step, at.steps, at.rate) == (500, 1000, 7)
    assert at.left == pytest.approx(10.0)
    assert progress([{"kind": "train", "step": float("nan")}, {"kind": "odd"}]).step == 0


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
    seen = pairs.sum(axis=1) > 0
    assert p[seen].sum(axis=1) == pytest.approx(np.ones(seen.sum()))
    assert lines["bigram"] == pytest.approx(float(-np.log(p[valid[:-1], valid[1:]]).mean()))


def test_words_that_the_text_has() -> None:
    assert known_words("the cax sat, on THE mat", frozenset({"the", "sat", "mat"})) == {
        "spans": [[0, 3], [8, 11], [20, 23]],
        "share": 0.6,
        "words": 5,
    }


# ---- Trainings


def until(condition: Callable[[], Any], seconds: float = 300.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come")


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    (tmp_path / "scratch").mkdir()
    made = Trainings(tmp_path / "runs", tmp_path / "scratch")
    yield made
    for process in made._processes.values():
        if process.code is None:
            process.popen.kill()
        process.popen.wait()


def test_a_training_pauses_goes_on_and_ends_as_if_it_had_not(trainings: Trainings, tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_text(text(20_000))
    choices = ("--steps", "400", *QUICK)
    trainings.start(Plan("whole", file, choices))
    trainings.start(Plan("parted", file, choices))
    with pytest.raises(UserError, match="run already"):
        trainings.start(Plan("third", file, choices))
    until(lambda: trainings.watch("parted", 0, 0, 0)["step"] >= 20 if trainings.state("parted") == "running" else False)
    trainings.pause("parted")
    assert until(lambda: trainings.state("parted") not in ("running", "stopping") and trainings.state("parted"))
    if trainings.state("parted") == "paused":
        trainings.resume("parted")
    until(lambda: trainings.state("parted") == "finished" and trainings.state("whole") == "finished")
    one, other = (trainings.watch(name, 0, 0, 0) for name in ("whole", "parted"))
    assert one["samples"] == other["samples"]
    assert (trainings.runs / "whole" / "weights.safetensors").read_bytes() == (
        trainings.runs / "parted" / "weights.safetensors"
    ).read_bytes()
    kept = trainings.keep("whole")
    assert kept == "whole-400"
    assert open_model(trainings.runs / kept).predictor.vocab_size
    trainings.look_at_text("whole")
    assert trainings.watch("whole", 0, 0, 0)["text"]["level"] == "char"


def test_a_training_that_is_killed_says_so_and_goes_on(trainings: Trainings, tmp_path: Path) -> None:
    file = tmp_path / "book.txt"
    file.write_text(text(20_000))
    trainings.start(Plan("killed", file, ("--steps", "100000", *QUICK, "--set", "save_every=5")))
    until(lambda: trainings.state("killed") == "running" and trainings.watch("killed", 0, 0, 0)["step"] >= 20)
    os.kill(trainings._processes["killed"].popen.pid, signal.SIGKILL)
    assert until(lambda: trainings.state("killed") == "failed")
    trainings.resume("killed")
    until(lambda: trainings.state("killed") == "running" and trainings.watch("killed", 0, 0, 0)["step"] >= 25)
    assert trainings.stop_all(30) == ["killed"]
    assert until(lambda: trainings.state("killed") in ("stopping", "paused"))


def test_a_text_that_cannot_be_learnt_says_why(trainings: Trainings, tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("ab")
    trainings.start(Plan("short", file, ("--steps", "5", *QUICK)))
    until(lambda: trainings.state("short") == "failed")
    assert "fix:" in trainings.said("short")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 60, "a b", "-rf"])
def test_names_stay_in_the_folder(trainings: Trainings, name: str) -> None:
    with pytest.raises(UserError):
        trainings.start(Plan(name, None, ()))
    with pytest.raises(UserError):
        trainings.folder(name)


def test_only_texts_of_the_folder_are_listed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.txt", ".hidden.txt", "b.bin", "c.md", "sub/d.txt"):
        (folder / name).write_text("text")
    (folder / "link.txt").symlink_to(outside)
    assert [name for name, _, _ in listed_files(folder)] == ["a.txt", "c.md"]
    assert list(listed_files(None)) == []


# ---- Over HTTP


def test_what_is_asked_wrongly_is_refused_with_the_reason(ask: Ask) -> None:
    wrong = [
        ("read", {"model": "nobody", "text": "a"}, 404),
        ("read", {"model": "book", "text": 5}, 400),
        ("read", {"model": "book", "text": "a", "since": -1}, 400),
        ("read", {"model": "book", "text": "a" * 21_000}, 400),
        ("sample", {"model": "book", "length": 10**9}, 400),
        ("sample", {"model": "book", "temperature": -1}, 400),
        ("sample", {"model": "book", "top_p": 0}, 400),
        ("sample", {"model": "book", "ids": [10**6]}, 400),
        ("sample", {"model": "book", "ids": [True]}, 400),
        ("sample", {"model": "book", "pins": [{"layer": 9, "unit": 0, "value": 1}]}, 400),
        ("sample", {"model": "small", "pins": [{"layer": 0, "unit": 0, "signal": "c", "value": 1}]}, 400),
        ("compare", {"a": "book", "b": "small", "text": ""}, 400),
        ("texts", {"text": ""}, 400),
        ("train", {"source": "file", "file": "../book.txt"}, 400),
        ("train", {"source": "file", "file": "/etc/passwd"}, 400),
        ("train", {"source": "upload", "upload": "../../x"}, 400),
        ("train", {"source": "demo", "name": "../x", "steps": 1}, 400),
        ("train", {"source": "demo", "arch": "--out=/tmp/x"}, 400),
        ("train", {"source": "demo", "name": "book"}, 400),
        ("runs/nobody/pause", {}, 400),
        ("runs/book/remove", {}, 404),
        ("runs/book/pause", {}, 400),
        ("uploads", {"text": " \n"}, 400),
    ]
    for path, body, status in wrong:
        answer = ask(path, body)
        assert answer.status_code == status, (path, body, answer.text)
        assert answer.json()["error"]["message"]
    assert ask("runs/..%2f..%2fetc").status_code in (400, 404)
    assert ask("texts/..%2f..%2fetc").status_code in (400, 404)


def test_nothing_of_it_is_told_without_the_token(studio: Running) -> None:
    for path in ("info", "files", "runs/book", "texts/abc", "inside/properties"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer"}):
            assert httpx.get(f"{studio.url}/api/{path}", headers=headers).status_code == 401


def test_texts_that_are_sent_are_bounded(ask: Ask, studio: Running) -> None:
    assert ask("texts", {"text": "a" * (2**20 + 10)}).status_code in (400, 413)
    found = ask("uploads", {"name": "../../<b>.txt", "text": "a b c"}).json()
    assert found["name"] == "b" and found["bytes"] == 5


def test_samples_arrive_line_by_line(ask: Ask) -> None:
    lines = [
        json.loads(line) for line in ask("sample", {"model": "book", "length": 50, "columns": 3}).text.splitlines()
    ]
    assert lines[-1] == {"done": True}
    pieces = [line["columns"] for line in lines if "columns" in line]
    assert len(pieces) > 1
    assert [sum(len(piece[k]["ids"]) for piece in pieces) for k in range(3)] == [50] * 3


def test_the_page_starts_a_training_and_watches_it(visit: Visit, studio: Running) -> None:
    page = visit("#/train?new=1")
    page.get_by_label("The text").fill(text(12_000))
    page.get_by_label("10 min").check()
    page.get_by_label("Name").fill("pasted")
    page.get_by_label("Units").fill("16")
    page.get_by_role("button", name="Start").click()
    probed(page, "train", 'it.run === "pasted" && it.state === "running" && it.step > 0', timeout=300_000)
    page.wait_for_selector(".growing")
    page.get_by_role("button", name="Pause").click()
    probed(page, "train", 'it.state === "paused"', timeout=120_000)
    page.get_by_role("button", name="Go on").click()
    probed(page, "train", 'it.state === "running"', timeout=120_000)
    page.get_by_role("button", name="Pause").click()
    probed(page, "train", 'it.state === "paused"', timeout=120_000)
    shown = probed(page, "train", "it.samples.length > 0")
    recorded = (studio.runs / "pasted" / "samples.jsonl").read_text().splitlines()
    assert [one["text"] for one in shown["samples"]] == [json.loads(line)["text"] for line in recorded]


def test_the_first_visit_shows_a_model_that_learns(browser: Any, tmp_path: Path) -> None:
    running = start_studio(runs=tmp_path / "runs", texts=tmp_path)
    try:
        page = browser.new_page()
        page.goto(running.page)
        page.wait_for_selector("h1:text('Train')")
        shown = probed(page, "train", "it.samples.length > 0 && it.step > 0", timeout=120_000)
        assert shown["run"] == "first"
        page.keyboard.press("2")
        reading = probed(page, "type", "it.symbols.length > 0", timeout=120_000)
        assert math.isclose(sum(math.exp(-nats) for nats in reading["next"]["nats"]), 1, rel_tol=1e-5)
        # The server is gone, and the page says so.
        os.kill(running.process.pid, signal.SIGKILL)
        page.wait_for_selector(".gone", timeout=120_000)
        page.close()
    finally:
        running.process.kill()
        running.process.communicate()
        for pid in trainers(tmp_path):
            os.kill(pid, signal.SIGINT)


def trainers(folder: Path) -> list[int]:
    """Return the processes whose command names a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_stopping_the_studio_pauses_what_it_trains(runs: Path, tmp_path: Path) -> None:
    running = start_studio(runs / "book", runs=tmp_path / "runs", texts=tmp_path)
    try:
        headers = {"Authorization": f"Bearer {running.token}"}
        with httpx.Client(base_url=running.url, headers=headers, timeout=30) as client:
            id = client.post("/api/uploads", json={"name": "t", "text": text(9000)}).json()["id"]
            plan = {"source": "upload", "upload": id, "steps": 1_000_000, "hidden_size": 16, "name": "long"}
            assert client.post("/api/train", json=plan).status_code == 200
            until(lambda: client.get("/api/runs/long").json()["step"] > 0)
    finally:
        stop_studio(running)
    until(lambda: not trainers(tmp_path))
    assert open_model(tmp_path / "runs" / "long").description["result"] is None

"""Looking inside over HTTP: what is sent is what the library computes, and what cannot be is refused with a reason."""

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from starlette.testclient import TestClient

import unroll
from serve.quoted import TOKENIZER, latch, other, quoted, save
from unroll.artifact.open import Opened, open_model
from unroll.data.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer
from unroll.errors import UserError
from unroll.insight.cells.properties import as_read, inside, label
from unroll.insight.gradients.measure import in_float64, lag_norms
from unroll.insight.trace import network_of
from unroll.nn.arch import ARCHITECTURES
from unroll.nn.config import ModelConfig
from unroll.nn.model import Model
from unroll.predict.protocols import stream_nats
from unroll.progress import Progress, Work
from unroll.serve import texts as module
from unroll.serve.app import create_app
from unroll.serve.inside import memory, similar, trace, unrolled
from unroll.serve.inside.jobs import WAITING, Jobs
from unroll.serve.inside.pattern import inside_apart
from unroll.serve.models import Models
from unroll.serve.settings import Settings

TEXT = quoted(5000)
SHORT = "ab “cd efg” hij.\nab “j”"
ARCHS = tuple(ARCHITECTURES)
Json = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inside")
    save(latch(), folder / "latch")
    save(other("rnn", num_layers=2), folder / "rnn")
    save(other("gru", num_layers=2, skip="residual"), folder / "gru")
    save(other("window", window=4), folder / "window")
    return folder


@pytest.fixture(scope="module")
def opened(folder: Path) -> dict[str, Opened]:
    return {name: open_model(folder / name) for name in ("latch", "rnn", "gru", "window")}


@dataclass
class Studio:
    client: TestClient

    def get(self, path: str, **query: Any) -> Any:
        return self._read(self.client.get(f"/api/inside/{path}", params=query))

    def post(self, path: str, **body: Any) -> Any:
        return self._read(self.client.post(f"/api/inside/{path}", json=body))

    def _read(self, answer: Any) -> Any:
        assert answer.status_code == 200, answer.text
        binary = answer.headers["content-type"] == "application/octet-stream"
        return frame(answer.content) if binary else answer.json()

    def done(self, job: Json, seconds: float = 120) -> Json:
        """Wait for a job; all that it says on the way is well-formed."""
        end = time.monotonic() + seconds
        while job["state"] in ("waiting", "running"):
            assert time.monotonic() < end and 0 <= job["done"] <= job["total"]
            time.sleep(0.02)
            job = self.get(f"jobs/{job['id']}")
        return job


@pytest.fixture(scope="module")
def studio(folder: Path) -> Iterator[Studio]:
    models = Models(folder / name for name in ("latch", "rnn", "gru", "window"))
    app = create_app(models, Settings(port=8000, page_token="secret"), studio=True)
    with TestClient(app, base_url="http://127.0.0.1:8000", headers={"Authorization": "Bearer secret"}) as client:
        yield Studio(client)


def frame(data: bytes) -> Json:
    """Read a frame as the page does."""
    (size,) = struct.unpack("<I", data[:4])
    header: Json = json.loads(data[4 : 4 + size])
    place, arrays = -(-(4 + size) // 8) * 8, {}
    for one in header["arrays"]:
        dtype = np.dtype("<" + one["dtype"])
        count = int(np.prod(one["shape"]))
        arrays[one["name"]] = np.frombuffer(data, dtype, count, place).reshape(one["shape"])
        place = -(-(place + count * dtype.itemsize) // 8) * 8
    assert place == len(data)
    return {**header, "arrays": arrays}


# ---- Cells


@pytest.mark.parametrize("name", ["latch", "rnn", "gru", "window"])
def test_what_is_inside_is_sent_exactly(studio: Studio, opened: dict[str, Opened], name: str) -> None:
    about = studio.post("open", model=name, text=SHORT)
    assert "".join(about["symbols"]) == SHORT
    one, ids = opened[name], TOKENIZER.encode(SHORT)
    assert np.mean(about["nats"]) == pytest.approx(stream_nats(one.predictor, ids, TOKENIZER.start_id), abs=1e-5)
    network, read = network_of(one), torch.from_numpy(np.concatenate([[TOKENIZER.start_id], ids]))[None]
    with torch.inference_mode():
        inside_it = network.trace(read)[2]
    for layer in range(about["layers"]):
        sent = studio.get("unit", model=name, id=about["id"], layer=layer, unit=3)
        rows = dict(zip(sent["signals"], sent["arrays"]["values"], strict=True))
        for signal in about["signals"]:
            wanted = inside_it[layer][signal][0, :, 3].numpy()
            assert np.allclose(rows[signal], wanted[1:], atol=1e-5, rtol=0)
            assert sent["before"][signal] == pytest.approx(float(wanted[0]), abs=1e-5)
        picture = studio.get("heat", model=name, id=about["id"], layer=layer, signal="h")
        wanted = inside_it[layer]["h"][0, 1:].numpy()
        assert picture["arrays"]["levels"].shape == wanted.T.shape
        assert np.abs(back(picture["arrays"]["levels"], -1, 1) - wanted.T).max() <= 0.5 / 127 + 1e-6
        assert picture["variance"] == pytest.approx(wanted.var(axis=0).tolist(), abs=1e-6)


def back(levels: NDArray[np.uint8], low: float, high: float) -> NDArray[np.float64]:
    """Return what colours stand for, as the page's tables have it."""
    at = levels.astype(np.float64)
    if low == 0:
        return at / 255 * high
    return np.where(at < 128, at / 127 - 1, (at - 128) / 127) * high


@pytest.mark.parametrize("name", ["latch", "rnn", "gru"])
def test_the_sums_at_the_cursor_hold(studio: Studio, name: str) -> None:
    about = studio.post("open", model=name, text=SHORT)
    for layer in range(about["layers"]):
        sent = studio.get("unit", model=name, id=about["id"], layer=layer, unit=1)
        row = dict(zip(sent["signals"], sent["arrays"]["values"].astype(np.float64), strict=True))
        before = {
            signal: np.concatenate([[sent["before"][signal]], row[signal][:-1]])
            for signal in ("c", "h")
            if signal in row
        }
        if name == "latch":
            assert np.allclose(row["f"] * before["c"] + row["i"] * row["g"], row["c"], atol=1e-6)
            assert np.allclose(row["o"] * np.tanh(row["c"]), row["h"], atol=1e-6)
            assert not np.allclose(row["i"] * before["c"] + row["f"] * row["g"], row["c"], atol=1e-2), "gates swapped"
        elif name == "gru":
            assert np.allclose((1 - row["z"]) * row["n"] + row["z"] * before["h"], row["h"], atol=1e-6)
        else:
            assert np.allclose(np.tanh(row["from_input"] + row["from_state"]), row["h"], atol=1e-5)


def test_colours_are_the_same_in_python_and_on_the_page() -> None:
    values = np.array([[-2.0, -1.0, -0.5, -1e-9, 0.0, 1e-9, 0.5, 1.0, 2.0]])
    assert trace.levels(values, -1, 1).tolist() == [[0, 0, 64, 127, 128, 128, 192, 255, 255]]
    assert trace.levels(values, 0, 1).tolist() == [[0, 0, 0, 0, 0, 0, 128, 255, 255]]
    by_unit = trace.levels(np.array([[1.0, 1.0]]), -1, np.array([1.0, 2.0]))
    assert by_unit.tolist() == [[255, 192]]


def test_gates_are_counted(studio: Studio) -> None:
    about = studio.post("open", model="latch", text=TEXT)
    use = studio.get("gates", model="latch", id=about["id"], layer=0)
    forget = next(gate for gate in use["gates"] if gate["name"] == "f")
    closing = TEXT.count("”") / len(TEXT)
    assert forget["closed"][0] == pytest.approx(closing, abs=1e-3)
    assert forget["open"][0] == pytest.approx(1 - closing, abs=1e-3)


def test_a_range_ranks_units_by_auroc(studio: Studio) -> None:
    about = studio.post("open", model="latch", text=TEXT)
    first = TEXT.index("“") + 1
    last = TEXT.index("”") - 1
    ranked = studio.post("range", model="latch", id=about["id"], signal="c", first=first, last=last)["units"]
    for one in ranked[:3]:
        sent = studio.get("unit", model="latch", id=about["id"], layer=0, unit=one["unit"])
        c = sent["arrays"]["values"][sent["signals"].index("c")]
        within, outside = c[first : last + 1], np.delete(c, np.arange(first, last + 1))
        pairs = (within[:, None] > outside).mean() + 0.5 * (within[:, None] == outside).mean()
        assert one["auroc"] == pytest.approx(float(pairs), abs=1e-9)
    assert 0 in [one["unit"] for one in ranked]


def test_a_trace_that_was_dropped_is_made_anew(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from unroll.serve.inside import routes

    monkeypatch.setattr(routes, "MOST_TRACES", 1)
    one = studio.post("open", model="latch", text=SHORT)
    studio.post("open", model="rnn", text=SHORT)
    again = studio.get("unit", model="latch", id=one["id"], layer=0, unit=0)
    assert again["arrays"]["values"].shape == (6, len(SHORT))


# ---- Find


def test_labels_are_seen_before_the_search_and_the_latch_is_found_first(studio: Studio) -> None:
    shown = studio.post("labels", model="latch", text=TEXT, property="quotes")
    text = as_read("text", TEXT, TOKENIZER)
    wanted = label(text, "quotes").values
    assert np.array_equal(shown["arrays"]["labels"], wanted[: len(shown["symbols"])])
    assert shown["share"] == pytest.approx(wanted.mean()) and shown["why_not"] == ""
    assert shown["runs"] == TEXT.count("“")
    job = studio.post("find", model="latch", text=TEXT, property="quotes", top=4)
    found = studio.done(job)
    assert found["state"] == "done", found["error"]
    first = found["result"]["findings"][0]
    assert (first["layer"], first["unit"], first["verdict"]) == (0, 0, "causal")
    assert first["score"] == pytest.approx(1.0, abs=1e-12)
    stretch = found["result"]["stretch"]
    assert len(stretch["values"]) == len(found["result"]["findings"])
    assert np.corrcoef(stretch["values"][0], stretch["labels"])[0, 1] > 0.999
    assert studio.post("find", model="latch", text=TEXT, property="quotes", top=4)["id"] == job["id"], "asked before"

    runs, start = list[list[float]](), 0
    for k in range(1, len(wanted) + 1):
        if k == len(wanted) or wanted[k] != wanted[start]:
            runs += [[start, k, 1]] if wanted[start] else []
            start = k
    painted = studio.done(studio.post("find", model="latch", text=TEXT, labels=runs, top=4))
    assert painted["result"]["findings"][0]["unit"] == 0 and painted["result"]["property"] == "painted"
    shifted = [[start, end, 1] for start, end, _ in ((a + 900, b + 900, 1) for a, b, _ in runs) if end <= len(TEXT)]
    wrong = studio.done(studio.post("find", model="latch", text=TEXT, labels=shifted, top=4))
    assert wrong["result"]["findings"][0]["verdict"] == "none", "labels of another place"


def test_a_search_can_be_cancelled_and_says_why_it_failed(studio: Studio) -> None:
    job = studio.post("find", model="latch", text=TEXT + "a", property="word", top=3)
    stopped = studio.done(studio.post(f"jobs/{job['id']}/cancel"))
    assert stopped["state"] in ("cancelled", "done") and (stopped["state"] == "done") == (stopped["result"] is not None)
    failed = studio.done(studio.post("find", model="latch", text="a" * 2000, property="quotes", top=3))
    assert failed["state"] == "failed" and "does not vary" in failed["error"]["message"] and failed["error"]["fix"]
    short = studio.post("labels", model="latch", text=SHORT, property="quotes")
    assert "1,000" in short["why_not"]


def test_jobs_wait_their_turn_and_are_not_without_end() -> None:
    jobs, go, deadline = Jobs(), list[bool](), time.monotonic() + 20

    def work() -> Work[Json]:
        while not go:
            time.sleep(0.005)
            yield Progress("working", 0, 1)
        return {"answer": 42}

    first = jobs.submit("first", work)
    while first.state == "waiting":
        assert time.monotonic() < deadline
        time.sleep(0.005)
    waiting = [jobs.submit(number, work) for number in range(WAITING)]
    with pytest.raises(UserError, match="too many"):
        jobs.submit("one more", work)
    jobs.cancel(waiting[0].id)
    assert waiting[0].state == "cancelled", "at once, as it had not begun"
    go.append(True)
    while waiting[-1].state in ("waiting", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert first.result == waiting[-1].result == {"answer": 42} and waiting[0].result is None


def test_an_expression_is_applied_apart_and_ended_where_it_takes_too_long() -> None:
    assert np.array_equal(inside_apart(r"“([^”]*)”", TEXT), inside(r"“([^”]*)”")(TEXT))
    with pytest.raises(UserError, match="no regular expression"):
        inside_apart("(", "text")
    started = time.monotonic()
    with pytest.raises(UserError, match="longer than"):
        inside_apart("(a+)+$", "a" * 40 + "b", seconds=1.5)
    assert time.monotonic() - started < 10


# ---- Memory


def test_memory_compares_models_on_the_same_text(studio: Studio) -> None:
    found = studio.done(studio.post("memory", models=["latch", "rnn", "window"], text=TEXT))
    assert found["state"] == "done", found["error"]
    by_name = {Path(one["model"]).name: one for one in found["result"]["models"]}
    assert set(by_name) == {"latch", "rnn", "window"}
    sizes = [size for _, size in by_name["window"]["gradient_signals"]["x"]]
    assert all(size > 0 for size in sizes[:4]) and sizes[4:] == [0.0] * len(sizes[4:]), "exactly zero beyond its sight"
    assert all(size > 0 for _, size in by_name["rnn"]["gradient_signals"]["x"]), "small, but never zero in float64"
    loss = dict(by_name["window"]["context_loss"])
    assert loss[4] == pytest.approx(loss[128], abs=1e-6)


@pytest.mark.parametrize("method", memory.METHODS)
def test_what_a_prediction_depends_on(studio: Studio, method: str) -> None:
    about = studio.post("open", model="latch", text=TEXT[:600])
    answer = studio.post("depends", models=["latch", "window"], id=about["id"], at=400, method=method)
    latched, window = answer["models"]
    assert latched["first"] == 400 - memory.BACK and len(latched["scores"]) == memory.BACK
    assert latched["nats"] == pytest.approx(about["nats"][400], abs=1e-4), "read from the true state"
    assert window["scores"][:-4] == [0.0] * (memory.BACK - 4) and all(window["scores"][-4:])
    assert (latched["agreement"] is None) == (method in ("size", "leave-out"))


def test_the_first_symbol_depends_on_nothing(studio: Studio) -> None:
    about = studio.post("open", model="latch", text=SHORT)
    answer = studio.post("depends", models=["latch"], id=about["id"], at=0)
    assert "others precede" in answer["models"][0]["error"]["fix"]


def test_an_ngram_beside_networks_says_that_it_has_no_gradient(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    list(unroll.ngram(tmp_path / "text.txt", order=3, level="char", out=tmp_path / "grams"))
    app = create_app(Models([folder / "latch", tmp_path / "grams"]), Settings(page_token="secret"), studio=True)
    with TestClient(app, base_url="http://127.0.0.1:8000", headers={"Authorization": "Bearer secret"}) as client:
        studio = Studio(client)
        found = studio.done(studio.post("memory", models=["latch", "grams"], text=TEXT))
        assert found["result"]["models"][1]["gradient"] is None
        about = studio.post("open", model="latch", text=SHORT)
        answer = studio.post("depends", models=["latch", "grams"], id=about["id"], at=5)["models"]
        assert "error" not in answer[0] and "n-gram" in answer[1]["error"]["message"]
        refused = client.post("/api/inside/open", json={"model": "grams", "text": SHORT})
        assert refused.status_code == 400 and "no states and no gates" in refused.text


# ---- Similar


def test_sentences_keep_their_lines_and_go_on_over_wrapped_ones() -> None:
    text = "One stands here. Two goes on\nover a line end! “Three?” he said.\n\nFour\n\nOne stands here.\n"
    text += "last: a long line that is full to its\nedge"
    known, notes = similar.sentences(text)
    said = [(one.text, one.line) for one in known]
    assert said == [
        ("One stands here.", 1),
        ("Two goes on over a line end!", 1),
        ("“Three?”", 2),
        ("he said.", 2),
        ("Four", 4),
        ("last: a long line that is full to its edge", 7),
    ]
    assert notes == [] and known[1].read == "Two goes on\nover a line end!"
    assert similar.sentences("abc\n" * 9)[0][0].line == 1, "every sentence but once"


def test_neighbours_come_with_their_controls(studio: Studio, opened: dict[str, Opened]) -> None:
    known, _ = similar.sentences(TEXT)
    query = known[5].text
    answer = studio.post("similar", model="latch", text=TEXT, query=query, top=5, standardise=False)
    vectors = similar.vectors(opened["latch"], [one.read for one in known], "last").astype(np.float64)
    cosines = vectors @ vectors[5] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[5])
    cosines[5] = -np.inf  # the query itself
    best = int(np.argmax(cosines))
    row = answer["rows"][0]
    assert row["text"] == known[best].text and row["cosine"] == pytest.approx(cosines[best], abs=1e-5)
    first, second = similar.grams(query), similar.grams(row["text"])
    assert row["jaccard"] == pytest.approx(len(first & second) / len(first | second))
    assert query not in [one["text"] for one in answer["rows"]]
    others = studio.post("similar", model="latch", text=TEXT, query=query, top=50, other_ending=True)
    assert not any(one["same_ending"] for one in others["rows"])
    assert len(answer["map"]["shares"]) == 2 and 0 < sum(answer["map"]["shares"]) <= 1
    for change in ({"pool": "mean"}, {"standardise": True}):
        changed = studio.post("similar", model="latch", text=TEXT, query=query, top=5, **change)
        assert [one["cosine"] for one in changed["rows"]] != [one["cosine"] for one in answer["rows"]]


# ---- Unrolled


@pytest.mark.parametrize("arch", ARCHS)
def test_gradients_flow_back_as_one_by_one(arch: str) -> None:
    torch.manual_seed(0)
    options: Json = {"window": 4} if arch == "window" else {"num_layers": 2, "skip": "sum"}
    config = ModelConfig(vocab_size=11, embedding_size=5, hidden_size=7, arch=arch, **options)  # type: ignore[arg-type]
    exact = in_float64(Model(config).eval())
    ids = torch.randint(11, (14,))
    sizes = unrolled.flow(exact, ids).sizes
    for t in range(1, 13):
        norms = lag_norms(exact, ids[None, : t + 2], t).rows
        back = slice(t, None, -1)
        assert np.allclose(norms["x"][0], sizes["x"][t, back], atol=1e-12)
        assert not np.any(sizes["x"][t, t + 1 :]), "nothing flows forwards"
        for kind in ("h", "c"):
            rows = [rows[0] for name, rows in norms.items() if name.endswith(f"/{kind}")]
            assert bool(rows) == (kind in sizes)
            if rows:
                assert np.allclose(np.hypot.reduce(rows), sizes[kind][t, back], atol=1e-12)
                # The fault: the state before instead of the one handed on.
                assert not np.allclose(np.hypot.reduce(rows)[1:], sizes[kind][t, back][:-1], atol=1e-6)


def test_losses_of_the_unrolled_sum_to_the_scores_nats(studio: Studio, opened: dict[str, Opened]) -> None:
    answer = studio.post("unrolled", models=["latch", "rnn", "gru", "window"], text=SHORT)
    ids = TOKENIZER.encode(SHORT)
    for made in answer["models"]:
        total = stream_nats(opened[made["model"]].predictor, ids, TOKENIZER.start_id) * len(ids)
        assert made["total_nats"] == pytest.approx(total, abs=1e-4)
        assert sum(made["nats"]) == pytest.approx(made["total_nats"])
        assert "".join(made["symbols"]) == SHORT
        for guesses, symbol, nats in zip(made["guesses"], made["symbols"], made["nats"], strict=True):
            given = {one["symbol"]: one["p"] for one in guesses}
            assert list(given.values()) == sorted(given.values(), reverse=True)
            if symbol in given:
                assert given[symbol] == pytest.approx(float(np.exp(-nats)))
    window = answer["models"][3]
    assert window["window"] == 4 and window["flow"]["x"][9][:6] == [0.0] * 6


# ---- texts


@pytest.mark.parametrize(
    ("tokenizer", "text", "pieces"),
    [
        (CharTokenizer.learn("ab"), "ab\nz", ["a", "b", "\n", "z"]),
        (ByteTokenizer(), "é\udcff", ["\\xc3", "\\xa9", "\\xff"]),
        (WordTokenizer(("the", "cat")), "the  cat\nsat ", ["the  ", "cat", "\n", "sat "]),
    ],
)
def test_symbols_look_as_they_are_written(tokenizer: Tokenizer, text: str, pieces: list[str]) -> None:
    assert module.surfaces(tokenizer, as_read("text", text, tokenizer)) == pieces


def test_texts_are_kept_by_what_they_say_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = module.Texts()
    assert texts.find(texts.keep("one")) == "one" and texts.keep("one") == texts.keep("one")
    monkeypatch.setattr(module, "MOST_KEPT", 10)
    first = texts.keep("aaaaaaaa")
    texts.keep("bbbbbbbb")
    with pytest.raises(UserError, match="not here any more"):
        texts.find(first)
    with pytest.raises(UserError, match="empty"):
        texts.keep("")


def test_unknown_symbols_are_named(studio: Studio) -> None:
    assert "'Z'" in studio.post("open", model="latch", text="abZ")["notes"][0]
    assert studio.post("open", model="latch", text="ab")["notes"] == []


# ---- what is refused


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("open", {"model": "nobody", "text": "a"}, 404, "nobody"),
        ("open", {"model": "latch", "text": ""}, 400, "empty"),
        ("open", {"model": "latch", "text": 7}, 400, "a string"),
        ("open", {"model": "latch", "text": "a" * 20_001}, 400, "20,000"),
        ("open", {"model": "latch", "part": {"first": -1}}, 400, "number"),
        ("open", {"model": "latch"}, 400, "no text of its own"),
        ("range", {"model": "latch", "id": "gone", "signal": "c", "first": 0, "last": 1}, 400, "not here any more"),
        ("labels", {"model": "latch", "text": TEXT, "property": "nonsense"}, 400, "quotes"),
        ("labels", {"model": "latch", "text": TEXT, "property": "/etc/passwd.tsv"}, 400, "no property"),
        ("labels", {"model": "latch", "text": TEXT, "property": "re:("}, 400, "no regular expression"),
        ("find", {"model": "latch", "text": TEXT, "labels": [[5, 2, 1]]}, 400, "from less to more"),
        ("find", {"model": "latch", "text": TEXT, "labels": [[0, 2, True]]}, 400, "[from, to, label]"),
        ("find", {"model": "latch", "text": TEXT, "labels": [[0, 2, 1e300]]}, 400, "label"),
        ("find", {"model": "latch", "text": TEXT, "property": "quotes", "top": 0}, 400, "top"),
        ("memory", {"models": []}, 400, "models"),
        ("memory", {"models": ["latch"] * 5}, 400, "models"),
        ("similar", {"model": "latch", "text": "a", "query": "a"}, 400, "sentences"),
        ("similar", {"model": "latch", "text": TEXT, "query": " "}, 400, "query"),
        ("similar", {"model": "latch", "text": TEXT, "query": "a", "pool": "sum"}, 400, "last"),
        ("jobs/none/cancel", {}, 400, "no such analysis"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(studio: Studio, path: str, body: Json, status: int, says: str) -> None:
    answer = studio.client.post(f"/api/inside/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]["message"] + str(answer.json())


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"layer": 1}, "there is no layer 1"),
        ({"layer": 0, "signal": "r"}, "has the gates i, f, o"),
        ({"layer": "x"}, "whole number"),
        ({"layer": 0, "signal": "c", "id": "gone"}, "not here any more"),
    ],
)
def test_a_picture_that_is_not_there_is_refused(studio: Studio, query: Json, says: str) -> None:
    about = studio.post("open", model="latch", text=SHORT)
    answer = studio.client.get("/api/inside/heat", params={"model": "latch", "id": about["id"], "signal": "c", **query})
    assert answer.status_code == 400 and says in answer.text


def test_the_unrolled_text_is_short(studio: Studio) -> None:
    answer = studio.post("unrolled", models=["latch"], text="a" * 65)
    assert "64" in answer["models"][0]["error"]["allowed"]


def test_all_of_it_needs_the_token(studio: Studio) -> None:
    answer = studio.client.post("/api/inside/open", json={"model": "latch"}, headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401

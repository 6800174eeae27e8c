"""How far back models remember, and what one prediction depends on."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

import unroll
from serve.inside.looking import SHORT, TEXT, Studio
from unroll.serve.app import create_app
from unroll.serve.inside import memory
from unroll.serve.models import Models
from unroll.serve.settings import Settings


def test_memory_compares_models_on_the_same_text(studio: Studio) -> None:
    job = studio.done(studio.post("memory", models=["latch", "rnn", "window"], text=TEXT))
    assert job["state"] == "done", job["error"]
    by_name = {Path(one["model"]).name: one for one in job["result"]["models"]}
    assert set(by_name) == {"latch", "rnn", "window"}
    sizes = [size for _, size in by_name["window"]["gradient_signals"]["x"]]
    assert all(size > 0 for size in sizes[:4]) and sizes[4:] == [0.0] * len(sizes[4:]), "exactly zero beyond its sight"
    assert all(size > 0 for _, size in by_name["rnn"]["gradient_signals"]["x"]), "small, but never zero in float64"
    loss = dict(by_name["window"]["context_loss"])
    assert loss[4] == pytest.approx(loss[128], abs=1e-6)


@pytest.mark.parametrize("method", memory.METHODS)
def test_what_a_prediction_depends_on(studio: Studio, method: str) -> None:
    document = studio.post("open", model="latch", text=TEXT[:600])
    answer = studio.post("depends", models=["latch", "window"], id=document["id"], at=400, method=method)
    latched, window = answer["models"]
    assert latched["first"] == 400 - memory.BACK and len(latched["scores"]) == memory.BACK
    assert latched["nats"] == pytest.approx(document["nats"][400], abs=1e-4), "read from the true state"
    assert window["scores"][:-4] == [0.0] * (memory.BACK - 4) and all(window["scores"][-4:])
    assert (latched["agreement"] is None) == (method in ("size", "leave-out"))


def test_the_first_symbol_depends_on_nothing(studio: Studio) -> None:
    document = studio.post("open", model="latch", text=SHORT)
    answer = studio.post("depends", models=["latch"], id=document["id"], at=0)
    assert "others precede" in answer["models"][0]["error"]["fix"]


def test_an_ngram_beside_networks_says_that_it_has_no_gradient(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    list(unroll.ngram(tmp_path / "text.txt", order=3, level="char", out=tmp_path / "grams"))
    app = create_app(Models([folder / "latch", tmp_path / "grams"]), Settings(page_token="secret"), studio=True)
    with TestClient(app, base_url="http://127.0.0.1:8000", headers={"Authorization": "Bearer secret"}) as client:
        studio = Studio(client)
        job = studio.done(studio.post("memory", models=["latch", "grams"], text=TEXT))
        assert job["result"]["models"][1]["gradient"] is None
        document = studio.post("open", model="latch", text=SHORT)
        answer = studio.post("depends", models=["latch", "grams"], id=document["id"], at=5)["models"]
        assert "error" not in answer[0] and "n-gram" in answer[1]["error"]["message"]
        refusal = client.post("/api/inside/open", json={"model": "grams", "text": SHORT})
        assert refusal.status_code == 400 and "no states and no gates" in refusal.text

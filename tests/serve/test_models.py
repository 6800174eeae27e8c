"""Models whose directories change while they are served: trained on, replaced, damaged, deleted."""

import asyncio
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from serve.live import CHARS, TOKENIZERS, Live, latest, make_model, run_apart, serving
from unroll.errors import UserError
from unroll.serve.errors import ApiError
from unroll.serve.models import Models


def text_of(live: Live, name: str = "char") -> str:
    answer = live.post("/v1/completions", {"model": name, "prompt": "the", "max_tokens": 30, "seed": 1})
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["text"]
    return text


def test_names_are_those_of_the_directories(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a/book", "b/book", "c/a name <b>", "d/" + "long" * 30, "e/Война-и-мир")]
    models = Models(make_model(folder) for folder in folders)
    assert models.names() == ["book", "book-2", "a-name--b-", ("long" * 30)[:56], "Война-и-мир"]
    assert models.add(folders[1]) == "book-2" and models.latest("book-2").opened.path == folders[1]
    models.remove("book")
    with pytest.raises(ApiError, match="no model 'book'"):
        models.latest("book")
    with pytest.raises(UserError, match="no model directory"):
        models.add(tmp_path / "nothing")


def test_a_link_is_served_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "live").symlink_to(make_model(tmp_path / "book-17"))
    assert Models([tmp_path / "live"]).names() == ["live"]
    assert Models([tmp_path / "book-17", tmp_path / "live"]).names() == ["book-17"], "one model is served once"
    assert Models([tmp_path / "live" / ".." / "book-17" / "."]).names() == ["book-17"]


def test_a_name_in_any_script_can_be_asked_for(tmp_path: Path) -> None:
    with serving(make_model(tmp_path / "Война-и-мир"), make_model(tmp_path / "char")) as live:
        asked: dict[str, Any] = {"model": "Война-и-мир", "prompt": "the", "max_tokens": 3, "seed": 1}
        assert live.openai().completions.create(**asked).model == "Война-и-мир"
        assert live.post("/models/Война-и-мир/v1/completions", asked).json()["model"] == "Война-и-мир"


def test_new_weights_are_served_and_running_streams_keep_the_old(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "char")
    with serving(folder, max_tokens=10**6) as live:
        first_text = text_of(live)
        fingerprint = live.post("/v1/completions", {"model": "char", "prompt": "a"}).json()["system_fingerprint"]
        request: dict[str, Any] = {"model": "char", "prompt": "the", "max_tokens": 4000, "seed": 1}
        long = live.openai().completions.create(**request).choices[0].text
        with live.openai().completions.create(stream=True, **request) as events:
            text = next(iter(events)).choices[0].text
            make_model(folder, seed=9)
            second_text = text_of(live)
            text += "".join(chunk.choices[0].text for chunk in events)
        assert text == long and long.startswith(first_text)
        assert second_text != first_text and text_of(live) == second_text
        refreshed = live.post("/v1/completions", {"model": "char", "prompt": "a"}).json()["system_fingerprint"]
        assert refreshed != fingerprint
        make_model(folder)
        assert text_of(live) == first_text


def test_a_training_beside_it_never_breaks_an_answer(tmp_path: Path) -> None:
    """Weights are replaced again and again while requests come from several sides."""
    folder = make_model(tmp_path / "char")
    texts, weights = set(), []
    for seed in range(3):
        make_model(folder, seed=seed)
        weights.append((folder / "weights.safetensors").read_bytes())
        with serving(folder) as live:
            texts.add(text_of(live))
    finish = threading.Event()
    with serving(folder) as live:
        answers: list[str] = []

        def ask() -> None:
            while not finish.is_set():
                answers.append(text_of(live))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        writes, deadline = 0, time.monotonic() + 60
        while time.monotonic() < deadline and (writes < 30 or len(answers) < 90 or len(set(answers)) < 3):
            replacement = tmp_path / "new.safetensors"
            replacement.write_bytes(weights[writes % 3])
            replacement.replace(folder / "weights.safetensors")
            writes += 1
            finish.wait(0.1)
        finish.set()
        for thread in threads:
            thread.join()
        assert len(answers) >= 90 and set(answers) == texts and writes >= 30


def test_a_model_that_is_deleted_is_said_to_be_gone(tmp_path: Path) -> None:
    survivor, folder = make_model(tmp_path / "word", TOKENIZERS["word"]), make_model(tmp_path / "char")
    with serving(survivor, folder, max_tokens=10**6) as live:
        text = text_of(live)
        with live.openai().completions.create(
            model="char", prompt="the", max_tokens=3000, stream=True, seed=1
        ) as events:
            before = next(iter(events)).choices[0].text
            shutil.rmtree(folder)
            for path, body in (("/v1/completions", {"prompt": "a"}), ("/v1/embeddings", {"input": "a"})):
                answer = live.post(path, {"model": "char", **body})
                assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_gone"
                assert "are gone" in answer.json()["error"]["message"]
            rest = sum(len(chunk.choices[0].text) for chunk in events)
            assert len(before) + rest == 3000  # what runs is not disturbed
        assert live.get("/v1/models/char").status_code == 404
        assert text_of(live, "word")
        assert [model["id"] for model in live.get("/v1/models").json()["data"]] == ["word", "char"]
        make_model(folder)
        assert text_of(live) == text


@pytest.mark.parametrize("damage", ["truncated", "garbage", "another shape", "not finite"])
def test_damaged_weights_are_told_and_nothing_of_the_path(tmp_path: Path, damage: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = make_model(tmp_path / "char")
    file = folder / "weights.safetensors"
    contents = file.read_bytes()
    with serving(folder) as live:
        text = text_of(live)
        if damage == "truncated":
            file.write_bytes(contents[: len(contents) // 2])
        elif damage == "garbage":
            file.write_bytes(b"\x80\x04\x95" + contents)
        else:
            tensors = load_file(file)
            name = next(name for name in tensors if "weight_hh" in name)
            tensors[name] = tensors[name][:-1] if damage == "another shape" else tensors[name] * torch.inf
            save_file(tensors, file)
        for _ in range(2):
            answer = live.post("/v1/completions", {"model": "char", "prompt": "a"})
            assert answer.status_code == 503 and answer.json()["error"]["code"] == "model_unavailable"
            assert str(tmp_path) not in answer.text and answer.headers["retry-after"] == "1"
        file.write_bytes(contents)
        assert text_of(live) == text


def test_who_asks_at_once_waits_for_one_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "char")
    models = Models([folder])
    make_model(folder, seed=2)
    import unroll.serve.served as module

    opened: list[Path] = []
    real = module.open_model  # type: ignore[attr-defined]

    def counting(path: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(module, "open_model", counting)

    async def main() -> None:
        served = await asyncio.gather(*(models.current("char") for _ in range(20)))
        assert len({each.version for each in served}) == 1
        assert (await models.current("char")) is served[0]

    run_apart(main())
    assert len(opened) == 1
    assert latest(models, "char").printable[CHARS.start_id] == "\n"


def test_eight_bits_are_served_under_another_fingerprint(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "char")
    exact, rough = latest(Models([folder]), "char"), latest(Models([folder], "cpu", "int8"), "char")
    assert exact.version == rough.version and exact.fingerprint != rough.fingerprint
    assert rough.fingerprint.endswith("int8")

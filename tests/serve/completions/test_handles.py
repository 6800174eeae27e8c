"""States as objects of the API: going on from one is going on, and nobody else's can be had."""

import base64
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serve.live import TOKENIZERS, Live, latest, make_model, serving
from unroll.artifact.open import open_model
from unroll.serve.batching.streams import Start
from unroll.serve.completions.handles import States
from unroll.serve.errors import ApiError
from unroll.serve.models import Models


def ask(live: Live, key: str = "k", **fields: Any) -> httpx.Response:
    fields = {"temperature": 0, "max_tokens": 20} | fields
    return live.post("/v1/completions", fields, headers={"authorization": f"Bearer {key}"})


def first(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


@pytest.mark.parametrize("level", TOKENIZERS)
def test_going_on_from_a_state_is_going_on(live: Live, level: str) -> None:
    expected = first(ask(live, model=level, prompt="the cat", max_tokens=60))["text"]
    text, handle = "", None
    for length in (1, 7, 22, 30):
        begun = {"prompt": "the cat"} if handle is None else {"state_from": handle}
        part = first(ask(live, model=level, max_tokens=length, return_state=True, **begun))
        text, handle = text + part["text"], part["state"]
    if level in ("char", "word"):
        assert text == expected
    else:  # where a part ends within a character, both halves are written as U+FFFD
        assert text.replace("\ufffd", "") == expected.replace("\ufffd", "") or "\ufffd" in text


def test_a_prompt_may_be_read_in_parts(live: Live) -> None:
    options: dict[str, Any] = {"model": "char", "max_tokens": 30, "seed": 4, "temperature": 1}
    expected = first(ask(live, prompt="the cat sat on the mat.", **options))["text"]
    handle = None
    for part in ("the cat", " sat on", " the"):
        begun: dict[str, Any] = {} if handle is None else {"state_from": handle}
        only = {"max_tokens": 0, "return_state": True}
        handle = first(ask(live, prompt=part, **(options | only | begun)))["state"]
    assert first(ask(live, prompt=" mat.", state_from=handle, **options))["text"] == expected


def test_a_state_may_be_gone_on_from_many_times_and_ways(live: Live) -> None:
    handle = first(ask(live, model="char", prompt="the cat", max_tokens=0, return_state=True))["state"]
    options: dict[str, Any] = {"model": "char", "state_from": handle, "temperature": 1, "seed": 7}
    branches = ask(live, n=4, prompt=[" a", ""], return_state=True, logprobs=2, echo=True, **options).json()["choices"]
    assert len({choice["state"] for choice in branches}) == 8
    for choice in branches:
        assert "".join(choice["logprobs"]["tokens"]) == choice["text"]
    repeat = ask(live, n=4, prompt=[" a", ""], logprobs=2, echo=True, **options).json()["choices"]
    assert [choice["text"] for choice in repeat] == [choice["text"] for choice in branches]
    stateless = ask(live, model="char", n=4, prompt=["the cat a", "the cat"], temperature=1, seed=7).json()["choices"]
    assert ["the cat" + choice["text"] for choice in branches] == [
        ("the cat a" if choice["index"] < 4 else "the cat") + choice["text"] for choice in stateless
    ]


@pytest.mark.parametrize("level", ["char", "word"])
def test_the_state_stands_after_the_text_and_before_the_stop(live: Live, level: str) -> None:
    expected = first(ask(live, model=level, prompt="a", max_tokens=60, temperature=1, seed=2))["text"]
    stop = expected[len(expected) // 2 :][:4]
    position = expected.index(stop)
    choice = first(
        ask(live, model=level, prompt="a", max_tokens=60, temperature=1, seed=2, stop=stop, return_state=True)
    )
    assert choice["text"] == expected[:position] and choice["finish_reason"] == "stop"
    if level == "char":
        after = first(ask(live, model=level, state_from=choice["state"]))["text"]
        assert after == first(ask(live, model=level, prompt="a" + expected[:position]))["text"]


def test_a_handle_is_its_owner_s_alone(folders: dict[str, Path]) -> None:
    with serving(folders["char"], folders["word"], api_keys=("one", "two")) as live:
        handle = first(ask(live, "one", model="char", prompt="the", return_state=True))["state"]
        assert ask(live, "one", model="char", state_from=handle).status_code == 200
        foreign = ask(live, "two", model="char", state_from=handle)
        missing = ask(live, "two", model="char", state_from="state-never")
        assert foreign.status_code == missing.status_code == 404
        assert foreign.json() == missing.json() and foreign.json()["error"]["code"] == "state_not_found"
        assert ask(live, "none", model="char", state_from=handle).status_code == 401
        mismatch = ask(live, "one", model="word", state_from=handle)
        assert mismatch.status_code == 400 and mismatch.json()["error"]["code"] == "state_of_another_model"
        assert ask(live, "one", model="char", state_from=handle).status_code == 200
        assert len(base64.urlsafe_b64decode(handle.removeprefix("state-"))) == 24


def test_without_a_key_what_clients_send_tells_them_apart(live: Live) -> None:
    handle = first(ask(live, "mine", model="char", prompt="the", return_state=True))["state"]
    assert ask(live, "mine", model="char", state_from=handle).status_code == 200
    assert ask(live, "yours", model="char", state_from=handle).status_code == 404


def test_the_least_used_expires_and_says_so(folders: dict[str, Path]) -> None:
    with serving(folders["char"], state_bytes=3000) as live:
        handles = [first(ask(live, model="char", prompt="a" * k, return_state=True))["state"] for k in range(1, 12)]
        assert live.context.states.nbytes <= 3000
        expired = ask(live, model="char", state_from=handles[0])
        assert expired.status_code == 410 and expired.json()["error"]["code"] == "state_expired"
        assert "expired" in expired.json()["error"]["message"] and expired.json()["error"]["param"] == "state_from"
        assert ask(live, "other", model="char", state_from=handles[0]).status_code == 404
        assert ask(live, model="char", state_from=handles[-1]).status_code == 200


def test_new_weights_end_old_states(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "char")
    with serving(folder) as live:
        handle = first(ask(live, model="char", prompt="the", return_state=True))["state"]
        make_model(folder, seed=5)
        expired = ask(live, model="char", state_from=handle)
        assert expired.status_code == 410 and "new weights" in expired.json()["error"]["message"]
        assert ask(live, model="char", state_from=handle).status_code == 410


def test_handles_are_bounded_and_kept_apart(folders: dict[str, Path]) -> None:
    served = latest(Models([folders["char"]]), "char")
    states = States(10_000)
    start = Start(((np.zeros((1, 8), np.float32),),), np.zeros((1, 4)), (1,))
    handles = {owner: [states.put(start, owner, served) for _ in range(200)] for owner in ("a", "b")}
    assert states.nbytes == len(states._kept) * start.nbytes <= 10_000
    assert len({*handles["a"], *handles["b"]}) == 400
    for owner, stranger in (("a", "b"), ("b", "a")):
        for handle in handles[stranger]:
            with pytest.raises(ApiError) as error:
                states.get(handle, owner, served)
            assert error.value.status == 404
    assert states.get(handles["b"][-1], "b", served) is start
    huge = states.put(Start(((np.zeros((1, 10_000)),),), np.zeros((1, 4)), ()), "a", served)
    assert states.nbytes <= 10_000
    with pytest.raises(ApiError) as error:
        states.get(huge, "a", served)
    assert error.value.status == 410


def test_a_state_takes_what_it_must(folders: dict[str, Path]) -> None:
    opened = open_model(folders["char"])
    _, state = opened.predictor.logits(np.array([[1]]))
    assert sum(part.nbytes for layer in state for part in layer) == 2 * 2 * 10 * 4  # layers, h and c, hidden, float32

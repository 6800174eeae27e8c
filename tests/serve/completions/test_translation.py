"""Translations over HTTP: those of the library, by the standard's client too, and with what they attended to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from serve.live import Live, error, serving, told
from unroll.tasks.translate.predict import translate

TEXTS = ["one red cat", "", "  two blue dog one ", "three", "never seen"]


@pytest.fixture(scope="module")
def live(translator: Path, folders: dict[str, Path]) -> Iterator[Live]:
    """A server of a translator and a language model."""
    with serving(translator, folders["char"], max_inputs=64, max_probabilities=10_000) as live:
        yield live


def near(rows: Any) -> Any:
    """Return rows whose numbers need only be near."""
    if isinstance(rows, float):
        return pytest.approx(rows, abs=1e-5)
    if isinstance(rows, dict):
        return {name: near(value) for name, value in rows.items()}
    return [near(row) for row in rows] if isinstance(rows, list) else rows


# ---- /translate


@pytest.mark.parametrize("path", ["/translate", "/models/translator/translate"])
def test_translations_are_the_librarys(live: Live, translator: Path, path: str) -> None:
    body = {"model": "translator", "texts": TEXTS, "n_best": 2, "beam": 4, "attention": True, "priority": 1}
    answer = live.post(path, body)
    assert answer.status_code == 200, answer.text
    expected = translate(translator, TEXTS, beam=4, n_best=2, attention=True)
    assert answer.json()["data"] == [{"index": k, **near(row)} for k, row in enumerate(expected)]
    assert answer.headers["x-ignored-params"] == "priority"
    usage = answer.json()["usage"]
    assert usage["prompt_tokens"] == 3 + 1 + 4 + 1 + 2 and usage["completion_tokens"] > 0
    best = answer.json()["data"][0]["translations"][0]
    assert best["text"] == "katze rot eins"
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in best["attention"]["weights"])


def test_a_text_alone_and_no_attention(live: Live, translator: Path) -> None:
    (row,) = live.post("/translate", {"model": "translator", "text": TEXTS[0]}).json()["data"]
    assert row == {"index": 0, **near(translate(translator, TEXTS[:1])[0])}
    assert "attention" not in row["translations"][0]


def test_a_translator_without_attention_says_null(blind_translator: Path) -> None:
    with serving(blind_translator) as live:
        (row,) = live.post("/translate", {"text": TEXTS[0], "attention": True}).json()["data"]
        assert row["translations"][0]["attention"] is None


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({}, "text", "nothing to read"),
        ({"text": "a", "texts": ["a"]}, "texts", "the request has text and texts"),
        ({"text": "a", "beam": 65}, "beam", "invalid beam"),
        ({"text": "a", "n_best": 3, "beam": 2}, "n_best", "n_best is 3, and beam 2"),
        ({"texts": ["a"] * 13}, "texts", "65 texts times the beam, above the limit of 64"),
        ({"text": "one " * 5000}, "text", "text 0 of text has 5,000 units, above the"),
        ({"text": "one " * 80, "attention": True}, "text", "weights of attention, above the limit of 10,000"),
    ],
)
def test_what_is_refused(live: Live, fields: dict[str, Any], param: str, message: str) -> None:
    answer = live.post("/translate", {"model": "translator"} | fields)
    fault = error(answer)
    assert answer.status_code == 400 and message in fault["message"] and fault["param"] == param and fault["fix"]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/classify", "/tokenize", "/tag"])
def test_a_translator_is_refused_elsewhere(live: Live, path: str) -> None:
    fault = error(live.post(path, {"model": "translator", "input": "a", "prompt": "a", "text": "a"}))
    assert fault["code"] == "unsupported_model" and "'translator' is a translator" in fault["message"]
    assert "/v1/completions" in fault["fix"]


def test_a_language_model_does_not_translate(live: Live) -> None:
    fault = error(live.post("/translate", {"model": "char", "text": "a"}))
    assert fault["message"] == "'char' is a language model, not a translator" and fault["allowed"] == "translator"


# ---- the standard's client


def test_a_prompt_is_translated(live: Live, translator: Path) -> None:
    client = live.openai()
    answer = client.completions.create(model="translator", prompt=TEXTS, temperature=0, seed=3, user="me")
    expected = translate(translator, TEXTS, beam=1)
    assert [choice.text for choice in answer.choices] == [row["translations"][0]["text"] for row in expected]
    assert [choice.index for choice in answer.choices] == list(range(len(TEXTS)))
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    assert answer.system_fingerprint and answer.usage is not None
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == answer.usage.total_tokens
    words = sum(len(choice.text.split()) for choice in answer.choices)
    assert answer.usage.completion_tokens == words


def test_best_of_is_the_beam(live: Live, translator: Path) -> None:
    answer = live.openai().completions.create(model="translator", prompt="one red cat", n=2, best_of=4)
    (row,) = translate(translator, ["one red cat"], beam=4, n_best=2)
    assert [choice.text for choice in answer.choices] == [best["text"] for best in row["translations"]]


def test_log_probabilities_are_of_the_pieces(live: Live, translator: Path) -> None:
    (choice,) = live.openai().completions.create(model="translator", prompt="one red cat", logprobs=0).choices
    logprobs = choice.logprobs
    assert logprobs is not None and logprobs.tokens is not None and logprobs.token_logprobs is not None
    assert "".join(logprobs.tokens) == choice.text and len(logprobs.tokens) == 3
    pieces = zip(logprobs.text_offset or [], logprobs.tokens, strict=True)
    assert all(choice.text[at:].startswith(piece) for at, piece in pieces)
    (row,) = translate(translator, ["one red cat"], beam=1)
    total = -row["translations"][0]["nats"]
    assert total < sum(logprobs.token_logprobs) < 0, "all but that of the end"


@pytest.mark.parametrize("most", [None, 2, 100])
def test_a_stream_has_the_same_pieces(live: Live, most: int | None) -> None:
    client = live.openai()
    request: dict[str, Any] = {"model": "translator", "prompt": TEXTS[:3], "max_tokens": most, "logprobs": 0}
    whole = client.completions.create(**request)
    texts, pieces, finish = ["", "", ""], [0, 0, 0], ["", "", ""]
    with client.completions.create(**request, stream=True, stream_options={"include_usage": True}) as events:
        for event in events:
            if not event.choices:
                assert event.usage == whole.usage
                continue
            (choice,) = event.choices
            texts[choice.index] += choice.text
            pieces[choice.index] += choice.logprobs is not None
            finish[choice.index] = choice.finish_reason or ""
    assert texts == [choice.text for choice in whole.choices]
    assert finish == [choice.finish_reason for choice in whole.choices]
    assert pieces == [len((choice.logprobs and choice.logprobs.tokens) or []) for choice in whole.choices]
    assert ("length" in finish) == (most == 2)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": [1, 2]}, "prompt"),
        ({"temperature": 0.7}, "temperature"),
        ({"top_p": 0.5}, "top_p"),
        ({"top_k": 3}, "top_k"),
        ({"stop": "x"}, "stop"),
        ({"echo": True}, "echo"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"return_state": True}, "return_state"),
        ({"logprobs": 2}, "logprobs"),
        ({"stream": True, "n": 2}, "n"),
        ({"prompt": "one " * 5000}, "prompt"),
    ],
)
def test_what_the_standard_has_and_a_translator_has_not(live: Live, fields: dict[str, Any], param: str) -> None:
    answer = live.post("/v1/completions", {"model": "translator", "prompt": "one"} | fields)
    fault = error(answer)
    assert answer.status_code == 400 and fault["param"] == param and fault["allowed"] and fault["fix"], answer.text


def test_the_client_hears_of_it(live: Live) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        live.openai().completions.create(model="translator", prompt="one", temperature=0.5)
    assert "searched for, not drawn" in told(caught.value)["message"]


def test_what_is_written_is_counted(live: Live) -> None:
    def written() -> float:
        lines = live.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("unroll_generated_tokens_total"))

    before = written()
    answer = live.post("/v1/completions", {"model": "translator", "prompt": "one red cat"}).json()
    assert written() - before == answer["usage"]["completion_tokens"] == 3

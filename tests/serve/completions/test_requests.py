"""Requests for completions: what is refused, what stays bounded, and how long texts are."""

from pathlib import Path
from typing import Any

import openai
import pytest

from serve.live import TOKENIZERS, Live, error, serving, told

ERRORS: list[tuple[dict[str, Any], type[openai.APIStatusError], str, str | None]] = [
    ({"model": "none"}, openai.NotFoundError, "model_not_found", "model"),
    ({"prompt": "QQ"}, openai.BadRequestError, "unknown_tokens", "prompt"),
    ({"prompt": [10**6]}, openai.BadRequestError, "invalid_value", "prompt"),
    ({"prompt": [-1]}, openai.BadRequestError, "invalid_value", "prompt"),
    ({"prompt": ["a"] * 129}, openai.BadRequestError, "invalid_value", "prompt"),
    ({"max_tokens": 0}, openai.BadRequestError, "invalid_value", "max_tokens"),
    ({"max_tokens": 10**6}, openai.BadRequestError, "invalid_value", "max_tokens"),
    ({"max_tokens": True}, openai.BadRequestError, "invalid_value", "max_tokens"),
    (
        {"max_tokens": 5, "extra_body": {"max_completion_tokens": 6}},
        openai.BadRequestError,
        "invalid_value",
        "max_completion_tokens",
    ),
    (
        {"extra_body": {"max_completion_tokens": 10**6}},
        openai.BadRequestError,
        "invalid_value",
        "max_completion_tokens",
    ),
    ({"extra_body": {"max_completion_tokens": True}}, openai.BadRequestError, "invalid_value", "max_completion_tokens"),
    ({"max_tokens": 4000, "n": 64, "logprobs": 20}, openai.BadRequestError, "invalid_value", "logprobs"),
    ({"max_tokens": 1.5}, openai.BadRequestError, "invalid_value", "max_tokens"),
    ({"temperature": 2.1}, openai.BadRequestError, "invalid_value", "temperature"),
    ({"top_p": 0}, openai.BadRequestError, "invalid_value", "top_p"),
    ({"n": 0}, openai.BadRequestError, "invalid_value", "n"),
    ({"n": 3, "best_of": 2}, openai.BadRequestError, "invalid_value", "best_of"),
    ({"best_of": 2, "stream": True}, openai.BadRequestError, "invalid_value", "best_of"),
    ({"n": 33, "prompt": ["a"] * 4}, openai.BadRequestError, "invalid_value", "n"),
    ({"best_of": 33, "prompt": ["a"] * 4}, openai.BadRequestError, "invalid_value", "best_of"),
    ({"logprobs": 21}, openai.BadRequestError, "invalid_value", "logprobs"),
    ({"stop": ""}, openai.BadRequestError, "invalid_value", "stop"),
    ({"stop": ["a"] * 5}, openai.BadRequestError, "invalid_value", "stop"),
    ({"stop": "a" * 65}, openai.BadRequestError, "invalid_value", "stop"),
    ({"suffix": "a"}, openai.BadRequestError, "unsupported_parameter", "suffix"),
    ({"logit_bias": {"a": 1}}, openai.BadRequestError, "invalid_value", "logit_bias"),
    ({"logit_bias": {"999": 1}}, openai.BadRequestError, "invalid_value", "logit_bias"),
    ({"logit_bias": {"1": 101}}, openai.BadRequestError, "invalid_value", "logit_bias"),
    ({"stream_options": {"include_usage": True}}, openai.BadRequestError, "invalid_value", "stream_options"),
    ({"presence_penalty": -3}, openai.BadRequestError, "invalid_value", "presence_penalty"),
    ({"extra_body": {"state_from": "x"}}, openai.NotFoundError, "state_not_found", "state_from"),
    ({"extra_body": {"top_k": -1}}, openai.BadRequestError, "invalid_value", "top_k"),
]


@pytest.mark.parametrize(("change", "kind", "code", "param"), ERRORS, ids=lambda value: str(value)[:40])
def test_errors_have_the_shape_that_the_client_reads(
    live: Live, change: dict[str, Any], kind: type[openai.APIStatusError], code: str, param: str | None
) -> None:
    with pytest.raises(kind) as error:
        live.openai().completions.create(**({"model": "char", "prompt": "a"} | change))
    assert told(error.value)["code"] == code and told(error.value)["param"] == param
    assert error.value.response.headers["x-request-id"].startswith("req_")
    assert told(error.value)["type"] == "invalid_request_error"
    if hasattr(error.value, "request_id"):  # since 1.14
        assert str(error.value.request_id).startswith("req_")


def test_symbols_by_number_are_the_text(live: Live) -> None:
    request: dict[str, Any] = {"model": "word", "max_tokens": 20, "seed": 9}
    ids = TOKENIZERS["word"].encode("the cat").tolist()
    start = TOKENIZERS["word"].start_id
    texts = {
        live.openai().completions.create(prompt=prompt, **request).choices[0].text
        for prompt in ("the cat", ids, [start, *ids])
    }
    assert len(texts) == 1


def test_extensions_and_what_is_not_understood(live: Live) -> None:
    raw = live.openai().completions.with_raw_response.create(
        model="char", prompt="a", max_tokens=3, extra_body={"return_state": True, "nonsense": 1, "bad\u2028key": 2}
    )
    assert raw.headers["x-ignored-params"] == "nonsense, bad%E2%80%A8key"
    choice: Any = raw.parse().choices[0]
    assert choice.state.startswith("state-")
    with live.openai().completions.create(
        model="char", prompt="a", max_tokens=3, stream=True, extra_body={"return_state": True}
    ) as events:
        last: Any = list(events)[-1].choices[0]
    assert last.state.startswith("state-") and last.finish_reason == "length"


def test_unknown_symbols_are_replaced_on_request_only(live: Live) -> None:
    answer = live.openai().completions.create(
        model="char", prompt="aQ", max_tokens=1, echo=True, extra_body={"replace_unknown": True}
    )
    assert answer.choices[0].text.startswith("a\ufffd")


def test_numbers_of_a_larger_vocabulary_are_refused(live: Live) -> None:
    """Within its range a number says nothing of the vocabulary it is from: so nobody may be sent a wrong one."""
    sizes = {level: tokenizer.vocab_size for level, tokenizer in TOKENIZERS.items()}
    for level, size in sizes.items():
        for path, body in (
            ("/v1/completions", {"prompt": [size], "max_tokens": 1}),
            ("/v1/completions", {"prompt": [[0], [1, size]], "max_tokens": 1}),
            ("/v1/embeddings", {"input": [size]}),
            ("/detokenize", {"tokens": [size]}),
        ):
            answer = live.post(path, body | {"model": level})
            assert answer.status_code == 400, (level, path)
            assert f"{size}" in error(answer)["message"] and error(answer)["allowed"] == f"0 to {size - 1}"


def test_what_a_request_may_hold_stays_bounded(folders: dict[str, Path]) -> None:
    with serving(folders["char"], max_probabilities=1000) as live:
        request: dict[str, Any] = {"model": "char", "prompt": ["a" * 10] * 10, "max_tokens": 10}
        for logprobs, echo, status in (
            (None, True, 200),
            (9, False, 200),
            (10, False, 400),
            (4, True, 200),
            (5, True, 400),
        ):
            answer = live.post("/v1/completions", request | {"logprobs": logprobs, "echo": echo})
            assert answer.status_code == status, (logprobs, echo)
        refusal = error(live.post("/v1/completions", request | {"logprobs": 20}))
        assert refusal["param"] == "logprobs" and "2,100 probabilities" in refusal["message"] and refusal["fix"]


@pytest.mark.parametrize(("level", "count"), [("char", 100), ("byte", 100), ("word", 20), ("bpe", 32)])
def test_without_max_tokens_about_a_hundred_characters_are_written(live: Live, level: str, count: int) -> None:
    for length in ({}, {"max_tokens": None}, {"max_tokens": None, "max_completion_tokens": None}):
        answer = live.post("/v1/completions", {"model": level, "prompt": "the", "seed": 1, **length}).json()
        assert answer["usage"]["completion_tokens"] == count
        assert answer["choices"][0]["finish_reason"] == "length"
    description = live.get("/openapi.json").json()["paths"]["/v1/completions"]["post"]["requestBody"]["content"][
        "application/json"
    ]["schema"]["properties"]["max_tokens"]["description"]
    assert f" {count} " in description


def test_the_default_is_never_above_what_the_server_allows(folders: dict[str, Path]) -> None:
    with serving(folders["char"], max_tokens=7) as live:
        assert live.post("/v1/completions", {"model": "char"}).json()["usage"]["completion_tokens"] == 7


@pytest.mark.parametrize("fields", [{"max_completion_tokens": 5}, {"max_tokens": 5, "max_completion_tokens": 5}])
def test_max_completion_tokens_is_another_name(live: Live, fields: dict[str, int]) -> None:
    answer = live.post("/v1/completions", {"model": "char", "prompt": "a", **fields})
    assert answer.json()["usage"]["completion_tokens"] == 5 and "x-ignored-params" not in answer.headers


def test_two_lengths_that_differ_are_refused_in_three_parts(live: Live) -> None:
    for fields in ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 0, "max_completion_tokens": 6}):
        answer = live.post("/v1/completions", {"model": "char", "prompt": "a", **fields})
        refusal = error(answer)
        assert answer.status_code == 400 and refusal["param"] == "max_completion_tokens"
        assert refusal["allowed"] and refusal["fix"] and "\n" not in refusal["message"]

"""The field's official client against a live server: what it must find as it expects it."""

import asyncio
import itertools
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai import AsyncOpenAI

import unroll
from serve.live import CHARS, LEVELS, TOKENIZERS, Live, latest, make_model, near, run_apart, serving, taking_all, told
from unroll.artifact.open import open_model
from unroll.predict.protocols import stream_nats


def sampled(folder: Path, prompt: str, length: int, seed: int, stream: int = 0, **options: Any) -> str:
    """Return what `unroll sample` writes."""
    symbols = unroll.sample(open_model(folder), prompt, length=length, seed=seed, stream=stream, **options)
    return "".join(symbol.text for symbol in symbols)


@pytest.mark.parametrize("level", LEVELS)
def test_a_seed_gives_the_text_that_the_command_samples(live: Live, folders: dict[str, Path], level: str) -> None:
    answer = live.openai().completions.create(
        model=level, prompt="the cat", max_tokens=70, seed=11, temperature=0.8, n=3
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    expected = [sampled(folders[level], "the cat", 70, 11, stream, temperature=0.8) for stream in range(3)]
    assert [choice.text for choice in answer.choices] == expected
    assert len(set(expected)) == 3
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    assert answer.usage is not None and answer.usage.completion_tokens == 210
    assert answer.usage.prompt_tokens == len(TOKENIZERS[level].encode("the cat"))


@pytest.mark.parametrize(
    "options", [{"top_p": 0.7}, {"temperature": 0}, {"extra_body": {"top_k": 3}}, {"extra_body": {"min_p": 0.2}}]
)
def test_filters_are_those_of_the_command(live: Live, folders: dict[str, Path], options: dict[str, Any]) -> None:
    answer = live.openai().completions.create(model="char", prompt="a", max_tokens=60, seed=2, **options)
    flat = {key: value for key, value in options.items() if key != "extra_body"} | options.get("extra_body", {})
    assert answer.choices[0].text == sampled(folders["char"], "a", 60, 2, **({"temperature": 1.0} | flat))


@pytest.mark.parametrize("level", LEVELS)
def test_a_stream_is_what_the_whole_answer_is(live: Live, level: str) -> None:
    request: dict[str, Any] = {
        "model": level, "prompt": ["the cat", "a"], "max_tokens": 50, "seed": 5, "n": 2, "logprobs": 2, "echo": True,
        "stop": ["mat", "e d"],
    }  # fmt: skip
    whole = live.openai().completions.create(**request)
    texts = dict.fromkeys(range(4), "")
    tokens: dict[int, list[Any]] = {}
    offsets: dict[int, list[Any]] = {}
    tops: dict[int, list[Any]] = {}
    ends: dict[int, Any] = {}
    with live.openai().completions.create(stream=True, stream_options={"include_usage": True}, **request) as events:
        chunks = list(events)
    for chunk in chunks[:-1]:
        assert chunk.usage is None
        (choice,) = chunk.choices
        texts[choice.index] += choice.text
        assert choice.logprobs is not None
        tokens.setdefault(choice.index, []).extend(choice.logprobs.tokens or [])
        offsets.setdefault(choice.index, []).extend(choice.logprobs.text_offset or [])
        tops.setdefault(choice.index, []).extend(choice.logprobs.top_logprobs or [])
        ends[choice.index] = choice.finish_reason
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    for choice in whole.choices:
        assert choice.logprobs is not None
        assert texts[choice.index] == choice.text
        assert tokens[choice.index] == choice.logprobs.tokens
        assert offsets[choice.index] == choice.logprobs.text_offset
        assert tops[choice.index] == [near(top) for top in choice.logprobs.top_logprobs or []]
        assert ends[choice.index] == choice.finish_reason


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_probabilities_are_told_of_every_symbol(live: Live, level: str, count: int) -> None:
    answer = live.openai().completions.create(
        model=level, prompt="the dog", max_tokens=25, seed=1, logprobs=count, echo=True
    )
    (choice,) = answer.choices
    report = choice.logprobs
    assert report is not None and report.tokens and report.token_logprobs and report.top_logprobs and report.text_offset
    assert "".join(report.tokens) == choice.text
    assert len(report.tokens) == len(report.token_logprobs) == len(report.top_logprobs) == len(report.text_offset)
    for token, offset in zip(report.tokens, report.text_offset, strict=True):
        assert choice.text[offset : offset + len(token)] == token
    assert report.token_logprobs[0] is None and report.top_logprobs[0] is None
    for token, value, top in zip(report.tokens[1:], report.token_logprobs[1:], report.top_logprobs[1:], strict=True):
        assert value < 0 and count <= len(top) <= count + 1
        assert value in top.values()
        assert top[token] == value
        assert value <= max(top.values())


@pytest.mark.parametrize("level", LEVELS)
def test_an_echo_is_our_own_score(live: Live, folders: dict[str, Path], level: str) -> None:
    text = "the cat sat on the log.\nwho was it?"
    opened = open_model(folders[level])
    ids = opened.tokenizer.encode(text)
    start = opened.tokenizer.start_id
    for prompt, targets in ((text, ids[1:]), ([start, *ids.tolist()], ids)):
        answer = live.openai().completions.create(model=level, prompt=prompt, max_tokens=0, logprobs=3, echo=True)
        report = answer.choices[0].logprobs
        assert report is not None and report.token_logprobs
        assert len(report.token_logprobs) == len(targets) + 1
        total = -math.fsum(value for value in report.token_logprobs if value is not None)
        if len(targets) == len(ids):
            assert total / len(ids) == pytest.approx(stream_nats(opened.predictor, ids, start), abs=1e-5)
        else:
            expected = opened.predictor.nats(np.array([[start, *ids[:-1]]]), ids[None])[0][0]
            assert total == pytest.approx(expected[1:].sum(), abs=1e-5 * len(ids))


def test_what_evaluation_programs_ask(live: Live) -> None:
    """They send symbols by number and test whether the most probable was taken by equality."""
    start = CHARS.start_id
    prompts = [[start, *CHARS.encode(text).tolist()] for text in ("the cat", "a dog sat")]
    answer = live.openai().completions.create(
        model="char", prompt=prompts, max_tokens=1, logprobs=1, echo=True, temperature=0, seed=1234
    )
    greedy = 0
    for choice, prompt in zip(answer.choices, prompts, strict=True):
        assert choice.logprobs is not None and choice.logprobs.token_logprobs and choice.logprobs.top_logprobs
        assert len(choice.logprobs.token_logprobs) == len(prompt) + 1
        greedy += choice.logprobs.token_logprobs[-1] == max(choice.logprobs.top_logprobs[-1].values())
    assert greedy == 2


def test_the_best_of_several_has_the_highest_mean(live: Live) -> None:
    request: dict[str, Any] = {"model": "char", "prompt": "a", "max_tokens": 20, "seed": 3, "logprobs": 0}
    every = live.openai().completions.create(n=8, **request)
    best = live.openai().completions.create(n=2, best_of=8, **request)

    def mean(choice: Any) -> float:
        return float(np.mean(choice.logprobs.token_logprobs))

    best_first = sorted(every.choices, key=mean, reverse=True)
    assert [choice.text for choice in best.choices] == [choice.text for choice in best_first[:2]]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert best.usage is not None and best.usage.completion_tokens == 160


def test_stops(live: Live) -> None:
    client = live.openai()
    request: dict[str, Any] = {"model": "word", "prompt": "the cat", "max_tokens": 40, "seed": 4}
    text = client.completions.create(**request).choices[0].text
    first, second = text.split()[3:5]
    stop = f"{first} {second}"[1:-1]  # from within a word to within the next
    choice = client.completions.create(stop=[stop, "never there"], **request).choices[0]
    assert choice.finish_reason == "stop" and choice.text == text[: text.index(stop)]
    at_start = client.completions.create(stop=text[0], **request).choices[0]
    assert at_start.text == "" and at_start.finish_reason == "stop"
    in_prompt = client.completions.create(stop="the cat", **request).choices[0]
    assert in_prompt.text == (text[: text.index("the cat")] if "the cat" in text else text)
    unmatched = client.completions.create(stop=text[-1] + "x", **request).choices[0]
    assert unmatched.text == text and unmatched.finish_reason == "length"


def test_penalties_and_bias_change_what_is_drawn(live: Live) -> None:
    client = live.openai()
    request: dict[str, Any] = {"model": "char", "prompt": "a", "max_tokens": 40, "temperature": 0}
    greedy = client.completions.create(**request).choices[0].text
    letter = int(CHARS.encode("z" if "z" in CHARS.symbols else "s")[0])
    biased = client.completions.create(logit_bias={str(letter): 100}, **request).choices[0].text
    assert set(biased) == {CHARS.symbols[letter - 1]}
    barred = (
        client.completions.create(logit_bias={str(int(CHARS.encode(greedy[0])[0])): -100}, **request).choices[0].text
    )
    assert greedy[0] not in barred
    for options in ({"presence_penalty": 2}, {"frequency_penalty": 2}, {"extra_body": {"repetition_penalty": 5}}):
        penalised = client.completions.create(**options, **request).choices[0].text
        assert len(set(penalised)) > len(set(greedy))
    report = client.completions.create(logprobs=1, logit_bias={str(letter): 100}, **request).choices[0].logprobs
    assert (
        report is not None and report.token_logprobs and report.token_logprobs[0] < -0.1
    )  # of the model, not of the bias


def test_symbols_that_break_lines_survive(live: Live) -> None:
    breaks = "\u2028\u2029\x85\x0b\x0c\x00\r😀"
    for symbol in breaks:
        bias = {str(int(CHARS.encode(symbol)[0])): 100}
        with live.openai().completions.create(
            model="char", prompt=breaks, max_tokens=5, logit_bias=bias, stream=True, echo=True
        ) as events:
            assert "".join(chunk.choices[0].text for chunk in events) == breaks + 5 * symbol


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7])
def test_bytes_of_characters_are_never_cut(live: Live, length: int) -> None:
    """Whatever stands at the end of a prompt of bytes, what is written goes on from within its character."""
    data = "é€😀".encode()
    answer = live.openai().completions.create(
        model="byte", prompt=list(data[:length]), max_tokens=1, echo=True,
        logit_bias={str(data[length]): 100},
    )  # fmt: skip
    assert answer.choices[0].text == data[: length + 1].decode(errors="replace")


def test_the_client_tries_again_where_that_helps(tmp_path: Path) -> None:
    paths: list[str] = []

    class Counting(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            paths.append(request.url.path)
            return super().handle_request(request)

    with serving(make_model(tmp_path / "char"), slots=1, queue=0) as live, httpx.Client(transport=Counting()) as http:
        client = live.openai(max_retries=2, http_client=http)
        with pytest.raises(openai.RateLimitError) as error:
            client.completions.create(model="char", prompt="a", n=2)
        assert told(error.value)["code"] == "queue_full" and error.value.response.headers["retry-after"] == "1"
        assert len(paths) == 3
        paths.clear()
        live.context.batchers.of(latest(live.context.models, "char"))._reader._predictor = None  # type: ignore[assignment]
        with pytest.raises(openai.InternalServerError) as failure:
            client.completions.create(model="char", prompt="aaa")
        assert told(failure.value)["code"] == "internal_error" and len(paths) == 1


def test_a_failure_in_a_stream_is_told_in_the_stream(tmp_path: Path) -> None:
    with serving(make_model(tmp_path / "char")) as live:
        batcher = live.context.batchers.of(latest(live.context.models, "char"))

        def fail(*arguments: Any) -> Any:
            raise RuntimeError("planted")

        batcher.served.predictor.generate = fail  # type: ignore[assignment, method-assign]
        with (
            pytest.raises(openai.APIError, match=r"internal server error|during streaming"),
            live.openai().completions.create(model="char", prompt="a", stream=True) as events,
        ):
            list(events)
        with live.http() as client, client.stream(
            "POST", "/v1/completions", json={"model": "char", "stream": True}
        ) as answer:  # fmt: skip
            lines = [line for line in answer.iter_lines() if line]
        assert json.loads(lines[0][6:])["error"]["code"] == "internal_error" and lines[1] == "data: [DONE]"


def test_64_streams_at_once_are_each_what_they_are_alone(live: Live) -> None:
    prompts = ["the cat", "a dog", "", "who was it? " * 60, "sat on the mat."]
    kinds: list[dict[str, Any]] = [{}, {"temperature": 0.5}, {"logprobs": 2}, {"top_p": 0.8}, {"presence_penalty": 1}]
    request = [
        {"model": level, "prompt": prompt, "seed": seed, "max_tokens": 20 + 7 * seed, **kind}
        for seed, (level, prompt, kind) in enumerate(
            itertools.islice(zip(itertools.cycle(LEVELS), itertools.cycle(prompts), itertools.cycle(kinds)), 64)
        )
    ]
    client = live.openai()
    single = [client.completions.create(**each).choices[0] for each in request]

    async def one(client: AsyncOpenAI, number: int) -> str:
        if number % 3 == 0:
            return str((await client.completions.create(**request[number])).choices[0].text)
        text = ""
        async with await client.completions.create(stream=True, **request[number]) as events:
            async for chunk in events:
                text += chunk.choices[0].text
        return text

    async def all_at_once() -> list[str]:
        async with AsyncOpenAI(base_url=f"{live.url}/v1", api_key="x", max_retries=0, timeout=60) as client:
            taking_all(client)
            return await asyncio.gather(*(one(client, number) for number in range(64)))

    assert run_apart(all_at_once()) == [choice.text for choice in single]


def test_timeouts_are_noticed_and_free_the_slot(tmp_path: Path, eventually: Callable[..., None]) -> None:
    with serving(make_model(tmp_path / "char"), max_tokens=10**9, ping_seconds=0.2) as live:
        batcher = live.context.batchers.of(latest(live.context.models, "char"))
        with pytest.raises(openai.APITimeoutError):
            live.openai(timeout=0.5).completions.create(model="char", prompt="a", max_tokens=10**9)
        eventually(lambda: sum(batcher.load) == 0)
        # While nothing is written, pings keep a stream alive.
        go, generate = threading.Event(), batcher.served.predictor.generate

        def wait(*arguments: Any) -> Any:
            go.wait(10)
            return generate(*arguments)

        batcher.served.predictor.generate = wait  # type: ignore[assignment, method-assign]
        threading.Timer(1.5, go.set).start()
        with live.openai(timeout=0.8).completions.create(
            model="char", prompt="a", max_tokens=5, stream=True
        ) as events:  # fmt: skip
            assert sum(len(chunk.choices[0].text) for chunk in events) == 5

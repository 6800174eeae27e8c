"""The field's official client against a live server: what it must find as it expects it."""

import asyncio
import itertools
import json
import math
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from openai import AsyncOpenAI

import unroll
from serve.live import CHARS, TOKENIZERS, Live, make_model, run_apart, serving, taking_all, told
from unroll.artifact.open import open_model
from unroll.engine.native import default_instructions
from unroll.predict.protocols import stream_nats

LEVELS = tuple(TOKENIZERS)


def sampled(folder: Path, prompt: str, length: int, seed: int, stream: int = 0, **others: Any) -> str:
    """Return what `unroll sample` writes."""
    drawn = unroll.sample(open_model(folder), prompt, length=length, seed=seed, stream=stream, **others)
    return "".join(symbol.text for symbol in drawn)


def test_models_are_listed_and_found(live: Live) -> None:
    client = live.openai()
    assert [model.id for model in client.models.list()] == list(LEVELS)
    assert client.models.retrieve("word").object == "model"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("nothing")
    assert told(error.value)["code"] == "model_not_found" and told(error.value)["param"] == "model"


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


def near(value: Any) -> Any:
    """Return what equals a value: the kernels compute a row alike, whoever is beside it; numpy's products do not."""
    return value if value is None or default_instructions() is not None else pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_a_stream_is_what_the_whole_answer_is(live: Live, level: str) -> None:
    asked: dict[str, Any] = {
        "model": level, "prompt": ["the cat", "a"], "max_tokens": 50, "seed": 5, "n": 2, "logprobs": 2, "echo": True,
        "stop": ["mat", "e d"],
    }  # fmt: skip
    whole = live.openai().completions.create(**asked)
    texts = dict.fromkeys(range(4), "")
    tokens: dict[int, list[Any]] = {}
    offsets: dict[int, list[Any]] = {}
    tops: dict[int, list[Any]] = {}
    ends: dict[int, Any] = {}
    with live.openai().completions.create(stream=True, stream_options={"include_usage": True}, **asked) as events:
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
    said = choice.logprobs
    assert said is not None and said.tokens and said.token_logprobs and said.top_logprobs and said.text_offset
    assert "".join(said.tokens) == choice.text
    assert len(said.tokens) == len(said.token_logprobs) == len(said.top_logprobs) == len(said.text_offset)
    for token, offset in zip(said.tokens, said.text_offset, strict=True):
        assert choice.text[offset : offset + len(token)] == token
    assert said.token_logprobs[0] is None and said.top_logprobs[0] is None
    for token, value, top in zip(said.tokens[1:], said.token_logprobs[1:], said.top_logprobs[1:], strict=True):
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
    for prompt, known in ((text, ids[1:]), ([start, *ids.tolist()], ids)):
        answer = live.openai().completions.create(model=level, prompt=prompt, max_tokens=0, logprobs=3, echo=True)
        said = answer.choices[0].logprobs
        assert said is not None and said.token_logprobs
        assert len(said.token_logprobs) == len(known) + 1
        total = -math.fsum(value for value in said.token_logprobs if value is not None)
        if len(known) == len(ids):
            assert total / len(ids) == pytest.approx(stream_nats(opened.predictor, ids, start), abs=1e-5)
        else:
            whole = opened.predictor.nats(np.array([[start, *ids[:-1]]]), ids[None])[0][0]
            assert total == pytest.approx(whole[1:].sum(), abs=1e-5 * len(ids))


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
    asked: dict[str, Any] = {"model": "char", "prompt": "a", "max_tokens": 20, "seed": 3, "logprobs": 0}
    every = live.openai().completions.create(n=8, **asked)
    best = live.openai().completions.create(n=2, best_of=8, **asked)

    def mean(choice: Any) -> float:
        return float(np.mean(choice.logprobs.token_logprobs))

    ranked = sorted(every.choices, key=mean, reverse=True)
    assert [choice.text for choice in best.choices] == [choice.text for choice in ranked[:2]]
    assert [choice.index for choice in best.choices] == [0, 1]
    assert best.usage is not None and best.usage.completion_tokens == 160


def test_stops(live: Live) -> None:
    client = live.openai()
    asked: dict[str, Any] = {"model": "word", "prompt": "the cat", "max_tokens": 40, "seed": 4}
    whole = client.completions.create(**asked).choices[0].text
    first, second = whole.split()[3:5]
    across = f"{first} {second}"[1:-1]  # from within a word to within the next
    stopped = client.completions.create(stop=[across, "never there"], **asked).choices[0]
    assert stopped.finish_reason == "stop" and stopped.text == whole[: whole.index(across)]
    at_start = client.completions.create(stop=whole[0], **asked).choices[0]
    assert at_start.text == "" and at_start.finish_reason == "stop"
    in_prompt = client.completions.create(stop="the cat", **asked).choices[0]
    assert in_prompt.text == (whole[: whole.index("the cat")] if "the cat" in whole else whole)
    held = client.completions.create(stop=whole[-1] + "x", **asked).choices[0]
    assert held.text == whole and held.finish_reason == "length"


def test_penalties_and_bias_change_what_is_drawn(live: Live) -> None:
    client = live.openai()
    asked: dict[str, Any] = {"model": "char", "prompt": "a", "max_tokens": 40, "temperature": 0}
    plain = client.completions.create(**asked).choices[0].text
    letter = int(CHARS.encode("z" if "z" in CHARS.symbols else "s")[0])
    biased = client.completions.create(logit_bias={str(letter): 100}, **asked).choices[0].text
    assert set(biased) == {CHARS.symbols[letter - 1]}
    barred = client.completions.create(logit_bias={str(int(CHARS.encode(plain[0])[0])): -100}, **asked).choices[0].text
    assert plain[0] not in barred
    for options in ({"presence_penalty": 2}, {"frequency_penalty": 2}, {"extra_body": {"repetition_penalty": 5}}):
        changed = client.completions.create(**options, **asked).choices[0].text
        assert len(set(changed)) > len(set(plain))
    said = client.completions.create(logprobs=1, logit_bias={str(letter): 100}, **asked).choices[0].logprobs
    assert said is not None and said.token_logprobs and said.token_logprobs[0] < -0.1  # of the model, not of the bias


def test_symbols_that_break_lines_survive(live: Live) -> None:
    strange = "\u2028\u2029\x85\x0b\x0c\x00\r😀"
    for symbol in strange:
        bias = {str(int(CHARS.encode(symbol)[0])): 100}
        with live.openai().completions.create(
            model="char", prompt=strange, max_tokens=5, logit_bias=bias, stream=True, echo=True
        ) as events:
            assert "".join(chunk.choices[0].text for chunk in events) == strange + 5 * symbol


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7])
def test_bytes_of_characters_are_never_cut(live: Live, cut: int) -> None:
    """Whatever stands at the end of a prompt of bytes, what is written goes on from within its character."""
    data = "é€😀".encode()
    answer = live.openai().completions.create(
        model="byte", prompt=list(data[:cut]), max_tokens=1, echo=True,
        logit_bias={str(data[cut]): 100},
    )  # fmt: skip
    assert answer.choices[0].text == data[: cut + 1].decode(errors="replace")


CHARACTERS = "aé€😀\n"
"""Of one to four bytes."""


def check_names(said: Any, text: str, begins: int = 0) -> None:
    """Hold the parts of log-probabilities to each other: tokens, names of the best, offsets, and the text."""
    assert "".join(said.tokens) == text[begins:]
    at = begins
    for token, value, top, offset in zip(
        said.tokens, said.token_logprobs, said.top_logprobs, said.text_offset, strict=True
    ):
        assert offset == at and text[offset : offset + len(token)] == token
        at += len(token)
        if value is not None:
            assert top[token] == value, (token, top)  # under the same name, in both places


@pytest.mark.parametrize("level", ["byte", "bpe"])
@pytest.mark.parametrize("top", [0, 1, 5, 20])
def test_a_symbol_within_a_character_has_one_name(live: Live, level: str, top: int) -> None:
    """Whatever is echoed: the first bytes of a character are "", the last is all of it, in both lists."""
    text = 3 * CHARACTERS + "the cat sat é"
    answer = live.openai().completions.create(
        model=level, prompt=text, max_tokens=0, echo=True, logprobs=top
    ).choices[0]  # fmt: skip
    assert answer.text == text and answer.logprobs is not None and answer.logprobs.tokens
    check_names(answer.logprobs, text)
    assert "" in answer.logprobs.tokens and "é" in answer.logprobs.tokens
    for best in (answer.logprobs.top_logprobs or [])[1:]:
        assert top <= len(best) <= top + 1


@pytest.mark.parametrize("level", ["byte", "bpe"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("echo", [False, True])
def test_characters_that_a_model_writes_byte_by_byte_have_one_name(
    live: Live, level: str, stream: bool, echo: bool
) -> None:
    """Random models write bytes in all sorts of orders; a bias makes those of one character frequent."""
    for character in CHARACTERS:
        bias = {str(int(id)): 30 for id in TOKENIZERS[level].encode(2 * character)}
        asked: dict[str, Any] = {"model": level, "prompt": "é the", "max_tokens": 60, "seed": 3, "logit_bias": bias}
        check_written(live, stream=stream, echo=echo, **asked)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server of an n-gram of bytes, which has counted characters of one to four of them and writes whole ones."""
    folder = tmp_path_factory.mktemp("counted")
    draw = random.Random(0)
    (folder / "text.txt").write_text("".join(draw.choices(CHARACTERS, k=4000)), encoding="utf-8")
    list(unroll.ngram(folder / "text.txt", order=5, level="byte", out=folder / "bytes"))
    with serving(folder / "bytes") as live:
        yield live


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("echo", [False, True])
def test_a_model_of_bytes_that_writes_whole_characters(counted: Live, stream: bool, echo: bool) -> None:
    for seed in range(8):
        text, tokens = check_written(
            counted, stream=stream, echo=echo, model="bytes", prompt="é€", max_tokens=80, seed=seed
        )
        assert len(set(CHARACTERS) & set(text)) == 5 and len(tokens) == 80 + 5 * echo
        assert {*CHARACTERS, ""} <= set(tokens)


def check_written(live: Live, *, stream: bool, echo: bool, **asked: Any) -> tuple[str, list[str]]:
    """Check the names of what is written; return the text and its tokens."""
    asked |= {"logprobs": 3, "echo": echo}
    whole = live.openai().completions.create(**asked).choices[0]
    assert whole.logprobs is not None
    check_names(whole.logprobs, whole.text)
    if stream:
        text, tokens, tops = "", [], []
        with live.openai().completions.create(stream=True, **asked) as events:
            for event in events:
                (choice,) = event.choices
                check_names(choice.logprobs, text + choice.text, begins=len(text))
                text += choice.text
                tokens += choice.logprobs.tokens
                tops += choice.logprobs.top_logprobs
        assert (text, tokens, tops) == (whole.text, whole.logprobs.tokens, whole.logprobs.top_logprobs)
    return whole.text, whole.logprobs.tokens


def test_the_bytes_of_a_character_one_by_one(live: Live) -> None:
    """A model of bytes that is made to write é€😀: each byte as the next of a prompt that ends within a character."""
    data = "é€😀".encode()
    for cut in range(1, len(data)):
        answer = live.openai().completions.create(
            model="byte", prompt=list(data[:cut]), max_tokens=1, logprobs=2, temperature=0,
            logit_bias={str(data[cut]): 100},
        ).choices[0]  # fmt: skip
        said = answer.logprobs
        assert said is not None and said.tokens and said.top_logprobs
        check_names(said, answer.text)
        others = set(said.top_logprobs[0]) - {said.tokens[0]}
        assert all(name.isascii() and (len(name) == 1 or name.startswith("\\x")) for name in others), others


def test_an_alternative_whose_name_is_taken_has_that_of_its_bytes(live: Live) -> None:
    """A piece that is é, where é came as two bytes."""
    from unroll.serve.batching.streams import Point
    from unroll.serve.completions.answer import _Choice

    served = live.context.models.latest("bpe")
    pieces = list(served.tokenizer.pieces)
    whole, last = pieces.index("é".encode()), pieces.index("é".encode()[1:])
    choice: Any = _Choice.__new__(_Choice)
    choice.served = served
    found = choice._top(Point(-2.0, [whole, last], [-1.0, -2.0]), last, "é", pieces.index("é".encode()[:1]))
    assert found == {"\\xc3\\xa9": -1.0, "é": -2.0}


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


def test_chat_is_refused_with_a_word(live: Live) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        live.openai().chat.completions.create(model="char", messages=[{"role": "user", "content": "a"}])
    said = told(error.value)
    assert said["code"] == "unsupported_endpoint" and "/v1/completions" in said["message"]


def test_embeddings_are_the_last_hidden_state(live: Live, folders: dict[str, Path]) -> None:
    client = live.openai()
    opened = open_model(folders["char"])
    texts = ["the cat", "a dog sat on", ""]
    plain = client.embeddings.create(model="char", input=texts, encoding_format="float")
    packed = client.embeddings.create(model="char", input=texts)  # the client asks for base64 by itself
    for index, text in enumerate(texts):
        ids = np.array([[CHARS.start_id, *CHARS.encode(text)]])
        hidden = opened.predictor.hidden(ids)[0][0, -1]  # type: ignore[attr-defined]
        assert plain.data[index].embedding == pytest.approx(hidden.tolist(), abs=1e-6)
        assert packed.data[index].embedding == pytest.approx(hidden.tolist(), abs=1e-6)
    assert plain.usage.prompt_tokens == 19
    by_number = client.embeddings.create(model="char", input=CHARS.encode("the cat").tolist(), encoding_format="float")
    assert by_number.data[0].embedding == near(plain.data[0].embedding)
    with pytest.raises(openai.BadRequestError) as error:
        client.embeddings.create(model="char", input="a", extra_body={"dimensions": 3})
    assert told(error.value)["code"] == "unsupported_parameter"


@pytest.mark.parametrize("level", LEVELS)
def test_symbols_and_texts(live: Live, level: str) -> None:
    tokenizer = TOKENIZERS[level]
    text = "the cat sat\non the log."
    found = live.post("/tokenize", {"model": level, "prompt": text, "return_token_strs": True}).json()
    assert found["tokens"] == tokenizer.encode(text).tolist() and found["count"] == len(found["tokens"])
    assert len(found["token_strs"]) == found["count"]
    back = live.post("/detokenize", {"model": level, "tokens": found["tokens"]}).json()
    assert back == {"prompt": tokenizer.decode(found["tokens"])}
    with live.http() as client:
        info = client.get("/tokenizer_info", params={"model": level}).json()
    assert info["vocab_size"] == tokenizer.vocab_size and "eos_token" in info
    start = live.post("/tokenize", {"model": level, "prompt": info["bos_token"], "add_special_tokens": False}).json()
    assert start["tokens"] == [tokenizer.start_id] == [info["bos_token_id"]]
    begun = live.post("/tokenize", {"model": level, "prompt": "a", "add_special_tokens": True}).json()["tokens"]
    assert begun == [tokenizer.start_id, *tokenizer.encode("a").tolist()]
    assert live.post("/detokenize", {"model": level, "tokens": [10**6]}).status_code == 400
    strange = live.post("/tokenize", {"model": level, "prompt": "the ж"}).json()
    assert found["unknown"] == 0 and strange["unknown"] == (tokenizer.unknown_id is not None)


def test_so_many_vectors_at_a_time(live: Live) -> None:
    """Empty texts have no symbols that could be counted; each has a vector all the same."""
    assert len(live.post("/v1/embeddings", {"model": "char", "input": [""] * 2048}).json()["data"]) == 2048
    answer = live.post("/v1/embeddings", {"model": "char", "input": [""] * 2049})
    assert answer.status_code == 400 and "2,049 texts; allowed: up to 2,048" in answer.json()["error"]["message"]


def test_symbols_by_number_are_the_text(live: Live) -> None:
    asked: dict[str, Any] = {"model": "word", "max_tokens": 20, "seed": 9}
    ids = TOKENIZERS["word"].encode("the cat").tolist()
    start = TOKENIZERS["word"].start_id
    texts = {
        live.openai().completions.create(prompt=prompt, **asked).choices[0].text
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


def test_the_client_tries_again_where_that_helps(tmp_path: Path) -> None:
    seen: list[str] = []

    class Counting(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request.url.path)
            return super().handle_request(request)

    with serving(make_model(tmp_path / "char"), slots=1, queue=0) as live, httpx.Client(transport=Counting()) as http:
        client = live.openai(max_retries=2, http_client=http)
        with pytest.raises(openai.RateLimitError) as error:
            client.completions.create(model="char", prompt="a", n=2)
        assert told(error.value)["code"] == "queue_full" and error.value.response.headers["retry-after"] == "1"
        assert len(seen) == 3
        seen.clear()
        live.context.batchers.of(live.context.models.latest("char"))._predictor = None  # type: ignore[assignment]
        with pytest.raises(openai.InternalServerError) as failure:
            client.completions.create(model="char", prompt="aaa")
        assert told(failure.value)["code"] == "internal_error" and len(seen) == 1


def test_a_failure_in_a_stream_is_told_in_the_stream(tmp_path: Path) -> None:
    with serving(make_model(tmp_path / "char")) as live:
        batcher = live.context.batchers.of(live.context.models.latest("char"))

        def fail(*arguments: Any) -> Any:
            raise RuntimeError("planted")

        batcher._predictor.generate = fail  # type: ignore[assignment, method-assign]
        with (
            pytest.raises(openai.APIError, match=r"the server made a mistake|during streaming"),
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
    asked = [
        {"model": level, "prompt": prompt, "seed": seed, "max_tokens": 20 + 7 * seed, **kind}
        for seed, (level, prompt, kind) in enumerate(
            itertools.islice(zip(itertools.cycle(LEVELS), itertools.cycle(prompts), itertools.cycle(kinds)), 64)
        )
    ]
    client = live.openai()
    alone = [client.completions.create(**each).choices[0] for each in asked]

    async def one(client: AsyncOpenAI, number: int) -> str:
        if number % 3 == 0:
            return str((await client.completions.create(**asked[number])).choices[0].text)
        text = ""
        async with await client.completions.create(stream=True, **asked[number]) as events:
            async for chunk in events:
                text += chunk.choices[0].text
        return text

    async def all_at_once() -> list[str]:
        async with AsyncOpenAI(base_url=f"{live.url}/v1", api_key="x", max_retries=0, timeout=60) as client:
            taking_all(client)
            return await asyncio.gather(*(one(client, number) for number in range(64)))

    assert run_apart(all_at_once()) == [choice.text for choice in alone]


def test_timeouts_are_noticed_and_free_the_slot(tmp_path: Path, eventually: Callable[..., None]) -> None:
    with serving(make_model(tmp_path / "char"), max_tokens=10**9, ping_seconds=0.2) as live:
        batcher = live.context.batchers.of(live.context.models.latest("char"))
        with pytest.raises(openai.APITimeoutError):
            live.openai(timeout=0.5).completions.create(model="char", prompt="a", max_tokens=10**9)
        eventually(lambda: sum(batcher.load) == 0)
        # While nothing is written, pings keep a stream alive.
        go, generate = threading.Event(), batcher._predictor.generate

        def wait(*arguments: Any) -> Any:
            go.wait(10)
            return generate(*arguments)

        batcher._predictor.generate = wait  # type: ignore[assignment, method-assign]
        threading.Timer(1.5, go.set).start()
        with live.openai(timeout=0.8).completions.create(
            model="char", prompt="a", max_tokens=5, stream=True
        ) as events:  # fmt: skip
            assert sum(len(chunk.choices[0].text) for chunk in events) == 5

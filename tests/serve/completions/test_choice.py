"""Texts of an answer: every symbol has one name, which joins to the text."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

import unroll
from serve.live import TOKENIZERS, Live, latest, serving

CHARACTERS = "aé€😀\n"
"""Of one to four bytes."""


def check_names(logprobs: Any, text: str, begins: int = 0) -> None:
    """Hold the parts of log-probabilities to each other: tokens, names of the best, offsets, and the text."""
    assert "".join(logprobs.tokens) == text[begins:]
    position = begins
    for token, value, top, offset in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, logprobs.text_offset, strict=True
    ):
        assert offset == position and text[offset : offset + len(token)] == token
        position += len(token)
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
        request: dict[str, Any] = {"model": level, "prompt": "é the", "max_tokens": 60, "seed": 3, "logit_bias": bias}
        check_written(live, stream=stream, echo=echo, **request)


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


def check_written(live: Live, *, stream: bool, echo: bool, **request: Any) -> tuple[str, list[str]]:
    """Check the names of what is written; return the text and its tokens."""
    request |= {"logprobs": 3, "echo": echo}
    full = live.openai().completions.create(**request).choices[0]
    assert full.logprobs is not None
    check_names(full.logprobs, full.text)
    if stream:
        text, tokens, tops = "", [], []
        with live.openai().completions.create(stream=True, **request) as events:
            for event in events:
                (choice,) = event.choices
                check_names(choice.logprobs, text + choice.text, begins=len(text))
                text += choice.text
                tokens += choice.logprobs.tokens
                tops += choice.logprobs.top_logprobs
        assert (text, tokens, tops) == (
            full.text,
            full.logprobs.tokens,
            full.logprobs.top_logprobs,
        )
    return full.text, full.logprobs.tokens


def test_the_bytes_of_a_character_one_by_one(live: Live) -> None:
    """A model of bytes that is made to write é€😀: each byte as the next of a prompt that ends within a character."""
    data = "é€😀".encode()
    for length in range(1, len(data)):
        answer = live.openai().completions.create(
            model="byte", prompt=list(data[:length]), max_tokens=1, logprobs=2, temperature=0,
            logit_bias={str(data[length]): 100},
        ).choices[0]  # fmt: skip
        logprobs = answer.logprobs
        assert logprobs is not None and logprobs.tokens and logprobs.top_logprobs
        check_names(logprobs, answer.text)
        alternatives = set(logprobs.top_logprobs[0]) - {logprobs.tokens[0]}
        assert all(name.isascii() and (len(name) == 1 or name.startswith("\\x")) for name in alternatives), alternatives


def test_an_alternative_whose_name_is_taken_has_that_of_its_bytes(live: Live) -> None:
    """A piece that is é, where é came as two bytes."""
    from unroll.serve.batching.streams import Point
    from unroll.serve.completions.choice import Choice

    served = latest(live.context.models, "bpe")
    pieces = list(served.tokenizer.pieces)
    character, last = pieces.index("é".encode()), pieces.index("é".encode()[1:])
    choice: Any = Choice.__new__(Choice)
    choice.served = served
    top = choice._top(Point(-2.0, [character, last], [-1.0, -2.0]), last, "é", pieces.index("é".encode()[:1]))
    assert top == {"\\xc3\\xa9": -1.0, "é": -2.0}

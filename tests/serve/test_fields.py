"""Bodies and fields of requests: any value is accepted or refused in words, malformed JSON by the thousand too."""

import json
import random
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from serve.live import Live
from serve.values import VALUES
from unroll.serve.completions.openapi import BODIES
from unroll.serve.completions.tables import COMPLETION, EMBEDDING
from unroll.serve.errors import ApiError
from unroll.serve.fields import (
    IDS,
    MAX_DEPTH,
    STRING,
    Field,
    check_fields,
    choice,
    fault,
    integer,
    number,
    parse_object,
    read_query,
    text,
)

STRANGE: st.SearchStrategy[Any] = VALUES | st.sampled_from([10**30, -1, 1e308, "", [], {}, [[]], [[1]], ["a", 1], True])


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.dictionaries(st.sampled_from(list(COMPLETION)), STRANGE, max_size=5), st.sampled_from(sorted(BODIES)))
def test_any_values_are_answered(live: Live, fields: dict[str, Any], path: str) -> None:
    body = {"model": "char", "prompt": "a", "max_tokens": 2, "tokens": [1], "input": "a"} | fields
    answer = live.post(path, body)
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200:
        assert answer.json()["error"].keys() == {"message", "allowed", "fix", "type", "param", "code"}


def test_null_is_the_default() -> None:
    values, ignored = check_fields(COMPLETION, {"model": "a", "temperature": None, "n": None, "x": 1})
    assert values["temperature"] == 1.0 and values["n"] == 1 and values["max_tokens"] is None and ignored == ["x"]
    with pytest.raises(ApiError, match="input is missing"):
        check_fields(EMBEDDING, {"input": None})


PIN = {"type": "object", "required": ["unit"], "properties": {"unit": integer(0, 9), "signal": choice("c", "h")}}
FAULTS: list[tuple[Any, Any, str | None]] = [
    (5, integer(0, 9), None),
    (10, integer(0, 9), ": 10"),
    (True, integer(0, 9), ": True"),
    (1.0, integer(0, 9), ": 1.0"),
    (1, number(0, 0.5), ": 1"),
    ("abcd", text(3), ": a string of 4 characters"),
    ("", text(3, 1), ": a string of 0 characters"),
    ("x", choice("c", "h"), ": 'x'"),
    ([1, -1], IDS, "[1]: -1"),
    ([1, True], IDS, "[1]: True"),
    ({"unit": 1}, PIN, None),
    ({"signal": "c"}, PIN, ": no unit"),
    ({"unit": 1, "signal": 2}, PIN, ".signal: 2"),
    ([{"unit": 99}], {"type": "array", "items": PIN}, "[0].unit: 99"),
    ([0, 1], {"type": "array", "prefixItems": [integer(0, 1), integer(0, 0)]}, "[1]: 1"),
    ([1], {"anyOf": [STRING, IDS]}, None),
    ([-1], {"anyOf": [STRING, IDS]}, "[0]: -1"),
    (None, {"anyOf": [STRING, IDS]}, ": None"),
]


@pytest.mark.parametrize(("value", "schema", "message"), FAULTS)
def test_a_fault_says_where_and_what(value: Any, schema: Any, message: str | None) -> None:
    assert fault(value, schema) == message


def test_refusals_have_three_parts() -> None:
    with pytest.raises(ApiError) as refusal:
        check_fields({"top": Field(integer(1, 50), default=10)}, {"top": 51})
    error = refusal.value
    assert (error.message, error.allowed) == ("invalid top: 51", "a whole number from 1 up to 50")
    assert error.fix == "correct top, or leave it out" and error.param == "top"


def test_numbers_of_an_address_are_digits() -> None:
    table = {"layer": Field(integer(0, 99), required=True), "signal": Field(STRING, default="h")}
    request = Request({"type": "http", "query_string": b"layer=12&signal=3&other=x"})
    assert read_query(request, table) == {"layer": 12, "signal": "3"}
    for query in (b"layer=x", b"layer=-1", b"layer=1.0", b"layer=", b"", b"layer=100", b"layer=%D9%A3"):
        with pytest.raises(ApiError, match="layer"):
            read_query(Request({"type": "http", "query_string": query}), table)


BOMBS = {
    "deep": "[" * 10_000,
    "deep and whole": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "a bit too deep": '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1),
    "a huge number": '{"a": 1e400}',
    "a long number": '{"a": ' + "9" * 5000 + "}",
    "nan": '{"a": NaN}',
    "infinity": '{"a": -Infinity}',
    "twice": '{"a": 1, "a": 1}',
    "twice within": '{"b": [{"a": 1, "a": 1}]}',
    "a lone surrogate": '{"a": "\\ud800"}',
    "a lone surrogate as a key": '{"\\udfff": 1}',
    "a byte order mark": "\ufeff{}",
    "single quotes": "{'a': 1}",
    "a comma too many": '{"a": 1,}',
    "a comment": '{"a": 1} // no',
    "two": "{}{}",
    "nothing": "",
    "an array": "[]",
    "a string": '"a"',
    "null": "null",
    "true": "true",
    "a number": "1",
    "an open string": '{"a": "',
    "a newline in a string": '{"a": "\n"}',
    "nul": "\x00",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_what_is_no_json_of_ours_is_refused(live: Live, text: str) -> None:
    for path in BODIES:
        answer = live.plain.post(path, content=text.encode(), headers={"content-type": "application/json"})
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "invalid_json", answer.text


def test_bytes_that_are_no_utf8_are_refused() -> None:
    for body in (b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}', "{}".encode("utf-16")):
        with pytest.raises(ApiError, match="invalid JSON body"):
            parse_object(body)


def test_what_is_allowed_is_read() -> None:
    assert parse_object(b'{"a": [1, -2.5e3, true, null, "\\ud83d\\ude00\\u2028"]}') == {
        "a": [1, -2500.0, True, None, "\U0001f600\u2028"]
    }
    deep = '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH
    assert parse_object(deep.encode())


@pytest.mark.parametrize("piece", ['"', '\\"', '"\\', "[", "[]", '{"a":', "\\", "1,", '"a":1,', "[{"])
def test_a_million_bytes_are_read_in_moments(piece: str) -> None:
    start = time.perf_counter()
    for body in (piece * (10**6 // len(piece)), '{"a": "' + piece * (10**6 // len(piece))):
        with pytest.raises(ApiError):
            parse_object(body.encode())
    assert time.perf_counter() - start < 3


def test_keys_are_told_twice_quickly() -> None:
    pairs = ",".join(f'"{number}":1' for number in range(80_000))
    with pytest.raises(ApiError, match="'79999' occurs twice"):
        parse_object(f'{{{pairs},"79999":1}}'.encode())


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_an_object_or_an_error(body: bytes) -> None:
    try:
        assert isinstance(parse_object(body), dict)
    except ApiError as error:
        assert error.status == 400 and error.code == "invalid_json"


@settings(max_examples=400, deadline=None)
@given(VALUES)
def test_any_json_that_python_writes_is_read_back(value: Any) -> None:
    text = json.dumps({"value": value})
    try:
        assert parse_object(text.encode()) == {"value": value}
    except ApiError as error:
        assert "lone surrogate" in error.message or "too large" in error.message


def mangled(draw: random.Random, text: bytes) -> bytes:
    """Return JSON with a few bytes changed, left out or doubled."""
    data = bytearray(text)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(data))
        kind = draw.randrange(4)
        if kind == 0:
            data[place] = draw.randrange(256)
        elif kind == 1:
            del data[place]
        elif kind == 2:
            data[place:place] = draw.choice(
                [b"[", b"{", b'"', b"\\", b",", b"NaN", b"1e999", b"\x00", b"\\ud800", b"null"]
            )
        else:
            data[place:place] = data[place : place + draw.randint(1, 9)]
    return bytes(data)


def test_mangled_requests_by_the_thousand(live: Live) -> None:
    """No answer is an error of the server's, and all have the one shape."""
    draw = random.Random(5)
    valid = json.dumps({
        "model": "char", "prompt": "the cat", "max_tokens": 3, "temperature": 0.5, "n": 1, "stop": ["a", "b"],
        "logit_bias": {"1": 2}, "logprobs": 2, "echo": True, "seed": 3, "stream": False, "top_p": 0.5,
    }).encode()  # fmt: skip
    served = {200: 0, 400: 0, 404: 0}
    with live.http(headers={"content-type": "application/json"}) as client:
        for number in range(1500):
            body = mangled(draw, valid) if number % 10 else valid
            answer = client.post(draw.choice(list(BODIES)) if number % 3 else "/v1/completions", content=body)
            served[answer.status_code] += 1
            if answer.status_code != 200:
                assert answer.json()["error"].keys() == {"message", "allowed", "fix", "type", "param", "code"}
    assert served[200] > 50 and served[400] > 500


# ---- the tables

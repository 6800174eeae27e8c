"""Fields of requests: any value is accepted or refused in words."""

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
from unroll.serve.fields import IDS, STRING, Field, check_fields, choice, fault, integer, number, read_query, text

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

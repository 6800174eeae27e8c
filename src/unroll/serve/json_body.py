"""JSON bodies: one object, with each key once, every number finite, and text that is Unicode."""

import json
import math
import re
from typing import Any, NoReturn

from unroll.serve.errors import ApiError, invalid

MAX_DEPTH = 16
# A string without an end reaches to the end of the text, so that none is looked at twice.
_STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; raises ApiError for anything else, and for what parsers disagree on."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(f"byte {error.start} is not UTF-8") from None
    _check_depth(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_finite, parse_int=_integer
        )
    except json.JSONDecodeError as error:
        raise _refused(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise _refused(str(error)) from None
    if not isinstance(value, dict):
        raise _refused(f"{_kind(value)}, not an object")
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise _refused(f"lone surrogate U+{ord(error.object[error.start]):04X}") from None
    return value


def _refused(why: str) -> ApiError:
    return invalid(
        f"invalid JSON body: {why}",
        f"one object nested at most {MAX_DEPTH} deep, in UTF-8, each key once, every number finite",
        "send valid JSON",
        code="invalid_json",
    )


def _check_depth(text: str) -> None:
    depth = 0
    for match in _STRINGS_AND_BRACKETS.finditer(text):
        if (bracket := match[0]) in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise _refused(f"nested more than {MAX_DEPTH} deep")
        elif bracket in "]}":
            depth -= 1


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"the key {name[:64]!r} occurs twice")
        members[name] = value
    return members


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError("a number is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > 40:
        raise ValueError("a number is too large")
    return int(text)


def _kind(value: object) -> str:
    return {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")

"""Bodies of requests and their fields: strict JSON, checked by tables of schemas that also describe the API."""

import asyncio
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote

from starlette.requests import Request

from unroll.serve.errors import ApiError, invalid

Schema = dict[str, Any]

MAX_IGNORED = 20
"""Unknown fields that are named in an answer."""
MAX_DEPTH = 16
# A string without an end reaches to the end of the text, so that none is looked at twice.
_STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
LARGE_BODY = 2**16
"""Above it a body is read in a thread, so that the event loop continues."""


@dataclass(frozen=True)
class Field:
    """A field of a request: its schema says what is accepted; null always stands for its default."""

    schema: Schema
    about: str = ""
    default: Any = None
    required: bool = False


Table = Mapping[str, Field]

STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}


def integer(least: int, most: int) -> Schema:
    """Return the schema of a whole number within bounds."""
    return {"type": "integer", "minimum": least, "maximum": most}


def number(least: float, most: float) -> Schema:
    """Return the schema of a number within bounds."""
    return {"type": "number", "minimum": least, "maximum": most}


def text(most: int, least: int = 0) -> Schema:
    """Return the schema of a text of `least` to `most` characters."""
    return {"type": "string", "minLength": least, "maxLength": most}


def choice(*options: str) -> Schema:
    """Return the schema of one of several words."""
    return {"type": "string", "enum": list(options)}


async def read_body(request: Request, table: Table) -> tuple[dict[str, Any], list[str]]:
    """Return the values of all fields that a body was sent for, and the names of unknown ones; raises ApiError."""
    body: bytes = request.scope["body"]
    if len(body) > LARGE_BODY:
        return await asyncio.to_thread(lambda: check_fields(table, parse_object(body)))
    return check_fields(table, parse_object(body))


async def posted(request: Request, table: Table) -> dict[str, Any]:
    """Return the values of all fields that a body was sent for; raises ApiError."""
    return (await read_body(request, table))[0]


def read_query(request: Request, table: Table) -> dict[str, Any]:
    """Return the values of all fields of an address; raises ApiError."""
    values: dict[str, Any] = dict(request.query_params)
    for name, value in values.items():
        whole = name in table and table[name].schema["type"] == "integer"
        if whole and value.isascii() and value.isdigit() and len(value) < 16:
            values[name] = int(value)
    return check_fields(table, values)[0]


def check_fields(table: Table, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of all fields of a table, and the names that are not in it; raises ApiError."""
    values: dict[str, Any] = {}
    for name, field in table.items():
        value = body.get(name)
        if value is None:
            if field.required:
                raise invalid(
                    f"{name} is missing", allowed(field.schema), f"send {name}", name, "missing_required_parameter"
                )
            values[name] = field.default
        elif field.schema == {"type": "null"}:
            raise invalid(f"{name} is not supported", "null", f"leave out {name}", name, "unsupported_parameter")
        elif (why := fault(value, field.schema)) is not None:
            fix = f"correct {name}" if field.required else f"correct {name}, or leave it out"
            raise invalid(f"invalid {name}{why}", allowed(field.schema), fix, name)
        else:
            values[name] = value
    return values, [name for name in body if name not in table]


def fault(value: Any, schema: Schema) -> str | None:
    """Return where a value does not fit its schema and what is there, as in `[3]: -1`; None where it fits."""
    if "anyOf" in schema:
        faults = [fault(value, option) for option in schema["anyOf"]]
        if None in faults:
            return None
        same_kind = [
            why for why, option in zip(faults, schema["anyOf"], strict=True) if why and _is(value, option["type"])
        ]
        return same_kind[0] if same_kind else f": {_shown(value)}"
    if not _is(value, schema["type"]):
        return f": {_shown(value)}"
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            return f": a string of {len(value):,} characters"
        return None if value in schema.get("enum", [value]) else f": {_shown(value)}"
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return f": an array of {len(value):,} entries"
        if "prefixItems" in schema:
            rules = enumerate(zip(value, schema["prefixItems"], strict=True))
            return _first_fault((f"[{k}]", item, rule) for k, (item, rule) in rules)
        items = schema["items"]
        kinds = set(map(type, value))  # a hundred thousand numbers at once
        if kinds == {int} and items.get("type") == "integer" and min(value) >= items["minimum"]:
            return None
        return _first_fault((f"[{k}]", item, items) for k, item in enumerate(value))
    if isinstance(value, dict):
        if len(value) > schema.get("maxProperties", len(value)):
            return f": an object of {len(value):,} entries"
        missing = [name for name in schema.get("required", ()) if value.get(name) is None]
        if missing:
            return f": no {missing[0]}"
        named, other = schema.get("properties", {}), schema.get("additionalProperties", {})
        return _first_fault(
            (f".{ascii(name)[1:-1][:64]}", entry, rule)
            for name, entry in value.items()
            if (rule := named.get(name, other))
        )
    if value is not None and not isinstance(value, bool):
        small = value < schema.get("minimum", value) or value <= schema.get("exclusiveMinimum", value - 1)
        return f": {_shown(value)}" if small or value > schema.get("maximum", value) else None
    return None


def _first_fault(parts: Iterable[tuple[str, Any, Schema]]) -> str | None:
    return next((place + why for place, value, schema in parts if (why := fault(value, schema)) is not None), None)


def _is(value: Any, kind: str) -> bool:
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,), "array": (list,), "object": (dict,), "boolean": (bool,), "integer": (int,),
        "number": (int, float), "null": (type(None),),
    }  # fmt: skip
    return isinstance(value, kinds[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _shown(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return "an array" if isinstance(value, list) else "an object"
    return ascii(value)[:64]


def allowed(schema: Schema) -> str:
    """Return what a schema accepts, in words."""
    if "title" in schema:
        return str(schema["title"])
    if "anyOf" in schema:
        return ", or ".join(map(allowed, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(schema["enum"])
    kind = schema["type"]
    if kind in ("integer", "number"):
        words = "a whole number" if kind == "integer" else "a number"
        if "exclusiveMinimum" in schema:
            words += f" above {schema['exclusiveMinimum']:g}"
        elif "minimum" in schema:
            words += f" from {schema['minimum']:,}"
        return words + (f" up to {schema['maximum']:,}" if "maximum" in schema else "")
    if kind == "string":
        most, least = schema.get("maxLength"), schema.get("minLength", 0)
        return "a string" + (f" of {least} to {most:,} characters" if most is not None else "")
    if kind == "array":
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        size = "" if most is None else f" of {least} to {most:,}"
        return f"an array{size} with {allowed(schema['items'])} each"
    if kind == "object":
        return "an object" + (f" of at most {schema['maxProperties']}" if "maxProperties" in schema else "")
    return "true or false" if kind == "boolean" else kind


def ignored_header(names: list[str]) -> dict[str, str]:
    """Return the header that names fields which were not understood."""
    if not names:
        return {}
    return {"x-ignored-params": ", ".join(quote(name[:40], safe="") for name in names[:MAX_IGNORED])}


def check_ids(ids: list[int], vocab_size: int, param: str) -> None:
    """Raise ApiError for ids outside the vocabulary."""
    strange = next((id for id in ids if id >= vocab_size), None)
    if strange is not None:
        raise invalid(
            f"{param} holds the id {strange}, which is outside the vocabulary",
            f"0 to {vocab_size - 1}",
            "send ids of this model's vocabulary",
            param,
        )


# ---- strict JSON


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

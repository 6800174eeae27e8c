"""What requests may hold: tables of fields with their JSON schemas, which both the checks and the description use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from unroll.data.blocks import Level
from unroll.serve.errors import ApiError, invalid

Schema = dict[str, Any]

MAX_STOP = 64
MAX_BIAS = 300
MAX_NAMES = 20


@dataclass(frozen=True)
class Field:
    """A field of a request: its schema says what is taken; null always stands for its default."""

    schema: Schema
    about: str
    default: Any = None
    required: bool = False


Table = Mapping[str, Field]

_STRING: Schema = {"type": "string"}
_IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_TEXTS: Schema = {
    "anyOf": [
        _STRING,
        {"type": "array", "items": _STRING, "minItems": 1},
        _IDS,
        {"type": "array", "items": _IDS, "minItems": 1},
    ]
}
_BOOLEAN: Schema = {"type": "boolean"}


def _integer(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _number(least: float, most: float) -> Schema:
    return {"type": "number", "minimum": least, "maximum": most}


LENGTHS: dict[Level, int] = {"char": 100, "byte": 100, "word": 20, "bpe": 32}
"""How many symbols are written where a request does not say: the standard's 16 are three words of a character model."""
SYMBOLS: dict[Level, str] = {"char": "characters", "byte": "bytes", "word": "words", "bpe": "pieces"}

MODEL = Field(
    _STRING,
    "The name of a model, as /v1/models lists it. It may be left out where one model is served, and at the address of "
    "a model, /models/NAME; elsewhere a request without it is an error.",
)
REPLACE = Field(_BOOLEAN, "Read symbols that the model does not know as `<unk>`; otherwise they are an error.", False)
USER = Field({"type": "string", "maxLength": 256}, "Taken and ignored; never logged.")

COMPLETION: Table = {
    "model": MODEL,
    "prompt": Field(
        _TEXTS,
        "What to go on from: texts, or symbols by number. A text is read after the start symbol; so are numbers, "
        "unless they begin with it. None, or an empty one, is the start of a text.",
        "",
    ),
    "max_tokens": Field(
        {"type": "integer", "minimum": 0},
        "At most so many symbols. 0 is for `echo` or `return_state`, which then only read the prompt. The default is "
        "about a hundred characters, by the level of the model: "
        + ", ".join(f"{count} {SYMBOLS[level]}" for level, count in LENGTHS.items())
        + "; never more than the server allows.",
    ),
    "max_completion_tokens": Field(
        {"type": "integer", "minimum": 0}, "Another name of `max_tokens`; where both are sent they must be equal."
    ),
    "temperature": Field(_number(0, 2), "Below 1 safer, above wilder; 0 takes the most probable symbol.", 1.0),
    "top_p": Field(
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "Only the most probable symbols that together reach this probability.",
        1.0,
    ),
    "top_k": Field(_integer(0, 2**31 - 1), "Only so many of the most probable symbols; 0 is off. An extension.", 0),
    "min_p": Field(
        _number(0, 1), "Only symbols at least so many times as probable as the most probable. An extension.", 0.0
    ),
    "n": Field(_integer(1, 64), "So many texts for each prompt; text i is `unroll sample`'s stream i of the seed.", 1),
    "best_of": Field(_integer(1, 64), "Write so many, and return the `n` of the highest mean log-probability."),
    "seed": Field(
        _integer(-(2**63), 2**64 - 1),
        "The same seed, the same text, whatever else the server does; without one it is a new one each time.",
    ),
    "stop": Field(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": MAX_STOP},
                {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1, "maxLength": MAX_STOP},
                    "maxItems": 4,
                },
            ]
        },
        "End before the first of these that is written.",
    ),
    "stream": Field(_BOOLEAN, "Send the text as it is written, as server-sent events.", False),
    "stream_options": Field(
        {"type": "object", "properties": {"include_usage": _BOOLEAN}},
        "`include_usage`: a last event with the counts. Only with `stream`.",
    ),
    "logprobs": Field(
        _integer(0, 20),
        "Tell ln P of each symbol under the model itself, before temperature and filters, and of so many of the most "
        "probable ones.",
    ),
    "echo": Field(_BOOLEAN, "Return the prompt, too, with its probabilities where they are asked for.", False),
    "presence_penalty": Field(_number(-2, 2), "Subtracted from the logits of symbols that were written.", 0.0),
    "frequency_penalty": Field(_number(-2, 2), "Subtracted once for each time that a symbol was written.", 0.0),
    "repetition_penalty": Field(
        {"type": "number", "exclusiveMinimum": 0, "maximum": 10},
        "Divides positive logits, and multiplies negative ones, of symbols in prompt and text. An extension.",
        1.0,
    ),
    "logit_bias": Field(
        {"type": "object", "additionalProperties": _number(-100, 100), "maxProperties": MAX_BIAS},
        "Added to the logits of symbols, by their number as a string.",
    ),
    "suffix": Field({"type": "null"}, "Not supported: the model reads in one direction."),
    "user": USER,
    "return_state": Field(
        _BOOLEAN, "Return with each text a handle to the state after it, as `state`. An extension.", False
    ),
    "state_from": Field(
        {"type": "string", "maxLength": 128}, "Go on from the state of this handle instead of a start. An extension."
    ),
    "replace_unknown": REPLACE,
}  # fmt: skip

EMBEDDING: Table = {
    "model": MODEL,
    "input": Field(_TEXTS, "Texts, or symbols by number. The vector is the last hidden state after it.", required=True),
    "encoding_format": Field({"type": "string", "enum": ["float", "base64"]}, "How vectors are sent.", "float"),
    "dimensions": Field({"type": "null"}, "Not supported: a vector has the size of the hidden state."),
    "user": USER,
    "replace_unknown": REPLACE,
}

TOKENIZE: Table = {
    "model": MODEL,
    "prompt": Field(_STRING, "The text. Symbols that the model does not know become `<unk>`.", required=True),
    "add_special_tokens": Field(_BOOLEAN, "Put the start symbol first.", False),
    "return_token_strs": Field(_BOOLEAN, "Return the texts of the symbols, too.", False),
}
DETOKENIZE: Table = {"model": MODEL, "tokens": Field(_IDS, "Symbols by number.", required=True)}


def check_fields(table: Table, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of all fields of a table, and the names that are in no table; raises ApiError."""
    found: dict[str, Any] = {}
    for name, field in table.items():
        value = body.get(name)
        if value is None:
            if field.required:
                raise invalid(f"{name} is missing: {field.about}", name, "missing_required_parameter")
            found[name] = field.default
            continue
        if field.schema == {"type": "null"}:
            raise invalid(f"{name}: {field.about}", name, "unsupported_parameter")
        if (why := fault(value, field.schema)) is not None:
            raise invalid(f"{name}{why}; allowed: {allowed(field.schema)}", name)
        found[name] = value
    return found, [name for name in body if name not in table]


def fault(value: Any, schema: Schema) -> str | None:
    """Return what is wrong with a value, as the rest of a sentence about it; None where it fits its schema."""
    if "anyOf" in schema:
        faults = [fault(value, each) for each in schema["anyOf"]]
        if None in faults:
            return None
        right = [why for why, each in zip(faults, schema["anyOf"], strict=True) if _is(value, each["type"])]
        return next((why for why in right if why is not None), f" is {_shown(value)}")
    if not _is(value, schema["type"]):
        return f" is {_shown(value)}"
    if isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            return f" has {len(value):,} characters"
        return f" is {_shown(value)}" if value not in schema.get("enum", [value]) else None
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return f" has {len(value):,} entries"
        items = schema["items"]
        kinds = set(map(type, value))  # a hundred thousand numbers at once
        if kinds == {int} and items.get("type") == "integer" and min(value) >= items["minimum"]:
            return None
        return next((f"[{k}]{why}" for k, each in enumerate(value) if (why := fault(each, items)) is not None), None)
    if isinstance(value, dict):
        if len(value) > schema.get("maxProperties", len(value)):
            return f" has {len(value):,} entries"
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        for name, each in value.items():
            if (rule := known.get(name, others)) and (why := fault(each, rule)) is not None:
                return f".{ascii(name)[1:-1][:64]}{why}"
        return None
    if value is not None and not isinstance(value, bool):
        small = value < schema.get("minimum", value) or value <= schema.get("exclusiveMinimum", value - 1)
        return f" is {_shown(value)}" if small or value > schema.get("maximum", value) else None
    return None


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
    """Return what a schema takes, in words."""
    if "anyOf" in schema:
        return ", or ".join(allowed(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(schema["enum"])
    kind = schema["type"]
    if kind in ("integer", "number"):
        words = "a whole number" if kind == "integer" else "a number"
        if "exclusiveMinimum" in schema:
            words += f" above {schema['exclusiveMinimum']:g}"
        elif "minimum" in schema:
            words += f" from {schema['minimum']}"
        return words + (f" up to {schema['maximum']}" if "maximum" in schema else "")
    if kind == "string":
        most, least = schema.get("maxLength"), schema.get("minLength", 0)
        return "a string" + (f" of {least} to {most} characters" if most is not None else "")
    if kind == "array":
        few = f" of at most {schema['maxItems']}" if "maxItems" in schema else ""
        return f"an array{few} with {allowed(schema['items'])} each"
    if kind == "object":
        return "an object" + (f" of at most {schema['maxProperties']}" if "maxProperties" in schema else "")
    return "true or false" if kind == "boolean" else kind


def ignored_header(names: list[str]) -> dict[str, str]:
    """Return the header that tells which fields were not understood."""
    if not names:
        return {}
    return {"x-ignored-params": ", ".join(quote(name[:40], safe="") for name in names[:MAX_NAMES])}


def ids_fault(ids: list[int], vocab_size: int, param: str) -> ApiError | None:
    """Return the error for symbols that there are not."""
    strange = next((id for id in ids if id >= vocab_size), None)
    return (
        None
        if strange is None
        else invalid(f"{param} holds the symbol {strange}; allowed: 0 to {vocab_size - 1}", param)
    )

"""What the requests that look inside take: a table of fields for each."""

from unroll.lm.vectors import POOLS
from unroll.serve.fields import BOOLEAN, STRING, Field, Schema, Table, choice, integer
from unroll.serve.inside.memory import METHODS
from unroll.serve.inside.similar import LONGEST

MOST_MODELS = 4
"""Models side by side."""
MOST_RUNS = 20_000
"""Runs of painted labels."""
MOST_TOP = 50
"""Units or sentences of an answer."""

_COUNT = integer(0, 2**31)
_MODEL = Field(STRING, required=True)
_MODELS = Field({"type": "array", "items": STRING, "minItems": 1, "maxItems": MOST_MODELS}, required=True)
_ID = Field(STRING, required=True)
_TOP = Field(integer(1, MOST_TOP), default=10)
_INDEX = Field(_COUNT, required=True)
_PART: Schema = {
    "type": "object",
    "title": "first, a whole number from 0, and length, a whole number from 1",
    "properties": {"first": _COUNT, "length": integer(1, 2**31)},
}
_RUN: Schema = {
    "type": "array",
    "title": "[from, to, label]",
    "prefixItems": [_COUNT, _COUNT, {"type": "number"}],
    "minItems": 3,
    "maxItems": 3,
}
_TEXT = {"text": Field(STRING), "id": Field(STRING), "part": Field(_PART, default={})}
"""A text of the request, one that was kept, or a part of the model's own."""

OPEN: Table = {"model": _MODEL, **_TEXT}
HEAT: Table = {
    "model": _MODEL,
    "id": _ID,
    "layer": _INDEX,
    "signal": Field(STRING, default="h"),
    "own": Field(choice("0", "1"), default="0"),
}
UNIT: Table = {"model": _MODEL, "id": _ID, "layer": _INDEX, "unit": _INDEX}
GATES: Table = {"model": _MODEL, "id": _ID, "layer": _INDEX}
RANGE: Table = {
    "model": _MODEL,
    "id": _ID,
    "signal": Field(STRING, required=True),
    "first": _INDEX,
    "last": _INDEX,
}
LABELS: Table = {
    "model": _MODEL,
    **_TEXT,
    "labels": Field({"type": "array", "items": _RUN, "maxItems": MOST_RUNS}),
    "property": Field(STRING),
}
FIND: Table = {**LABELS, "top": _TOP}
MEMORY: Table = {"models": _MODELS, **_TEXT, "full": Field(BOOLEAN, default=False)}
DEPENDS: Table = {
    "models": _MODELS,
    "id": _ID,
    "at": _INDEX,
    "method": Field(choice(*METHODS), default="integrated"),
}
SIMILAR: Table = {
    "model": _MODEL,
    **_TEXT,
    "query": Field({"type": "string", "minLength": 1, "maxLength": LONGEST}, required=True),
    "pool": Field(choice(*POOLS), default="last"),
    "standardise": Field(BOOLEAN, default=True),
    "other_ending": Field(BOOLEAN, default=False),
    "top": _TOP,
}
UNROLLED: Table = {"models": _MODELS, "text": Field(STRING, required=True)}

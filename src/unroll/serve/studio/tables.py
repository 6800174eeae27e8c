"""What the studio's requests take: a table of fields for each."""

from unroll.nn.arch import ARCHITECTURES, DEFAULT
from unroll.serve.fields import IDS, STRING, Field, Schema, Table, choice, integer, number, text
from unroll.serve.studio.reading import MOST
from unroll.serve.studio.sampling import MOST_COLUMNS, MOST_LENGTH
from unroll.serve.studio.trainings import MOST_MINUTES, MOST_STEPS, SPEEDS

MOST_TEXT = 2**20
"""Characters of a text."""
MOST_PINS = 16
"""Units clamped at a time."""
MOST_SEED = 2**53
"""The largest whole number that JavaScript has."""

_MODEL = Field(STRING, required=True)
_TEXT = Field(text(MOST_TEXT), required=True)
_PROMPT = {
    "model": _MODEL,
    "prompt": Field(text(MOST_TEXT), default=""),
    "ids": Field(IDS | {"maxItems": MOST}, default=[]),
}
_PIN: Schema = {
    "type": "object",
    "title": "a unit: layer, unit and value, with signal c or h",
    "properties": {
        "layer": integer(0, 1000),
        "signal": choice("c", "h"),
        "unit": integer(0, 10**6),
        "value": number(-100, 100),
    },
    "required": ["layer", "unit", "value"],
}

KEEP_TEXT: Table = {"text": _TEXT}
PASSAGE: Table = {"model": _MODEL, "length": Field(integer(1, 5000), default=400)}
READ: Table = {
    "model": _MODEL,
    "text": Field(text(MOST_TEXT), default=""),
    "since": Field(integer(0, 2**31), default=0),
    "at": Field(integer(0, 2**31)),
}
NEXT: Table = _PROMPT
LABELS: Table = {"model": _MODEL, "text": Field(text(MOST_TEXT), default=""), "label": Field(STRING)}
ERRORS: Table = {"model": _MODEL}
COMPARE: Table = {"a": _MODEL, "b": _MODEL, "text": _TEXT}
SAMPLE: Table = {
    **_PROMPT,
    "temperature": Field(number(0, 10), default=1.0),
    "top_k": Field(integer(0, 2**31), default=0),
    "top_p": Field({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, default=1.0),
    "min_p": Field(number(0, 1), default=0.0),
    "seed": Field(integer(0, MOST_SEED), default=0),
    "length": Field(integer(1, MOST_LENGTH), default=300),
    "columns": Field(integer(1, MOST_COLUMNS), default=1),
    "pins": Field({"type": "array", "items": _PIN, "maxItems": MOST_PINS}, default=[]),
}
TRAIN: Table = {
    "source": Field(choice("upload", "file", "demo"), default="demo"),
    "upload": Field(STRING),
    "file": Field(STRING),
    "name": Field(text(56), default=""),
    "speed": Field(choice(*SPEEDS)),
    "arch": Field(choice(*ARCHITECTURES), default=DEFAULT),
    "level": Field(choice("char", "byte", "word", "bpe"), default="char"),
    "steps": Field(integer(1, MOST_STEPS)),
    "minutes": Field(number(0.05, MOST_MINUTES), default=3.0),
    "hidden_size": Field(integer(8, 4096)),
    "num_layers": Field(integer(1, 8)),
    "seed": Field(integer(0, MOST_SEED), default=0),
}
WATCH: Table = {name: Field(integer(0, 2**31), default=0) for name in ("turn", "events", "samples")}


def upload_table(most: int) -> Table:
    """Return the fields of an upload of at most `most` characters."""
    return {"text": Field(text(most), required=True), "name": Field(text(200), default="text")}

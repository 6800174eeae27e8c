"""What completions, embeddings, tasks and conversions of texts take: a table of fields for each."""

from unroll.data.blocks import Level
from unroll.data.series_reading import LARGEST
from unroll.serve.fields import BOOLEAN, IDS, STRING, Field, Schema, Table, integer, number

MAX_STOP = 64
MAX_BIAS = 300

_TEXTS: Schema = {
    "anyOf": [
        STRING,
        {"type": "array", "items": STRING, "minItems": 1},
        IDS,
        {"type": "array", "items": IDS, "minItems": 1},
    ]
}

LENGTHS: dict[Level, int] = {"char": 100, "byte": 100, "word": 20, "bpe": 32}
"""The default of `max_tokens`: the standard's 16 are three words of a character model."""
SYMBOLS: dict[Level, str] = {"char": "characters", "byte": "bytes", "word": "words", "bpe": "pieces"}

MODEL = Field(
    STRING,
    "The name of a model, as /v1/models lists it. Optional where one model is served, and at the address of a model, "
    "/models/NAME; elsewhere a request without it is an error.",
)
REPLACE = Field(BOOLEAN, "Read unknown symbols as `<unk>`; otherwise they are an error.", False)
USER = Field({"type": "string", "maxLength": 256}, "Accepted and ignored; never logged.")

COMPLETION: Table = {
    "model": MODEL,
    "prompt": Field(
        _TEXTS,
        "What to continue, or what a translator translates: texts, or arrays of ids. A text is read after the start "
        "symbol; so are ids, unless they begin with it. None, or an empty one, is the start of a text.",
        "",
    ),
    "max_tokens": Field(
        {"type": "integer", "minimum": 0},
        "Maximum number of symbols. 0 is for `echo` or `return_state`, which then only read the prompt. The default is "
        "about a hundred characters, by the level of the model: "
        + ", ".join(f"{count} {SYMBOLS[level]}" for level, count in LENGTHS.items())
        + "; never more than the server allows. A translator writes whole translations.",
    ),
    "max_completion_tokens": Field(
        {"type": "integer", "minimum": 0}, "Another name for `max_tokens`; where both are sent they must be equal."
    ),
    "temperature": Field(number(0, 2), "Below 1 safer, above 1 wilder; 0 takes the most probable symbol.", 1.0),
    "top_p": Field(
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "Only the most probable symbols that together reach this probability.",
        1.0,
    ),
    "top_k": Field(integer(0, 2**31 - 1), "Only the K most probable symbols; 0 is off. An extension.", 0),
    "min_p": Field(
        number(0, 1), "Only symbols with at least this share of the highest probability. An extension.", 0.0
    ),
    "n": Field(integer(1, 64), "Number of texts for each prompt; text i is `unroll sample`'s stream i of the seed.", 1),
    "best_of": Field(
        integer(1, 64),
        "Write this many, and return the `n` with the highest mean log-probability. Of a translator it is the beam.",
    ),
    "seed": Field(
        integer(-(2**63), 2**64 - 1),
        "The same seed gives the same text, whatever else the server does; the default is a new seed each time.",
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
        "End before the first of these.",
    ),
    "stream": Field(BOOLEAN, "Send the text as it is written, as server-sent events.", False),
    "stream_options": Field(
        {"type": "object", "properties": {"include_usage": BOOLEAN}},
        "`include_usage`: send a last event with the counts. Only with `stream`.",
    ),
    "logprobs": Field(
        integer(0, 20),
        "Return ln P of each symbol under the model itself, before temperature and filters, and of this many of the "
        "most probable ones.",
    ),
    "echo": Field(BOOLEAN, "Return the prompt as well, with its probabilities if `logprobs` is set.", False),
    "presence_penalty": Field(number(-2, 2), "Subtracted from the logits of symbols already written.", 0.0),
    "frequency_penalty": Field(number(-2, 2), "Subtracted once for each time a symbol was written.", 0.0),
    "repetition_penalty": Field(
        {"type": "number", "exclusiveMinimum": 0, "maximum": 10},
        "Divides positive logits, and multiplies negative ones, of symbols in prompt and text. An extension.",
        1.0,
    ),
    "logit_bias": Field(
        {"type": "object", "additionalProperties": number(-100, 100), "maxProperties": MAX_BIAS},
        "Added to the logits of symbols, by id as a string.",
    ),
    "suffix": Field({"type": "null"}, "Not supported: the model reads in one direction."),
    "user": USER,
    "return_state": Field(
        BOOLEAN, "Return a handle to the state after each text, as `state`. An extension.", False
    ),
    "state_from": Field(
        {"type": "string", "maxLength": 128}, "Continue from the state of this handle instead of a start. An extension."
    ),
    "replace_unknown": REPLACE,
}  # fmt: skip

EMBEDDING: Table = {
    "model": MODEL,
    "input": Field(_TEXTS, "Texts, or arrays of ids. A vector is the last hidden state after one.", required=True),
    "encoding_format": Field({"type": "string", "enum": ["float", "base64"]}, "How vectors are sent.", "float"),
    "dimensions": Field({"type": "null"}, "Not supported: a vector has the size of the hidden state."),
    "user": USER,
    "replace_unknown": REPLACE,
}

CLASSIFICATION: Table = {
    "model": MODEL,
    "input": Field(
        {"anyOf": [STRING, {"type": "array", "items": STRING, "minItems": 1}]},
        "A text, or texts, each of which gets its label.",
        required=True,
    ),
    "user": USER,
}

_TEXT = Field(STRING, "A text.")
_SOME_TEXTS = Field({"type": "array", "items": STRING, "minItems": 1}, "Several texts.")
_TOKENS: Schema = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}

TAGGING: Table = {
    "model": MODEL,
    "text": _TEXT,
    "texts": _SOME_TEXTS,
    "tokens": Field(
        {"anyOf": [_TOKENS, {"type": "array", "items": _TOKENS, "minItems": 1}]},
        "A sentence that is cut already, or several. One of `text`, `texts` and `tokens` is sent.",
    ),
    "user": USER,
}

_NUMBER: Schema = {"anyOf": [number(-LARGEST, LARGEST), {"type": "null"}]}

PREDICTION: Table = {
    "model": MODEL,
    "sequences": Field(
        {
            "title": "sequences of at least one step, each step a number, null, or an array of them with one for each "
            f"channel; numbers from {-LARGEST:g} to {LARGEST:g}",
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [*_NUMBER["anyOf"], {"type": "array", "items": _NUMBER}]},
            },
        },
        "Sequences of steps, the first one the earliest. A step has a number for each channel, in the order of "
        "`channels` in /v1/models, or is the number itself where there is one channel; null is a missing value.",
        required=True,
    ),
    "user": USER,
}

TRANSLATION: Table = {
    "model": MODEL,
    "text": _TEXT,
    "texts": _SOME_TEXTS,
    "beam": Field(integer(1, 64), "Beginnings of translations that are kept side by side; 1 is greedy.", 5),
    "n_best": Field(integer(1, 64), "Translations of each text, the best first; at most as many as `beam`.", 1),
    "attention": Field(
        BOOLEAN, "Return the weights of the text's pieces at each piece; null where the model has none.", False
    ),
    "user": USER,
}

TOKENIZE: Table = {
    "model": MODEL,
    "prompt": Field(STRING, "The text. Unknown symbols become `<unk>`.", required=True),
    "add_special_tokens": Field(BOOLEAN, "Put the start symbol first.", False),
    "return_token_strs": Field(BOOLEAN, "Return the texts of the symbols as well.", False),
}
DETOKENIZE: Table = {"model": MODEL, "tokens": Field(IDS, "Ids of symbols.", required=True)}

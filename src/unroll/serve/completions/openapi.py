"""The description of the API, made from its routes and the tables of fields that requests are checked by."""

from typing import Any

from unroll._version import __version__
from unroll.serve.completions.tables import (
    CLASSIFICATION,
    COMPLETION,
    DETOKENIZE,
    EMBEDDING,
    MODEL,
    PREDICTION,
    TAGGING,
    TOKENIZE,
    TRANSLATION,
)
from unroll.serve.fields import Table

BODIES: dict[str, Table] = {
    "/v1/completions": COMPLETION,
    "/v1/embeddings": EMBEDDING,
    "/v1/classify": CLASSIFICATION,
    "/classify": CLASSIFICATION,
    "/v1/tag": TAGGING,
    "/tag": TAGGING,
    "/translate": TRANSLATION,
    "/predict": PREDICTION,
    "/tokenize": TOKENIZE,
    "/detokenize": DETOKENIZE,
}

_STRING = {"type": "string"}
_INTEGER = {"type": "integer"}
_NUMBER = {"type": "number"}


def _answer(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_MODEL = _answer(id=_STRING, object=_STRING, created=_INTEGER, owned_by=_STRING, kind=_STRING)
_MODEL["properties"] |= {
    "labels": _list(_STRING) | {"description": "Of a classifier: the order of `probs`."},
    "tags": _list(_STRING) | {"description": "Of a tagger."},
    "task": _STRING | {"description": "Of a model of sequences: classify, regress or forecast."},
    "channels": _list(_STRING) | {"description": "Of a model of sequences: the numbers of a step."},
}
_USAGE = _answer(prompt_tokens=_INTEGER, completion_tokens=_INTEGER, total_tokens=_INTEGER)
_LOGPROBS = _answer(
    tokens=_list(_STRING),
    token_logprobs=_list({"type": ["number", "null"]}),
    top_logprobs=_list({"type": ["object", "null"], "additionalProperties": {"type": "number"}}),
    text_offset=_list(_INTEGER),
)


def _entries(**properties: Any) -> dict[str, Any]:
    data = _list(_answer(index=_INTEGER, **properties))
    return _answer(id=_STRING, object=_STRING, created=_INTEGER, model=_STRING, usage=_USAGE, data=data)


_LABELS = _entries(label=_STRING, probs=_list(_NUMBER), num_classes=_INTEGER)
_TAGS = _entries(
    text=_STRING,
    tokens=_list(_answer(token=_STRING, start=_INTEGER, end=_INTEGER, tag=_STRING, probability=_NUMBER)),
)
_PREDICTIONS = _entries()
_PREDICTIONS["properties"]["data"]["items"]["properties"] |= {
    "labels": _list(_answer(label=_STRING, probability=_NUMBER)),
    "prediction": _NUMBER,
    "steps": _list(_answer(quantiles={"type": "object", "additionalProperties": _NUMBER}, last=_NUMBER,
                           seasonal={"type": ["number", "null"]})),
}  # fmt: skip
_TRANSLATION = _answer(text=_STRING, score=_NUMBER, nats=_NUMBER)
_TRANSLATION["properties"]["attention"] = {
    "anyOf": [
        _answer(source=_list(_STRING), target=_list(_STRING), weights=_list(_list(_NUMBER))),
        {"type": "null"},
    ],
    "description": "With `attention`: a row of weights that sum to 1 for each piece of the translation and its end.",
}
_CHOICE = {
    "type": "object",
    "required": ["index", "text", "logprobs", "finish_reason"],
    "properties": {
        "index": _INTEGER,
        "text": _STRING,
        "logprobs": {"anyOf": [_LOGPROBS, {"type": "null"}]},
        "finish_reason": {"type": ["string", "null"], "enum": ["stop", "length", None]},
        "state": {"type": "string", "description": "With return_state: a handle for state_from."},
    },
}
_ERROR = _answer(error=_answer(
    message=_STRING, allowed=_STRING, fix=_STRING, type=_STRING, param={"type": ["string", "null"]}, code=_STRING
))  # fmt: skip

ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "/v1/completions": (
        "Continue a prompt or, with a translator, translate it. With `stream`, server-sent events: data lines with the "
        "same object, in which each choice holds what is new, then `[DONE]`.",
        _answer(id=_STRING, object=_STRING, created=_INTEGER, model=_STRING, system_fingerprint=_STRING,
                choices=_list(_CHOICE), usage=_USAGE),
    ),
    "/v1/chat/completions": ("Not supported: these models continue texts.", _ERROR),
    "/v1/models": ("The models.", _answer(object=_STRING, data=_list(_MODEL))),
    "/v1/models/{name}": ("One model.", _MODEL),
    "/v1/embeddings": (
        "Texts as vectors: the last hidden state after each.",
        _answer(
            object=_STRING, model=_STRING, usage=_answer(prompt_tokens=_INTEGER, total_tokens=_INTEGER),
            data=_list(_answer(object=_STRING, index=_INTEGER,
                               embedding={"anyOf": [_list({"type": "number"}), _STRING]})),
        ),
    ),
    "/v1/classify": ("The most probable label of each text, and the probabilities of all, in vLLM's form.", _LABELS),
    "/classify": ("The same as /v1/classify.", _LABELS),
    "/v1/tag": ("The tag of each token, with its probability, and its offsets in code points of the text.", _TAGS),
    "/tag": ("The same as /v1/tag.", _TAGS),
    "/translate": (
        "The best translations of each text: `nats` is -ln P of one, its end included, and `score` the mean of ln P.",
        _entries(text=_STRING, translations=_list(_TRANSLATION)),
    ),
    "/predict": (
        "Of each sequence, by the model's task: its labels, the most probable first; its number; or the quantiles of "
        "the steps that follow, beside the forecasts of the last value and of the season.",
        _PREDICTIONS,
    ),
    "/tokenize": (
        "The ids of a text; `unknown` of them are `<unk>`.",
        _answer(count=_INTEGER, max_model_len=_INTEGER, tokens=_list(_INTEGER), unknown=_INTEGER),
    ),
    "/detokenize": ("The text of ids.", _answer(prompt=_STRING)),
    "/tokenizer_info": (
        "Facts about a vocabulary.",
        _answer(model=_STRING, level=_STRING, vocab_size=_INTEGER, bos_token=_STRING, bos_token_id=_INTEGER,
                eos_token={"type": ["string", "null"]}),
    ),
    "/healthz": ("Whether the process runs; needs no key.", _answer(status=_STRING)),
    "/readyz": ("Whether it answers requests.", _answer(status=_STRING)),
    "/health": ("The same as /readyz.", _answer(status=_STRING)),
    "/version": ("The version.", _answer(version=_STRING)),
    "/openapi.json": ("This description.", {"type": "object"}),
    "/metrics": ("Counters and gauges in Prometheus's text format.", _STRING),
}  # fmt: skip


def describe(methods: dict[str, str]) -> dict[str, Any]:
    """Return the OpenAPI description of routes, given as paths with their method."""
    paths: dict[str, Any] = {}
    for address, method in methods.items():
        path = address.removeprefix("/models/{model}")
        about, schema = ANSWERS[path]
        media = "text/plain" if path == "/metrics" else "application/json"
        status = "400" if path == "/v1/chat/completions" else "200"
        operation: dict[str, Any] = {
            "summary": about,
            "responses": {
                status: {"description": about, "content": {media: {"schema": schema}}},
                "default": {"description": "An error.", "content": {"application/json": {"schema": _ERROR}}},
            },
        }
        if path == "/healthz":
            operation["security"] = []
        parameters = []
        if path != address:
            operation["summary"] = f"For clients that cannot name a model: {about}"
            parameters.append({"name": "model", "in": "path", "required": True, "schema": _STRING})
        if path == "/v1/models/{name}":
            parameters.append({"name": "name", "in": "path", "required": True, "schema": _STRING})
        if address == "/tokenizer_info":
            parameters.append({
                "name": "model", "in": "query", "required": False, "schema": _STRING, "description": MODEL.about
            })  # fmt: skip
        if parameters:
            operation["parameters"] = parameters
        if path in BODIES:
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": of_table(BODIES[path])}},
            }
        paths[address] = {method.lower(): operation}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "unroll",
            "version": __version__,
            "description": "Recurrent networks behind the API that the field's standard client speaks.",
        },
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}, {}],
    }


def of_table(table: Table) -> dict[str, Any]:
    """Return the JSON schema of a request."""
    properties = {}
    for name, field in table.items():
        schema = dict(field.schema)
        if not field.required and schema != {"type": "null"}:
            schema = {"anyOf": [*schema.get("anyOf", [schema]), {"type": "null"}]}
        properties[name] = {**schema, "description": field.about}
        if field.default is not None:
            properties[name]["default"] = field.default
    required = [name for name, field in table.items() if field.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": True}

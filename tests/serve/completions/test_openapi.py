"""The description of the API is true of its routes, its tables and its answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve.live import Live, serving
from unroll.serve.completions.openapi import BODIES, describe, of_table
from unroll.serve.completions.routes import OF_A_MODEL


def test_the_description_is_of_the_routes_and_the_tables(live: Live) -> None:
    from starlette.routing import Route

    description = live.get("/openapi.json").json()
    app: Any = live.server.config.app
    routes = {
        route.path: {method.lower() for method in route.methods or ()} - {"head"}
        for route in app.routes
        if isinstance(route, Route)
    }
    assert {path: set(methods) for path, methods in description["paths"].items()} == routes
    for path, table in BODIES.items():
        schema = description["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert schema == json.loads(json.dumps(of_table(table)))
        assert schema["properties"].keys() == table.keys()
    with_body = {path for path, item in description["paths"].items() if "requestBody" in item.get("post", {})}
    assert with_body == {f"{address}{path}" for path in BODIES for address in ("", OF_A_MODEL)}
    for path, methods in description["paths"].items():
        (operation,) = methods.values()
        parameters = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
        assert parameters == {part[1:-1] for part in path.split("/") if part.startswith("{")}, path
    with pytest.raises(KeyError):
        describe({"/planted": "GET"})


def test_answers_have_the_fields_that_are_described(
    folders: dict[str, Path], animals: Path, tagger: Path, translator: Path, sequences: dict[str, Path]
) -> None:
    with serving(folders["char"], animals, tagger, translator, sequences["classify"]) as live:
        check_answers(live)


def check_answers(live: Live) -> None:
    paths = live.get("/openapi.json").json()["paths"]

    def check(value: Any, schema: Any, path: str) -> None:
        if "anyOf" in schema:
            kinds: dict[str, type] = {"array": list, "object": dict, "string": str, "null": type(None)}
            schema = next(item for item in schema["anyOf"] if isinstance(value, kinds[item["type"]]))
        for name in schema.get("required", ()):
            assert name in value, f"{path}.{name}"
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                check(value[name], inner, f"{path}.{name}")
        if isinstance(value, list):
            for item in value:
                check(item, schema["items"], path)

    bodies: dict[str, Any] = {
        "/v1/completions": {"model": "char", "logprobs": 1, "echo": True, "return_state": True, "prompt": "a"},
        "/v1/embeddings": {"model": "char", "input": "a"},
        "/tokenize": {"model": "char", "prompt": "a"},
        "/detokenize": {"model": "char", "tokens": [1]},
        "/v1/classify": {"model": "animals", "input": ["woof", ""]},
        "/classify": {"model": "animals", "input": "woof"},
        "/v1/tag": {"model": "tagger", "texts": ["balkiro X", ""]},
        "/tag": {"model": "tagger", "tokens": ["balkiro"]},
        "/translate": {"model": "translator", "text": "one", "attention": True},
        "/predict": {"model": "sides", "sequences": [[[1, 2], [None, 3]]]},
        "/v1/chat/completions": {},
    }
    for path, methods in paths.items():
        if path == "/metrics":
            continue
        (operation,) = methods.values()
        name = bodies.get(path.removeprefix(OF_A_MODEL), {}).get("model", "char")
        filled = path.replace("{name}", name).replace("{model}", name)
        body = bodies.get(path.removeprefix(OF_A_MODEL))
        answer = live.get(filled, params={"model": "char"}) if body is None else live.post(filled, body)
        described = operation["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
        check(answer.json(), described, path)

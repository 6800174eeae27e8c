"""The routes of the standard API: completions, embeddings, tasks, vocabularies, models, health."""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from unroll._version import __version__
from unroll.artifact.series import OpenSeries
from unroll.serve.completions import completion, translation
from unroll.serve.completions.classification import classify
from unroll.serve.completions.completion import Completion
from unroll.serve.completions.openapi import describe
from unroll.serve.completions.prediction import predict
from unroll.serve.completions.requests import check_request
from unroll.serve.completions.tables import COMPLETION
from unroll.serve.completions.tagging import tag
from unroll.serve.completions.tokens import detokenize, embed, tokenize, tokenizer_info
from unroll.serve.context import Context
from unroll.serve.errors import ApiError, invalid, json_response, shutting_down
from unroll.serve.fields import read_body
from unroll.serve.models import MAX_NAME
from unroll.serve.served import ServedClassifier, ServedModel, ServedSequences, ServedTagger, ServedTranslator

Endpoint = Callable[[Context, Request], Awaitable[Response | Completion]]


async def complete(context: Context, request: Request) -> Response | Completion:
    """Continue the prompts of a request, or translate them, as its model is; raises ApiError."""
    asked = check_request(*await read_body(request, COMPLETION), context.settings)
    name = context.models.choose(asked.fields["model"], request.path_params.get("model"))
    served = await context.models.reopened(name)
    if isinstance(served, ServedTranslator):
        return await translation.complete(context, asked, served)
    return await completion.complete(context, request, asked)


async def health(context: Context, request: Request) -> Response:
    """Answer that the process runs."""
    return json_response({"status": "ok"})


async def ready(context: Context, request: Request) -> Response:
    """Answer whether requests are accepted; raises ApiError while the server stops or has no model."""
    if context.batchers.closing:
        raise shutting_down()
    if not context.models.names():
        raise ApiError(
            503, "model_loading", "no model is loaded yet", fix="retry shortly", headers={"Retry-After": "1"}
        )
    return json_response({"status": "ok"})


async def version(context: Context, request: Request) -> Response:
    """Return the version."""
    return json_response({"version": __version__})


async def list_models(context: Context, request: Request) -> Response:
    """Return the models; at the address of a model, that one."""
    addressed = request.path_params.get("model")
    names = context.models.names() if addressed is None else [addressed]
    models = [_model(context.models.latest(name)) for name in names]
    return json_response({"object": "list", "data": models})


async def one_model(context: Context, request: Request) -> Response:
    """Return one model; raises ApiError where it is gone, or the address is of another."""
    name, addressed = request.path_params["name"], request.path_params.get("model")
    if addressed not in (None, name):
        raise ApiError(
            404,
            "model_not_found",
            f"there is no model {name[:MAX_NAME]!r} at this address",
            allowed=addressed[:MAX_NAME],
            fix="ask at /v1/models",
            param="model",
        )
    return json_response(_model(await context.models.reopened(name)))


async def chat(context: Context, request: Request) -> Response:
    """Refuse: these models do not chat."""
    raise invalid(
        "these models continue texts and do not chat; use /v1/completions",
        "the paths listed at /openapi.json",
        "use /v1/completions",
        code="unsupported_endpoint",
    )


async def metrics(context: Context, request: Request) -> Response:
    """Return the metrics in Prometheus's text format."""
    text = context.metrics.text(context.batchers.loads(), context.settings.slots)
    return Response(text, media_type="text/plain; version=0.0.4")


ROUTES: dict[str, tuple[str, Endpoint]] = {
    "/v1/completions": ("POST", complete),
    "/v1/chat/completions": ("POST", chat),
    "/v1/embeddings": ("POST", embed),
    "/v1/classify": ("POST", classify),
    "/classify": ("POST", classify),
    "/v1/tag": ("POST", tag),
    "/tag": ("POST", tag),
    "/translate": ("POST", translation.translate),
    "/predict": ("POST", predict),
    "/v1/models": ("GET", list_models),
    "/v1/models/{name}": ("GET", one_model),
    "/tokenize": ("POST", tokenize),
    "/detokenize": ("POST", detokenize),
    "/tokenizer_info": ("GET", tokenizer_info),
    "/healthz": ("GET", health),
    "/readyz": ("GET", ready),
    "/health": ("GET", ready),
    "/metrics": ("GET", metrics),
    "/version": ("GET", version),
}

OF_A_MODEL = "/models/{model}"
"""The address of one model, for clients that cannot name a model: every path below it leads to that model."""
for _path in (
    "/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/classify", "/classify", "/v1/tag", "/tag",
    "/translate", "/predict", "/v1/models", "/v1/models/{name}", "/tokenize", "/detokenize", "/tokenizer_info",
):  # fmt: skip
    ROUTES[OF_A_MODEL + _path] = ROUTES[_path]


def routes(context: Context) -> list[Route]:
    """Return the routes."""
    description = describe({path: method for path, (method, _) in ROUTES.items()} | {"/openapi.json": "GET"})

    async def openapi(context: Context, request: Request) -> Response:
        return json_response(description)

    return [
        Route(path, partial(endpoint, context), methods=[method])
        for path, (method, endpoint) in {**ROUTES, "/openapi.json": ("GET", openapi)}.items()
    ]


def _model(served: ServedModel) -> dict[str, object]:
    about: dict[str, object] = {
        "id": served.name, "object": "model", "created": served.created, "owned_by": "unroll", "kind": served.kind
    }  # fmt: skip
    if isinstance(served, ServedClassifier):
        about["labels"] = list(served.opened.info.labels)
    elif isinstance(served, ServedTagger):
        about["tags"] = list(served.opened.info.tags)
    elif isinstance(served, ServedSequences):
        about |= {"task": served.task, "channels": list(served.channels)}
        if isinstance(served.opened, OpenSeries) and served.opened.info.labels:
            about["labels"] = list(served.opened.info.labels)
    return about

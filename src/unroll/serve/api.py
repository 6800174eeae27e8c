"""The routes of the API."""

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import unroll
from unroll.serve.context import Context
from unroll.serve.errors import json_response
from unroll.serve.models import Served

START = int(time.time())


def routes(context: Context) -> list[Route]:
    """Return the routes of the API."""

    async def health(request: Request) -> Response:
        return json_response({"status": "ok"})

    async def version(request: Request) -> Response:
        return json_response({"version": unroll.__version__})

    async def models(request: Request) -> Response:
        return json_response({
            "object": "list",
            "data": [_model(context.models.latest(name)) for name in context.models.names()],
        })  # fmt: skip

    async def model(request: Request) -> Response:
        return json_response(_model(await context.models.current(request.path_params["name"])))

    return [
        Route("/healthz", health, methods=["GET"]),
        Route("/version", version, methods=["GET"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{name}", model, methods=["GET"]),
    ]


def _model(served: Served) -> dict[str, object]:
    return {"id": served.name, "object": "model", "created": served.created, "owned_by": "unroll"}

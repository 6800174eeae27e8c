"""The application: the routes of the API, and of the studio where there is one, behind one guard."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from unroll.errors import UserError
from unroll.serve.batching.batchers import Batchers
from unroll.serve.completions import routes
from unroll.serve.completions.handles import States
from unroll.serve.context import Context
from unroll.serve.errors import ApiError, error_response, of_user_error
from unroll.serve.guard import Guard
from unroll.serve.metrics import Metrics
from unroll.serve.models import Models
from unroll.serve.settings import Settings
from unroll.serve.studio.routes import routes as studio_routes
from unroll.serve.studio.studio import Folders, Studio, make_studio

PAGE = Path(__file__).parent / "page"


def create_app(models: Models, settings: Settings, *, studio: bool | Folders = False) -> Starlette:
    """Return the application that serves these models; `app.state.context` is what its routes share.

    With `studio` it also serves the page, over these folders.
    """
    metrics = Metrics()
    context = Context(
        models,
        settings,
        Batchers(settings, metrics),
        States(settings.state_bytes),
        ThreadPoolExecutor(1, "analysis"),
        metrics,
    )
    table: list[BaseRoute] = [*routes.routes(context)]
    public: list[str] = []
    open_studio: Studio | None = None
    if studio:
        open_studio = make_studio(context, Folders() if studio is True else studio)
        table.append(Mount("/api", routes=studio_routes(open_studio)))
        table.append(Mount("/", PageFiles(directory=PAGE, html=True)))
        public = ["/", *(f"/{file.relative_to(PAGE).as_posix()}" for file in PAGE.rglob("*") if file.is_file())]
    paths = {route.path for route in table if hasattr(route, "path")}

    def seen(scope: Scope, status: int) -> None:
        parts = scope["path"].split("/", 3)  # names of models are not in the closed set of labels
        path = f"{routes.OF_A_MODEL}/{parts[3]}" if len(parts) == 4 and parts[1] == "models" else scope["path"]
        route = path if path in paths else "other"
        metrics.requests.labels(route, str(status)).inc()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if open_studio is not None:
            open_studio.begin()
        yield
        if open_studio is not None:
            await asyncio.to_thread(open_studio.close)
        context.batchers.close()
        context.worker.shutdown(wait=False, cancel_futures=True)

    app = Starlette(
        routes=table,
        middleware=[Middleware(Guard, settings=settings, public=public, seen=seen)],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, UserError: _user_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would be the only answer without JSON
    app.state.context, app.state.studio = context, open_studio
    return app


class PageFiles(StaticFiles):
    """The files of the page; a browser asks each time whether they have changed and never mixes two versions."""

    def file_response(self, *args: Any, **others: Any) -> Response:
        """Return a file, or that it has not changed."""
        answer = super().file_response(*args, **others)
        answer.headers["cache-control"] = "no-cache"
        return answer


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error)


async def _user_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, UserError)
    return error_response(of_user_error(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return error_response(
            ApiError(
                404,
                "not_found",
                f"there is nothing at {ascii(request.url.path)[1:-1][:200]}",
                allowed="the paths listed at /openapi.json",
                fix="check the address",
            )
        )
    headers = dict(error.headers or {})
    if error.status_code == 405:
        return error_response(
            ApiError(
                405,
                "method_not_allowed",
                f"the method {request.method[:16]} is not allowed here",
                allowed=headers.get("Allow", "GET"),
                fix="use an allowed method",
                headers=headers,
            )
        )
    return error_response(ApiError(error.status_code, "invalid_value", error.detail, headers=headers))

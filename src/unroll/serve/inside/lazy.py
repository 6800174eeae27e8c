"""What the page looks into a network with, below `/inside`: loaded when it is first asked for, as it needs torch."""

import asyncio
from importlib import import_module
from importlib.util import find_spec

from starlette.routing import BaseRoute, Mount, Router
from starlette.types import Receive, Scope, Send

from unroll.errors import UserError, install
from unroll.serve.context import Context


def routes(context: Context) -> list[BaseRoute]:
    """Return the routes of `/inside`."""
    return [Mount("/inside", app=Inside(context))]


class Inside:
    """Hands requests on to the routes that torch is needed for; raises UserError where it is not installed."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._loading = asyncio.Lock()
        self._router: Router | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if find_spec("torch") is None:
            raise UserError(
                "looking inside a network needs PyTorch, which is not installed here",
                allowed="the other screens",
                fix=install("train"),
            )
        async with self._loading:
            if self._router is None:
                module = await asyncio.to_thread(import_module, "unroll.serve.inside.routes")
                self._router = Router(module.routes(self.context))
        await self._router(scope, receive, send)

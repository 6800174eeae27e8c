"""The context that the routes share."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from starlette.requests import Request

from unroll.serve.batching.batchers import Batchers
from unroll.serve.completions.handles import States
from unroll.serve.metrics import Metrics
from unroll.serve.models import Models, S
from unroll.serve.served import Served
from unroll.serve.settings import Settings


@dataclass(frozen=True)
class Context:
    """What the routes share, for as long as the server runs."""

    models: Models
    settings: Settings
    batchers: Batchers
    states: States
    worker: ThreadPoolExecutor
    """One thread for analyses: they wait for each other, and the event loop never waits for them."""
    metrics: Metrics

    async def model_of(self, request: Request, name: str | None) -> Served:
        """Return the language model that a request is for; `name` is its field `model`, if sent.

        Raises ApiError where several are served and neither the request nor its address names one, and for a model of
        another kind.
        """
        return await self.models.current(self.models.choose(name, request.path_params.get("model")))

    async def of_kind(self, request: Request, name: str | None, kind: type[S]) -> S:
        """Return the model of a kind that a request is for, as `model_of` does."""
        return await self.models.of_kind(self.models.choose(name, request.path_params.get("model")), kind)

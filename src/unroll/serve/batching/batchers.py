"""The batchers of a server: one for each model in use."""

from unroll.serve.batching.batcher import Batcher
from unroll.serve.errors import ApiError, shutting_down
from unroll.serve.metrics import Metrics
from unroll.serve.served import Served
from unroll.serve.settings import Settings


class Batchers:
    """Batchers by the name of their model."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._batchers: dict[str, Batcher] = {}
        self.closing = False

    def of(self, served: Served) -> Batcher:
        """Return the batcher of a model; one of older weights closes when its streams have ended."""
        if self.closing:
            raise shutting_down()
        batcher = self._batchers.get(served.name)
        if batcher is None or batcher.served.version != served.version:
            if batcher is not None:
                batcher.close()
            batcher = self._batchers[served.name] = Batcher(served, self._settings, self._metrics)
            self._metrics.model.labels(served.name, served.version[:12]).set(1)
        return batcher

    def drain(self) -> None:
        """Accept nothing more."""
        self.closing = True
        for batcher in self._batchers.values():
            batcher.close()

    def abort(self, error: ApiError) -> None:
        """End all streams with an error."""
        for batcher in self._batchers.values():
            batcher.abort(error)

    def close(self) -> None:
        """End all batchers and their streams."""
        self.drain()
        self.abort(shutting_down())
        for batcher in self._batchers.values():
            batcher.join(5)

    def loads(self) -> dict[str, tuple[int, int, int]]:
        """Return for each model how many streams are being written, are parked, and wait for a slot."""
        return {name: batcher.load for name, batcher in self._batchers.items()}

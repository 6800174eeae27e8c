"""Continuous batching (to come)."""

from unroll.serve.metrics import Metrics
from unroll.serve.settings import Settings


class Batchers:
    """The engine threads, one for each model in use."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics

    def close(self) -> None:
        """End all engine threads."""

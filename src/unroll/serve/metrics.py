"""Counters and gauges for Prometheus, in their own registry; labels come from closed sets only."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
STEP_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
DELAYS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of a server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("unroll_requests", "Answers", ["route", "code"], registry=registry)
        self.rejected = Counter("unroll_rejected", "Requests refused before any work", ["reason"], registry=registry)
        self.running = Gauge("unroll_requests_running", "Streams being written", registry=registry)
        self.waiting = Gauge("unroll_requests_waiting", "Streams that wait for a slot", registry=registry)
        self.slots = Gauge("unroll_slots", "Slots by what they do", ["state"], registry=registry)
        self.batch = Histogram("unroll_batch_size", "Streams in a step", buckets=ROWS, registry=registry)
        self.step = Histogram("unroll_step_seconds", "A step of the batch", buckets=STEP_SECONDS, registry=registry)
        self.prompt_tokens = Counter("unroll_prompt_tokens", "Symbols of prompts", registry=registry)
        self.generated_tokens = Counter("unroll_generated_tokens", "Symbols written", registry=registry)
        self.first = Histogram(
            "unroll_time_to_first_token_seconds",
            "From a request to its first symbol",
            buckets=SECONDS,
            registry=registry,
        )
        self.inter = Histogram(
            "unroll_inter_token_seconds", "Between two symbols of a stream, on average", buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.request = Histogram("unroll_request_seconds", "Completions, whole", buckets=SECONDS, registry=registry)
        self.queued = Histogram("unroll_queue_seconds", "Waiting for a slot", buckets=SECONDS, registry=registry)
        self.prefix_hits = Counter("unroll_prefix_cache_hits", "Prompts whose state was kept", registry=registry)
        self.prefix_misses = Counter(
            "unroll_prefix_cache_misses", "Prompts whose state was not kept", registry=registry
        )
        self.disconnects = Counter("unroll_disconnects", "Clients that left before the end", registry=registry)
        self.cut = Counter(
            "unroll_slow_readers_cut", "Clients disconnected because they stopped reading", registry=registry
        )
        self.delay = Histogram(
            "unroll_event_loop_delay_seconds",
            "Delay of the event loop, sampled twenty times a second",
            buckets=DELAYS,
            registry=registry,
        )
        self.model = Gauge("unroll_model_info", "The models", ["model", "sha"], registry=registry)

    def text(self, loads: Mapping[str, tuple[int, int, int]], slots: int) -> bytes:
        """Return all metrics in Prometheus's text format; `loads` are those of the batchers, with `slots` each."""
        active, parked, waiting = (sum(load[k] for load in loads.values()) for k in range(3))
        self.running.set(active)
        self.waiting.set(waiting)
        counts = {"active": active, "parked": parked, "free": slots * len(loads) - active - parked}
        for state, count in counts.items():
            self.slots.labels(state).set(count)
        return generate_latest(self.registry)

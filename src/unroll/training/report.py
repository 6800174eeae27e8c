"""What a training reports while it runs: one event is one line of metrics.jsonl."""

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from unroll.artifact.events import METRICS, SAMPLES, EventLog

if TYPE_CHECKING:
    from unroll.training.run import AnyRun

Kind = Literal["start", "train", "valid", "sample", "save", "warn", "end"]


@dataclass(frozen=True)
class Report:
    """One event of a training. What does not apply to its kind is None."""

    kind: Kind
    step: int
    tokens_seen: int
    seconds: float
    """Seconds of training so far, resumed parts included."""
    nats: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    tokens_per_second: float | None = None
    text: str | None = None
    """Text of a sample, or a remark in plain language."""
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the event as JSON, without what does not apply."""
        event: dict[str, Any] = asdict(self)
        detail: dict[str, Any] = event.pop("detail")
        return {name: value for name, value in event.items() if value is not None} | detail


class Journal:
    """The two event logs of a run, and its clocks; a resumed run continues both."""

    def __init__(self, run: "AnyRun") -> None:
        self._run = run
        self._metrics = EventLog(run.writes, METRICS, run.log_sizes[0])
        self._samples = EventLog(run.writes, SAMPLES, run.log_sizes[1])
        self._began = time.perf_counter() - run.seconds
        self.start_rate()

    def report(self, kind: Kind, **values: Any) -> Report:
        """Return a report on the run as it stands, with the `values` of its kind, and write it to metrics.jsonl."""
        report = Report(kind, self._run.step, self._run.tokens_seen, round(self.seconds, 3), **values)
        self._metrics.write(report.to_json())
        return report

    def report_sample(self, sample: dict[str, Any], nats: float) -> Report:
        """Report a sample, and write it to samples.jsonl; `nats` is the loss when it was taken."""
        self._samples.write({"step": self._run.step, "nats": nats} | sample)
        return self.report("sample", text=sample["text"], nats=nats)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, resumed parts included."""
        return time.perf_counter() - self._began

    @property
    def sizes(self) -> tuple[int, int]:
        """Lengths of the two logs in bytes, to be kept in a checkpoint."""
        return self._metrics.size, self._samples.size

    def start_rate(self) -> None:
        """Measure tokens per second from now on."""
        self._rate_from = self._run.tokens_seen, time.perf_counter()

    def tokens_per_second(self) -> int:
        """Return the rate since `start_rate`."""
        tokens, start = self._rate_from
        return round((self._run.tokens_seen - tokens) / max(1e-9, time.perf_counter() - start))

    def close(self) -> None:
        """Close both logs."""
        self._metrics.close()
        self._samples.close()

"""Long analyses: run one after another in a thread of their own, with progress, until done or cancelled."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Literal

from unroll.errors import UserError
from unroll.progress import Progress, Work, result
from unroll.serve.errors import log, of_user_error

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Analysis = Callable[[], Work[dict[str, Any]]]

KEPT = 64
"""Finished jobs that are remembered."""
WAITING = 8
"""Jobs that may wait."""


class Cancelled(Exception):
    """A job is to stop."""


@dataclass
class Job:
    """One analysis."""

    id: str
    key: object
    work: Analysis
    state: State = "waiting"
    progress: Progress = field(default_factory=lambda: Progress("waiting", 0, 1))
    result: dict[str, Any] | None = None
    error: UserError | None = None
    begun: float = 0.0
    seconds: float = 0.0
    stop: Event = field(default_factory=Event)

    def figures(self) -> dict[str, Any]:
        """Return its progress and its result, as JSON."""
        return {
            "id": self.id,
            "state": self.state,
            "phase": self.progress.phase,
            "done": self.progress.done,
            "total": self.progress.total,
            "seconds": time.monotonic() - self.begun if self.state == "running" else self.seconds,
            "result": self.result,
            "error": None if self.error is None else of_user_error(self.error).figures(),
        }


class Jobs:
    """Jobs by id, run one at a time; one with the same key is not run again."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = Lock()
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self._thread: Thread | None = None

    def submit(self, key: object, work: Analysis) -> Job:
        """Return the job of a key, a new one if there is none; raises UserError where too many wait."""
        with self._lock:
            for job in self._jobs.values():
                if job.key == key and job.state in ("waiting", "running", "done"):
                    return job
            if sum(job.state == "waiting" for job in self._jobs.values()) >= WAITING:
                raise UserError(
                    f"{WAITING} analyses are already waiting",
                    allowed=f"up to {WAITING} at a time",
                    fix="wait until one ends, or cancel one",
                )
            job = Job(secrets.token_urlsafe(9), key, work)
            self._jobs[job.id] = job
            ended = [job.id for job in self._jobs.values() if job.state in ("done", "failed", "cancelled")]
            for id in ended[:-KEPT]:
                del self._jobs[id]
            if self._thread is None:
                self._thread = Thread(target=self._run, name="analyses", daemon=True)
                self._thread.start()
        self._queue.put(job)
        return job

    def find(self, id: str) -> Job:
        """Return a job; raises UserError for an unknown id."""
        with self._lock:
            if id not in self._jobs:
                raise UserError(
                    "this analysis is no longer kept", allowed=f"the last {KEPT} analyses", fix="start it again"
                )
            return self._jobs[id]

    def cancel(self, id: str) -> Job:
        """Ask a job to stop: at once where it waits, else at its next report of progress."""
        job = self.find(id)
        job.stop.set()
        with self._lock:
            if job.state == "waiting":
                job.state = "cancelled"
        return job

    def close(self) -> None:
        """Cancel all jobs."""
        with self._lock:
            ids = list(self._jobs)
        for id in ids:
            self.cancel(id)

    def _run(self) -> None:
        while True:
            job = self._queue.get()
            with self._lock:
                if job.state != "waiting":
                    continue
                job.state, job.begun = "running", time.monotonic()
            state = self._do(job)
            with self._lock:
                job.state, job.seconds = state, time.monotonic() - job.begun

    def _do(self, job: Job) -> State:
        def follow(progress: Progress) -> None:
            if job.stop.is_set():
                raise Cancelled
            job.progress = progress

        try:
            job.result = result(job.work(), follow)
        except Cancelled:
            return "cancelled"
        except UserError as error:
            job.error = error
            return "failed"
        except Exception:
            log.exception("an analysis failed")
            job.error = UserError(
                "the analysis stopped at an error, which the terminal of the studio shows",
                fix="try another text or model",
            )
            return "failed"
        return "cancelled" if job.stop.is_set() else "done"

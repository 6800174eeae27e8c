"""Analyses that take a while: one after another in a thread of their own, with progress, and they can be cancelled."""

import logging
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

log = logging.getLogger("unroll.serve")

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Analysis = Callable[[], Work[dict[str, Any]]]

KEPT = 64
"""Jobs that are remembered."""
WAITING = 8


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
        """Return how far it is, and what came of it, as JSON."""
        error = self.error
        return {
            "id": self.id,
            "state": self.state,
            "phase": self.progress.phase,
            "done": self.progress.done,
            "total": self.progress.total,
            "seconds": time.monotonic() - self.begun if self.state == "running" else self.seconds,
            "result": self.result,
            "error": None if error is None else {"message": error.what, "allowed": error.allowed, "fix": error.fix},
        }


class Jobs:
    """Jobs by name, run one at a time; what was asked before and is the same is not done again."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = Lock()
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self._thread: Thread | None = None

    def submit(self, key: object, work: Analysis) -> Job:
        """Return the job of a key, new or as it is already; raises UserError where too many wait."""
        with self._lock:
            for job in self._jobs.values():
                if job.key == key and job.state in ("waiting", "running", "done"):
                    return job
            if sum(job.state == "waiting" for job in self._jobs.values()) >= WAITING:
                raise UserError("too many analyses wait", allowed=f"{WAITING}", fix="wait for one of them or cancel it")
            job = Job(secrets.token_urlsafe(9), key, work)
            self._jobs[job.id] = job
            for old in [one for one in self._jobs.values() if one.state in ("done", "failed", "cancelled")][:-KEPT]:
                del self._jobs[old.id]
            if self._thread is None:
                self._thread = Thread(target=self._run, name="analyses", daemon=True)
                self._thread.start()
        self._queue.put(job)
        return job

    def find(self, id: str) -> Job:
        """Return a job; raises UserError for one that is not remembered."""
        with self._lock:
            if id not in self._jobs:
                raise UserError("there is no such analysis", allowed="one that was begun here", fix="begin it again")
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
            every = list(self._jobs)
        for id in every:
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
            job.error = UserError("the analysis failed; the server's log has more", fix="try another text or model")
            return "failed"
        return "cancelled" if job.stop.is_set() else "done"

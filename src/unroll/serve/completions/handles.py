"""Handles to states: each is unguessable, and valid for one key and one set of weights."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass

from unroll.serve.batching.streams import Start
from unroll.serve.errors import ApiError, invalid
from unroll.serve.served import Served

REMEMBERED = 10_000
"""Expired handles that are still reported as such."""


@dataclass(frozen=True)
class _Kept:
    start: Start
    owner: str
    model: str
    version: str


class States:
    """States by handle, the least used dropped first. Used from the event loop."""

    def __init__(self, nbytes: int) -> None:
        self._most = nbytes
        self.nbytes = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._expired: OrderedDict[str, str] = OrderedDict()
        """Handles with their owners."""

    def put(self, start: Start, owner: str, served: Served) -> str:
        """Keep a state for its owner and return its handle."""
        handle = f"state-{secrets.token_urlsafe(24)}"
        self._kept[handle] = _Kept(start, owner, served.name, served.version)
        self.nbytes += start.nbytes
        while self.nbytes > self._most:
            self._forget(next(iter(self._kept)))
        return handle

    def get(self, handle: str, owner: str, served: Served) -> Start:
        """Return a state; raises ApiError where there is none, or it has another owner, or other weights."""
        kept = self._kept.get(handle)
        if kept is not None and kept.owner == owner:
            if kept.model != served.name:
                raise invalid(
                    f"the state belongs to the model {kept.model!r}",
                    "a state of the same model",
                    f"set model to {kept.model!r}",
                    "state_from",
                    "state_of_another_model",
                )
            if kept.version == served.version:
                self._kept.move_to_end(handle)
                return kept.start
            self._forget(handle)
        if self._expired.get(handle) == owner:
            raise ApiError(
                410,
                "state_expired",
                "the state has expired: it was the least used, or the model has new weights; send the text again",
                allowed="a recent state of the current weights",
                fix="send the text again",
                param="state_from",
            )
        # A state of another owner looks like one that never was.
        raise ApiError(
            404,
            "state_not_found",
            "there is no such state",
            allowed="a handle that return_state gave for the same key",
            fix="send the text again",
            param="state_from",
        )

    def _forget(self, handle: str) -> None:
        kept = self._kept.pop(handle)
        self.nbytes -= kept.start.nbytes
        self._expired[handle] = kept.owner
        while len(self._expired) > REMEMBERED:
            self._expired.popitem(last=False)

"""The models that are served, by name; each is opened again when its weights change."""

import asyncio
import os
import re
import time
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from unroll.artifact.open import Opened
from unroll.artifact.snapshot import Changed, pinned, stamp_of, unchanged
from unroll.engine.network import Precision
from unroll.errors import UserError
from unroll.serve.errors import ApiError, invalid, log
from unroll.serve.served import ROLES, Served, ServedModel, name_of, open_served

S = TypeVar("S", bound=ServedModel)
T = TypeVar("T")

TRIES = 10
"""How often a directory is read again if it changes meanwhile."""
PAUSE_SECONDS = 0.02
MAX_NAME = 64


@dataclass
class _Entry:
    path: Path
    served: ServedModel
    opening: "asyncio.Task[ServedModel] | None" = field(default=None)


class Models:
    """Models of all kinds by name. Used from one event loop; opening is done in a thread."""

    def __init__(self, paths: Iterable[Path] = (), device: str = "cpu", precision: Precision = "float32") -> None:
        """Open model directories; raises UserError where one cannot be opened."""
        self.device = device
        self.precision: Precision = precision
        self._entries: dict[str, _Entry] = {}
        for path in paths:
            self.add(path)

    def names(self) -> list[str]:
        """Return the names of the models, in the order in which they were added."""
        return list(self._entries)

    def add(self, path: Path, name: str | None = None) -> str:
        """Open a model directory and return the name under which it is served; one already served keeps its name."""
        for served_name, entry in self._entries.items():
            if entry.path.resolve() == path.resolve():
                return served_name
        name = _free_name(name or Path(os.path.abspath(path)).name, self._entries)  # a link's own name
        self._entries[name] = _Entry(path, _open(name, path, self.device, self.precision))
        return name

    def remove(self, name: str) -> None:
        """Stop serving a model."""
        self._entries.pop(name, None)

    def latest(self, name: str) -> ServedModel:
        """Return a model as it was last opened, whatever its directory holds now; ApiError for an unknown name."""
        return self._entry(name).served

    def choose(self, name: str | None, addressed: str | None = None) -> str:
        """Return the name of the model that a request is for: its field `model`, or the one in its address.

        A single model needs no name. Among several nothing is guessed: ids of one vocabulary sent to another model
        would give meaningless figures, and no error. Raises ApiError.
        """
        if name is not None and len(name) > MAX_NAME:
            raise invalid(
                "the name of the model is too long", f"up to {MAX_NAME} characters", "see /v1/models", "model"
            )
        if addressed is not None:
            if name not in (None, addressed):
                raise invalid(
                    f"model is {name!r}, but the address is that of the model {addressed!r}",
                    f"{addressed!r}, or no model",
                    "leave out model, or use the address of the other",
                    "model",
                    "model_mismatch",
                )
            return addressed
        if name is not None:
            return name
        names = self.names()
        if not names:
            raise ApiError(404, "model_not_found", "no model is served", fix="train or add a model", param="model")
        if len(names) > 1:
            raise invalid(
                f"the request names no model, and {len(names)} are served",
                _listed(names),
                "name one as model, or use its own address, /models/NAME followed by this path",
                "model",
                "missing_required_parameter",
            )
        return names[0]

    async def current(self, name: str) -> Served:
        """Return a language model as its directory has it now; ApiError as `of_kind`."""
        return await self.of_kind(name, Served)

    async def of_kind(self, name: str, kind: type[S]) -> S:
        """Return a model of a kind as its directory has it now; ApiError as `reopened`, and for one of another kind."""
        served = await self.reopened(name)
        if isinstance(served, kind):
            return served
        role, wanted = ROLES[type(served)], name_of(kind)
        others = _listed(name for name, entry in self._entries.items() if isinstance(entry.served, kind))
        raise invalid(
            f"{name!r} is {name_of(type(served))}, not {wanted}",
            others or f"{wanted}, made by `{ROLES[kind].verb}`; none is served",
            f"ask it at {role.path}, or name {wanted}",
            "model",
            "unsupported_model",
        )

    async def reopened(self, name: str) -> ServedModel:
        """Return a model as its directory has it now, opened again where its weights were replaced.

        Raises ApiError for an unknown name, and where the directory is gone or damaged.
        """
        entry = self._entry(name)
        stamp = stamp_of(entry.path)
        if stamp == entry.served.stamp:
            return entry.served
        for _ in range(5):  # between the two renames of a replacement there is nothing for a moment
            if stamp is not None:
                break
            await asyncio.sleep(PAUSE_SECONDS)
            stamp = stamp_of(entry.path)
        if stamp is None:
            raise ApiError(
                404,
                "model_gone",
                f"the files of the model {name!r} are gone",
                allowed="a model whose directory exists",
                fix="restore its directory, or name another model",
                param="model",
            )
        if entry.opening is None or entry.opening.done():  # one that nobody waited for may be of older weights
            entry.opening = asyncio.create_task(asyncio.to_thread(_open, name, entry.path, self.device, self.precision))
        opening = entry.opening
        try:
            entry.served = await asyncio.shield(opening)
        except (UserError, OSError) as error:
            log.warning("%s: %s", name, error)
            raise ApiError(
                503,
                "model_unavailable",
                f"the files of the model {name!r} have changed and cannot be read; see the server log",
                allowed="a model whose files are whole",
                fix="retry shortly, or restore its directory",
                param="model",
                headers={"Retry-After": "1"},
            ) from None
        finally:
            if entry.opening is opening and opening.done():
                entry.opening = None
        return entry.served

    async def read(self, name: str, work: Callable[[Opened], T]) -> tuple[Served, T]:
        """Return a language model as it is now, and what `work` reads in its directory, both from the same files.

        `work` runs in a thread. Raises ApiError where the directory keeps changing.
        """
        for _ in range(TRIES):
            served = await self.current(name)
            try:
                return served, await asyncio.to_thread(read_beside, served, work)
            except Changed:
                await asyncio.sleep(PAUSE_SECONDS)
        raise changing(name)

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise ApiError(
                404,
                "model_not_found",
                f"there is no model {name[:MAX_NAME]!r}",
                allowed=_listed(self.names()) or "none is served",
                fix="name one of these",
                param="model",
            )
        return self._entries[name]


def read_beside(served: Served, work: Callable[[Opened], T]) -> T:
    """Return what `work` reads in the directory of a model; raises Changed where its files are not those opened."""
    with pinned(served.opened.path) as here:
        return unchanged(here, served.stamp, lambda: work(replace(served.opened, path=here)))


def changing(name: str) -> ApiError:
    """Return the error for a model whose files keep changing."""
    return ApiError(
        503,
        "model_unavailable",
        f"the files of the model {name!r} keep changing; retry shortly",
        allowed="a model that is not being written to",
        fix="retry shortly",
        param="model",
        headers={"Retry-After": "1"},
    )


def _open(name: str, path: Path, device: str, precision: Precision) -> ServedModel:
    """Open a directory, again if its files are replaced meanwhile, so that all files belong to one model."""
    for _ in range(TRIES):
        with pinned(path) as here:
            stamp = stamp_of(here, settled=True)
            opening = partial(open_served, name, path, here, stamp or (), device, precision)
            try:
                served = unchanged(here, stamp, opening)
            except Changed:
                time.sleep(PAUSE_SECONDS)
                continue
            if stamp is not None:
                return served
    raise UserError(
        f"the files of {path} change while they are read",
        allowed="a model that is not being written to",
        fix="try again in a moment",
    )


def _listed(names: Iterable[str], most: int = 20) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _free_name(name: str, taken: Iterable[str]) -> str:
    """Return a free name that can stand in a request."""
    taken = set(taken)
    name = re.sub(r"[^\w.:-]", "-", unicodedata.normalize("NFC", name))[:56] or "model"
    return next(
        free for number in range(1, 10**6) if (free := name if number == 1 else f"{name}-{number}") not in taken
    )

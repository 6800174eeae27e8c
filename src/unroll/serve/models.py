"""The models that are served, by name; each is opened again when its weights change."""

import asyncio
import os
import re
import time
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any, TypeVar

from unroll.artifact.classifier import OpenClassifier, open_classifier
from unroll.artifact.directory import CLASSIFIER, read_kind
from unroll.artifact.open import Opened, open_model
from unroll.artifact.saved_state import weights_digest
from unroll.artifact.snapshot import Changed, Stamp, pinned, stamp_of, unchanged, written_at
from unroll.data.tokenizer import Tokenizer
from unroll.engine.network import Precision
from unroll.errors import UserError
from unroll.predict.predictor import Predictor
from unroll.serve.errors import ApiError, invalid, log

T = TypeVar("T")

TRIES = 10
"""How often a directory is read again if it changes meanwhile."""
PAUSE_SECONDS = 0.02
MAX_NAME = 64


@dataclass(frozen=True)
class Served:
    """A language model in use, as it was when it was opened, whatever happens to its directory."""

    name: str
    opened: Opened
    info: dict[str, Any]
    """The metadata of its weights; empty for an n-gram."""
    version: str
    """The digest of its weights, its shape and its vocabulary."""
    stamp: Stamp
    created: int
    """When its weights were written, in seconds since 1970."""

    @property
    def predictor(self) -> Predictor:
        """The predictor."""
        return self.opened.predictor

    @property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary."""
        return self.opened.tokenizer

    @property
    def fingerprint(self) -> str:
        """A short name for weights and arithmetic: equal ones give equal answers to equal seeds."""
        return f"fp_{self.version[:12]}_{self.predictor.precision}"

    @cached_property
    def printable(self) -> tuple[str, ...]:
        """The printable name of each symbol."""
        from unroll.lm.surprisal import token_name

        return tuple(token_name(self.tokenizer, id) for id in range(self.tokenizer.vocab_size))


@dataclass(frozen=True)
class ServedClassifier:
    """A classifier in use, as it was when it was opened, whatever happens to its directory."""

    name: str
    opened: OpenClassifier
    version: str
    """The digest of its weights, its shape, its labels and its vocabulary."""
    stamp: Stamp
    created: int
    """When its weights were written, in seconds since 1970."""


AnyServed = Served | ServedClassifier


@dataclass
class _Entry:
    path: Path
    served: AnyServed
    opening: "asyncio.Task[AnyServed] | None" = field(default=None)


class Models:
    """Models of both kinds by name. Used from one event loop; opening is done in a thread."""

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

    def latest(self, name: str) -> AnyServed:
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
        """Return a language model as its directory has it now; ApiError as `reopened`, and for a classifier."""
        served = await self.reopened(name)
        if isinstance(served, Served):
            return served
        raise invalid(
            f"{name!r} is a classifier: it continues no text",
            self._listed_kind(Served) or "a language model, made by `unroll train`; none is served",
            "send its texts to /v1/classify, or name a language model",
            "model",
            "unsupported_model",
        )

    async def classifier(self, name: str) -> ServedClassifier:
        """Return a classifier as its directory has it now; ApiError as `reopened`, and for others."""
        served = await self.reopened(name)
        if isinstance(served, ServedClassifier):
            return served
        raise invalid(
            f"{name!r} is a language model, not a classifier",
            self._listed_kind(ServedClassifier) or "a classifier, made by `unroll classify train`; none is served",
            "use /v1/completions, or name a classifier",
            "model",
            "unsupported_model",
        )

    def _listed_kind(self, kind: type[AnyServed]) -> str:
        return _listed(name for name, entry in self._entries.items() if isinstance(entry.served, kind))

    async def reopened(self, name: str) -> AnyServed:
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


def _open(name: str, path: Path, device: str, precision: Precision) -> AnyServed:
    """Open a directory, again if its files are replaced meanwhile, so that all files belong to one model."""
    for _ in range(TRIES):
        with pinned(path) as here:
            stamp = stamp_of(here, settled=True)
            try:
                opened, version = unchanged(here, stamp, partial(_read, here, device, precision))
            except Changed:
                time.sleep(PAUSE_SECONDS)
                continue
            if stamp is None:
                continue
            if isinstance(opened, OpenClassifier):
                return ServedClassifier(name, replace(opened, path=path), version, stamp, written_at(stamp))
            return Served(name, replace(opened, path=path), opened.weights_info, version, stamp, written_at(stamp))
    raise UserError(
        f"the files of {path} change while they are read",
        allowed="a model that is not being written to",
        fix="try again in a moment",
    )


def _read(path: Path, device: str, precision: Precision) -> tuple[Opened | OpenClassifier, str]:
    """Return a model, and a digest of all that its answers depend on; a classifier always runs on the CPU."""
    if path.is_dir() and (description := read_kind(path))["kind"] == CLASSIFIER:
        opened: Opened | OpenClassifier = open_classifier(path, precision)
        shape = {name: description.get(name) for name in ("model", "labels", "lowercase", "max_units")}
        digest = description["tokenizer_digest"]
    else:
        opened = open_model(path, precision, device=device)
        shape, digest = opened.description["model"], opened.tokenizer.digest
    parts = (weights_digest(path), digest, dumps(shape, sort_keys=True))
    return opened, sha256("\n".join(parts).encode()).hexdigest()


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

"""The models that are served, by name; each is opened again when its weights have changed."""

import asyncio
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from unroll.data.tokenizer import Tokenizer
from unroll.engine.network import Precision
from unroll.errors import UserError
from unroll.lm.directory import WEIGHTS
from unroll.lm.open import Opened, open_model
from unroll.lm.predict import Predictor
from unroll.lm.states import weights_digest
from unroll.serve.errors import ApiError

log = logging.getLogger("unroll.serve")

Stamp = tuple[tuple[int, int, int], ...]
"""What tells whether files were replaced: inode, time and size of each."""

_FILES = ("model.json", "tokenizer.json", WEIGHTS)


@dataclass(frozen=True)
class Served:
    """A model in use: as it was when it was opened, whatever happens to its directory."""

    name: str
    opened: Opened
    version: str
    """The digest of its weights."""
    stamp: Stamp
    created: int
    """When its weights were written, in seconds since 1970."""

    @property
    def predictor(self) -> Predictor:
        """What predicts."""
        return self.opened.predictor

    @property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary."""
        return self.opened.tokenizer

    @property
    def fingerprint(self) -> str:
        """A short name for weights and arithmetic: what is equal gives equal answers to equal seeds."""
        precision = getattr(self.predictor, "precision", "float32")
        return f"fp_{self.version[:12]}_{precision}"

    @cached_property
    def printable(self) -> tuple[str, ...]:
        """The text of each symbol where it is one, else its printable name."""
        from unroll.lm.surprisal import token_name

        return tuple(token_name(self.tokenizer, id) for id in range(self.tokenizer.vocab_size))


@dataclass
class _Entry:
    path: Path
    served: Served
    opening: "asyncio.Task[Served] | None" = field(default=None)


class Models:
    """Models by name. Used from one event loop; opening is done in a thread."""

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
        """Open a model directory and return the name under which it is served; one that is served already keeps its."""
        for known, entry in self._entries.items():
            if entry.path.resolve() == path.resolve():
                return known
        name = _free_name(name or path.resolve().name, self._entries)
        self._entries[name] = _Entry(path, _open(name, path, self.device, self.precision))
        return name

    def remove(self, name: str) -> None:
        """Serve a model no longer."""
        self._entries.pop(name, None)

    def path(self, name: str) -> Path:
        """Return the directory of a model; raises ApiError for a name that there is not."""
        return self._entry(name).path

    def latest(self, name: str) -> Served:
        """Return a model as it was opened last, whatever its directory holds now; raises ApiError for no model."""
        return self._entry(name).served

    async def current(self, name: str) -> Served:
        """Return a model as its directory has it now, opened again where its weights were replaced.

        Raises ApiError for a name that there is not, and where the directory is gone or damaged.
        """
        entry = self._entry(name)
        stamp = _stamp(entry.path)
        if stamp == entry.served.stamp:
            return entry.served
        if stamp is None:
            raise ApiError(404, "model_gone", f"the files of the model {name!r} are gone", param="model")
        if entry.opening is None:
            entry.opening = asyncio.create_task(asyncio.to_thread(_open, name, entry.path, self.device, self.precision))
        opening = entry.opening
        try:
            entry.served = await asyncio.shield(opening)
        except (UserError, OSError) as error:
            log.warning("%s: %s", name, error)
            raise ApiError(
                503,
                "model_unavailable",
                f"the files of the model {name!r} have changed and cannot be read; the server's log has more",
                param="model",
                headers={"Retry-After": "1"},
            ) from None
        finally:
            if entry.opening is opening and opening.done():
                entry.opening = None
        return entry.served

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            known = ", ".join(self._entries) or "none"
            raise ApiError(
                404, "model_not_found", f"there is no model {name[:64]!r}; there are: {known}", param="model"
            )
        return self._entries[name]


def _open(name: str, path: Path, device: str, precision: Precision) -> Served:
    """Open a directory; once more where its files are replaced meanwhile, so that digest and weights fit together."""
    for _ in range(3):
        stamp = _stamp(path)
        opened = open_model(path, device, precision)
        version = weights_digest(path)
        if stamp is not None and stamp == _stamp(path):
            return Served(name, opened, version, stamp, stamp[-1][1] // 10**9)
    raise UserError(
        f"the files of {path} change while they are read", allowed="a model that rests", fix="try again in a moment"
    )


def _stamp(path: Path) -> Stamp | None:
    """Return what tells whether the files of a model were replaced; None where they are gone."""
    found = []
    for name in _FILES:
        try:
            stat = (path / name).stat()
        except OSError:
            return None
        found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _free_name(name: str, taken: Iterable[str]) -> str:
    """Return a name that can stand in a request and is not taken."""
    taken = set(taken)
    name = re.sub(r"[^A-Za-z0-9._:-]", "-", name)[:56] or "model"
    return next(
        free for number in range(1, 10**6) if (free := name if number == 1 else f"{name}-{number}") not in taken
    )

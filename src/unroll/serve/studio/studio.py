"""What the studio's routes share: its folders and the files in them, its models as they appear, its trainings."""

import asyncio
import os
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unroll.errors import UserError
from unroll.serve.context import Context
from unroll.serve.served import Served, ServedClassifier
from unroll.serve.studio.reading import Prefixes
from unroll.serve.studio.trainings import SPEEDS, Trainings
from unroll.serve.texts import Texts

MOST_MODELS = 48
"""Models of the folder that are opened, the newest first."""
OPENING = 0.4
"""Seconds of one request in which models are opened; the next request continues."""
RETRY_SECONDS = 5
"""Until a directory that could not be opened is tried again."""
MOST_VERSIONS = 8
"""Models whose states after texts are kept."""
MOST_UPLOADS = 2**28
"""Bytes of uploads that are kept; the oldest go first."""
FIRST = "first"
TEXT_ENDINGS = (
    ".txt", ".text", ".md", ".rst", ".log", ".tex", ".bib", ".html", ".xml", ".json", ".jsonl", ".csv", ".tsv",
    ".yaml", ".toml", ".py", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".js", ".ts", ".abc", ".smi",
)  # fmt: skip
MOST_FILES = 200


@dataclass(frozen=True)
class Folders:
    """What the page may reach: models and trainings in `runs`, texts to train on in `texts`."""

    runs: Path = Path("runs")
    texts: Path | None = None
    first: bool = False
    """Train a small model if there is none, so that there is something to see."""


@dataclass
class Studio:
    """What the routes share, for as long as the server runs."""

    context: Context
    folders: Folders
    texts: Texts
    scratch: Path
    trainings: Trainings
    uploads: OrderedDict[str, Path] = field(default_factory=OrderedDict)
    prefixes: OrderedDict[str, Prefixes] = field(default_factory=OrderedDict)
    briefs: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    errors: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    """The errors of each classifier about its held-out texts, with the version that makes them."""
    refused: dict[str, float] = field(default_factory=dict)
    looking: set[str] = field(default_factory=set)
    finding: asyncio.Lock = field(default_factory=asyncio.Lock)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    stopped: list[str] = field(default_factory=list)
    """The trainings that ran when the studio was closed."""

    def kept(self, served: Served) -> Prefixes:
        """Return the states kept after texts that were read with exactly these weights."""
        prefixes = self.prefixes.setdefault(served.version, Prefixes())
        self.prefixes.move_to_end(served.version)
        while len(self.prefixes) > MOST_VERSIONS:
            self.prefixes.popitem(last=False)
        return prefixes

    async def model(self, name: str) -> Served:
        """Return a language model as its directory has it now."""
        await self._find(name)
        return await self.context.models.current(name)

    async def classifier(self, name: str) -> ServedClassifier:
        """Return a classifier as its directory has it now."""
        await self._find(name)
        return await self.context.models.of_kind(name, ServedClassifier)

    async def _find(self, name: str) -> None:
        if name not in self.context.models.names():
            await find_models(self)  # it may have just appeared

    def begin(self) -> None:
        """Open the models of the folder, a few at a time, and train a first model if there is none."""

        async def opening() -> None:
            while await find_models(self):
                await asyncio.sleep(0.05)
            begin_first(self)

        self.later(opening())

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def close(self) -> None:
        """Let trainings save and stop, and remove uploads."""
        self.stopped = self.trainings.stop_all()
        shutil.rmtree(self.scratch, ignore_errors=True)


def make_studio(context: Context, folders: Folders) -> Studio:
    """Return a studio over these folders."""
    scratch = Path(tempfile.mkdtemp(prefix="unroll-studio-"))
    return Studio(context, folders, Texts(), scratch, Trainings(folders.runs.absolute(), scratch))


async def find_models(studio: Studio) -> bool:
    """Open models that have appeared in the folder, for a moment; return whether there are more.

    A directory that cannot be opened is tried again later.
    """
    clock = asyncio.get_running_loop().time
    async with studio.finding:  # two would open the same
        models, now = studio.context.models, clock()
        served = {models.latest(name).opened.path.resolve() for name in models.names()}
        for name in studio.trainings.names()[:MOST_MODELS]:
            path = studio.trainings.runs / name
            if path.resolve() in served or not (path / "model.json").is_file() or studio.refused.get(name, 0) > now:
                continue
            if clock() - now > OPENING:
                return True
            try:
                await asyncio.to_thread(models.add, path)
            except (UserError, OSError):
                studio.refused[name] = now + RETRY_SECONDS
    return False


def begin_first(studio: Studio) -> None:
    """Train a small model on the standard library, if there is no model and no training."""
    empty = not (studio.context.models.names() or studio.trainings.names())
    if studio.folders.first and empty and find_spec("torch") is not None:
        studio.trainings.start(FIRST, None, SPEEDS["first"])


def listed_files(folder: Path | None) -> Iterator[tuple[str, Path, int]]:
    """Yield the texts directly in a folder as name, path and bytes; no hidden files, no links."""
    if folder is None:
        return
    with os.scandir(folder) as entries:
        texts = sorted(
            (
                entry
                for entry in entries
                if not entry.name.startswith(".") and entry.name.lower().endswith(TEXT_ENDINGS)
            ),
            key=lambda entry: entry.name,
        )
    for entry in texts[:MOST_FILES]:
        if entry.is_file(follow_symlinks=False):
            yield entry.name, Path(entry.path), entry.stat(follow_symlinks=False).st_size


def file_stem(title: str) -> str:
    """Return the name of a text, its ending removed, as a safe name of a file: letters, digits and dashes."""
    stem = title.rsplit(".", 1)[0] if "." in title[1:] else title
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:40] or "text"

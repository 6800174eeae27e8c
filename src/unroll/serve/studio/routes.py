"""The studio's own interface, under /api: models, texts, trainings, reading, comparing and sampling for the page."""

import asyncio
import contextlib
import math
import os
import re
import secrets
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from unroll._version import __version__
from unroll.artifact.open import Opened
from unroll.errors import UserError, install
from unroll.nn.arch import ARCHITECTURES, DEFAULT
from unroll.predict.predictor import log_probabilities
from unroll.serve.context import Context
from unroll.serve.errors import ApiError, dump, invalid, json_response
from unroll.serve.inside import lazy
from unroll.serve.models import Served
from unroll.serve.studio import asked
from unroll.serve.studio.reading import Prefixes, as_typed, compared, expectations, next_of, read_text
from unroll.serve.studio.sampling import MOST_COLUMNS, MOST_LENGTH, Pin, clamped_predictor, shown, written
from unroll.serve.studio.trainings import MOST_MINUTES, MOST_STEPS, SPEEDS, Plan, Trainings
from unroll.serve.texts import Passage, Texts, passage

TEXT_ENDINGS = (
    ".txt", ".text", ".md", ".rst", ".log", ".tex", ".bib", ".html", ".xml", ".json", ".jsonl", ".csv", ".tsv",
    ".yaml", ".toml", ".py", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".js", ".ts", ".abc", ".smi",
)  # fmt: skip
MOST_FILES = 200
MOST_UPLOADS = 2**28
"""Bytes of texts that were sent to be trained on."""
MOST_MODELS = 48
"""Of the folder that are opened, the newest."""
OPENING = 0.4
"""Seconds of one request in which models are opened; the rest comes with the next."""
FIRST = "first"
MOST_PINS = 16
"""Units held at a time."""


@dataclass(frozen=True)
class Folders:
    """What the page may reach: models and trainings in `runs`, texts to train on directly in `texts`."""

    runs: Path = Path("runs")
    texts: Path | None = None
    first: bool = False
    """Train a small model where there is none, so that there is something to see."""


@dataclass
class Studio:
    """What the routes share."""

    context: Context
    folders: Folders
    texts: Texts
    scratch: Path
    trainings: Trainings
    uploads: OrderedDict[str, Path] = field(default_factory=OrderedDict)
    prefixes: OrderedDict[str, Prefixes] = field(default_factory=OrderedDict)
    briefs: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    refused: dict[str, float] = field(default_factory=dict)
    looking: set[str] = field(default_factory=set)
    finding: asyncio.Lock = field(default_factory=asyncio.Lock)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    stopped: list[str] = field(default_factory=list)
    """The trainings that ran when it was closed."""

    def kept(self, served: Served) -> Prefixes:
        """Return the states after texts that were read with these very weights."""
        found = self.prefixes.setdefault(served.version, Prefixes())
        self.prefixes.move_to_end(served.version)
        while len(self.prefixes) > 8:
            self.prefixes.popitem(last=False)
        return found

    async def model(self, name: str) -> Served:
        """Return a model as its directory has it now."""
        if name not in self.context.models.names():
            await find_models(self)  # one that has just appeared
        return await self.context.models.current(name)

    def begin(self) -> None:
        """Open what is in the folder, a little at a time, and train a first model where there is none."""

        async def opening() -> None:
            while await find_models(self):
                await asyncio.sleep(0.05)
            begin_first(self)

        self.later(opening())

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside everything else."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def close(self) -> None:
        """Let trainings save and stop, and remove what was sent."""
        self.stopped = self.trainings.stop_all()
        shutil.rmtree(self.scratch, ignore_errors=True)


def make_studio(context: Context, folders: Folders) -> Studio:
    """Return a studio over these folders."""
    scratch = Path(tempfile.mkdtemp(prefix="unroll-studio-"))
    return Studio(context, folders, Texts(), scratch, Trainings(folders.runs.absolute(), scratch))


def routes(studio: Studio) -> list[BaseRoute]:
    """Return the routes, with those that look inside networks."""
    own: list[tuple[str, Callable[[Studio, Request], Awaitable[Response]], str]] = [
        ("/info", info, "GET"),
        ("/texts", keep_text, "POST"),
        ("/texts/{id}", find_text, "GET"),
        ("/passage", own_passage, "POST"),
        ("/read", read_along, "POST"),
        ("/next", what_next, "POST"),
        ("/compare", compare, "POST"),
        ("/sample", sample, "POST"),
        ("/files", files, "GET"),
        ("/uploads", upload, "POST"),
        ("/train", train, "POST"),
        ("/runs/{name}", watch, "GET"),
        ("/runs/{name}/{action}", act, "POST"),
    ]
    found = [Route(path, partial(handler, studio), methods=[method]) for path, handler, method in own]
    return [*found, *lazy.routes(studio.context)]


# ---- Models


async def info(studio: Studio, request: Request) -> Response:
    """Tell what there is: models, trainings, limits."""
    more = await find_models(studio)
    begin_first(studio)
    models = []
    for name in reversed(studio.context.models.names()):
        try:
            models.append(brief(studio, await studio.model(name)))
        except ApiError as error:
            if error.code == "model_gone":
                studio.context.models.remove(name)
    newest = {name: k for k, name in enumerate(studio.trainings.names())}
    settings = studio.context.settings
    return json_response({
        "version": __version__,
        "models": sorted(models, key=lambda model: newest.get(model["name"], len(newest))),
        "architectures": {name: {"label": a.label, "colour": a.colour} for name, a in ARCHITECTURES.items()},
        "more": more,
        "trainings": studio.trainings.brief(),
        "can_train": find_spec("torch") is not None,
        "folder": str(studio.folders.runs),
        "texts": None if studio.folders.texts is None else str(studio.folders.texts),
        "needs_key": bool(settings.api_keys),
        "limits": {"upload": settings.max_upload, "body": settings.max_body, "tokens": settings.max_tokens},
    })  # fmt: skip


async def find_models(studio: Studio) -> bool:
    """Open what has appeared in the folder of models, for a moment; returns whether there are more.

    What cannot be opened is tried again later.
    """
    clock = asyncio.get_running_loop().time
    async with studio.finding:  # else two would open the same
        models, now = studio.context.models, clock()
        known = {models.path(name).resolve() for name in models.names()}
        for name in studio.trainings.names()[:MOST_MODELS]:
            path = studio.trainings.runs / name
            if path.resolve() in known or not (path / "model.json").is_file() or studio.refused.get(name, 0) > now:
                continue
            if clock() - now > OPENING:
                return True
            try:
                await asyncio.to_thread(models.add, path)
            except (UserError, OSError):
                studio.refused[name] = now + 5
    return False


def begin_first(studio: Studio) -> None:
    """Where there is no model and nothing trains, let a small one learn the standard library."""
    there = studio.context.models.names() or studio.trainings.names()
    if studio.folders.first and not there and find_spec("torch") is not None:
        studio.trainings.start(Plan(FIRST, None, tuple(SPEEDS["first"])))


def brief(studio: Studio, served: Served) -> dict[str, Any]:
    """Return what a model is, in short."""
    if (known := studio.briefs.get(served.name)) is not None and known[0] == served.version + str(served.stamp):
        return known[1]
    description = served.opened.description
    shape, result = description["model"], description.get("result") or {}
    arch, level = str(shape.get("arch")), str(description["level"])
    architecture = ARCHITECTURES.get(arch)
    nats, kept = result.get("valid_nats_per_token"), served.info
    if nats is None:
        nats = kept.get("valid_nats")
    layers, units = shape.get("num_layers") or 0, shape.get("hidden_size") or 0
    size = f"{layers} × {units}" if layers and layers > 1 else f"{units}"
    kind = f"{shape.get('order')}-gram" if arch == "ngram" else f"{architecture.label if architecture else arch} {size}"
    made = {
        "name": served.name,
        "arch": arch,
        "level": level,
        "layers": layers,
        "units": units,
        "signals": list(architecture.signals if architecture else ()),
        "unbounded": list(architecture.unbounded if architecture else ()),
        "vocab_size": served.tokenizer.vocab_size,
        "parameters": description["parameters"],
        "kind": kind,
        "version": served.version[:12],
        "step": kept.get("step"),
        "bits": None if nats is None or not math.isfinite(nats) else nats / math.log(2),
        "bits_unit": {"char": "bits per character", "byte": "bits per byte", "word": "bits per word"}.get(
            level, "bits per piece"
        ),
        "finished": bool(result),
        "brief": f"{kind}, {description['parameters']:,} weights",
    }
    studio.briefs[served.name] = (served.version + str(served.stamp), made)
    return made


# ---- Texts


async def keep_text(studio: Studio, request: Request) -> Response:
    """Keep a long text under a short name."""
    return json_response({"id": studio.texts.keep(asked.text(asked.body(request), "text"))})


async def find_text(studio: Studio, request: Request) -> Response:
    """Return a text that was kept."""
    return json_response({"text": studio.texts.find(request.path_params["id"])})


async def own_passage(studio: Studio, request: Request) -> Response:
    """Return a piece of the text that a model was validated on."""
    wanted = asked.body(request)
    served = await studio.model(asked.text(wanted, "model"))
    length = asked.whole(wanted, "length", 400, 1, 5000)

    def found(opened: Opened) -> Passage:
        begin = passage(opened, 0, 1)
        # Not the beginning, which is often a title; the line that is begun is left out.
        return passage(opened, begin.total * 3 // 8, 2 * length)

    _, some = await studio.context.models.read(served.name, found)
    lines = some.content.split("\n", 1)
    content = (lines[1] if len(lines) > 1 and len(lines[1]) >= length // 2 else some.content)[:length]
    return json_response({"text": content.strip("\n").rstrip() or content, "source": some.source})


async def read_along(studio: Studio, request: Request) -> Response:
    """Read a text from some symbol on: what was expected at each, and what comes next."""
    wanted = asked.body(request)
    served = await studio.model(asked.text(wanted, "model"))
    content, since = asked.text(wanted, "text", ""), asked.whole(wanted, "since", 0, 0, 2**31)
    at = None if wanted.get("at") is None else asked.whole(wanted, "at", None, 0, 2**31)
    read = partial(as_typed, served.opened, content, since, studio.kept(served), at=at)
    return json_response({"version": served.version[:12]} | await asyncio.to_thread(read))


async def what_next(studio: Studio, request: Request) -> Response:
    """Tell what may come after a prompt, and symbols by their ids."""
    wanted = asked.body(request)
    served = await studio.model(asked.text(wanted, "model"))

    def said() -> dict[str, Any]:
        ids = prompt_of(served, wanted)
        *_, (_, logits) = expectations(served.opened, ids, len(ids), studio.kept(served))
        return next_of(served.tokenizer, log_probabilities(logits[-1]))

    return json_response(await asyncio.to_thread(said))


async def compare(studio: Studio, request: Request) -> Response:
    """Read one text with two models."""
    wanted = asked.body(request)
    one, other = [await studio.model(asked.text(wanted, name)) for name in ("a", "b")]
    content = asked.text(wanted, "text")
    both = partial(compared, one.opened, other.opened, content, (studio.kept(one), studio.kept(other)))
    return json_response(await asyncio.to_thread(both))


async def sample(studio: Studio, request: Request) -> Response:
    """Write several texts after a prompt, as lines of JSON that come as they are drawn."""
    wanted = asked.body(request)
    served = await studio.model(asked.text(wanted, "model"))
    options = asked.options(wanted)
    length = asked.whole(wanted, "length", 300, 1, MOST_LENGTH)
    columns = asked.whole(wanted, "columns", 1, 1, MOST_COLUMNS)
    pins = [pin(one) for one in asked.listed(wanted, "pins", dict, MOST_PINS)]
    clamped = None
    if pins:  # the network is read once more, by torch: it must be the one that is served
        served, clamped = await studio.context.models.read(
            served.name, lambda opened: clamped_predictor(opened.path, pins)
        )
    prompt = await asyncio.to_thread(prompt_of, served, wanted)
    pieces = written(served.opened, prompt, length, options, columns, studio.kept(served), clamped)

    async def lines() -> AsyncIterator[bytes]:
        yield dump({"version": served.version[:12], "prompt": len(prompt)}) + b"\n"
        try:
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield dump({"columns": shown(served.tokenizer, piece)}) + b"\n"
                await asyncio.sleep(0)
        except UserError as error:
            yield dump({"error": {"message": str(error)}}) + b"\n"
        yield dump({"done": True}) + b"\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})


def prompt_of(served: Served, wanted: dict[str, Any]) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return the ids of a prompt: those of a text, and then those that were sent as ids."""
    ids, _, _ = read_text(served.opened, asked.text(wanted, "prompt", ""))
    more = asked.listed(wanted, "ids", int, 20_000)
    if any(not 0 <= id < served.tokenizer.vocab_size for id in more):
        raise invalid("ids are numbers of symbols", "ids")
    if not len(ids) + len(more) <= 20_000:
        raise invalid("the prompt is too long", "prompt")
    return np.concatenate([ids, np.array(more, np.int64)])


def pin(wanted: dict[str, Any]) -> Pin:
    """Return a unit to be held."""
    return Pin(
        asked.whole(wanted, "layer", None, 0, 1000),
        asked.choice(wanted, "signal", "c", ("c", "h")),
        asked.whole(wanted, "unit", None, 0, 10**6),
        asked.real(wanted, "value", None, -100.0, 100.0),
    )


# ---- Trainings


def listed_files(folder: Path | None) -> Iterator[tuple[str, Path, int]]:
    """Yield the texts that lie directly in a folder: name, path, bytes; no hidden ones, no links."""
    if folder is None:
        return
    with os.scandir(folder) as entries:
        found = sorted(
            (
                entry
                for entry in entries
                if not entry.name.startswith(".") and entry.name.lower().endswith(TEXT_ENDINGS)
            ),
            key=lambda entry: entry.name,
        )
    for entry in found[:MOST_FILES]:
        if entry.is_file(follow_symlinks=False):
            yield entry.name, Path(entry.path), entry.stat(follow_symlinks=False).st_size


async def files(studio: Studio, request: Request) -> Response:
    """List the texts of the folder that the page may train on."""
    found = await asyncio.to_thread(lambda: list(listed_files(studio.folders.texts)))
    return json_response({"files": [{"name": name, "bytes": size} for name, _, size in found if size]})


async def upload(studio: Studio, request: Request) -> Response:
    """Keep a text that was sent, to be trained on: data, never run."""
    wanted = await asyncio.to_thread(asked.body, request)
    content = asked.text(wanted, "text", most=studio.context.settings.max_upload)
    if not content.strip():
        raise UserError("the text is empty", allowed="a text to learn from", fix="choose another file, or paste a text")
    id = secrets.token_urlsafe(12)
    path = studio.scratch / id / f"{file_name(asked.text(wanted, 'name', 'text', most=200))}.txt"
    path.parent.mkdir()
    data = content.encode("utf-8", "replace")
    await asyncio.to_thread(path.write_bytes, data)
    studio.uploads[id] = path
    while len(studio.uploads) > 1 and sum(one.stat().st_size for one in studio.uploads.values()) > MOST_UPLOADS:
        shutil.rmtree(studio.uploads.popitem(last=False)[1].parent, ignore_errors=True)
    return json_response({"id": id, "name": path.stem, "chars": len(content), "bytes": len(data)})


def file_name(wanted: str) -> str:
    """Return the name of a text as the name of a file: what stands before its ending, letters and digits."""
    return (
        re.sub(r"[^A-Za-z0-9_-]+", "-", wanted.rsplit(".", 1)[0] if "." in wanted[1:] else wanted).strip("-")[:40]
        or "text"
    )


async def train(studio: Studio, request: Request) -> Response:
    """Start a training on a text that was sent, a file of the folder, or the standard library."""
    wanted = asked.body(request)
    if find_spec("torch") is None:
        raise UserError("training needs PyTorch", allowed="reading and sampling without", fix=install("train"))
    source = asked.choice(wanted, "source", "demo", ("upload", "file", "demo"))
    file, title = None, "python-stdlib"
    if source == "upload":
        file = studio.uploads.get(asked.text(wanted, "upload"))
        if file is None:
            raise UserError("the text is not here any more", allowed="a text that was just sent", fix="send it again")
        title = file.stem
    elif source == "file":
        there = {name: path for name, path, _ in listed_files(studio.folders.texts)}
        name = asked.text(wanted, "file")
        if name not in there:
            raise UserError(f"there is no text {name[:80]!r}", allowed="a listed file", fix="choose another")
        file, title = there[name], file_name(name)
    choices = chosen(wanted)
    name = asked.text(wanted, "name", "", most=56) or studio.trainings.free_name(title)
    studio.trainings.start(Plan(name, file, tuple(choices)))
    return json_response({"name": name})


def chosen(wanted: dict[str, Any]) -> list[str]:
    """Return the choices of a request as arguments of `unroll train`."""
    if wanted.get("speed") is not None:
        return list(SPEEDS[asked.choice(wanted, "speed", "first", tuple(SPEEDS))])
    arguments = ["--arch", asked.choice(wanted, "arch", DEFAULT, tuple(ARCHITECTURES))]
    arguments += ["--level", asked.choice(wanted, "level", "char", ("char", "byte", "word", "bpe"))]
    if wanted.get("steps") is not None:
        arguments += ["--steps", str(asked.whole(wanted, "steps", None, 1, MOST_STEPS))]
    else:
        arguments += ["--minutes", f"{asked.real(wanted, 'minutes', 3.0, 0.05, MOST_MINUTES):g}"]
    if wanted.get("hidden_size") is not None:
        arguments += ["--set", f"hidden_size={asked.whole(wanted, 'hidden_size', None, 8, 4096)}"]
    if wanted.get("num_layers") is not None:
        arguments += ["--set", f"num_layers={asked.whole(wanted, 'num_layers', None, 1, 8)}"]
    return [*arguments, "--seed", str(asked.whole(wanted, "seed", 0, 0, 2**53))]


async def watch(studio: Studio, request: Request) -> Response:
    """Tell what happened in a training since the last time."""
    name = request.path_params["name"]
    seen = [count(request, key) for key in ("turn", "events", "samples")]
    answer = studio.trainings.watch(name, *seen)
    if not studio.trainings.knows_text(name) and name not in studio.looking and answer["state"] != "starting":
        studio.looking.add(name)
        studio.later(look(studio, name))
    return json_response(answer)


async def look(studio: Studio, name: str) -> None:
    """Look at the text of a training, beside everything else."""
    try:
        with contextlib.suppress(UserError, OSError):
            await asyncio.to_thread(studio.trainings.look_at_text, name)
    finally:
        studio.looking.discard(name)


async def act(studio: Studio, request: Request) -> Response:
    """Pause a training, go on with it, or keep the model as it is now."""
    name, action = request.path_params["name"], request.path_params["action"]
    trainings = studio.trainings
    if action == "pause":
        trainings.pause(name)
    elif action == "resume":
        trainings.resume(name)
    elif action == "keep":
        return json_response({"name": await asyncio.to_thread(trainings.keep, name)})
    else:
        raise ApiError(404, "not_found", "a training is paused, resumed or kept")
    return json_response({"state": trainings.state(name)})


def count(request: Request, name: str) -> int:
    """Return a number of an address, 0 where it is missing."""
    value = request.query_params.get(name, "0")
    if not (value.isascii() and value.isdigit() and len(value) < 12):
        raise invalid(f"{name} is a whole number", name)
    return int(value)

"""The routes of the studio's page, under /api: models, texts, trainings; reading, sampling, labels, looking inside."""

import asyncio
import contextlib
import math
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Receive, Scope, Send

from unroll._version import __version__
from unroll.artifact.directory import data_path
from unroll.artifact.info import chars_per_token
from unroll.artifact.open import Opened
from unroll.data.corpus import load_corpus
from unroll.errors import UserError, install
from unroll.lm.sample import SampleOptions
from unroll.nn.arch import ARCHITECTURES
from unroll.predict.predictor import log_probabilities
from unroll.serve.batching.stops import BEFORE
from unroll.serve.context import Context
from unroll.serve.errors import ApiError, dump, invalid, json_response, of_user_error
from unroll.serve.fields import check_ids, posted, read_query
from unroll.serve.served import Served
from unroll.serve.studio import labels, tables, tasks
from unroll.serve.studio.reading import MOST, Ids, as_typed, compared, expectations, next_of, read_text
from unroll.serve.studio.sampling import clamped_predictor, written
from unroll.serve.studio.studio import MOST_UPLOADS, Studio, begin_first, file_stem, find_models, listed_files
from unroll.serve.studio.trainings import SPEEDS
from unroll.serve.texts import SURROGATES, Passage, passage, unknown


def routes(studio: Studio) -> list[BaseRoute]:
    """Return the routes, those that look inside networks among them."""
    handlers: list[tuple[str, Callable[[Studio, Request], Awaitable[Response]], str]] = [
        ("/info", info, "GET"),
        ("/texts", keep_text, "POST"),
        ("/texts/{id}", find_text, "GET"),
        ("/passage", own_passage, "POST"),
        ("/read", read_along, "POST"),
        ("/next", what_next, "POST"),
        ("/compare", compare, "POST"),
        ("/sample", sample, "POST"),
        ("/labels", labels.answer, "POST"),
        ("/errors", labels.answer_errors, "POST"),
        ("/files", files, "GET"),
        ("/uploads", upload, "POST"),
        ("/train", train, "POST"),
        ("/runs/{name}", watch, "GET"),
        ("/runs/{name}/{action}", act, "POST"),
    ]
    own = [Route(path, partial(handler, studio), methods=[method]) for path, handler, method in handlers]
    return [*own, Mount("/inside", app=Inside(studio.context))]


# ---- Models


async def info(studio: Studio, request: Request) -> Response:
    """Return the language models, the models of tasks, the trainings and the limits."""
    more = await find_models(studio)
    begin_first(studio)
    models, of_tasks = [], []
    for name in reversed(studio.context.models.names()):
        try:
            served = await studio.context.models.reopened(name)
            if isinstance(served, Served):
                models.append(brief(studio, served))
            else:
                of_tasks.append(tasks.brief(served))
        except ApiError as error:
            if error.code == "model_gone":
                studio.context.models.remove(name)
    newest = {name: k for k, name in enumerate(studio.trainings.names())}
    models, of_tasks = [
        sorted(some, key=lambda model: newest.get(model["name"], len(newest))) for some in (models, of_tasks)
    ]
    settings = studio.context.settings
    return json_response({
        "version": __version__,
        "models": models,
        "tasks": of_tasks,
        "architectures": {name: {"label": a.label, "colour": a.colour} for name, a in ARCHITECTURES.items()},
        "more": more,
        "trainings": studio.trainings.brief(),
        "can_train": find_spec("torch") is not None,
        "folder": str(studio.folders.runs),
        "texts": None if studio.folders.texts is None else str(studio.folders.texts),
        "needs_key": bool(settings.api_keys),
        "limits": {"upload": settings.max_upload, "body": settings.max_body, "tokens": settings.max_tokens},
    })  # fmt: skip


def brief(studio: Studio, served: Served) -> dict[str, Any]:
    """Return a summary of a language model."""
    version = served.version + str(served.stamp)
    if (entry := studio.briefs.get(served.name)) is not None and entry[0] == version:
        return entry[1]
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
    summary = {
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
        "nats": nats if nats is not None and math.isfinite(nats) else None,
        "chars_per_token": chars_of(served, level),
        "finished": bool(result),
        "brief": f"{kind}, {description['parameters']:,} {'n-grams' if arch == 'ngram' else 'weights'}",
    }
    studio.briefs[served.name] = (version, summary)
    return summary


def chars_of(served: Served, level: str) -> float | None:
    """Return the characters of a validation token of a model, as `unroll info` does."""
    folder = data_path(served.opened.path)
    try:
        return chars_per_token(level, load_corpus(folder).info if folder.is_dir() else None)
    except UserError:  # its text is damaged, not the model
        return chars_per_token(level, None)


# ---- Texts


async def keep_text(studio: Studio, request: Request) -> Response:
    """Keep a long text under a short name."""
    return json_response({"id": studio.texts.keep((await posted(request, tables.KEEP_TEXT))["text"])})


async def find_text(studio: Studio, request: Request) -> Response:
    """Return a text that was kept."""
    return json_response({"text": studio.texts.find(request.path_params["id"])})


async def own_passage(studio: Studio, request: Request) -> Response:
    """Return a piece of the text that a model was validated on."""
    fields = await posted(request, tables.PASSAGE)
    served, length = await studio.model(fields["model"]), fields["length"]

    def middle(opened: Opened) -> Passage:
        total = passage(opened, 0, 1).total
        return passage(opened, total * 3 // 8, 2 * length)  # not the beginning, which is often a title

    _, piece = await studio.context.models.read(served.name, middle)
    lines = piece.content.split("\n", 1)  # without the line that it begins in
    content = (lines[1] if len(lines) > 1 and len(lines[1]) >= length // 2 else piece.content)[:length]
    return json_response({"text": content.strip("\n").rstrip() or content, "source": piece.source})


async def read_along(studio: Studio, request: Request) -> Response:
    """Read a text from a symbol on: what was expected at each, and what comes next."""
    fields = await posted(request, tables.READ)
    served = await studio.model(fields["model"])
    read = partial(as_typed, served.opened, fields["text"], fields["since"], studio.kept(served), at=fields["at"])
    return json_response({"version": served.version[:12]} | await asyncio.to_thread(read))


async def what_next(studio: Studio, request: Request) -> Response:
    """Return what may follow a prompt: a text, and ids after it."""
    fields = await posted(request, tables.NEXT)
    served = await studio.model(fields["model"])

    def distribution() -> dict[str, Any]:
        ids, spaced = prompt_ids(served, fields)
        *_, (_, logits) = expectations(served.opened, ids, len(ids), studio.kept(served))
        return next_of(served.tokenizer, log_probabilities(logits[-1]), ids, spaced=spaced)

    return json_response(await asyncio.to_thread(distribution))


async def compare(studio: Studio, request: Request) -> Response:
    """Read one text with two models."""
    fields = await posted(request, tables.COMPARE)
    first, second = [await studio.model(fields[name]) for name in ("a", "b")]
    prefixes = studio.kept(first), studio.kept(second)
    work = partial(compared, first.opened, second.opened, fields["text"], prefixes)
    return json_response(await asyncio.to_thread(work))


async def sample(studio: Studio, request: Request) -> Response:
    """Write several texts after a prompt, as lines of JSON that arrive as they are drawn."""
    fields = await posted(request, tables.SAMPLE)
    served = await studio.model(fields["model"])
    options = SampleOptions(**{name: fields[name] for name in ("temperature", "top_k", "top_p", "min_p", "seed")})
    clamped = None
    if pins := fields["pins"]:  # torch reads the network again: it must be the one that is served
        served, clamped = await studio.context.models.read(
            served.name, lambda opened: clamped_predictor(opened.path, pins)
        )
    prompt, spaced = await asyncio.to_thread(prompt_ids, served, fields)
    kept, length, columns = studio.kept(served), fields["length"], fields["columns"]
    pieces = written(served.opened, prompt, length, options, columns, kept, clamped, spaced=spaced)

    async def lines() -> AsyncIterator[bytes]:
        notes = unknown(served.tokenizer, fields["prompt"])
        yield dump({"version": served.version[:12], "prompt": len(prompt), "notes": notes}) + b"\n"
        try:
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield dump({"columns": piece}) + b"\n"
                await asyncio.sleep(0)
        except UserError as error:
            yield dump(of_user_error(error).body()) + b"\n"
        yield dump({"done": True}) + b"\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})


def prompt_ids(served: Served, fields: dict[str, Any]) -> tuple[Ids, bool]:
    """Return the ids of a prompt, and whether a space stands after them: those of its text, then those sent as ids."""
    tokenizer, more, prompt = served.tokenizer, fields["ids"], SURROGATES.sub("\ufffd", fields["prompt"])
    check_ids(more, tokenizer.vocab_size, "ids")
    ids = np.concatenate([read_text(served.opened, tokenizer.to_continue(prompt))[0], np.array(more, np.int64)])
    if len(ids) > MOST:
        raise invalid(f"the prompt has {len(ids):,} symbols", f"up to {MOST:,}", "shorten it", "prompt")
    if more:  # the page shows each symbol with the space that it ends with
        return ids, tokenizer.decoder_after(more[-BEFORE:]).flush() == " "
    return ids, tokenizer.leaves_space(prompt, ids.tolist())


# ---- Trainings


async def files(studio: Studio, request: Request) -> Response:
    """List the texts of the folder that the page may train on."""
    texts = await asyncio.to_thread(lambda: list(listed_files(studio.folders.texts)))
    return json_response({"files": [{"name": name, "bytes": size} for name, _, size in texts if size]})


async def upload(studio: Studio, request: Request) -> Response:
    """Keep an uploaded text to train on: it is data, never run."""
    fields = await posted(request, tables.upload_table(studio.context.settings.max_upload))
    content = fields["text"]
    if not content.strip():
        raise UserError("the text is empty", allowed="a text to learn from", fix="choose another file, or paste a text")
    id = secrets.token_urlsafe(12)
    path = studio.scratch / id / f"{file_stem(fields['name'])}.txt"
    path.parent.mkdir()
    data = content.encode("utf-8", "replace")
    await asyncio.to_thread(path.write_bytes, data)
    studio.uploads[id] = path
    while len(studio.uploads) > 1 and sum(file.stat().st_size for file in studio.uploads.values()) > MOST_UPLOADS:
        shutil.rmtree(studio.uploads.popitem(last=False)[1].parent, ignore_errors=True)
    return json_response({"id": id, "name": path.stem, "chars": len(content), "bytes": len(data)})


async def train(studio: Studio, request: Request) -> Response:
    """Start a training on an upload, a file of the folder, or the standard library."""
    fields = await posted(request, tables.TRAIN)
    if find_spec("torch") is None:
        raise UserError("training needs PyTorch", allowed="reading and sampling without", fix=install("train"))
    file, title = None, "python-stdlib"
    if fields["source"] == "upload":
        file = studio.uploads.get(fields["upload"] or "")
        if file is None:
            raise UserError("the upload is no longer kept", allowed="a recent upload", fix="send it again")
        title = file.stem
    elif fields["source"] == "file":
        texts = {name: path for name, path, _ in listed_files(studio.folders.texts)}
        name = fields["file"] or ""
        if name not in texts:
            raise UserError(f"there is no text {name[:80]!r}", allowed="a listed file", fix="choose another")
        file, title = texts[name], file_stem(name)
    name = fields["name"] or studio.trainings.free_name(title)
    studio.trainings.start(name, file, train_arguments(fields))
    return json_response({"name": name})


def train_arguments(fields: dict[str, Any]) -> tuple[str, ...]:
    """Return the choices of a request as arguments of `unroll train`."""
    if fields["speed"] is not None:
        return tuple(SPEEDS[fields["speed"]])
    arguments = ["--arch", fields["arch"], "--level", fields["level"]]
    if fields["steps"] is not None:
        arguments += ["--steps", str(fields["steps"])]
    else:
        arguments += ["--minutes", f"{fields['minutes']:g}"]
    for name in ("hidden_size", "num_layers"):
        if fields[name] is not None:
            arguments += ["--set", f"{name}={fields[name]}"]
    return (*arguments, "--seed", str(fields["seed"]))


async def watch(studio: Studio, request: Request) -> Response:
    """Return what happened in a training since the last time."""
    name = request.path_params["name"]
    answer = studio.trainings.watch(name, **read_query(request, tables.WATCH))
    if studio.trainings.unmeasured(name) and name not in studio.looking and answer["state"] != "starting":
        studio.looking.add(name)
        studio.later(look(studio, name))
    return json_response(answer)


async def look(studio: Studio, name: str) -> None:
    """Measure the text and the samples of a training, in the background."""
    try:
        with contextlib.suppress(UserError, OSError):
            await asyncio.to_thread(studio.trainings.look, name)
    finally:
        studio.looking.discard(name)


async def act(studio: Studio, request: Request) -> Response:
    """Pause a training, resume it, or keep a copy of the model as it is now."""
    name, action = request.path_params["name"], request.path_params["action"]
    trainings = studio.trainings
    if action == "pause":
        trainings.pause(name)
    elif action == "resume":
        trainings.resume(name)
    elif action == "keep":
        return json_response({"name": await asyncio.to_thread(trainings.keep, name)})
    else:
        raise ApiError(
            404,
            "not_found",
            f"there is no action {ascii(action)[:64]} of a training",
            allowed="pause, resume, keep",
            fix="choose one of these",
        )
    return json_response({"state": trainings.state(name)})


# ---- Inside


class Inside:
    """Passes requests to the routes that need torch, loaded at the first; UserError where it is missing."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._loading = asyncio.Lock()
        self._router: Router | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if find_spec("torch") is None:
            raise UserError(
                "looking inside a network needs PyTorch, which is not installed",
                allowed="the other screens",
                fix=install("train"),
            )
        async with self._loading:
            if self._router is None:
                module = await asyncio.to_thread(import_module, "unroll.serve.inside.routes")
                self._router = Router(module.routes(self.context))
        await self._router(scope, receive, send)

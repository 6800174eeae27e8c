"""The routes with which the page looks into a network; they need torch."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from unroll.artifact.open import Opened
from unroll.artifact.snapshot import Changed
from unroll.errors import UserError
from unroll.insight.cells.measure import MOST as MOST_SEARCHED
from unroll.insight.cells.measure import Read
from unroll.insight.cells.properties import PROPERTIES, Labels, Text
from unroll.insight.memory.contexts import MOST as MOST_MEASURED
from unroll.insight.trace import network_of
from unroll.nn.arch import ARCHITECTURES, DEFAULT
from unroll.predict.torch import TorchPredictor
from unroll.progress import Work, result
from unroll.serve.context import Context
from unroll.serve.errors import invalid, json_response
from unroll.serve.inside import find, memory, similar, trace, unrolled
from unroll.serve.inside.jobs import Job, Jobs
from unroll.serve.json_body import parse_object
from unroll.serve.models import TRIES, Served, changing, read_beside
from unroll.serve.texts import PASSAGE, Passage, Texts, passage, read, surfaces, unknown

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]

MOST_TRACES = 2**29
"""Bytes of traces that are kept; those not asked for the longest go first."""
MOST_VECTORS = 8
"""Texts whose sentences are kept as vectors."""
MOST_MODELS = 4
"""Side by side."""
MOST_RUNS = 20_000
"""Of painted labels."""
MOST_TOP = 50
GIVEN = "your text"


@dataclass
class Inside:
    """What the routes share: models by name, texts, and what was computed and may be asked for again."""

    context: Context
    texts: Texts = field(default_factory=Texts)
    jobs: Jobs = field(default_factory=Jobs)
    searched: dict[object, Read] = field(default_factory=dict)
    opened: OrderedDict[str, Opened] = field(default_factory=OrderedDict)
    traces: OrderedDict[tuple[str, str], trace.Seen] = field(default_factory=OrderedDict)
    vectors: OrderedDict[object, tuple[list[similar.Sentence], similar.Vectors, list[str]]] = field(
        default_factory=OrderedDict
    )

    async def model(self, name: str) -> Served:
        """Return a model as its directory has it now, with torch: the engine that serves has no gates or gradients."""
        for _ in range(TRIES):
            served = await self.context.models.current(name)
            if (opened := self.opened.get(served.version)) is None:
                try:
                    read = await self.apart(partial(read_beside, served, in_torch))
                except Changed:
                    continue
                opened = self.opened[served.version] = replace(read, path=served.opened.path)
                while len(self.opened) > MOST_MODELS:
                    self.opened.popitem(last=False)
            return replace(served, opened=opened)
        raise changing(name)

    async def models(self, names: object) -> list[Served]:
        """Return several models by name, each once."""
        if not isinstance(names, list) or not 1 <= len(names) <= MOST_MODELS:
            raise invalid(f"models is a list of 1 to {MOST_MODELS} names", "models")
        return [await self.model(of_kind(name, "models", str)) for name in dict.fromkeys(map(str, names))]

    async def apart(self, work: Callable[[], T]) -> T:
        """Do something in the thread for analyses, which does one thing at a time."""
        return await asyncio.get_running_loop().run_in_executor(self.context.worker, work)

    def source(self, opened: Opened, body: dict[str, Any], most: int) -> tuple[str, Passage]:
        """Return name and content of the text of a request: given, known by its name, or a part of the model's own."""
        if (content := body.get("text")) is not None:
            content = of_kind(content, "text", str)
            return self.texts.keep(content), Passage(content, GIVEN, 0, len(content))
        if (name := body.get("id")) is not None:
            content = self.texts.find(of_kind(name, "id", str))
            return of_kind(name, "id", str), Passage(content, GIVEN, 0, len(content))
        part = of_kind(body.get("part", {}), "part", dict)
        first, length = (whole(part, name, default) for name, default in (("first", 0), ("length", PASSAGE)))
        found = passage(opened, first, min(length, most))
        return self.texts.keep(found.content), found

    def seen(self, served: Served, name: str) -> trace.Seen:
        """Return the trace of a text that is kept under a name, made anew where it is not there any more."""
        key = (served.version, name)
        if key not in self.traces:
            text = read(served.opened, GIVEN, self.texts.find(name), trace.MOST)
            self.traces[key] = trace.look(served.opened, text)
        self.traces.move_to_end(key)
        while len(self.traces) > 1 and sum(one.nbytes for one in self.traces.values()) > MOST_TRACES:
            self.traces.popitem(last=False)
        return self.traces[key]

    def sentences(
        self, served: Served, name: str, pool: Any
    ) -> tuple[list[similar.Sentence], similar.Vectors, list[str]]:
        """Return the sentences of a text with their vectors, and notes."""
        key = (served.version, name, pool)
        if key not in self.vectors:
            known, notes = similar.sentences(self.texts.find(name))
            if len(known) < 2:
                raise UserError(
                    f"the text has {len(known)} sentences", allowed="2 or more", fix="give a text of several lines"
                )
            self.vectors[key] = (known, similar.vectors(served.opened, [one.read for one in known], pool), notes)
        self.vectors.move_to_end(key)
        while len(self.vectors) > MOST_VECTORS:
            self.vectors.popitem(last=False)
        return self.vectors[key]


def routes(context: Context) -> list[Route]:
    """Return the routes; analyses run in the context's thread, long ones in one of their own."""
    inside = Inside(context)
    return [
        Route("/properties", properties),
        Route("/open", partial(open_text, inside), methods=["POST"]),
        Route("/heat", partial(heat, inside)),
        Route("/unit", partial(unit, inside)),
        Route("/gates", partial(gates, inside)),
        Route("/range", partial(on_here, inside), methods=["POST"]),
        Route("/labels", partial(labels, inside), methods=["POST"]),
        Route("/find", partial(find_units, inside), methods=["POST"]),
        Route("/memory", partial(measure_memory, inside), methods=["POST"]),
        Route("/depends", partial(depends, inside), methods=["POST"]),
        Route("/similar", partial(similar_sentences, inside), methods=["POST"]),
        Route("/unrolled", partial(unroll_texts, inside), methods=["POST"]),
        Route("/jobs/{id}", partial(job_state, inside)),
        Route("/jobs/{id}/cancel", partial(job_cancel, inside), methods=["POST"]),
    ]


# ---- Cells


async def properties(request: Request) -> Response:
    """Name the properties that cells may track."""
    return json_response([{"name": name, "what": what} for name, (what, _) in PROPERTIES.items()])


async def open_text(inside: Inside, request: Request) -> Response:
    """Trace a text and say what there is to see: its symbols and their nats, the network's layers and signals."""
    body = posted(request)
    served = await inside.model(of_kind(body.get("model"), "model", str))
    opened = served.opened

    def work() -> dict[str, Any]:
        name, found = inside.source(opened, body, trace.MOST)
        seen = inside.seen(served, name)
        config = seen.network.config
        own = ARCHITECTURES[config.arch]
        return {
            "model": served.name,
            "version": served.version,
            "id": name,
            "source": found.source,
            "first": found.first,
            "total": found.total,
            "arch": config.arch,
            "level": opened.tokenizer.level,
            "layers": config.num_layers,
            "units": config.hidden_size,
            "window": config.window if config.arch == "window" else None,
            "signals": list(own.signals),
            "words": ARCHITECTURES[DEFAULT].signals | own.signals,
            "gates": list(own.gates),
            "unbounded": list(own.unbounded),
            "absent": {
                signal: trace.absent(config.arch, signal)
                for signal in ARCHITECTURES[DEFAULT].signals
                if signal not in own.signals
            },
            "domains": {name: list(trace.domain(seen, name)) for name in own.signals},
            "symbols": surfaces(opened.tokenizer, seen.text),
            "nats": [round(float(one), 6) for one in seen.traced.arrays["nats"]],
            "notes": unknown(opened.tokenizer, found.content),
        }

    return json_response(await inside.apart(work))


async def heat(inside: Inside, request: Request) -> Response:
    """Send a picture of all units of a layer over a text."""
    served, name = await known(inside, request)
    layer, signal = asked(request, "layer"), request.query_params.get("signal", "h")
    own = request.query_params.get("own") == "1"
    return binary(await inside.apart(lambda: trace.heat(inside.seen(served, name), layer, signal, own=own)))


async def unit(inside: Inside, request: Request) -> Response:
    """Send all signals of one unit over a text, exactly."""
    served, name = await known(inside, request)
    layer, number = asked(request, "layer"), asked(request, "unit")
    return binary(await inside.apart(lambda: trace.unit(inside.seen(served, name), layer, number)))


async def gates(inside: Inside, request: Request) -> Response:
    """Say how often the gates of a layer's units were shut and open."""
    served, name = await known(inside, request)
    layer = asked(request, "layer")
    return json_response(await inside.apart(lambda: trace.gate_use(inside.seen(served, name), layer)))


async def on_here(inside: Inside, request: Request) -> Response:
    """Rank units by how well they tell a range of symbols from all others of the text."""
    body = posted(request)
    served = await inside.model(of_kind(body.get("model"), "model", str))
    name, signal = of_kind(body.get("id"), "id", str), of_kind(body.get("signal"), "signal", str)
    first, last = whole(body, "first"), whole(body, "last")
    found = await inside.apart(lambda: trace.on_here(inside.seen(served, name), signal, first, last))
    return json_response({"units": found, "first": first, "last": last, "signal": signal})


# ---- Find


async def labels(inside: Inside, request: Request) -> Response:
    """Send the labels of a text before anything is searched: most wrong findings are wrong labels."""
    body = posted(request)
    served = await inside.model(of_kind(body.get("model"), "model", str))

    def work() -> bytes:
        text, its, name = labelled(inside, served.opened, body)
        return find.preview(served.opened, text, its, name)

    return binary(await inside.apart(work))


def labelled(inside: Inside, opened: Opened, body: dict[str, Any]) -> tuple[Text, Labels, str]:
    """Return the text of a request, its labels by a property or as they were painted, and its name."""
    name, found = inside.source(opened, body, MOST_SEARCHED)
    text = find.first_symbols(read(opened, found.source, found.content, find.MOST_READ), opened)
    if (runs := body.get("labels")) is not None:
        return text, find.painted(text, checked_runs(runs)), name
    return text, find.labelled(text, of_kind(body.get("property"), "property", str)), name


async def find_units(inside: Inside, request: Request) -> Response:
    """Begin to search the units of a network for a property."""
    body = posted(request)
    served = await inside.model(of_kind(body.get("model"), "model", str))
    top = whole(body, "top", 10)
    if not 1 <= top <= MOST_TOP:
        raise invalid(f"top is 1 to {MOST_TOP}", "top")
    text, its, name = await inside.apart(lambda: labelled(inside, served.opened, body))
    which = (served.version, name, len(text.ids))
    key = ("find", which, its.name, its.values.tobytes(), top)
    return begun(inside.jobs.submit(key, lambda: find.find(served.opened, text, its, top, inside.searched, which)))


# ---- Memory


async def measure_memory(inside: Inside, request: Request) -> Response:
    """Begin to measure how far back models remember."""
    body = posted(request)
    served = await inside.models(body.get("models"))
    full = of_kind(body.get("full", False), "full", bool)
    most = MOST_MEASURED if full else memory.QUICK_SYMBOLS
    name, found = await inside.apart(lambda: inside.source(served[0].opened, body, most))

    def work() -> Work[dict[str, Any]]:
        opened = [one.opened for one in served]
        texts = [read(one, found.source, found.content, find.MOST_READ).ids for one in opened]
        return (yield from memory.remembered(opened, texts, found.source, full=full))

    return begun(inside.jobs.submit(("memory", tuple(one.version for one in served), name, full), work))


async def depends(inside: Inside, request: Request) -> Response:
    """Say what the prediction of one symbol of a text depends on, for each model."""
    body = posted(request)
    served = await inside.models(body.get("models"))
    content = inside.texts.find(of_kind(body.get("id"), "id", str))
    at, method = whole(body, "at"), of_kind(body.get("method", "integrated"), "method", str)

    def work(one: Served) -> dict[str, Any]:
        try:
            text = read(one.opened, GIVEN, content, trace.MOST)
            return result(memory.depends(one.opened, text, at, method)) | {"model": one.name}
        except UserError as error:  # of an n-gram, for example: the others still answer
            return {"model": one.name, "error": {"message": error.what, "allowed": error.allowed, "fix": error.fix}}

    return json_response({"at": at, "models": [await inside.apart(partial(work, one)) for one in served]})


# ---- Similar, Unrolled


async def similar_sentences(inside: Inside, request: Request) -> Response:
    """Rank the sentences of a text by the state that has read them, beside a query's."""
    body = posted(request)
    served = await inside.model(of_kind(body.get("model"), "model", str))
    query, pool = of_kind(body.get("query"), "query", str).strip(), of_kind(body.get("pool", "last"), "pool", str)
    standardise = of_kind(body.get("standardise", True), "standardise", bool)
    other_ending = of_kind(body.get("other_ending", False), "other_ending", bool)
    top = whole(body, "top", 10)
    if not 0 < len(query) <= similar.LONGEST:
        raise invalid(f"query is a sentence of 1 to {similar.LONGEST} characters", "query")
    if not 1 <= top <= MOST_TOP:
        raise invalid(f"top is 1 to {MOST_TOP}", "top")

    def work() -> dict[str, Any]:
        name, found = inside.source(served.opened, body, similar.MOST_SYMBOLS)
        known, those, notes = inside.sentences(served, name, pool)
        wanted = similar.vectors(served.opened, [query], pool)[0]
        answer = similar.nearest(
            query, wanted, known, those, standardise=standardise, other_ending=other_ending, top=top
        )
        its_notes = [*notes, *unknown(served.tokenizer, query)]
        return answer | {"id": name, "source": found.source, "notes": its_notes, "pool": pool}

    return json_response(await inside.apart(work))


async def unroll_texts(inside: Inside, request: Request) -> Response:
    """Unroll models over a short text."""
    body = posted(request)
    served = await inside.models(body.get("models"))
    content = of_kind(body.get("text"), "text", str)

    def work(one: Served) -> dict[str, Any]:
        try:
            text = read(one.opened, GIVEN, content, unrolled.MOST)
            made = unrolled.unroll_text(one.opened, text).figures()
            return made | {"model": one.name, "notes": unknown(one.tokenizer, content)}
        except UserError as error:
            return {"model": one.name, "error": {"message": error.what, "allowed": error.allowed, "fix": error.fix}}

    return json_response({"models": [await inside.apart(partial(work, one)) for one in served]})


# ---- jobs


def begun(job: Job) -> Response:
    """Answer with a job."""
    return json_response(job.figures())


async def job_state(inside: Inside, request: Request) -> Response:
    """Say how far an analysis is."""
    return begun(inside.jobs.find(request.path_params["id"]))


async def job_cancel(inside: Inside, request: Request) -> Response:
    """Ask an analysis to stop."""
    posted(request)
    return begun(inside.jobs.cancel(request.path_params["id"]))


# ---- requests


def in_torch(opened: Opened) -> Opened:
    """Return an opened network with torch's predictor, as `insight` takes it; an n-gram as it is."""
    if opened.description["model"]["arch"] == "ngram":
        return opened
    return replace(opened, predictor=TorchPredictor(network_of(opened)))


def posted(request: Request) -> dict[str, Any]:
    """Return the JSON object of a body."""
    return parse_object(request.scope["body"])


def of_kind(value: object, name: str, kind: type[T]) -> T:
    """Return a value of a request; raises ApiError for one of another kind."""
    if not isinstance(value, kind):
        named = {str: "a string", bool: "true or false", dict: "an object"}.get(kind, kind.__name__)
        raise invalid(f"{name} is {named}", name)
    return value


def whole(body: dict[str, Any], name: str, default: int | None = None) -> int:
    """Return a whole number of a request; raises ApiError for anything else."""
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**31) < value < 2**31:
        raise invalid(f"{name} is a whole number", name)
    return value


def asked(request: Request, name: str) -> int:
    """Return a whole number of an address; raises ApiError for anything else."""
    value = request.query_params.get(name, "")
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise invalid(f"{name} is a whole number", name)
    return int(value)


async def known(inside: Inside, request: Request) -> tuple[Served, str]:
    """Return the model and the name of the text of an address."""
    return await inside.model(request.query_params.get("model", "")), request.query_params.get("id", "")


def checked_runs(runs: object) -> list[tuple[int, int, float]]:
    """Return painted labels; raises ApiError unless they are [from, to, label] each."""
    found = []
    if not isinstance(runs, list) or len(runs) > MOST_RUNS:
        raise invalid(f"labels is a list of at most {MOST_RUNS:,} runs", "labels")
    for run in runs:
        if not isinstance(run, list) or len(run) != 3 or any(isinstance(part, bool) for part in run):
            raise invalid("a run of labels is [from, to, label]", "labels")
        start, end, value = run
        if not isinstance(start, int) or not isinstance(end, int) or not isinstance(value, int | float):
            raise invalid("a run of labels is [from, to, label]", "labels")
        found.append((start, end, float(value)))
    return found


def binary(data: bytes) -> Response:
    """Answer with a frame of bytes."""
    return Response(data, media_type="application/octet-stream")

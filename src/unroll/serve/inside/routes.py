"""The routes that look inside a network, for the page; they need torch."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from unroll.artifact.open import Opened
from unroll.errors import UserError
from unroll.insight.cells.measure import MOST as MOST_SEARCHED
from unroll.insight.cells.properties import PROPERTIES, Labels, Text
from unroll.insight.memory.contexts import MOST as MOST_MEASURED
from unroll.nn.arch import ARCHITECTURES, DEFAULT
from unroll.progress import Work, result
from unroll.serve.context import Context
from unroll.serve.errors import invalid, json_response, of_user_error
from unroll.serve.fields import posted, read_query
from unroll.serve.inside import find, memory, similar, tables, trace, unrolled
from unroll.serve.inside.store import GIVEN, Store
from unroll.serve.served import Served
from unroll.serve.texts import read, surfaces, unknown


def routes(context: Context) -> list[Route]:
    """Return the routes; short analyses run in the context's thread, long ones in that of the jobs."""
    handlers: list[tuple[str, Callable[[Store, Request], Awaitable[Response]], str]] = [
        ("/properties", properties, "GET"),
        ("/open", open_text, "POST"),
        ("/heat", heat, "GET"),
        ("/unit", unit, "GET"),
        ("/gates", gates, "GET"),
        ("/range", rank_units, "POST"),
        ("/labels", labels, "POST"),
        ("/find", find_units, "POST"),
        ("/memory", measure_memory, "POST"),
        ("/depends", depends, "POST"),
        ("/similar", similar_sentences, "POST"),
        ("/unrolled", unroll_texts, "POST"),
        ("/jobs/{id}", job_state, "GET"),
        ("/jobs/{id}/cancel", job_cancel, "POST"),
    ]
    store = Store(context)
    return [Route(path, partial(handler, store), methods=[method]) for path, handler, method in handlers]


# ---- Cells


async def properties(store: Store, request: Request) -> Response:
    """List the properties that cells may track."""
    return json_response([{"name": name, "what": what} for name, (what, _) in PROPERTIES.items()])


async def open_text(store: Store, request: Request) -> Response:
    """Trace a text; return its symbols and their nats, and the network's layers and signals."""
    fields = await posted(request, tables.OPEN)
    served = await store.model(fields["model"])
    opened = served.opened

    def work() -> dict[str, Any]:
        name, passage = store.source(opened, fields, trace.MOST)
        text_trace = store.trace_of(served, name)
        config = text_trace.network.config
        own = ARCHITECTURES[config.arch]
        return {
            "model": served.name,
            "version": served.version,
            "id": name,
            "source": passage.source,
            "first": passage.first,
            "total": passage.total,
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
            "domains": {name: list(trace.domain(text_trace, name)) for name in own.signals},
            "symbols": surfaces(opened.tokenizer, text_trace.text),
            "nats": [round(float(nats), 6) for nats in text_trace.traced.arrays["nats"]],
            "notes": unknown(opened.tokenizer, passage.content),
        }

    return json_response(await store.apart(work))


async def heat(store: Store, request: Request) -> Response:
    """Send a picture of all units of a layer over a text."""
    fields = read_query(request, tables.HEAT)
    served, name, layer, signal = await store.model(fields["model"]), fields["id"], fields["layer"], fields["signal"]
    own = fields["own"] == "1"
    return binary(await store.apart(lambda: trace.heat(store.trace_of(served, name), layer, signal, own=own)))


async def unit(store: Store, request: Request) -> Response:
    """Send all signals of one unit over a text, exactly."""
    fields = read_query(request, tables.UNIT)
    served, name, layer, number = await store.model(fields["model"]), fields["id"], fields["layer"], fields["unit"]
    return binary(await store.apart(lambda: trace.unit(store.trace_of(served, name), layer, number)))


async def gates(store: Store, request: Request) -> Response:
    """Return how often the gates of a layer's units were closed and open."""
    fields = read_query(request, tables.GATES)
    served, name, layer = await store.model(fields["model"]), fields["id"], fields["layer"]
    return json_response(await store.apart(lambda: trace.gate_use(store.trace_of(served, name), layer)))


async def rank_units(store: Store, request: Request) -> Response:
    """Rank units by how well they separate a range of symbols from the rest of the text."""
    fields = await posted(request, tables.RANGE)
    served, name, signal = await store.model(fields["model"]), fields["id"], fields["signal"]
    first, last = fields["first"], fields["last"]
    units = await store.apart(lambda: trace.rank_units(store.trace_of(served, name), signal, first, last))
    return json_response({"units": units, "first": first, "last": last, "signal": signal})


# ---- Find


async def labels(store: Store, request: Request) -> Response:
    """Send the labels of a text before the search: most wrong findings are wrong labels."""
    fields = await posted(request, tables.LABELS)
    served = await store.model(fields["model"])

    def work() -> bytes:
        text, text_labels, name = labelled(store, served.opened, fields)
        return find.preview(served.opened, text, text_labels, name)

    return binary(await store.apart(work))


def labelled(store: Store, opened: Opened, fields: dict[str, Any]) -> tuple[Text, Labels, str]:
    """Return the text of a request, its labels by a property or as painted, and its name."""
    name, passage = store.source(opened, fields, MOST_SEARCHED)
    text = find.first_symbols(read(opened, passage.source, passage.content, find.MOST_READ), opened)
    if fields["labels"] is not None:
        return text, find.painted(text, fields["labels"]), name
    if fields["property"] is None:
        raise invalid("the request has neither property nor labels", "one of them", "send property", "property")
    return text, find.labelled(text, fields["property"]), name


async def find_units(store: Store, request: Request) -> Response:
    """Begin to search the units of a network for a property."""
    fields = await posted(request, tables.FIND)
    served, top = await store.model(fields["model"]), fields["top"]
    text, text_labels, name = await store.apart(lambda: labelled(store, served.opened, fields))
    text_key = (served.version, name, len(text.ids))
    key = ("find", text_key, text_labels.name, text_labels.values.tobytes(), top)
    work = partial(find.find, served.opened, text, text_labels, top, store.searched, text_key)
    return json_response(store.jobs.submit(key, work).figures())


# ---- Memory


async def measure_memory(store: Store, request: Request) -> Response:
    """Begin to measure how far back models remember."""
    fields = await posted(request, tables.MEMORY)
    served, full = await store.models(fields["models"]), fields["full"]
    most = MOST_MEASURED if full else memory.QUICK_SYMBOLS
    name, passage = await store.apart(lambda: store.source(served[0].opened, fields, most))

    def work() -> Work[dict[str, Any]]:
        opened = [model.opened for model in served]
        texts = [read(model, passage.source, passage.content, find.MOST_READ).ids for model in opened]
        return (yield from memory.remembered(opened, texts, passage.source, full=full))

    key = ("memory", tuple(model.version for model in served), name, full)
    return json_response(store.jobs.submit(key, work).figures())


async def depends(store: Store, request: Request) -> Response:
    """Return what the prediction of one symbol of a text depends on, for each model."""
    fields = await posted(request, tables.DEPENDS)
    served, at, method = await store.models(fields["models"]), fields["at"], fields["method"]
    content = store.texts.find(fields["id"])

    def work(model: Served) -> dict[str, Any]:
        try:
            text = read(model.opened, GIVEN, content, trace.MOST)
            return result(memory.depends(model.opened, text, at, method)) | {"model": model.name}
        except UserError as error:  # an n-gram, for example: the others still answer
            return {"model": model.name, "error": of_user_error(error).figures()}

    return json_response({"at": at, "models": [await store.apart(partial(work, model)) for model in served]})


# ---- Similar, Unrolled


async def similar_sentences(store: Store, request: Request) -> Response:
    """Rank the sentences of a text by the similarity of their states to that of a query."""
    fields = await posted(request, tables.SIMILAR)
    served = await store.model(fields["model"])
    query, pool = fields["query"].strip(), fields["pool"]
    if not query:
        raise invalid("query is empty", f"a sentence of 1 to {similar.LONGEST:,} characters", "type one", "query")

    def work() -> dict[str, Any]:
        name, passage = store.source(served.opened, fields, similar.MOST_SYMBOLS)
        sentences, vectors, notes = store.sentences(served, name, pool)
        query_vector = similar.vectors(served.opened, [query], pool)[0]
        options = {key: fields[key] for key in ("standardise", "other_ending", "top")}
        answer = similar.nearest(query, query_vector, sentences, vectors, **options)
        all_notes = [*notes, *unknown(served.tokenizer, query)]
        return answer | {"id": name, "source": passage.source, "notes": all_notes, "pool": pool}

    return json_response(await store.apart(work))


async def unroll_texts(store: Store, request: Request) -> Response:
    """Unroll models over a short text."""
    fields = await posted(request, tables.UNROLLED)
    served, content = await store.models(fields["models"]), fields["text"]

    def work(model: Served) -> dict[str, Any]:
        try:
            text = read(model.opened, GIVEN, content, unrolled.MOST)
            figures = unrolled.unroll_text(model.opened, text)
            return figures | {"model": model.name, "notes": unknown(model.tokenizer, content)}
        except UserError as error:
            return {"model": model.name, "error": of_user_error(error).figures()}

    return json_response({"models": [await store.apart(partial(work, model)) for model in served]})


# ---- Jobs


async def job_state(store: Store, request: Request) -> Response:
    """Return how far an analysis is."""
    return json_response(store.jobs.find(request.path_params["id"]).figures())


async def job_cancel(store: Store, request: Request) -> Response:
    """Ask an analysis to stop."""
    await posted(request, {})
    return json_response(store.jobs.cancel(request.path_params["id"]).figures())


def binary(data: bytes) -> Response:
    """Answer with a binary frame."""
    return Response(data, media_type="application/octet-stream")

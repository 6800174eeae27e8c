"""What the endpoints of the models of tasks share: their work in a thread, the form of their answers, their limits."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from unroll.data.reader import Reader
from unroll.serve.context import Context
from unroll.serve.errors import dump, invalid
from unroll.serve.fields import Table, ignored_header, read_body
from unroll.serve.models import S
from unroll.serve.served import ServedModel
from unroll.serve.settings import Settings

Fields = dict[str, Any]
Work = Callable[[Fields, S, Settings], dict[str, Any]]


async def answer(context: Context, request: Request, table: Table, kind: type[S], work: Work[S]) -> Response:
    """Return what a model of a kind answers to a request: `work` runs in a thread. Raises ApiError."""
    fields, ignored = await read_body(request, table)
    served = await context.of_kind(request, fields["model"], kind)
    body = await asyncio.get_running_loop().run_in_executor(
        context.worker, lambda: dump(work(fields, served, context.settings))
    )
    return Response(body, headers=ignored_header(ignored), media_type="application/json")


def listed(name: str, served: ServedModel, data: list[dict[str, Any]], read: int, written: int = 0) -> dict[str, Any]:
    """Return an answer with an entry for each input, of which so many units were read."""
    return {
        "id": f"{name}-{secrets.token_hex(16)}",
        "object": "list",
        "created": int(time.time()),
        "model": served.name,
        "data": [{"index": index, **entry} for index, entry in enumerate(data)],
        "usage": {
            "prompt_tokens": read,
            "total_tokens": read + written,
            "completion_tokens": written,
            "prompt_tokens_details": None,
        },
    }


def chosen(fields: Fields, *names: str) -> tuple[str, Any]:
    """Return the only one of these fields that was sent, and its value; raises ApiError for none, and for several."""
    sent = [name for name in names if fields[name] is not None]
    if len(sent) != 1:
        listed_names = ", ".join(names)
        raise invalid(
            f"the request has {' and '.join(sent) or 'nothing to read'}",
            f"one of {listed_names}",
            f"send one of {listed_names}",
            sent[-1] if sent else names[0],
            "invalid_value" if sent else "missing_required_parameter",
        )
    return sent[0], fields[sent[0]]


def check_count(count: int, most: int, what: str, param: str) -> None:
    """Raise ApiError for more of something in a request than its limit."""
    if count > most:
        raise invalid(f"{param} has {count:,} {what}, above the limit of {most:,}", f"up to {most:,}",
                      "send them in batches", param)  # fmt: skip


def check_probabilities(count: int, labels: int, settings: Settings, param: str) -> None:
    """Raise ApiError for more probabilities than are held until they are sent."""
    if (size := count * labels) > settings.max_probabilities:
        raise invalid(
            f"the request asks for {size:,} probabilities, above the limit of {settings.max_probabilities:,}",
            f"up to {settings.max_probabilities:,}: {'texts' if param == 'input' else param} times labels",
            "send fewer at a time",
            param,
        )


def read_units(reader: Reader, name: str, texts: Sequence[str], most: int, param: str) -> int:
    """Return how many units the texts have; raises ApiError for a text that would be cut, and for too many."""
    count = 0
    for index, text in enumerate(texts):
        length = len(reader.units(text)[0])
        if length > reader.max_units:
            raise invalid(
                f"text {index} of {param} has {length:,} units, above the {reader.max_units:,} that {name} reads",
                f"up to {reader.max_units:,}",
                "send the part that matters",
                param,
            )
        count += length
    check_count(count, most, "units", param)
    return count

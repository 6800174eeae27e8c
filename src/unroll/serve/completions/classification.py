"""Labels of texts, in the form of vLLM's classification API."""

import asyncio
import secrets
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from unroll.progress import result
from unroll.serve.completions.tables import CLASSIFICATION
from unroll.serve.context import Context
from unroll.serve.errors import invalid, json_response
from unroll.serve.fields import ignored_header, read_body
from unroll.serve.models import ServedClassifier
from unroll.serve.settings import Settings
from unroll.tasks.classify.predict import probabilities


async def classify(context: Context, request: Request) -> Response:
    """Return the label of each text of a request, and the probabilities of all labels; raises ApiError."""
    fields, ignored = await read_body(request, CLASSIFICATION)
    served = await context.classifier_of(request, fields["model"])
    work = asyncio.get_running_loop().run_in_executor(context.worker, _labels, fields, served, context.settings)
    return json_response(await work, headers=ignored_header(ignored))


def _labels(fields: dict[str, Any], served: ServedClassifier, settings: Settings) -> dict[str, Any]:
    texts = [fields["input"]] if isinstance(fields["input"], str) else fields["input"]
    if len(texts) > settings.max_inputs:
        raise invalid(
            f"input has {len(texts):,} texts, above the limit of {settings.max_inputs:,}",
            f"up to {settings.max_inputs:,}",
            "send them in batches",
            "input",
        )
    labels = served.opened.info.labels
    if (size := len(texts) * len(labels)) > settings.max_probabilities:
        raise invalid(
            f"the request asks for {size:,} probabilities, above the limit of {settings.max_probabilities:,}",
            f"up to {settings.max_probabilities:,}: texts times labels",
            "send fewer texts at a time",
            "input",
        )
    count = read_units(served, texts, settings.max_prompt_tokens)
    rows = result(probabilities(served.opened, texts)).probabilities
    return {
        "id": f"classify-{secrets.token_hex(16)}",
        "object": "list",
        "created": int(time.time()),
        "model": served.name,
        "data": [
            {"index": index, "label": labels[row.argmax()], "probs": row.tolist(), "num_classes": len(labels)}
            for index, row in enumerate(rows)
        ],
        "usage": {
            "prompt_tokens": count,
            "total_tokens": count,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }


def read_units(served: ServedClassifier, texts: list[str], most: int) -> int:
    """Return how many units the texts have; raises ApiError for a text that would be cut, and for too many."""
    reader, count = served.opened.reader, 0
    for index, text in enumerate(texts):
        length = len(reader.units(text)[0])
        if length > reader.max_units:
            raise invalid(
                f"text {index} of input has {length:,} units, above the {reader.max_units:,} that {served.name} reads",
                f"up to {reader.max_units:,}",
                "send the part that matters",
                "input",
            )
        count += length
    if count > most:
        raise invalid(
            f"input has {count:,} units, above the limit of {most:,}", f"up to {most:,}", "send it in batches", "input"
        )
    return count

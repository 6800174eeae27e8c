"""Embeddings: a text as the hidden state after reading it, in the shape of the field's standard client."""

import asyncio
import base64
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from unroll.errors import UserError
from unroll.lm.vectors import line_vectors, reader_of
from unroll.serve.completions.requests import read_ids
from unroll.serve.completions.tables import EMBEDDING
from unroll.serve.context import Context
from unroll.serve.errors import invalid, json_response
from unroll.serve.fields import ignored_header, read_body
from unroll.serve.models import Served
from unroll.serve.settings import Settings


async def embed(request: Request, context: Context) -> Response:
    """Return one vector for each text of a request; raises ApiError."""
    fields, ignored = await read_body(request, EMBEDDING)
    served = await context.model_of(request, fields["model"])
    work = asyncio.get_running_loop().run_in_executor(context.worker, _answer, fields, served, context.settings)
    return json_response(await work, headers=ignored_header(ignored))


def _answer(fields: dict[str, Any], served: Served, settings: Settings) -> dict[str, Any]:
    try:
        reader = reader_of(served.opened)
    except UserError:
        raise invalid(
            f"{served.name} has no hidden state, so it has no vectors",
            "a recurrent network",
            "name another model",
            "model",
            "unsupported_model",
        ) from None
    texts = fields["input"]
    if isinstance(texts, str) or not texts or isinstance(texts[0], int):
        texts = [texts]
    if len(texts) > settings.max_inputs:
        raise invalid(
            f"input has {len(texts):,} texts, above the limit of {settings.max_inputs:,}",
            f"up to {settings.max_inputs:,}",
            "send them in batches",
            "input",
        )
    start_id = served.tokenizer.start_id
    texts_ids = []
    for text in texts:
        ids = read_ids(text, served.tokenizer, "input", replace=fields["replace_unknown"])
        begun = not isinstance(text, str) and ids[:1].tolist() == [start_id]
        texts_ids.append(ids[1:] if begun else ids)
    count = sum(map(len, texts_ids))
    if count > settings.max_prompt_tokens:
        raise invalid(
            f"input has {count:,} symbols, above the limit of {settings.max_prompt_tokens:,}",
            f"up to {settings.max_prompt_tokens:,}",
            "send it in batches",
            "input",
        )
    vectors = np.concatenate(list(line_vectors(reader, texts_ids, start_id, "last")))
    as_text = fields["encoding_format"] == "base64"
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode() if as_text else vector.tolist(),
            }
            for index, vector in enumerate(vectors)
        ],
        "model": served.name,
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }

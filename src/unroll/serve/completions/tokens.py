"""Texts as ids and back, as vectors, and facts about a vocabulary, under the names that clients and evaluations use."""

import asyncio
import base64
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from unroll.errors import UserError
from unroll.lm.vectors import line_vectors, reader_of
from unroll.serve.completions.requests import read_ids
from unroll.serve.completions.tables import DETOKENIZE, EMBEDDING, TOKENIZE
from unroll.serve.context import Context
from unroll.serve.errors import invalid, json_response
from unroll.serve.fields import check_ids, ignored_header, read_body
from unroll.serve.served import Served
from unroll.serve.settings import Settings

NO_LIMIT = 2**31 - 1
"""A recurrent network reads texts of any length."""


async def tokenize(context: Context, request: Request) -> Response:
    """Return the ids of a text."""
    fields, ignored = await read_body(request, TOKENIZE)
    served = await context.model_of(request, fields["model"])
    ids = await asyncio.to_thread(_encode, served, fields["prompt"])
    if fields["add_special_tokens"]:
        ids.insert(0, served.tokenizer.start_id)
    unknown = ids.count(served.tokenizer.unknown_id) if served.tokenizer.unknown_id is not None else 0
    answer: dict[str, Any] = {"count": len(ids), "max_model_len": NO_LIMIT, "tokens": ids, "unknown": unknown}
    if fields["return_token_strs"]:
        answer["token_strs"] = [served.printable[id] for id in ids]
    return json_response(answer, headers=ignored_header(ignored))


def _encode(served: Served, text: str) -> list[int]:
    # The start symbol of a model of pieces, which no text produces, is known by its name alone.
    if text == start_symbol(served) and served.tokenizer.level == "bpe":
        return [served.tokenizer.start_id]
    return [int(id) for id in served.tokenizer.encode(text)]


async def detokenize(context: Context, request: Request) -> Response:
    """Return the text of ids."""
    fields, ignored = await read_body(request, DETOKENIZE)
    served = await context.model_of(request, fields["model"])
    check_ids(fields["tokens"], served.tokenizer.vocab_size, "tokens")
    text = await asyncio.to_thread(served.tokenizer.decode, fields["tokens"])
    return json_response({"prompt": text}, headers=ignored_header(ignored))


async def tokenizer_info(context: Context, request: Request) -> Response:
    """Return facts about a vocabulary; `?model=` names one of several models."""
    served = await context.model_of(request, request.query_params.get("model"))
    tokenizer = served.tokenizer
    start = start_symbol(served)
    return json_response({
        "tokenizer_class": f"unroll.{tokenizer.level}",
        "model": served.name,
        "level": tokenizer.level,
        "vocab_size": tokenizer.vocab_size,
        "bos_token": start,
        "bos_token_id": tokenizer.start_id,
        # A newline ends no document; the start symbol of words and pieces does.
        "eos_token": None if start == "\n" else start,
        "unk_token": None if tokenizer.unknown_id is None else served.printable[tokenizer.unknown_id],
        "pad_token": None,
        "lossless": tokenizer.lossless,
        "digest": tokenizer.digest,
        "max_model_len": NO_LIMIT,
        "chat_template": None,
    })  # fmt: skip


def start_symbol(served: Served) -> str:
    """Return the printable name of the start symbol, which is read before a text."""
    return served.printable[served.tokenizer.start_id]


async def embed(context: Context, request: Request) -> Response:
    """Return one vector for each text of a request; raises ApiError."""
    fields, ignored = await read_body(request, EMBEDDING)
    served = await context.model_of(request, fields["model"])
    work = asyncio.get_running_loop().run_in_executor(context.worker, _vectors, fields, served, context.settings)
    return json_response(await work, headers=ignored_header(ignored))


def _vectors(fields: dict[str, Any], served: Served, settings: Settings) -> dict[str, Any]:
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

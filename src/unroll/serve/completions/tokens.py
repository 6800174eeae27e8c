"""Texts to ids and back, and facts about a vocabulary, under the names that evaluation programs use."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from unroll.serve.completions.tables import DETOKENIZE, TOKENIZE
from unroll.serve.context import Context
from unroll.serve.errors import json_response
from unroll.serve.fields import check_ids, ignored_header, read_body
from unroll.serve.models import Served

NO_LIMIT = 2**31 - 1
"""A recurrent network reads texts of any length."""


async def tokenize(request: Request, context: Context) -> Response:
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


async def detokenize(request: Request, context: Context) -> Response:
    """Return the text of ids."""
    fields, ignored = await read_body(request, DETOKENIZE)
    served = await context.model_of(request, fields["model"])
    check_ids(fields["tokens"], served.tokenizer.vocab_size, "tokens")
    text = await asyncio.to_thread(served.tokenizer.decode, fields["tokens"])
    return json_response({"prompt": text}, headers=ignored_header(ignored))


async def tokenizer_info(request: Request, context: Context) -> Response:
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

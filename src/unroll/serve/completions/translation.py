"""Translations: with what was attended to, and behind the standard API, where a prompt is a source."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from unroll.progress import result
from unroll.serve.completions.completion import DONE, EVENT_HEADERS
from unroll.serve.completions.requests import CompletionRequest
from unroll.serve.completions.tables import COMPLETION, TRANSLATION
from unroll.serve.completions.tasks import answer, check_count, chosen, listed, read_units
from unroll.serve.context import Context
from unroll.serve.errors import dump, invalid
from unroll.serve.fields import ignored_header
from unroll.serve.served import ServedTranslator
from unroll.serve.settings import Settings
from unroll.tasks.translate.beam import limit
from unroll.tasks.translate.predict import Translation, stream, translation_rows, translations

FOREIGN = ("top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias",
           "stop", "echo", "return_state", "state_from")  # fmt: skip
"""Fields of completions that mean nothing to a translator, or are not supported."""


async def translate(context: Context, request: Request) -> Response:
    """Return the translations of the texts of a request, with what they attended to if asked; raises ApiError."""
    return await answer(context, request, TRANSLATION, ServedTranslator, _translated)


def _translated(fields: dict[str, Any], served: ServedTranslator, settings: Settings) -> dict[str, Any]:
    param, sent = chosen(fields, "text", "texts")
    texts, beam, n_best = [sent] if param == "text" else sent, fields["beam"], fields["n_best"]
    if n_best > beam:
        raise invalid(f"n_best is {n_best}, and beam {beam}", "at most as many as the beam keeps",
                      f"send a beam of {n_best}", "n_best")  # fmt: skip
    check_count(len(texts) * beam, settings.max_inputs, "texts times the beam", param)
    reader, attention = served.opened.readers.source, fields["attention"]
    count = read_units(reader, served.name, [text.strip() for text in texts], settings.max_prompt_tokens, param)
    if attention:
        lengths = [len(reader.units(text.strip())[0]) for text in texts]
        most = sum(n_best * length * limit(length) for length in lengths)
        check_count(most, settings.max_probabilities, "weights of attention", param)
    attention = attention and served.opened.info.config.attention != "none"
    translated = result(translations(served.opened, texts, beam=beam, n_best=n_best))
    rows = translation_rows(served.opened, texts, translated, attention=attention)
    if fields["attention"] and not attention:
        for row in rows:
            row["translations"] = [{**entry, "attention": None} for entry in row["translations"]]
    written = sum(
        len(translation.hypothesis.ids) - 1
        for of_text in translated.of_texts
        for translation in of_text
        if translation.hypothesis is not None
    )
    return listed("translate", served, rows, count, written)


# ---- behind the standard API


async def complete(context: Context, request: CompletionRequest, served: ServedTranslator) -> Response:
    """Return the translations of the prompts of a request, or a stream of them; raises ApiError."""
    sources, fields = _sources(request, served), request.fields
    reader, settings = served.opened.readers.source, context.settings
    count = await asyncio.to_thread(read_units, reader, served.name, sources, settings.max_prompt_tokens, "prompt")
    context.metrics.prompt_tokens.inc(count)
    head = {
        "id": f"cmpl-{secrets.token_hex(12)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": served.fingerprint,
    }
    headers = ignored_header(request.ignored)
    if fields["stream"]:
        events = _events(context, fields, served, sources, head, count)
        return StreamingResponse(events, headers=headers | dict(_EVENTS))
    width = request.texts_per_prompt

    def work() -> bytes:
        found = result(translations(served.opened, sources, beam=width, n_best=fields["n"])).of_texts
        choices = [
            _choice(served, j * fields["n"] + i, translation, fields)
            for j, of_source in enumerate(found)
            for i, translation in enumerate(of_source)
        ]
        written = sum(choice.pop("symbols") for choice in choices)
        context.metrics.generated_tokens.inc(written)
        return dump({**head, "choices": choices, "usage": _usage(count, written)})

    body = await asyncio.get_running_loop().run_in_executor(context.worker, work)
    return Response(body, headers=headers, media_type="application/json")


_EVENTS = [(name.decode(), value.decode()) for name, value in EVENT_HEADERS]


def _sources(request: CompletionRequest, served: ServedTranslator) -> list[str]:
    """Return the texts to translate; raises ApiError for what a translator cannot do."""
    fields = request.fields
    prompts = fields["prompt"] if isinstance(fields["prompt"], list) else [fields["prompt"]]
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise invalid("a translator reads texts, not ids", "a text, or texts", "send the text itself", "prompt")
    for name in FOREIGN:
        if fields[name] and fields[name] != COMPLETION[name].default:
            raise invalid(f"{name} is not supported by {served.name!r}, which is a translator", "its default",
                          f"leave out {name}", name, "unsupported_parameter")  # fmt: skip
    if fields["temperature"] not in (0, 1):
        raise invalid(
            f"temperature is {fields['temperature']}, but a translation is searched for, not drawn",
            "0, or 1, the default, which mean the same here",
            "leave out temperature",
            "temperature",
        )
    if fields["logprobs"]:
        raise invalid(f"logprobs is {fields['logprobs']}, and {served.name!r} is a translator",
                      "0, for the symbols of the translation alone", "send 0", "logprobs")  # fmt: skip
    if fields["stream"] and request.texts_per_prompt > 1:
        raise invalid("several translations of a prompt cannot be streamed: the best is known at the end only",
                      "n and best_of of 1 with stream", "leave out n and best_of, or stream", "n")  # fmt: skip
    return [prompt.strip() for prompt in prompts] or [""]


def _choice(served: ServedTranslator, index: int, translation: Translation, fields: dict[str, Any]) -> dict[str, Any]:
    """Return a translation as a choice, and the number of its symbols as `symbols`."""
    most, hypothesis = fields["max_tokens"], translation.hypothesis
    pieces, nats = list[str](), np.zeros(0)
    if hypothesis is not None:
        decoder, nats = served.opened.readers.target.tokenizer.stream_decoder(), hypothesis.nats
        pieces = [decoder.push(id) for id in hypothesis.ids[:-1].tolist()]
        pieces[-1:] = [piece + decoder.flush() for piece in pieces[-1:]]
    cut = most is not None and len(pieces) > most
    return {
        "index": index,
        "text": "".join(pieces[:most]) if cut else translation.text,
        "logprobs": None if fields["logprobs"] is None else _logprobs(pieces[:most], nats, 0),
        "finish_reason": "length" if cut else "stop",
        "symbols": len(pieces[:most]),
    }


def _logprobs(pieces: Sequence[str], nats: Iterable[float], offset: int) -> dict[str, Any]:
    """Return ln P of the pieces of a translation, of which the first begins at a code point."""
    values = [-float(value) for value in islice(nats, len(pieces))]
    offsets = [offset + sum(map(len, pieces[:k])) for k in range(len(pieces))]
    return {
        "tokens": list(pieces),
        "token_logprobs": values,
        "top_logprobs": [{piece: value} for piece, value in zip(pieces, values, strict=True)],
        "text_offset": offsets,
    }


async def _events(
    context: Context, fields: dict[str, Any], served: ServedTranslator, sources: Sequence[str], head: dict[str, Any],
    count: int,
) -> AsyncIterator[bytes]:  # fmt: skip
    """Yield the pieces of greedy translations as server-sent events, one source after the other."""
    include_usage, most, written = (fields["stream_options"] or {}).get("include_usage"), fields["max_tokens"], 0
    tail = {"usage": None} if include_usage else {}

    def event(index: int, piece: str, nats: float | None, offset: int, finish: str | None) -> bytes:
        told = fields["logprobs"] is not None and nats is not None
        logprobs = _logprobs([piece], [nats or 0.0], offset) if told else None
        choice = {"index": index, "text": piece, "logprobs": logprobs, "finish_reason": finish}
        return b"data: " + dump({**head, "choices": [choice], **tail}) + b"\n\n"

    for index, source in enumerate(sources):
        pieces, offset, number, finish = stream(served.opened, source), 0, 0, "stop"
        last, nats = await asyncio.to_thread(next, pieces, ("", 0.0))
        while (following := await asyncio.to_thread(next, pieces, None)) is not None:
            if number == most:
                last, finish = "", "length"
                break
            yield event(index, last, nats, offset, None)
            number, offset = number + 1, offset + len(last)
            last, nats = following
        yield event(index, last, None, offset, finish)
        written += number
        context.metrics.generated_tokens.inc(number)
    if include_usage:
        yield b"data: " + dump({**head, "choices": [], "usage": _usage(count, written)}) + b"\n\n"
    yield DONE


def _usage(read: int, written: int) -> dict[str, int]:
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

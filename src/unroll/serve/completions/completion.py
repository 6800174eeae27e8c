"""Completions: a request becomes rows of the batch, and their texts become one answer, or a stream of events."""

import asyncio
import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from unroll.serve.batching.batcher import Batcher
from unroll.serve.batching.streams import Prompt, Row, Sink, Start
from unroll.serve.completions.choice import Choice
from unroll.serve.completions.requests import CompletionRequest, PromptIds, read_prompts
from unroll.serve.context import Context
from unroll.serve.errors import dump
from unroll.serve.fields import LARGE_BODY, ignored_header
from unroll.serve.served import Served

LARGE_ANSWER = 2**12
"""Symbols above which an answer is made in a thread."""

EVENT_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


async def complete(context: Context, request: Request, asked: CompletionRequest) -> "Completion":
    """Return the answer of a language model, whose rows are in the batch by then; raises ApiError."""
    served = await context.model_of(request, asked.fields["model"])
    asked = asked.with_length(served.tokenizer.level, context.settings)
    start = None
    if (handle := asked.fields["state_from"]) is not None:
        start = context.states.get(handle, request.scope["owner"], served)
    arguments = asked, served, start, context.settings
    large = len(request.scope["body"]) > LARGE_BODY
    prompts = await asyncio.to_thread(read_prompts, *arguments) if large else read_prompts(*arguments)
    return Completion(context, served, asked, prompts, start, request.scope["owner"])


class Completion:
    """The answer to one request; an ASGI application, so that it notices when its client leaves."""

    def __init__(
        self,
        context: Context,
        served: Served,
        request: CompletionRequest,
        prompts: Sequence[PromptIds],
        start: Start | None,
        owner: str,
    ) -> None:
        """Submit the rows; raises ApiError where there is no room."""
        fields = request.fields
        self.context, self.served, self.request, self.owner = context, served, request, owner
        self.streaming: bool = fields["stream"]
        self.created = int(time.time())
        self.id = f"cmpl-{secrets.token_hex(12)}"
        self.sink = Sink()
        self._left = False
        options = request.options()
        measured = fields["echo"] and fields["logprobs"] is not None
        written, kept = request.texts_per_prompt, fields["n"]
        submitted = []
        self.choices: dict[Row, Choice] = {}
        for j, ids in enumerate(prompts):
            rows = [Row(self.sink, j * kept + i, j * written + i, options) for i in range(written)]
            prompt = Prompt(
                ids.read,
                rows,
                start,
                echoed=len(ids.echo) if measured else 0,
                top=fields["logprobs"] if measured else None,
                spaced=ids.spaced,
            )
            submitted.append(prompt)
            for row in rows:
                self.choices[row] = Choice(served, row, prompt, ids.echo if fields["echo"] else None)
        self.prompt_tokens = sum(len(ids.echo) for ids in prompts)
        self.open = len(self.choices)
        self.batcher: Batcher = context.batchers.of(served)
        self.batcher.submit(submitted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; however it ends, its rows leave the batch."""
        listener = asyncio.ensure_future(self._listen(receive))
        try:
            await (self._stream(send) if self.streaming else self._whole(send))
        finally:
            listener.cancel()
            self._leave()

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if self.open:
            self.context.metrics.disconnects.inc()
        self._leave()

    def _leave(self) -> None:
        """Free the slots of rows that have not ended."""
        if self.open and not self._left:
            self._left = True
            for row in self.choices:
                row.cancelled = True
            self.batcher.wake()
        self.sink.close()

    async def _whole(self, send: Send) -> None:
        while self.open:
            part = await self.sink.get()
            if part is None:
                return
            if part.error is not None:
                raise part.error
            self.choices[part.row].take(part)
            self.open -= 1
        choices = [choice.whole(self._handle) for choice in self._best()]
        value = {**self._head(), "choices": choices, "usage": self._usage()}
        symbols = sum(len(choice.row.ids) + len(choice.prompt.points) for choice in self.choices.values())
        body = await asyncio.to_thread(dump, value) if symbols > LARGE_ANSWER else dump(value)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, *self._ignored()]})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [*EVENT_HEADERS, *self._ignored()]})
        include_usage = bool((self.request.fields["stream_options"] or {}).get("include_usage"))
        head = "data: " + json.dumps(self._head(), separators=(",", ":"))[:-1] + ',"choices":['
        tail = '],"usage":null}\n\n' if include_usage else "]}\n\n"
        while self.open:
            part = await self.sink.get(self.context.settings.ping_seconds)
            if part is None:
                if self.sink.closed:
                    return
                await send({"type": "http.response.body", "body": PING, "more_body": True})
                continue
            events, parts = [], [part, *self.sink.rest()]
            for part in parts:
                if part.error is not None:
                    events.append("data: " + dump(part.error.body()).decode() + "\n\n")
                    self._leave()
                    self.open, include_usage = 0, False
                    break
                choice = self.choices[part.row]
                choice.take(part)
                events.append(head + choice.event(self._handle) + tail)
                self.open -= part.finish is not None
            await send({"type": "http.response.body", "body": "".join(events).encode(), "more_body": True})
            for part in parts:
                part.row.taken += len(part.pieces)
                if part.row.parked_since is not None:
                    self.batcher.wake()
            # Sending suspends only where the client is slow; others must have their turn all the same.
            await asyncio.sleep(0)
        last = b""
        if include_usage:
            last = b"data: " + dump({**self._head(), "choices": [], "usage": self._usage()}) + b"\n\n"
        await send({"type": "http.response.body", "body": last + DONE})

    def _best(self) -> list[Choice]:
        """Return the choices that are sent: the best of each prompt, where more were written than asked for."""
        kept, written = self.request.fields["n"], self.request.texts_per_prompt
        choices = list(self.choices.values())
        if written == kept:
            return choices
        best = []
        for first in range(0, len(choices), written):
            ranked = sorted(choices[first : first + written], key=lambda choice: -choice.mean_log_probability)
            for place, choice in enumerate(ranked[:kept]):
                choice.index = first // written * kept + place
                best.append(choice)
        return best

    def _handle(self, state: Start) -> str:
        return self.context.states.put(state, self.owner, self.served)

    def _ignored(self) -> list[tuple[bytes, bytes]]:
        return [(name.encode(), value.encode()) for name, value in ignored_header(self.request.ignored).items()]

    def _head(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.served.name,
            "system_fingerprint": self.served.fingerprint,
        }

    def _usage(self) -> dict[str, int]:
        completed = sum(len(row.ids) for row in self.choices)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completed,
            "total_tokens": self.prompt_tokens + completed,
        }

"""Completions: a request becomes rows of the batch, and what they write becomes one answer, or a stream of events."""

import asyncio
import json
import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from unroll.data.blocks import Level
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.serve.batching.batcher import Batcher
from unroll.serve.batching.stops import decoder_after
from unroll.serve.batching.streams import Options, Part, Point, Prompt, Row, Sink, Start
from unroll.serve.context import Context
from unroll.serve.errors import dump, invalid, of_user_error
from unroll.serve.fields import COMPLETION, LENGTHS, check_fields, ids_fault, ignored_header
from unroll.serve.json_body import parse_object
from unroll.serve.models import Served, model_of
from unroll.serve.settings import Settings

LARGE_BODY = 2**16
"""Above it a body is read in a thread, so that the event loop goes on."""
LEAST = -9999.0
"""Stands for the logarithm of zero, which JSON does not have."""

EVENT_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


@dataclass(frozen=True)
class Given:
    """What a request asks for, checked."""

    fields: dict[str, Any]
    ignored: list[str]

    @property
    def written(self) -> int:
        """How many texts are written for each prompt."""
        return int(self.fields["best_of"] or self.fields["n"])

    def of_level(self, level: Level, settings: Settings) -> "Given":
        """Return it with the length of its texts, which depends on the level of the model where it does not say."""
        if self.fields["max_tokens"] is not None:
            return self
        return replace(self, fields=self.fields | {"max_tokens": min(LENGTHS[level], settings.max_tokens)})


async def complete(request: Request, context: Context) -> "Completion":
    """Return the answer to a request, which is given when it is sent; raises ApiError."""
    body: bytes = request.scope["body"]
    large = len(body) > LARGE_BODY
    given = (
        await asyncio.to_thread(read_request, body, context.settings) if large else read_request(body, context.settings)
    )
    served = await model_of(request, context, given.fields["model"])
    given = given.of_level(served.tokenizer.level, context.settings)
    start = None
    if (handle := given.fields["state_from"]) is not None:
        start = context.states.get(handle, request.scope["owner"], served)
    arguments = given, served, start, context.settings
    prompts = await asyncio.to_thread(read_prompts, *arguments) if large else read_prompts(*arguments)
    return Completion(context, served, given, prompts, start, request.scope["owner"])


def read_request(body: bytes, settings: Settings) -> Given:
    """Return what a body asks for; raises ApiError for what does not fit together."""
    fields, ignored = check_fields(COMPLETION, parse_object(body))
    prompts = fields["prompt"]
    many = len(prompts) if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int) else 1
    written = fields["best_of"] or fields["n"]
    if many > settings.max_prompts:
        raise invalid(f"there are {many} prompts; allowed: up to {settings.max_prompts}", "prompt")
    if written < fields["n"]:
        raise invalid(f"best_of is {written}; allowed: n ({fields['n']}) or more", "best_of")
    if written > fields["n"] and fields["stream"]:
        raise invalid("best_of above n cannot be streamed: which is best is known at the end", "best_of")
    if many * written > settings.max_choices:
        raise invalid(
            f"that makes {many * written} texts; allowed: up to {settings.max_choices}",
            "n" if fields["best_of"] is None else "best_of",
        )
    length = fields["max_tokens"] = _length(fields, settings)
    if length == 0 and not fields["echo"] and not fields["return_state"]:
        raise invalid("max_tokens is 0; allowed: 1 or more, or 0 with echo or return_state", "max_tokens")
    if fields["stream_options"] is not None and not fields["stream"]:
        raise invalid("stream_options is for requests with stream", "stream_options")
    for id in fields["logit_bias"] or {}:
        if not id.isascii() or not id.isdigit() or len(id) > 10:
            raise invalid(f"logit_bias has the key {ascii(id)[:64]}; allowed: symbols by number", "logit_bias")
    return Given(fields, ignored)


def _length(fields: dict[str, Any], settings: Settings) -> int | None:
    """Return how many symbols a text may have, under either name; None where a request does not say."""
    length, other = fields["max_tokens"], fields["max_completion_tokens"]
    if None not in (length, other) and length != other:
        raise of_user_error(
            UserError(
                f"max_tokens is {length}, and max_completion_tokens, which is another name of it, is {other}",
                allowed="one of them, or two that are equal",
                fix="leave out max_tokens",
            ),
            "max_completion_tokens",
        )
    name = "max_tokens" if other is None else "max_completion_tokens"
    if (length := other if length is None else length) is not None and length > settings.max_tokens:
        raise invalid(f"{name} is {length}; allowed: up to {settings.max_tokens}", name)
    return None if length is None else int(length)


@dataclass(frozen=True)
class Told:
    """A prompt of a request: what is read of it, and what is shown of it."""

    read: NDArray[np.int64]
    shown: NDArray[np.int64]


def read_prompts(given: Given, served: Served, start: Start | None, settings: Settings) -> list[Told]:
    """Return the prompts of a request as symbols; raises ApiError."""
    prompts = given.fields["prompt"]
    if isinstance(prompts, str) or not prompts or isinstance(prompts[0], int):
        prompts = [prompts]
    told = []
    for prompt in prompts:
        ids = read_symbols(prompt, served.tokenizer, "prompt", replace=given.fields["replace_unknown"])
        if len(ids) > settings.max_prompt_tokens:
            raise invalid(f"a prompt has {len(ids):,} symbols; allowed: up to {settings.max_prompt_tokens:,}", "prompt")
        if given.fields["echo"] and given.fields["logprobs"] is not None and len(ids) > settings.max_echoed:
            raise invalid(
                f"a prompt has {len(ids):,} symbols; allowed with echo and logprobs: up to {settings.max_echoed:,}",
                "prompt",
            )
        # Whoever sends symbols may have put the start symbol first, as is usual; it is then not read twice.
        begun = start is not None or (not isinstance(prompt, str) and ids[:1].tolist() == [served.tokenizer.start_id])
        told.append(Told(ids if begun else np.concatenate([[served.tokenizer.start_id], ids]), ids))
    if given.fields["logprobs"] is not None:
        echoed = sum(len(prompt.shown) for prompt in told) if given.fields["echo"] else 0
        written = len(told) * given.written * given.fields["max_tokens"]
        if (count := (echoed + written) * (1 + given.fields["logprobs"])) > settings.max_probabilities:
            raise of_user_error(
                UserError(
                    f"that asks for up to {count:,} probabilities",
                    allowed=f"up to {settings.max_probabilities:,}: symbols of prompts and texts, times 1 + logprobs",
                    fix="send fewer prompts at a time, or ask for fewer logprobs or max_tokens",
                ),
                "logprobs",
            )
    strange = [id for id in given.fields["logit_bias"] or {} if int(id) >= served.tokenizer.vocab_size]
    if strange:
        raise invalid(
            f"logit_bias holds the symbol {strange[0]}; allowed: 0 to {served.tokenizer.vocab_size - 1}", "logit_bias"
        )
    return told


def read_symbols(text: str | list[int], tokenizer: Tokenizer, param: str, *, replace: bool) -> NDArray[np.int64]:
    """Return a text, or symbols by number, as ids; raises ApiError for what the model does not know."""
    if isinstance(text, str):
        unknown = [] if replace else tokenizer.unknown(text)
        if unknown:
            shown = ", ".join(f"{symbol!r} at {offset}" for offset, symbol in unknown[:5])
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise invalid(
                f"{param} has symbols that the model has never seen: {shown}{more}; "
                "allowed: symbols of the training text, or any with replace_unknown, which reads them as <unk>",
                param,
                "unknown_tokens",
            )
        return tokenizer.encode(text)
    if (error := ids_fault(text, tokenizer.vocab_size, param)) is not None:
        raise error
    return np.array(text, np.int64)


class Completion:
    """The answer to one request; an ASGI application, so that it notices when its client leaves."""

    def __init__(
        self,
        context: Context,
        served: Served,
        given: Given,
        prompts: Sequence[Told],
        start: Start | None,
        owner: str,
    ) -> None:
        """Begin to write; raises ApiError where there is no room."""
        fields = given.fields
        self.context, self.served, self.given, self.owner = context, served, given, owner
        self.streaming: bool = fields["stream"]
        self.created = int(time.time())
        self.id = f"cmpl-{secrets.token_hex(12)}"
        self.sink = Sink()
        self.open = 0
        self._left = False
        options = _options(fields)
        echoed = fields["echo"] and fields["logprobs"] is not None
        written, kept = given.written, fields["n"]
        prompt_objects = []
        self.choices: dict[Row, _Choice] = {}
        for j, told in enumerate(prompts):
            rows = [Row(self.sink, j * kept + i, j * written + i, options) for i in range(written)]
            prompt = Prompt(
                told.read,
                rows,
                start,
                echoed=len(told.shown) if echoed else 0,
                top=fields["logprobs"] if echoed else None,
            )
            prompt_objects.append(prompt)
            for row in rows:
                self.choices[row] = _Choice(served, row, prompt, told.shown if fields["echo"] else None)
        self.prompt_tokens = sum(len(told.shown) for told in prompts)
        self.open = len(self.choices)
        self.batcher: Batcher = context.batchers.of(served)
        self.batcher.submit(prompt_objects)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; whatever ends it, its rows leave the batch."""
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
        """Free the slots of what is not at its end."""
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
        chosen = [choice.whole(self._handle) for choice in self._best()]
        value = {**self._head(), "choices": chosen, "usage": self._usage()}
        large = sum(len(choice.row.ids) + len(choice.prompt.points) for choice in self.choices.values()) > 4096
        body = await asyncio.to_thread(dump, value) if large else dump(value)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, *self._ignored()]})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [*EVENT_HEADERS, *self._ignored()]})
        include_usage = bool((self.given.fields["stream_options"] or {}).get("include_usage"))
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

    def _best(self) -> list["_Choice"]:
        """Return the choices that are sent: of each prompt the best, where more were written than are asked for."""
        kept, written = self.given.fields["n"], self.given.written
        choices = list(self.choices.values())
        if written == kept:
            return choices
        found = []
        for first in range(0, len(choices), written):
            ranked = sorted(choices[first : first + written], key=lambda choice: -choice.mean_log_probability)
            for place, choice in enumerate(ranked[:kept]):
                choice.index = first // written * kept + place
                found.append(choice)
        return found

    def _handle(self, state: Start) -> str:
        return self.context.states.put(state, self.owner, self.served)

    def _ignored(self) -> list[tuple[bytes, bytes]]:
        return [(name.encode(), value.encode()) for name, value in ignored_header(self.given.ignored).items()]

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


class _Choice:
    """One text of an answer, as it arrives."""

    def __init__(self, served: Served, row: Row, prompt: Prompt, echo: NDArray[np.int64] | None) -> None:
        self.served, self.row, self.prompt, self.echo = served, row, prompt, echo
        self.index = row.number
        self._pieces: list[str] = []
        self._points: list[Point | None] = []
        self._ids: list[int] = []
        self._finish: str | None = None
        self._state: Start | None = None
        self._begun = False
        self._arrived = 0
        """Symbols that were handed over."""
        self._sent = 0
        """Code points that were sent."""
        self._before: int | None = None
        """The symbol before those that are held."""

    @property
    def mean_log_probability(self) -> float:
        """Of its symbols."""
        return -math.fsum(self.row.nats) / max(1, len(self.row.ids))

    def take(self, part: Part) -> None:
        """Take what was handed over."""
        if not self._begun:
            self._begun = True
            self._begin()
        first, self._arrived = self._arrived, self._arrived + len(part.pieces)
        self._pieces += part.pieces
        self._ids += self.row.ids[first : self._arrived]
        if part.points is not None:
            self._points += part.points
        self._finish, self._state = part.finish, part.state

    def _begin(self) -> None:
        """Put the prompt before the text, where it is echoed."""
        start = self.prompt.start
        before = [*(start.before if start else ()), *self.prompt.ids.tolist()[-1:]]
        self._before = before[-1] if before else None
        if self.echo is None or not len(self.echo):
            return
        self._before = start.before[-1] if start else None
        decoder = decoder_after(self.served.tokenizer, start.before if start else ())
        self._ids = self.echo.tolist()
        self._pieces = [decoder.push(id) for id in self._ids]
        if not self.row.options.length:
            self._pieces[-1] += decoder.flush()
        self._points = [None, *self.prompt.points]

    def whole(self, handle: Callable[[Start], str]) -> dict[str, Any]:
        """Return it as a part of a whole answer."""
        choice = {
            "index": self.index,
            "text": "".join(self._pieces),
            "logprobs": self._log_probabilities(),
            "finish_reason": self._finish,
        }
        return choice if self._state is None else {**choice, "state": handle(self._state)}

    def event(self, handle: Callable[[Start], str]) -> str:
        """Return what has come since the last event, as JSON."""
        told = "null" if self.row.points is None else json.dumps(self._log_probabilities(), allow_nan=False)
        text = "".join(self._pieces)
        self._sent += len(text)
        self._before = self._ids[-1] if self._ids else self._before
        self._pieces, self._points, self._ids = [], [], []
        finish = "null" if self._finish is None else f'"{self._finish}"'
        state = "" if self._state is None else f',"state":"{handle(self._state)}"'
        return f'{{"index":{self.index},"text":{json.dumps(text)},"logprobs":{told},"finish_reason":{finish}{state}}}'

    def _log_probabilities(self) -> dict[str, Any] | None:
        if self.row.points is None:
            return None
        offsets, at = [], self._sent
        for piece in self._pieces:
            offsets.append(at)
            at += len(piece)
        before = [self._before, *self._ids]
        return {
            "tokens": self._pieces,
            "token_logprobs": [None if point is None else _finite(point.log_probability) for point in self._points],
            "top_logprobs": [
                None if point is None else self._top(point, id, piece, last)
                for point, id, piece, last in zip(self._points, self._ids, self._pieces, before, strict=False)
            ],
            "text_offset": offsets,
        }

    def _top(self, point: Point, id: int, piece: str, before: int | None) -> dict[str, float]:
        """Return the most probable symbols and the one that came, by name.

        The one that came has the name that it has in `tokens`: what it wrote, which joins to the text. A byte that
        only begins a character writes nothing, the one that ends it writes all of it. The others, which wrote nothing,
        have their own names; one whose name is taken (a piece `é`, where the last byte of an é came) has that of its
        bytes.
        """
        names, pieces = self.served.printable, self.served.tokenizer.pieces
        start = self.served.tokenizer.start_id
        # A model of words writes a space between two of them.
        spaced = self.served.tokenizer.level == "word" and before is not None and before != start
        found = {}
        for other, value in zip(point.top_ids, point.top, strict=True):
            if other == id:
                found[piece] = _finite(value)
                continue
            name = f" {names[other]}" if spaced and other != start else names[other]
            if name == piece or name in found:
                name = "".join(f"\\x{byte:02x}" for byte in pieces[other])
            found[name] = _finite(value)
        if id not in point.top_ids:
            found[piece] = _finite(point.log_probability)
        return found


def _options(fields: dict[str, Any]) -> Options:
    stop = fields["stop"] or []
    seed = fields["seed"]
    return Options(
        length=fields["max_tokens"],
        temperature=float(fields["temperature"]),
        top_k=fields["top_k"],
        top_p=float(fields["top_p"]),
        min_p=float(fields["min_p"]),
        seed=secrets.randbits(63) if seed is None else seed % 2**64,
        stops=(stop,) if isinstance(stop, str) else tuple(dict.fromkeys(stop)),
        top=fields["logprobs"],
        presence_penalty=float(fields["presence_penalty"]),
        frequency_penalty=float(fields["frequency_penalty"]),
        repetition_penalty=float(fields["repetition_penalty"]),
        bias={int(id): float(value) for id, value in (fields["logit_bias"] or {}).items()},
        streaming=fields["stream"],
        keep_state=fields["return_state"],
    )


def _finite(log_probability: float) -> float:
    return log_probability if math.isfinite(log_probability) and log_probability > LEAST else LEAST

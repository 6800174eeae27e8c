"""Requests for completions: their fields checked together, their prompts as ids, the options of their rows."""

import secrets
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.data.blocks import Level
from unroll.data.tokenizer import Tokenizer
from unroll.serve.batching.streams import Options, Start
from unroll.serve.completions.tables import LENGTHS
from unroll.serve.errors import invalid
from unroll.serve.fields import check_ids
from unroll.serve.served import Served
from unroll.serve.settings import Settings

Ids = NDArray[np.int64]

MAX_LISTED = 5
"""Unknown symbols that an error lists."""


@dataclass(frozen=True)
class CompletionRequest:
    """A request for completions, checked."""

    fields: dict[str, Any]
    ignored: list[str]

    @property
    def texts_per_prompt(self) -> int:
        """How many texts are written for each prompt; the `n` best are returned."""
        return int(self.fields["best_of"] or self.fields["n"])

    def with_length(self, level: Level, settings: Settings) -> "CompletionRequest":
        """Return it with a `max_tokens`: by default that of the model's level."""
        if self.fields["max_tokens"] is not None:
            return self
        return replace(self, fields=self.fields | {"max_tokens": min(LENGTHS[level], settings.max_tokens)})

    def options(self) -> Options:
        """Return how its rows are written."""
        fields, stop, seed = self.fields, self.fields["stop"] or [], self.fields["seed"]
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


@dataclass(frozen=True)
class PromptIds:
    """A prompt of a request: the ids that are read, and the ids that are echoed."""

    read: Ids
    echo: Ids
    spaced: bool
    """Whether it ends with a space that the symbol after it would write."""


def check_request(fields: dict[str, Any], ignored: list[str], settings: Settings) -> CompletionRequest:
    """Return the request of checked fields; raises ApiError for fields that do not fit together."""
    prompts = fields["prompt"]
    count = len(prompts) if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int) else 1
    written = fields["best_of"] or fields["n"]
    if count > settings.max_prompts:
        raise invalid(f"too many prompts: {count}", f"up to {settings.max_prompts}", "send them in batches", "prompt")
    if written < fields["n"]:
        raise invalid(
            f"best_of ({written}) is below n ({fields['n']})", f"{fields['n']} or more", "raise best_of", "best_of"
        )
    if written > fields["n"] and fields["stream"]:
        raise invalid(
            "best_of above n cannot be streamed: the best is known at the end only",
            "best_of equal to n, or no stream",
            "leave out best_of or stream",
            "best_of",
        )
    if count * written > settings.max_choices:
        raise invalid(
            f"too many texts: {count} prompts with {written} each",
            f"up to {settings.max_choices} texts",
            "send fewer prompts at a time, or ask for fewer texts",
            "n" if fields["best_of"] is None else "best_of",
        )
    length = fields["max_tokens"] = _length(fields, settings)
    if length == 0 and not fields["echo"] and not fields["return_state"]:
        raise invalid(
            "max_tokens is 0 and nothing else is asked for",
            "1 or more; 0 with echo or return_state",
            "raise max_tokens",
            "max_tokens",
        )
    if fields["stream_options"] is not None and not fields["stream"]:
        raise invalid(
            "stream_options without stream", "stream_options with stream: true", "set stream", "stream_options"
        )
    for id in fields["logit_bias"] or {}:
        if not id.isascii() or not id.isdigit() or len(id) > 10:
            raise invalid(
                f"invalid key of logit_bias: {ascii(id)[:64]}",
                "ids of symbols, as strings",
                "find ids with /tokenize",
                "logit_bias",
            )
    return CompletionRequest(fields, ignored)


def _length(fields: dict[str, Any], settings: Settings) -> int | None:
    """Return the maximum number of symbols, sent under either name; None by default."""
    length, other = fields["max_tokens"], fields["max_completion_tokens"]
    if None not in (length, other) and length != other:
        raise invalid(
            f"max_tokens is {length}, but max_completion_tokens, another name for it, is {other}",
            "one of them, or two that are equal",
            "leave out max_tokens",
            "max_completion_tokens",
        )
    name = "max_tokens" if other is None else "max_completion_tokens"
    if (length := other if length is None else length) is not None and length > settings.max_tokens:
        raise invalid(
            f"{name} is {length:,}, above the limit of {settings.max_tokens:,}",
            f"up to {settings.max_tokens:,}",
            f"lower {name}, or start the server with a larger --max-tokens",
            name,
        )
    return None if length is None else int(length)


def read_prompts(
    request: CompletionRequest, served: Served, start: Start | None, settings: Settings
) -> list[PromptIds]:
    """Return the prompts of a request as ids; raises ApiError."""
    fields, tokenizer, vocab_size = request.fields, served.tokenizer, served.tokenizer.vocab_size
    prompts = fields["prompt"]
    if isinstance(prompts, str) or not prompts or isinstance(prompts[0], int):
        prompts = [prompts]
    most = settings.max_prompt_tokens
    if fields["echo"] and fields["logprobs"] is not None:
        most = min(most, settings.max_echoed)
    # What is only measured is read as it was sent.
    measured = not fields["max_tokens"] or (fields["echo"] and fields["logprobs"] is not None)
    all_ids = []
    for prompt in prompts:
        text = prompt if isinstance(prompt, str) else ""
        sent = tokenizer.to_continue(text) if text and not measured else prompt
        ids = read_ids(sent, tokenizer, "prompt", replace=fields["replace_unknown"])
        if len(ids) > most:
            raise invalid(
                f"a prompt has {len(ids):,} symbols, above the limit of {most:,}",
                f"up to {settings.max_prompt_tokens:,}, with echo and logprobs up to {settings.max_echoed:,}",
                "shorten it, or continue from a state with return_state and state_from",
                "prompt",
            )
        # Clients that send ids may have put the start symbol first, as is usual; it is then not read twice.
        begun = start is not None or (not isinstance(prompt, str) and ids[:1].tolist() == [tokenizer.start_id])
        spaced = tokenizer.leaves_space(text, ids.tolist())
        all_ids.append(PromptIds(ids if begun else np.concatenate([[tokenizer.start_id], ids]), ids, spaced))
    if fields["logprobs"] is not None:
        echoed = sum(len(prompt.echo) for prompt in all_ids) if fields["echo"] else 0
        written = len(all_ids) * request.texts_per_prompt * fields["max_tokens"]
        if (count := (echoed + written) * (1 + fields["logprobs"])) > settings.max_probabilities:
            raise invalid(
                f"the request asks for up to {count:,} probabilities, above the limit of "
                f"{settings.max_probabilities:,}",
                f"up to {settings.max_probabilities:,}: symbols of prompts and texts, times 1 + logprobs",
                "send fewer prompts at a time, or lower logprobs or max_tokens",
                "logprobs",
            )
    unknown = [id for id in fields["logit_bias"] or {} if int(id) >= vocab_size]
    if unknown:
        raise invalid(
            f"logit_bias holds the id {unknown[0]}, which is outside the vocabulary",
            f"0 to {vocab_size - 1}",
            "find ids with /tokenize",
            "logit_bias",
        )
    return all_ids


def read_ids(text: str | list[int], tokenizer: Tokenizer, param: str, *, replace: bool) -> Ids:
    """Return the ids of a text, or those sent; raises ApiError for symbols outside the vocabulary."""
    if isinstance(text, str):
        unknown = [] if replace else tokenizer.unknown(text)
        if unknown:
            listed = ", ".join(f"{symbol!r} at {offset}" for offset, symbol in unknown[:MAX_LISTED])
            more = f" and {len(unknown) - MAX_LISTED} more" if len(unknown) > MAX_LISTED else ""
            raise invalid(
                f"{param} has symbols that the model has never seen: {listed}{more}",
                "symbols of the training text",
                "leave them out, or set replace_unknown to read them as <unk>",
                param,
                "unknown_tokens",
            )
        return tokenizer.encode(text)
    check_ids(text, tokenizer.vocab_size, param)
    return np.array(text, np.int64)

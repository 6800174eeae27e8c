"""Tags of the tokens of sentences."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from unroll.data.tagged import MAX_SENTENCE
from unroll.progress import result
from unroll.serve.completions.tables import TAGGING
from unroll.serve.completions.tasks import answer, check_count, chosen, listed
from unroll.serve.context import Context
from unroll.serve.errors import invalid
from unroll.serve.served import ServedTagger
from unroll.serve.settings import Settings
from unroll.tasks.tag.predict import joined_spans, predictions, token_spans


async def tag(context: Context, request: Request) -> Response:
    """Return the tag of each token of a request, with its probability and its offsets; raises ApiError."""
    return await answer(context, request, TAGGING, ServedTagger, _tags)


def _tags(fields: dict[str, Any], served: ServedTagger, settings: Settings) -> dict[str, Any]:
    param, sent = chosen(fields, "text", "texts", "tokens")
    if param == "tokens":
        sentences = sent if isinstance(sent[0], list) else [sent]
        texts, spans = [" ".join(tokens) for tokens in sentences], [joined_spans(tokens) for tokens in sentences]
    else:
        texts = [sent] if param == "text" else sent
        spans = [token_spans(text, served.tokens) for text in texts]
    check_count(len(texts), settings.max_inputs, "sentences", param)
    for index, own in enumerate(spans):
        if len(own) > MAX_SENTENCE:
            raise invalid(
                f"sentence {index} of {param} has {len(own):,} tokens, above the limit of {MAX_SENTENCE:,}",
                f"up to {MAX_SENTENCE:,}",
                "send sentences, not whole documents",
                param,
            )
    count = sum(map(len, spans))
    check_count(count, settings.max_prompt_tokens, "tokens", param)
    if served.opened.context is not None:  # for a moment it keeps what a language model says of each character
        check_count(sum(map(len, texts)), settings.max_prompt_tokens, "characters", param)
    return listed("tag", served, result(predictions(served.opened, texts, spans)), count)

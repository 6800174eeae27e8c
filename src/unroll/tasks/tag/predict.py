"""What a tagger says: the tags of sentences of tokens, and of texts that are cut into tokens first."""

import re
from collections.abc import Callable, Sequence
from itertools import accumulate, islice
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.tagger import AnyTagger, OpenTagger, as_tagger, read_with
from unroll.data.ragged import Ragged
from unroll.data.tagged import MAX_SENTENCE
from unroll.data.words import word_spans
from unroll.engine.network import Precision
from unroll.errors import UserError, check_choice
from unroll.progress import Progress, Work, result

Tokens = Literal["spaces", "unicode"]
"""How a text is cut into tokens: at white space, or also around each punctuation mark."""
TOGETHER = 4096
"""Number of sentences that are read at once."""

Floats = NDArray[np.float64]
Ids = NDArray[np.integer]
Spans = list[tuple[int, int]]


class Predicted(NamedTuple):
    """What a tagger says of sentences: of all their tokens, a sentence after the other."""

    ids: Ids
    """(N,) of the tags."""
    probabilities: Floats
    """(N,) of these tags."""
    true: Floats
    """(N,) probabilities of the true tags; nothing where none were given."""


def tag(
    model: AnyTagger,
    sentences: Sequence[str] | Sequence[Sequence[str]],
    *,
    tokens: Tokens | None = None,
    precision: Precision = "float32",
) -> list[dict[str, Any]]:
    """Return the tags of sentences: `[{"text", "tokens": [{"token", "start", "end", "tag", "probability"}]}]`.

    A sentence is a text, or a sequence of tokens, whose text is these with single spaces between. `tokens` is how texts
    are cut: at white space (`spaces`), or also around each punctuation mark (`unicode`); by default as
    `tokens_in_training` says. Offsets are in code points. A probability is that of the tag alone, whatever the tags
    beside it; of a CRF, a tag may have less than another that does not fit beside its neighbours. Raises UserError.
    """
    opened = as_tagger(model, precision)
    cut = tokens or tokens_in_training(opened)
    texts = [sentence if isinstance(sentence, str) else " ".join(sentence) for sentence in sentences]
    spans = [
        token_spans(sentence, cut) if isinstance(sentence, str) else joined_spans(sentence) for sentence in sentences
    ]
    return result(predictions(opened, texts, spans))


def predictions(model: OpenTagger, texts: Sequence[str], spans: Sequence[Spans]) -> Work[list[dict[str, Any]]]:
    """Return the tags of texts whose tokens have these spans, as `tag` does."""
    sentences = [[text[start:end] for start, end in own] for text, own in zip(texts, spans, strict=True)]
    predicted = yield from predicted_tags(model, sentences)
    tagged = iter(zip(predicted.ids.tolist(), predicted.probabilities.tolist(), strict=True))
    return [
        {
            "text": text,
            "tokens": [
                {"token": token, "start": start, "end": end, "tag": model.info.tags[id], "probability": probability}
                for token, (start, end), (id, probability) in zip(
                    sentence, own, islice(tagged, len(sentence)), strict=True
                )
            ],
        }
        for text, sentence, own in zip(texts, sentences, spans, strict=True)
    ]


def predicted_tags(model: OpenTagger, sentences: Sequence[Sequence[str]], true: Ids | None = None) -> Work[Predicted]:
    """Return the tags of sentences, as `tagging` does.

    With the ids of the true tags of all tokens, -1 for one that the model has not, also their probabilities.
    """
    count = sum(map(len, sentences))
    ids, probabilities = np.zeros(count, np.int64), np.zeros(count)
    of_true = np.zeros(0 if true is None else count)

    def take(here: Ids, best: Ids, shares: Floats) -> None:
        rows = np.arange(len(here))
        ids[here], probabilities[here] = best, shares[rows, best]
        if true is not None:
            of_true[here] = np.where(true[here] < 0, 0.0, shares[rows, true[here]])

    yield from tagging(model, sentences, take)
    return Predicted(ids, probabilities, of_true)


def tagging(
    model: OpenTagger, sentences: Sequence[Sequence[str]], take: Callable[[Ids, Ids, Floats], None]
) -> Work[None]:
    """Tag sentences; a sentence's tags do not depend on the others.

    Hands on to `take`, batch by batch, the places of tokens among all (N,), the ids of their tags (N,), and the
    probabilities of all tags (N, K). Raises UserError for a sentence of more than MAX_SENTENCE tokens, before memory is
    taken.
    """
    lengths = np.array([len(sentence) for sentence in sentences], np.int64)
    if lengths.max(initial=0) > MAX_SENTENCE:
        raise UserError(
            f"sentence {int(lengths.argmax()) + 1:,} has {int(lengths.max()):,} tokens",
            allowed=f"at most {MAX_SENTENCE:,}",
            fix="give sentences, not whole documents: of a file of text, one in each line",
        )
    places = Ragged(np.arange(lengths.sum()), np.cumsum(lengths))
    for first in range(0, len(sentences), TOGETHER):
        reading = yield from read_with(model.reader, model.context, sentences[first : first + TOGETHER])
        done = first
        for numbers, part in reading.batches():
            scores = model.network.scores(part)
            best = model.network.best(scores, part.units.lengths)
            take(places.select(first + numbers).values, best, model.network.probabilities(scores, part.units.lengths))
            done += len(numbers)
            yield Progress("tagging", done, len(sentences), "sentences")


# ---- from texts to tokens


def tokens_in_training(model: OpenTagger) -> Tokens:
    """Return how a text is cut: around punctuation marks where one was a token in training, else at white space."""
    tokenizer = model.reader.tokenizer
    words = (piece.decode() for id, piece in enumerate(tokenizer.pieces) if id not in tokenizer.specials)
    return "unicode" if any(not re.search(r"\w", word) for word in words) else "spaces"


def token_spans(text: str, tokens: Tokens) -> Spans:
    """Return the spans of a text's tokens in code points. Raises UserError."""
    check_choice("tokens", tokens, ("spaces", "unicode"))
    if tokens == "unicode":
        return word_spans(text)
    return [match.span() for match in re.finditer(r"\S+", text)]


def joined_spans(tokens: Sequence[str]) -> Spans:
    """Return the spans of tokens in the text that they are with single spaces between."""
    starts = accumulate((len(token) + 1 for token in tokens[:-1]), initial=0)
    return [(start, start + len(token)) for start, token in zip(starts, tokens, strict=True)] if tokens else []

"""A sentence as a tagger reads it, with the text cut before each token."""

from itertools import pairwise
from typing import NamedTuple

from unroll.artifact.tagger import OpenTagger
from unroll.data.reader import Reading
from unroll.errors import UserError
from unroll.tasks.tag.predict import token_spans, tokens_in_training

LONGEST = 1000
"""Most tokens of a sentence that is looked into."""


class Sentence(NamedTuple):
    """A text cut into tokens as `unroll.tag` cuts it."""

    reading: Reading
    spans: list[tuple[int, int]]
    """Of the tokens, in code points."""
    pieces: list[str]
    """The text cut before each token."""


def sentence_of(opened: OpenTagger, text: str) -> Sentence:
    """Return a text as a tagger reads it; raises UserError for one without tokens, or of more than LONGEST."""
    spans = token_spans(text, tokens_in_training(opened))
    if not 1 <= len(spans) <= LONGEST:
        raise UserError(
            f"the text has {len(spans):,} tokens",
            allowed=f"1 to {LONGEST:,}",
            fix="give a sentence" if not spans else "take a part of it",
        )
    ends = [0, *(start for start, _ in spans[1:]), len(text)]
    tokens = [text[start:end] for start, end in spans]
    return Sentence(opened.read([tokens]), spans, [text[start:end] for start, end in pairwise(ends)])

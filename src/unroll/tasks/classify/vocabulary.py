"""The vocabularies of a classifier, learnt from the training part alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from unroll.data.reader import Reader, learn_characters, lowered
from unroll.data.tokenizer import CharTokenizer, learn_tokenizer
from unroll.data.words import Spacing, spacing
from unroll.settings import from_mapping
from unroll.tasks.classify.recipe import TextsConfig

PIECES = 4000
"""Number of byte-pair pieces."""


def learn_reader(texts: Sequence[str], fixed: Mapping[str, Any]) -> tuple[TextsConfig, Reader]:
    """Return how texts are read, where `fixed` leaves it open, and the vocabularies. Raises UserError."""
    data = from_mapping(TextsConfig, fixed, "the recipe's [data]")
    if data.level == "word" and "words" not in fixed:
        data = replace(data, words=sum(map(spacing, texts), Spacing()).boundaries)
    units = [lowered(text) for text in texts] if data.lowercase else texts
    tokenizer = learn_tokenizer(units, data.level, words=data.words, min_count=data.min_count, pieces=PIECES)
    reader = Reader(tokenizer, None, data.lowercase, data.max_units)
    if data.level != "word":
        return data, reader
    # Words as they are written, not as they are looked up.
    probe = replace(reader, characters=CharTokenizer.learn(""))
    words = {word for text in texts for word in probe.units(text)[1]}
    return data, replace(reader, characters=learn_characters(words))

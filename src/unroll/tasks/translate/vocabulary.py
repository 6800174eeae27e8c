"""The vocabularies of a translator, learnt from the training part alone."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from unroll.artifact.translator import Readers
from unroll.data.parallel import Pairs
from unroll.data.reader import Reader
from unroll.data.tokenizer import learn_tokenizer
from unroll.data.words import lines_spacing
from unroll.settings import from_mapping
from unroll.tasks.translate.recipe import PairsConfig, pieces_for


def learn_readers(pairs: Pairs, fixed: Mapping[str, Any]) -> tuple[PairsConfig, Readers]:
    """Return how pairs are read, where `fixed` leaves it open, and the vocabularies. Raises UserError."""
    data, both = from_mapping(PairsConfig, fixed, "the recipe's [data]"), (pairs.sources, pairs.targets)
    if data.level == "word" and "words" not in fixed:
        data = replace(data, words=lines_spacing(chain(*both)).boundaries)
    if data.level == "bpe" and not data.pieces:
        data = replace(data, pieces=pieces_for(sum(len(text.split()) for text in chain(*both))))
    corpora = ((*chain(*both),),) if data.shared else both
    source, *others = (
        learn_tokenizer(texts, data.level, words=data.words, min_count=data.min_count, pieces=data.pieces)
        for texts in corpora
    )
    target = others[0] if others else source
    return data, Readers(Reader(source, max_units=data.max_units), Reader(target, max_units=data.max_units))

"""The vocabularies of a tagger, learnt from the sentences for training alone."""

from collections import Counter
from itertools import chain

from unroll.data.reader import Reader, learn_characters, lowered
from unroll.data.tagged import Sentences
from unroll.data.vocabulary import EOS, UNK
from unroll.data.words import UnicodeWordTokenizer
from unroll.tasks.tag.recipe import TokensConfig


def learn_reader(sentences: Sentences, data: TokensConfig) -> Reader:
    """Return the vocabularies of tokens and of their characters."""
    tokens = Counter(chain.from_iterable(sentences))
    counts = Counter[str]()
    for token, count in tokens.items():
        counts[lowered(token) if data.lowercase else token] += count
    known = [token for token, count in counts.items() if count >= data.min_count and token not in (UNK, EOS)]
    known = [token for token in known if "\n" not in token]  # as no word of a vocabulary has
    ranked = sorted(known, key=lambda token: (-counts[token], token))
    # Tokens may hold spaces, as words of this vocabulary may.
    return Reader(UnicodeWordTokenizer(tuple(ranked)), learn_characters(tokens), data.lowercase)

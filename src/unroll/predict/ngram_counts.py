"""Counting n-grams: from ids to the tables of modified Kneser-Ney, by sorting the positions of the text once."""

from collections.abc import Generator, Iterator
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.errors import UserError
from unroll.predict.ngram import Floats, Ids, NgramConfig, Tables

MAX_TOKENS = 2**30
FALL_BACK = (0.5, 1.0, 1.5)
"""D1, D2, D3+ of an order whose counts of counts give none above 0 and up to 1, 2, 3 (as in KenLM)."""

Ranks = NDArray[np.integer]
Counts = NDArray[np.int64]


class _Strings(NamedTuple):
    """The strings of one length, one from each position, sorted so that equal ones lie side by side: a group."""

    length: int
    inside: NDArray[np.bool_]
    """For each position: whether its string ends within the text and, where lines are sentences, within the line."""
    group: NDArray[np.int32]
    """For each position: the number of its group."""
    first: NDArray[np.int64]
    """For each group: its first position."""


def count(ids: Ids, config: NgramConfig) -> Generator[int, None, Tables]:
    """Count the n-grams of a text (N,) after its start symbol; yields the number of orders done; returns the tables.

    An n-gram that begins at a start, where none can be longer in front, keeps its raw count at every order, as KenLM's
    n-grams with <s> do. Raises UserError for a text that is too short or too long.
    """
    if not 0 < len(ids) <= MAX_TOKENS:
        raise UserError(
            f"the text has {len(ids):,} symbols", allowed=f"1 to {MAX_TOKENS:,}", fix="count another text, or a part"
        )
    text = with_starts(ids, config)
    places = yield from _sorted_places(text, config)
    # From here on a position is named by its number in sorted order.
    rank = np.empty(len(text), np.int32)
    rank[places] = np.arange(len(text), dtype=np.int32)
    after = np.append(rank[1:], rank[:1])[places]  # the next position in the text
    starts = np.flatnonzero(text[places] == config.begin_id) if config.lines else rank[:1]
    discounts: list[Floats | None] = []
    counts: list[Ids] = []
    symbols: list[Ids] = []
    follows: list[Ids] = []
    singles: list[Ids] = []
    in_tables: NDArray[np.bool_] | None = None  # for each group
    for strings, longer in pairwise(chain(_strings(text, places, config), [None])):  # the longest with None
        assert strings is not None
        ngram = strings.inside[strings.first]
        in_tables = ngram if in_tables is None else in_tables
        adjusted = _adjusted(strings, longer, after, starts)
        discounts.append(_discounts(adjusted[ngram]))
        counts.append(_small(adjusted[in_tables]))
        symbols.append(text[places[strings.first[in_tables]] + (strings.length - 1)])
        if longer is not None:
            followed = np.add.reduceat(longer.inside, strings.first, dtype=np.int64)
            context = strings.group[longer.first]
            below = longer.inside[longer.first] & (followed > 1)[context]
            children = np.bincount(context[below], minlength=len(followed))
            follows.append(_small(np.where(followed > 1, 1 + children, followed)[in_tables]))
            once = longer.inside & (in_tables & (followed == 1))[strings.group]
            singles.append((places[once] + strings.length).astype(np.uint32))
            in_tables = below
        yield strings.length
    counts[0] = _spread(counts[0], symbols[0], config.num_symbols)[: config.vocab_size]
    follows[:1] = [_spread(values, symbols[0], config.num_symbols) for values in follows[:1]]
    return Tables(
        config,
        text,
        np.array([FALL_BACK if triple is None else triple for triple in discounts]),
        tuple(counts),
        tuple(symbols[1:]),
        tuple(follows),
        tuple(singles),
        fallback_discounts=tuple(order for order, triple in enumerate(discounts, 1) if triple is None),
    )


def with_starts(ids: Ids, config: NgramConfig) -> Ids:
    """Return a text after its start symbol; where lines are sentences, with one before each line."""
    dtype = np.min_scalar_type(config.num_symbols - 1).newbyteorder("<")
    ends = np.flatnonzero(ids == config.start_id) + 1 if config.lines else np.zeros(0, np.int64)
    return np.insert(ids.astype(dtype), np.append(0, ends), config.begin_id)


def _sorted_places(text: Ids, config: NgramConfig) -> Generator[int, None, NDArray[np.int32]]:
    """Return the positions of a text, sorted by the strings of `order` symbols from there; the end sorts first.

    Strings are sorted by as many symbols as fit into a number, then by twice as many, by the ranks of their halves
    (prefix doubling, Manber and Myers 1993).
    """
    bits = config.num_symbols.bit_length()
    length = min(63 // bits, config.order)
    key = np.zeros(len(text), np.int64)
    for offset in range(length):
        key <<= bits
        key[: max(0, len(text) - offset)] |= text[offset:] + np.int64(1)
    while True:
        yield 0
        places = np.argsort(key)
        if length == config.order:
            return places.astype(np.int32)
        key = key[places]
        rank = np.empty_like(key)
        rank[places] = np.cumsum(np.append(True, key[1:] != key[:-1]))
        step = min(length, config.order - length)
        key = rank << 32
        key[: max(0, len(text) - step)] |= rank[step:]
        length += step


def _strings(text: Ids, places: NDArray[np.int32], config: NgramConfig) -> Iterator[_Strings]:
    """Yield the strings of 1, 2, … symbols."""
    symbol = text[:0]
    inside = np.ones(len(text), np.bool_)
    opens = np.zeros(len(text), np.bool_)
    opens[0] = True
    for length in range(1, config.order + 1):
        ends = places + np.int32(length - 1)
        inside = inside & (ends < len(text))
        if config.lines and length > 1:
            inside &= symbol != config.start_id  # the one before last
        symbol = text.take(ends, mode="clip")
        opens[1:] |= (symbol[1:] != symbol[:-1]) | (inside[1:] != inside[:-1])
        yield _Strings(length, inside, np.cumsum(opens, dtype=np.int32) - 1, np.flatnonzero(opens))


def _adjusted(strings: _Strings, longer: _Strings | None, after: Ranks, starts: Ranks) -> Counts:
    """Return a of each group: of the highest order all occurrences, else the longer n-grams that end in it."""
    if longer is None:
        occurs = strings.inside.copy()
        occurs[starts] &= strings.length > 1  # a start is not predicted
        ends: Ranks = np.flatnonzero(occurs)
    else:
        ends = after[longer.first[longer.inside[longer.first]]]
        if strings.length > 1:
            ends = np.append(ends, starts[strings.inside[starts]])
    return np.bincount(strings.group[ends], minlength=len(strings.first))


def _discounts(counts: Counts) -> Floats | None:
    """Return D1, D2, D3+, by how many n-grams have a = 1, 2, 3 and 4: Chen and Goodman 1998; None where they give none.

    They give none where no n-gram has a = 1, 2 or 3, or a discount would not be above 0, as with many copies of a text.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if not (n1 and n2 and n3):
        return None
    y = n1 / (n1 + 2 * n2)
    discounts = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    return discounts if (discounts > 0).all() else None


def _spread(values: Ids, symbols: Ids, size: int) -> Ids:
    """Return the values of `symbols` in an array of all symbols (size,)."""
    spread = np.zeros(size, values.dtype)
    spread[symbols] = values
    return spread


def _small(values: Counts) -> Ids:
    """Return the values in the smallest type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))

"""The interpolated modified Kneser-Ney n-gram (Chen and Goodman 1998): shape, tables, and the predictor.

p_k(w|h) = max(a(hw) - D(a(hw)), 0) / A(h) + gamma(h) p_{k-1}(w|h'), where h' is h without its first symbol and
gamma(h) = (D1 N1(h) + D2 N2(h) + D3 N3+(h)) / A(h). At the highest order the a are raw counts; below it, a of an n-gram
is the number of distinct symbols before it. A(h) is the sum of a(hw) over w; N1, N2 and N3+ say how many of these a are
1, 2, and 3 or more. Unigrams are mixed with the uniform distribution; where h was never seen, p_k = p_{k-1}.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unroll.errors import check_fields
from unroll.predict.predictor import Nats, Predictor, Window
from unroll.state import State

Ids = NDArray[np.integer]
Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_ORDER = 40
"""So that a product of forty shares, each at least one in ten million, is a number above 0."""


@dataclass(frozen=True)
class NgramConfig:
    """The shape of an n-gram."""

    vocab_size: int
    order: int
    """An n-gram of order k predicts a symbol from the k - 1 before it."""
    start_id: int
    """The start symbol: read before a text, and not predicted there."""
    lines: bool = False
    """Each line is a sentence of its own: nothing before the last start symbol is looked at."""
    arch: Literal["ngram"] = "ngram"

    def __post_init__(self) -> None:
        orders, symbols = f"1 to {MAX_ORDER}", f"0 to {self.vocab_size - 1:,}"
        check_fields(
            self,
            ("order", 1 <= self.order <= MAX_ORDER, orders, "5 is usual for words, 10 to 20 for characters"),
            ("vocab_size", 1 <= self.vocab_size < 2**31, f"1 to {2**31 - 1:,}", "count again"),
            ("start_id", 0 <= self.start_id < self.vocab_size, symbols, "restore the directory"),
        )

    @property
    def begin_id(self) -> int:
        """The start symbol as it is looked up: where it begins sentences, one of its own, which nothing predicts."""
        return self.vocab_size if self.lines else self.start_id

    @property
    def num_symbols(self) -> int:
        """The number of symbols that can stand in a context."""
        return self.vocab_size + self.lines


@dataclass(frozen=True)
class Tables:
    """What was counted: a trie by level, where an n-gram of order k hangs below its context, its first k - 1 symbols.

    Only contexts that are followed at least twice have n-grams below them. One that is followed once needs none: it
    has the position in the text where that is. All arrays are sorted by context, then by symbol.
    """

    config: NgramConfig
    text: Ids
    """The text after its start symbol; where lines are sentences, each after `begin_id`."""
    discounts: Floats
    """D1, D2, D3+ of each order (order, 3)."""
    counts: tuple[Ids, ...]
    """For order 1, 2, …: a of each n-gram; at order 1, of each symbol (V,)."""
    symbols: tuple[Ids, ...]
    """For order 2, 3, …: the last symbol of each n-gram."""
    follows: tuple[Ids, ...]
    """For contexts of 1, 2, … symbols (of one symbol: all symbols): 1 + the number of n-grams below each; or 1 where it
    is followed once; or 0."""
    places: tuple[Ids, ...]
    """For contexts of 1, 2, … symbols that are followed once: the position in the text of what follows."""
    fallback_discounts: tuple[int, ...] | None = None
    """The orders whose discounts could not be estimated and are KenLM's fallbacks; None if unknown."""

    @property
    def size(self) -> int:
        """The number of n-grams."""
        return sum(map(len, self.counts))


def fault(tables: Tables) -> str:
    """Return what is wrong with tables read from a file; empty if every look-up stays within them."""
    config, text = tables.config, tables.text
    if len(text) < 2 or text[0] != config.begin_id or int(text.max()) >= config.num_symbols:
        return "the text does not fit the vocabulary"
    if config.lines and (text[:-1][text[1:] == config.begin_id] != config.start_id).any():
        return "a line of the text begins where none has ended"
    if not ((tables.discounts > 0) & (tables.discounts <= [1, 2, 3])).all():
        return "the discounts are out of range"
    widths = [config.num_symbols, *map(len, tables.counts[1:])]
    if len(tables.counts[0]) != config.vocab_size or [*map(len, tables.follows)] != widths[: config.order - 1]:
        return "the orders do not fit each other"
    for order, counts in enumerate(tables.counts, 1):
        place = f"of order {order}"
        if not 0 < int(counts.sum(dtype=np.uint64)) < 2**32 and len(counts):
            return f"the counts {place} are out of range"
        if order == 1:
            continue
        symbols, children = tables.symbols[order - 2], _children(tables.follows[order - 2])
        places = tables.places[order - 2]
        if not len(symbols) == len(counts) == int(children.sum(dtype=np.uint64)):
            return f"the n-grams {place} do not fit their contexts"
        if len(symbols) and (int(counts.min()) < 1 or int(symbols.max()) >= config.vocab_size):
            return f"the n-grams {place} do not fit the vocabulary"
        rising = np.ones(len(symbols) + 1, np.bool_)
        rising[1:-1] = symbols[1:] > symbols[:-1]
        rising[np.cumsum(children, dtype=np.int64)] = True
        if not rising.all():
            return f"the n-grams {place} are not sorted"
        if len(places) != np.count_nonzero(tables.follows[order - 2] == 1):
            return f"the places {place} do not fit their contexts"
        if len(places) and (int(places.min()) < 1 or int(places.max()) >= len(text)):
            return f"the places {place} lie outside the text"
        if len(places) and int(text[places].max()) >= config.vocab_size:
            return f"the places {place} do not fit the vocabulary"
    return ""


def _children(follows: Ids) -> Ids:
    return follows - (follows > 0)


class _Contexts(NamedTuple):
    """The contexts of one size."""

    children: Ids
    """The number of n-grams below each."""
    link: Ids
    """The first of them, or the position of what follows a context once, or 0."""
    total: Ids
    """A."""
    ones: Ids
    twos: Ids


def _contexts(follows: Ids, places: Ids, counts: Ids) -> _Contexts:
    """Return the figures of contexts, given the counts of the n-grams below them."""
    children = _children(follows)
    parents = np.flatnonzero(children)
    first = (np.cumsum(children, dtype=np.int64) - children)[parents]

    def summed(values: NDArray[Any], dtype: DTypeLike) -> Ids:
        sums: Ids = np.zeros(len(children), dtype)
        if len(parents):
            sums[parents] = np.add.reduceat(values, first, dtype=dtype)
        return sums

    link = np.zeros(len(children), np.uint32)
    link[parents] = first
    link[follows == 1] = places
    ones, twos = (summed(counts == number, children.dtype) for number in (1, 2))
    return _Contexts(children, link, summed(counts, np.uint32), ones, twos)


class _Step(NamedTuple):
    """The contexts of `size` symbols that end at positions of the input, by flat index."""

    size: int
    branching: Indices
    """Where contexts have n-grams below them,"""
    node: Indices
    """which they are,"""
    child: Indices
    """and which of those ends with the symbol asked for, -1 if none."""
    single: Indices
    """Where contexts are followed once,"""
    place: Indices
    """and at which position of the text."""


class NgramPredictor(Predictor):
    """An n-gram as a predictor. Its state is one array, the last ids read (B, order - 1), -1 where there are none."""

    def __init__(self, tables: Tables) -> None:
        """Use tables in which `fault` finds nothing wrong."""
        self.tables = tables
        self.vocab_size = tables.config.vocab_size
        self._discounts = np.pad(tables.discounts, [(0, 0), (1, 0)])  # of counts 0, 1, 2, 3 and more
        self._contexts = [*map(_contexts, tables.follows, tables.places, tables.counts[1:])]

    def nats(self, inputs: Window, targets: Window, state: State | None = None) -> tuple[Nats, State]:
        """Read `inputs` (B, T); return -ln P(target) after each of them (B, T), in nats, and the state."""
        symbols, after = self._read(inputs, state)
        first = symbols.shape[1] - inputs.shape[1]
        following, p = _following(symbols), np.ones(symbols.shape)
        following[:, first:], p[:, first:] = targets, self._unigrams[targets]
        flat_following, flat = following.reshape(-1), p.reshape(-1)
        for step in self._steps(symbols, following):
            size, at = step.size, step.branching
            counts = np.where(step.child >= 0, self.tables.counts[size][step.child], 0)
            flat[at] = self._shares(size, counts, self._contexts[size - 1].total[step.node]) + (
                self._gamma(size, step.node) * flat[at]
            )
            discount = self._discounts[size, 1]
            flat[step.single] *= discount
            flat[step.single[self.tables.text[step.place] == flat_following[step.single]]] += 1 - discount
        return -np.log(p[:, first:]), after

    def logits(self, inputs: Window, state: State | None = None) -> tuple[Floats, State]:
        """Read `inputs` (B, T); return ln P, as logits (B, V), of what follows the last of them, and the state."""
        symbols, after = self._read(inputs, state)
        symbols = symbols[:, inputs.shape[1] :]
        last = symbols.shape[1] - 1
        p = np.tile(self._unigrams, (len(symbols), 1))
        for step in self._steps(symbols, _following(symbols)):
            size, contexts = step.size, self._contexts[step.size - 1]
            rows, columns = np.divmod(step.branching, last + 1)
            rows, node = rows[columns == last], step.node[columns == last]
            p[rows] *= self._gamma(size, node)[:, None]
            children = contexts.children[node].astype(np.int64)
            before = np.cumsum(children) - children
            below = np.repeat(contexts.link[node] - before, children) + np.arange(children.sum())
            shares = self._shares(size, self.tables.counts[size][below], np.repeat(contexts.total[node], children))
            p[np.repeat(rows, children), self.tables.symbols[size - 1][below]] += shares
            rows, columns = np.divmod(step.single, last + 1)
            rows, place = rows[columns == last], step.place[columns == last]
            discount = self._discounts[size, 1]
            p[rows] *= discount
            p[rows, self.tables.text[place]] += 1 - discount
        return np.log(p), after

    @cached_property
    def _unigrams(self) -> Floats:
        """The distribution (V,) of a symbol without context."""
        counts = self.tables.counts[0].astype(np.int64)
        rest = self._discounts[0][np.minimum(counts, 3)].sum() / counts.sum()
        return np.asarray(self._shares(0, counts, counts.sum()) + rest / len(counts))

    def _shares(self, size: int, counts: Ids, total: Ids) -> Floats:
        """Return (a - D(a)) / A after contexts of `size` symbols; D is at most a."""
        return np.asarray((counts - self._discounts[size][np.minimum(counts, 3)]) / total)

    def _gamma(self, size: int, node: Indices) -> Floats:
        """Return gamma of contexts of `size` symbols that have n-grams below them."""
        children, _, total, ones, twos = (part[node].astype(np.float64) for part in self._contexts[size - 1])
        _, first, second, third = self._discounts[size]
        return np.asarray((first * ones + second * twos + third * (children - ones - twos)) / total)

    def _read(self, inputs: Window, state: State | None) -> tuple[Window, State]:
        """Return the context and the inputs as they are looked up (B, order - 1 + T), and the state."""
        config = self.tables.config
        before = np.full((len(inputs), config.order - 1), -1) if state is None else state[0][0]
        ids = np.concatenate([before, inputs], axis=1)
        symbols = np.where(ids == config.start_id, config.begin_id, ids)
        return symbols, ((ids[:, inputs.shape[1] :].copy(),),)

    def _steps(self, symbols: Window, targets: Window) -> Iterator[_Step]:
        """Yield the contexts of 1, 2, … symbols at all positions of `symbols`, and the symbols `asked` for after them.

        A context extends by one symbol the one that ends one position before: to a child of it or, where that is
        followed once, along the text.
        """
        text, symbol, target = self.tables.text, symbols.reshape(-1), targets.reshape(-1)
        following = _following(symbols).reshape(-1)
        at = np.flatnonzero(symbol >= 0)
        node = symbol[at]
        single = place = np.zeros(0, np.int64)
        for size, contexts in enumerate(self._contexts, 1):
            children, link = contexts.children[node], contexts.link[node].astype(np.int64)
            once = (children == 0) & (link > 0)
            single, place = np.concatenate([single, at[once]]), np.concatenate([place, link[once]])
            branching = children > 0
            at, node = at[branching], node[branching]
            child = self._child(size, node, target[at])
            yield _Step(size, at, node, child, single, place)
            differs = following[at] != target[at]
            child[differs] = self._child(size, node[differs], following[at[differs]])
            exists = child >= 0
            at, node = at[exists] + 1, child[exists]
            exists = (following[single] == text[place]) & (place + 1 < len(text))
            single, place = single[exists] + 1, place[exists] + 1

    def _child(self, size: int, node: Indices, last: Indices) -> Indices:
        """Return the n-grams below contexts of `size` symbols that end with `last`, -1 for none."""
        contexts, symbols = self._contexts[size - 1], self.tables.symbols[size - 1]
        first, count = contexts.link[node].astype(np.int64), contexts.children[node].astype(np.int64)
        while count.max(initial=1) > 1:  # `last` can only be among `count` of them from `first` on
            half = count // 2
            first += np.where(symbols[first + half] <= last, half, 0)
            count -= half
        return np.where(symbols[first] == last, first, -1)


def _following(symbols: Window) -> Window:
    """Return the symbol after each, in its row; -1 after the last."""
    following = np.full_like(symbols, -1)
    following[:, :-1] = symbols[:, 1:]
    return following

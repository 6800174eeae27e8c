"""Minimal pairs: which of two texts a model finds likelier, how often that is right, and whether models differ.

`pair_files` reads the pairs; `pairs` and `unroll pairs` call `minimal_pairs`, which scores and counts them.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import open_model
from unroll.data.lines import escaped
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.files import Files, as_paths
from unroll.lm.intervals import wilson
from unroll.lm.pair_files import Pair, read_pairs
from unroll.predict.predictor import Predictor, log_probabilities
from unroll.predict.protocols import LINE_TOKENS, STREAM_WINDOW, lines
from unroll.progress import Progress, Work, result
from unroll.state import State

Unknown = Literal["exclude", "include"]
UNKNOWN: tuple[Unknown, ...] = get_args(Unknown)

MAX_NAMED = 5
"""Unknown symbols that are named."""


@dataclass(frozen=True)
class PairNats:
    """What one model says of N pairs."""

    model: str
    good: NDArray[np.float64]
    """Nats of the good texts (N,); NaN where the pair was left out for a symbol that the model does not know."""
    bad: NDArray[np.float64]
    unknown_rate: float | None
    """Share of all symbols that the model does not know; None where a file only carries the scores."""
    unknown_symbols: tuple[str, ...] = ()
    """The first few of them."""

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which pairs the model has read (N,)."""
        return ~np.isnan(self.good)


@dataclass(frozen=True)
class Count:
    """How many of some pairs a model gets right: those whose good text is strictly likelier. A tie is not right."""

    pairs: int
    correct: int
    ties: int

    @property
    def accuracy(self) -> float | None:
        """The share of the pairs that is right; None where there are none."""
        return self.correct / self.pairs if self.pairs else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the accuracy (Wilson 1927)."""
        if not self.pairs:
            return None
        low, high = wilson(np.array([self.correct]), np.array([self.pairs]))
        return float(low[0]), float(high[0])

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "pairs": self.pairs, "correct": self.correct, "ties": self.ties,
            "accuracy": self.accuracy, "interval": self.interval,
        }  # fmt: skip


@dataclass(frozen=True)
class ModelPairs:
    """How one model does on the pairs that count."""

    nats: PairNats
    total: Count
    sets: Mapping[str, Count]
    groups: Mapping[str, Count]

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "model": self.nats.model,
            **self.total.figures(),
            "excluded_by_model": int((~self.nats.scored).sum()),
            "unknown_rate": self.nats.unknown_rate,
            "by_set": {name: count.accuracy for name, count in self.sets.items()},
            "by_group": {name: count.accuracy for name, count in self.groups.items()},
            "sets": {name: count.figures() for name, count in self.sets.items()},
            "groups": {name: count.figures() for name, count in self.groups.items()},
        }


@dataclass(frozen=True)
class Comparison:
    """Two models on the same pairs: what only one of them gets right, and McNemar's exact two-sided p (1947)."""

    first: str
    second: str
    only_first: int
    only_second: int

    @property
    def p(self) -> float:
        """The probability of a difference at least as large, were both equally good."""
        return mcnemar(self.only_first, self.only_second)


@dataclass(frozen=True)
class PairsResult:
    """Models on minimal pairs. A pair counts where every model knows all its symbols, so that all answer the same."""

    pairs: tuple[Pair, ...]
    counted: NDArray[np.bool_]
    models: tuple[ModelPairs, ...]
    comparisons: tuple[Comparison, ...]
    unknown: Unknown
    eos: bool
    notes: tuple[str, ...]

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON: those of the model, or of several models under `models`."""
        models = [model.figures() for model in self.models]
        counted = int(self.counted.sum())
        return (models[0] if len(models) == 1 else {"models": models}) | {
            "pairs": counted,
            "given": len(self.pairs),
            "excluded": len(self.pairs) - counted,
            "unknown": self.unknown,
            "eos": self.eos,
            "comparisons": [
                {"models": [c.first, c.second], "only_first": c.only_first, "only_second": c.only_second, "p": c.p}
                for c in self.comparisons
            ],
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """Return every pair of every model as a table: where it stands, its texts, their nats, and the result.

        Whatever would break a row is escaped, and so are bytes of a file's name that are not UTF-8.
        """
        rows = [("model", "file", "line", "set", "good", "bad", "nats_good", "nats_bad", "result")]
        for model in self.models:
            for pair, counted, good, bad in zip(self.pairs, self.counted, model.nats.good, model.nats.bad, strict=True):
                prefix = f"{pair.prefix} " if pair.prefix else ""
                outcome = "right" if good < bad else "wrong" if good > bad else "tie"
                rows.append((
                    model.nats.model, str(pair.file), str(pair.line), pair.set, prefix + pair.good, prefix + pair.bad,
                    _number(good), _number(bad), outcome if counted else "excluded",
                ))  # fmt: skip
        return "".join("\t".join(map(escaped, row)) + "\n" for row in rows)


def carried(pairs: Sequence[Pair]) -> list[PairNats]:
    """Return the nats of the models whose scores the files carry."""
    names = [name for name, *_ in pairs[0].scores]
    values = np.array([[pair.scores[k][1:] for pair in pairs] for k in range(len(names))])  # (models, N, 2)
    return [PairNats(name, nats[:, 0], nats[:, 1], None) for name, nats in zip(names, values, strict=True)]


def score_pairs(
    name: str, predictor: Predictor, tokenizer: Tokenizer, pairs: Sequence[Pair], unknown: Unknown, *, eos: bool
) -> Work[PairNats]:
    """Let a model read all pairs, yielding progress; returns its nats.

    A sentence is read from a fresh state after the start symbol, its end scored with it (`eos`), as for the figures
    published of LSTMs and n-grams on BLiMP. Of a word after a prefix only the word counts, see `word_nats`.
    """
    nats = np.full((len(pairs), 2), np.nan)
    total = sum(len(pair.good) + len(pair.bad) for pair in pairs)
    symbols = unknown_count = 0
    unknown_symbols: dict[str, None] = {}
    sentences: list[int] = []
    words: list[int] = []
    texts: list[NDArray[np.int64]] = []
    for number, pair in enumerate(pairs):
        prefix = "" if pair.prefix is None else f"{pair.prefix} "
        end = "\n" if eos and pair.prefix is None else ""
        ids = [tokenizer.encode(f"{prefix}{side}{end}") for side in (pair.good, pair.bad)]
        count = sum(map(tokenizer.count_unknown, ids))
        symbols, unknown_count = symbols + sum(map(len, ids)), unknown_count + count
        if count and len(unknown_symbols) < MAX_NAMED:
            unknown_symbols |= dict.fromkeys(
                symbol for side in (pair.good, pair.bad) for _, symbol in tokenizer.unknown(prefix + side)
            )
        if count and unknown == "exclude":
            continue
        if pair.prefix is None:
            sentences.append(number)
            texts += ids
        else:
            words.append(number)
    done = read = 0
    for batch in lines(predictor, texts, tokenizer.start_id):
        for text_nats in batch:
            number, side = sentences[done // 2], done % 2
            nats[number, side] = text_nats.sum()
            if side and np.array_equal(texts[done - 1], texts[done]):
                nats[number, 1] = nats[number, 0]  # read in another batch, the last digit may differ
            read += len((pairs[number].good, pairs[number].bad)[side])
            done += 1
        yield Progress(name, read, total, "characters")
    if words:
        items = [(pairs[k].prefix or "", word) for k in words for word in (pairs[k].good, pairs[k].bad)]
        nats[words] = word_nats(predictor, tokenizer, items).reshape(-1, 2)
    listing = tuple(unknown_symbols)[:MAX_NAMED]
    return PairNats(name, nats[:, 0], nats[:, 1], unknown_count / max(1, symbols), listing)


def word_nats(predictor: Predictor, tokenizer: Tokenizer, items: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Return -ln P(word | prefix) of each (prefix, word), in nats (N,).

    At the levels below words the word must end there: the probability that white space follows is part of it,
    else `represent` would be at least as likely as `represents`.
    """
    totals = np.zeros(len(items))
    texts = [tokenizer.encode(" ".join(filter(None, item))) for item in items]
    starts = np.array([len(tokenizer.encode(prefix)) for prefix, _ in items])
    spaces = [id for id, piece in enumerate(tokenizer.pieces) if piece[:1].isspace()]
    for rows in _of_equal_length(texts):
        symbols = np.array([[tokenizer.start_id, *texts[row]] for row in rows], np.int64)
        state: State | None = None
        for first in range(0, symbols.shape[1] - 1, STREAM_WINDOW):
            window = symbols[:, first : first + STREAM_WINDOW + 1]
            nats, state = predictor.nats(window[:, :-1], window[:, 1:], state)
            of_word = np.arange(first, first + nats.shape[1]) >= starts[rows][:, None]
            totals[rows] += np.where(of_word, nats, 0.0).sum(axis=1)
        if tokenizer.level != "word":
            logits, _ = predictor.logits(symbols[:, -1:], state)
            totals[rows] -= np.log(np.exp(log_probabilities(logits)[:, spaces]).sum(axis=1))
    return totals


def _of_equal_length(texts: Sequence[NDArray[np.int64]]) -> Iterator[list[int]]:
    """Yield the numbers of texts of the same length, not too many at a time."""
    by_length: dict[int, list[int]] = {}
    for number, ids in enumerate(texts):
        by_length.setdefault(len(ids), []).append(number)
    for length, numbers in by_length.items():
        count = max(1, LINE_TOKENS // (length + 1))
        yield from (numbers[first : first + count] for first in range(0, len(numbers), count))


def pairs(
    models: Files, files: Files, *, unknown: Unknown = "exclude", eos: bool = True, scored: bool = False
) -> PairsResult:
    """Return how often models find the good one of two texts likelier, on files of minimal pairs, and compare them.

    Pairs with symbols that a model does not know are left out for all, or read with `<unk>` (`include`). The end of a
    sentence counts, unless `eos` is false. With `scored`, so do models whose scores the files carry. Raises UserError.
    """
    return result(minimal_pairs(as_paths(models), as_paths(files), unknown, eos=eos, scored=scored))


def minimal_pairs(
    models: Sequence[Path],
    files: Sequence[Path],
    unknown: Unknown = "exclude",
    *,
    eos: bool = True,
    scored: bool = False,
) -> Work[PairsResult]:
    """Let every model read the pairs of the files, yielding progress; returns the result.

    With `scored`, the models whose scores the files carry are counted after them. Raises UserError.
    """
    if unknown not in UNKNOWN:
        raise UserError(f"unknown is {unknown!r}", allowed=" or ".join(UNKNOWN), fix="choose one of them")
    if not files or not (models or scored):
        raise UserError(
            "no files of pairs are given" if models or scored else "no model is given",
            allowed="model directories and files of pairs; no model where the files carry scores and --scored is given",
            fix="name them: unroll pairs DIR FILE",
        )
    pairs = read_pairs(files, scored=scored)
    nats: list[PairNats] = []
    for path in models:
        opened = open_model(path)
        nats.append((yield from score_pairs(str(path), opened.predictor, opened.tokenizer, pairs, unknown, eos=eos)))
    return counts_of(pairs, nats + (carried(pairs) if scored else []), unknown, eos=eos)


def counts_of(pairs: Sequence[Pair], models: Sequence[PairNats], unknown: Unknown, *, eos: bool) -> PairsResult:
    """Count what each model gets right, set by set, and compare every two of them, on the pairs that all have read."""
    counted = np.all([model.scored for model in models], axis=0)
    by_set, by_group = _members([pair.set for pair in pairs]), _members([pair.group for pair in pairs])
    by_group.pop("", None)
    results = []
    for model in models:
        right, tie = counted & (model.good < model.bad), counted & (model.good == model.bad)

        def count(members: NDArray[np.int64], right: NDArray[np.bool_] = right, tie: NDArray[np.bool_] = tie) -> Count:
            return Count(int(counted[members].sum()), int(right[members].sum()), int(tie[members].sum()))

        sets, groups = ({name: count(of) for name, of in members.items()} for members in (by_set, by_group))
        results.append(ModelPairs(model, count(np.arange(len(pairs))), sets, groups))
    comparisons = []
    for first, second in combinations(models, 2):
        a, b = (counted & (model.good < model.bad) for model in (first, second))
        comparisons.append(Comparison(first.model, second.model, int((a & ~b).sum()), int((b & ~a).sum())))
    notes = tuple(_notes(counted, results, unknown))
    return PairsResult(tuple(pairs), counted, tuple(results), tuple(comparisons), unknown, eos, notes)


def _members(names: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    """Return the places of each name."""
    places: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        places.setdefault(name, []).append(number)
    return {name: np.array(numbers) for name, numbers in places.items()}


def _notes(counted: NDArray[np.bool_], models: Sequence[ModelPairs], unknown: Unknown) -> Iterator[str]:
    if left_out := int((~counted).sum()):
        who = "the model does not know" if len(models) == 1 else "one of the models does not know"
        symbols = dict.fromkeys(symbol for model in models for symbol in model.nats.unknown_symbols)
        listing = symbols and f": {', '.join(map(repr, [*symbols][:MAX_NAMED]))}"
        yield f"{left_out:,} of {len(counted):,} pairs have symbols that {who}, and do not count{listing or ''}"
    elif unknown == "include" and any(model.nats.unknown_rate for model in models):
        yield "symbols that a model does not know were read as <unk>"
    if empty := [name for name, count in models[0].sets.items() if not count.pairs]:
        yield f"no pair counts in {', '.join(empty)}: no accuracy"
    if ties := max(model.total.ties for model in models):
        yield f"ties, both texts equally likely, count as not right: {'up to ' * (len(models) > 1)}{ties:,}"


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p of McNemar's exact test: the binomial test of the pairs on which two models differ."""
    n, fewer = only_first + only_second, min(only_first, only_second)
    if 2 * fewer == n:
        return 1.0
    log_n = math.lgamma(n + 1) - n * math.log(2)
    tail = math.fsum(math.exp(log_n - math.lgamma(k + 1) - math.lgamma(n - k + 1)) for k in range(fewer + 1))
    return min(1.0, 2 * tail)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"

"""Minimal pairs: which of two texts a model finds likelier, how often that is right, and whether models differ."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import open_model
from unroll.data.lines import escaped, json_line, line_text, read_lines
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.files import Files, as_paths
from unroll.lm.intervals import wilson
from unroll.predict.predictor import Predictor, log_probabilities
from unroll.predict.protocols import LINE_TOKENS, STREAM_WINDOW, lines
from unroll.progress import Progress, Work, result
from unroll.state import State

Unknown = Literal["exclude", "include"]
UNKNOWN: tuple[Unknown, ...] = get_args(Unknown)

FORMATS = (
    "BLiMP's jsonl (sentence_good, sentence_bad), colorless-green's tab (form, class, prefix), good<TAB>bad[<TAB>set]"
)
AGREEMENT = (
    "pattern", "constr_id", "sent_id", "correct_number", "form", "class", "type", "prefix", "n_attr", "punct", "freq",
    "len_context", "len_prefix", "sent",
)  # fmt: skip
"""The columns of colorless-green's tables (Gulordava et al. 2018); any other holds the scores of a model."""
NEEDED = ("pattern", "constr_id", "sent_id", "form", "class", "type", "prefix")
SHOWN = 5
"""Unknown symbols that are named."""


@dataclass(frozen=True)
class Pair:
    """Two texts, of which the first should be the likelier one: whole sentences, or words after the same prefix."""

    good: str
    bad: str
    set: str
    group: str
    """What the set belongs to: BLiMP's phenomenon, colorless-green's construction; empty where nothing is said."""
    file: Path
    line: int
    prefix: str | None = None
    """What is read before both words; None for whole sentences."""
    key: str = ""
    """The name of the item where its format gives one."""
    scores: tuple[tuple[str, float, float], ...] = ()
    """The names of models whose scores the file carries, with their nats for the good and the bad word."""


@dataclass(frozen=True)
class PairNats:
    """What one model says of N pairs."""

    model: str
    good: NDArray[np.float64]
    """Nats of the good texts (N,); NaN where the pair was left out for a symbol that the model does not know."""
    bad: NDArray[np.float64]
    unknown_rate: float | None
    """Symbols that the model does not know, of all symbols; None where a file only tells the scores."""
    strange: tuple[str, ...] = ()
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
        each = [model.figures() for model in self.models]
        told = each[0] if len(each) == 1 else {"models": each}
        counted = int(self.counted.sum())
        return told | {
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
        """Return every pair of every model as a table: where it stands, its texts, their nats, and what follows.

        What would break a row is written as in a program, and so is what is no UTF-8 in the name of a file.
        """
        rows = [("model", "file", "line", "set", "good", "bad", "nats_good", "nats_bad", "result")]
        for model in self.models:
            for pair, counts, good, bad in zip(self.pairs, self.counted, model.nats.good, model.nats.bad, strict=True):
                before = f"{pair.prefix} " if pair.prefix else ""
                answer = "right" if good < bad else "wrong" if good > bad else "tie"
                rows.append((
                    model.nats.model, str(pair.file), str(pair.line), pair.set, before + pair.good, before + pair.bad,
                    _number(good), _number(bad), answer if counts else "excluded",
                ))  # fmt: skip
        return "".join("\t".join(map(escaped, row)) + "\n" for row in rows)


def read_pairs(paths: Sequence[Path], *, scored: bool = False) -> list[Pair]:
    """Return the pairs of the files, each in one of the FORMATS, told by its first line; blank lines count for nothing.

    With `scored` the files carry the scores of models, and every item is returned once, with those of all files.
    Raises UserError naming the file and the line that is not as its format wants it.
    """
    pairs = [pair for path in paths for pair in _pairs_of(path, scored)]
    return _joined(pairs) if scored else pairs


def _pairs_of(path: Path, scored: bool) -> list[Pair]:
    numbered = ((number, line_text(line, path, number)) for number, line in enumerate(read_lines(path), 1))
    rows = [(number, text) for number, text in numbered if text]
    columns = rows[0][1].split("\t") if rows else []
    if rows and rows[0][1].lstrip().startswith("{"):
        pairs = [_sentences(path, *row) for row in rows]
    elif {"form", "class", "prefix"} <= set(columns):
        pairs = list(_agreement(path, rows, scored))
    elif len(columns) in (2, 3):
        named = [name.strip().lower() for name in columns[:2]] == ["good", "bad"]
        pairs = [_good_and_bad(path, *row) for row in rows[named:]]
    elif rows:
        raise _bad_line(path, rows[0][0], "is in no format of minimal pairs")
    else:
        pairs = []
    if not pairs:
        raise UserError(f"{path} has no pairs", allowed=FORMATS, fix="leave it out")
    if scored and not pairs[0].scores:
        raise UserError(
            f"{path} carries no scores",
            allowed="colorless-green's tab with a column of scores for each model",
            fix="leave --scored out, and name a model that reads it",
        )
    return pairs


def _bad_line(path: Path, number: int, what: str) -> UserError:
    return UserError(f"{path}, line {number} {what}", allowed=FORMATS, fix="mend the line or leave it out")


def _sentences(path: Path, number: int, text: str) -> Pair:
    """Return a line of BLiMP (Warstadt et al. 2020): sets by UID, groups by linguistics_term."""
    item = json_line(text)
    if item is None:
        raise _bad_line(path, number, "is no JSON object")
    named = {"UID": path.stem, "linguistics_term": ""} | item
    texts = [named.get(key) for key in ("sentence_good", "sentence_bad", "UID", "linguistics_term")]
    good, bad, uid, term = (value if isinstance(value, str) else "" for value in texts)
    if not (good and bad and uid):
        raise _bad_line(path, number, "has no text as sentence_good, sentence_bad or UID")
    return Pair(good, bad, uid, term, path, number)


def _good_and_bad(path: Path, number: int, text: str) -> Pair:
    good, *others = text.split("\t")
    if len(others) not in (1, 2) or not good or not others[0]:
        raise _bad_line(path, number, "is not good<TAB>bad or good<TAB>bad<TAB>set")
    return Pair(good, others[0], others[1] if len(others) == 2 else path.stem, "", path, number)


def _agreement(path: Path, rows: Sequence[tuple[int, str]], scored: bool) -> Iterator[Pair]:
    """Yield the items of colorless-green: two lines each, one for the correct form and one for the wrong one."""
    columns = _cells(path, *rows[0])
    if missing := [name for name in NEEDED if columns.count(name) != 1]:
        raise _bad_line(path, rows[0][0], f"does not name the column {missing[0]} once")
    items: dict[str, dict[str, tuple[int, dict[str, str]]]] = {}
    for number, text in rows[1:]:
        cells = _cells(path, number, text)
        if len(cells) != len(columns):
            raise _bad_line(path, number, f"has {len(cells)} columns, the header {len(columns)}")
        row = dict(zip(columns, cells, strict=True))
        if row["class"] not in ("correct", "wrong") or not row["form"]:
            raise _bad_line(path, number, "has no form, or a class that is neither correct nor wrong")
        key = " ".join(row[name] for name in ("pattern", "constr_id", "sent_id", "type"))
        if row["class"] in (item := items.setdefault(key, {})):
            raise _bad_line(path, number, f"repeats the {row['class']} form of line {item[row['class']][0]}")
        item[row["class"]] = number, row
    extra = [name for name in columns if name not in AGREEMENT] if scored else []
    for key, item in items.items():
        if len(item) < 2:
            ((kind, (number, _)),) = item.items()
            raise _bad_line(path, number, f"is the {kind} form of an item that lacks the other")
        (number, good), (other, bad) = item["correct"], item["wrong"]
        if (prefix := _prefix(path, number, good)) != _prefix(path, other, bad):
            raise _bad_line(path, other, f"has another prefix than line {number}, which is of the same item")
        scores = tuple((name, -_score(path, number, good, name), -_score(path, other, bad, name)) for name in extra)
        kind = "nonsense" if good["type"] == "generated" else good["type"]
        construction = f"{good['pattern']} {kind}"
        yield Pair(good["form"], bad["form"], kind, construction, path, number, prefix, key, scores)


def _cells(path: Path, number: int, text: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter="\t", strict=True))
    except csv.Error as error:
        raise _bad_line(path, number, f"is no line of a table: {error}") from None


def _prefix(path: Path, number: int, row: Mapping[str, str]) -> str:
    """Return what stands before the target: where the prefix has `<unk>`, the sentence's own words.

    Those are words that the published models did not know; the models read here may know them.
    """
    words, own = row["prefix"].split(), row.get("sent", "").split()
    if "<unk>" not in words or not own:
        return row["prefix"]
    own = own[: len(words)]
    if [word for word, itself in zip(words, own, strict=False) if word in (itself, "<unk>")] != words:
        raise _bad_line(path, number, "has a prefix that its sentence does not begin with")
    return " ".join(own)


def _score(path: Path, number: int, row: Mapping[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _bad_line(path, number, f"has {row[name]!r} as the score {name}")
    return value


def _joined(pairs: Sequence[Pair]) -> list[Pair]:
    """Return every item once, with the scores that all files carry for it; UserError where they do not fit together."""

    def apart(pair: Pair, what: str) -> UserError:
        return UserError(
            f"{pair.file}, line {pair.line} {what}", allowed="files of the same items", fix="count the files one by one"
        )

    found: dict[str, Pair] = {}
    for pair in pairs:
        before = found.setdefault(pair.key, pair)
        if before is pair:
            continue
        if (before.good, before.bad, before.prefix) != (pair.good, pair.bad, pair.prefix):
            raise apart(pair, f"is another item than line {before.line} of {before.file}, which has its number")
        if twice := {name for name, *_ in before.scores} & {name for name, *_ in pair.scores}:
            raise apart(pair, f"repeats the score {min(twice)} of {before.file}")
        found[pair.key] = replace(before, scores=before.scores + pair.scores)
    models = {name for pair in found.values() for name, *_ in pair.scores}
    for pair in found.values():
        if len(pair.scores) < len(models):
            raise apart(pair, "is an item that another of the files lacks")
    return list(found.values())


def carried(pairs: Sequence[Pair]) -> list[PairNats]:
    """Return what the models say whose scores the files carry."""
    names = [name for name, *_ in pairs[0].scores]
    values = np.array([[pair.scores[k][1:] for pair in pairs] for k in range(len(names))])  # (models, N, 2)
    return [PairNats(name, each[:, 0], each[:, 1], None) for name, each in zip(names, values, strict=True)]


def score_pairs(
    name: str, predictor: Predictor, tokenizer: Tokenizer, pairs: Sequence[Pair], unknown: Unknown, *, eos: bool
) -> Work[PairNats]:
    """Let a model read all pairs, yielding progress; returns its nats.

    A sentence is read from a fresh state after the start symbol, its end scored with it (`eos`), as for the figures
    published of LSTMs and n-grams on BLiMP. Of a word after a prefix only the word counts, see `word_nats`.
    """
    nats = np.full((len(pairs), 2), np.nan)
    total = sum(len(pair.good) + len(pair.bad) for pair in pairs)
    symbols = count = 0
    strange: dict[str, None] = {}
    whole: list[int] = []
    words: list[int] = []
    texts: list[NDArray[np.int64]] = []
    for number, pair in enumerate(pairs):
        before = "" if pair.prefix is None else f"{pair.prefix} "
        end = "\n" if eos and pair.prefix is None else ""
        ids = [tokenizer.encode(f"{before}{side}{end}") for side in (pair.good, pair.bad)]
        found = sum(tokenizer.count_unknown(each) for each in ids)
        symbols, count = symbols + sum(map(len, ids)), count + found
        if found and len(strange) < SHOWN:
            strange |= dict.fromkeys(
                symbol for side in (pair.good, pair.bad) for _, symbol in tokenizer.unknown(before + side)
            )
        if found and unknown == "exclude":
            continue
        if pair.prefix is None:
            whole.append(number)
            texts += ids
        else:
            words.append(number)
    done = read = 0
    for some in lines(predictor, texts, tokenizer.start_id):
        for each in some:
            number, side = whole[done // 2], done % 2
            nats[number, side] = each.sum()
            if side and np.array_equal(texts[done - 1], texts[done]):
                nats[number, 1] = nats[number, 0]  # read in another batch, the last digit may differ
            read += len((pairs[number].good, pairs[number].bad)[side])
            done += 1
        yield Progress(name, read, total, "characters")
    if words:
        items = [(pairs[k].prefix or "", word) for k in words for word in (pairs[k].good, pairs[k].bad)]
        nats[words] = word_nats(predictor, tokenizer, items).reshape(-1, 2)
    return PairNats(name, nats[:, 0], nats[:, 1], count / max(1, symbols), tuple(strange)[:SHOWN])


def word_nats(predictor: Predictor, tokenizer: Tokenizer, items: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Return -ln P(word | prefix) of each (prefix, word), in nats (N,).

    At the levels below words the word must end there: the probability that white space follows is part of it,
    else `represent` would be at least as likely as `represents`.
    """
    found = np.zeros(len(items))
    texts = [tokenizer.encode(" ".join(filter(None, item))) for item in items]
    starts = np.array([len(tokenizer.encode(prefix)) for prefix, _ in items])
    white = [id for id, piece in enumerate(tokenizer.pieces) if piece[:1].isspace()]
    for rows in _of_equal_length(texts):
        symbols = np.array([[tokenizer.start_id, *texts[row]] for row in rows], np.int64)
        state: State | None = None
        for first in range(0, symbols.shape[1] - 1, STREAM_WINDOW):
            some = symbols[:, first : first + STREAM_WINDOW + 1]
            nats, state = predictor.nats(some[:, :-1], some[:, 1:], state)
            counts = np.arange(first, first + nats.shape[1]) >= starts[rows][:, None]
            found[rows] += np.where(counts, nats, 0.0).sum(axis=1)
        if tokenizer.level != "word":
            logits, _ = predictor.logits(symbols[:, -1:], state)
            found[rows] -= np.log(np.exp(log_probabilities(logits)[:, white]).sum(axis=1))
    return found


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
    found: list[PairNats] = []
    for path in models:
        opened = open_model(path)
        found.append((yield from score_pairs(str(path), opened.predictor, opened.tokenizer, pairs, unknown, eos=eos)))
    return result_of(pairs, found + (carried(pairs) if scored else []), unknown, eos=eos)


def result_of(pairs: Sequence[Pair], models: Sequence[PairNats], unknown: Unknown, *, eos: bool) -> PairsResult:
    """Count what each model gets right, set by set, and compare every two of them, on the pairs that all have read."""
    counted = np.all([model.scored for model in models], axis=0)
    by_set, by_group = _members([pair.set for pair in pairs]), _members([pair.group for pair in pairs])
    by_group.pop("", None)
    found = []
    for model in models:
        right, tie = counted & (model.good < model.bad), counted & (model.good == model.bad)

        def count(members: NDArray[np.int64], right: NDArray[np.bool_] = right, tie: NDArray[np.bool_] = tie) -> Count:
            return Count(int(counted[members].sum()), int(right[members].sum()), int(tie[members].sum()))

        sets, groups = ({name: count(of) for name, of in by.items()} for by in (by_set, by_group))
        found.append(ModelPairs(model, count(np.arange(len(pairs))), sets, groups))
    comparisons = []
    for first, second in combinations(models, 2):
        one, other = (counted & (model.good < model.bad) for model in (first, second))
        comparisons.append(Comparison(first.model, second.model, int((one & ~other).sum()), int((other & ~one).sum())))
    return PairsResult(
        tuple(pairs), counted, tuple(found), tuple(comparisons), unknown, eos, tuple(_notes(counted, found, unknown))
    )


def _members(names: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    """Return where each name stands."""
    found: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        found.setdefault(name, []).append(number)
    return {name: np.array(numbers) for name, numbers in found.items()}


def _notes(counted: NDArray[np.bool_], models: Sequence[ModelPairs], unknown: Unknown) -> Iterator[str]:
    if left_out := int((~counted).sum()):
        who = "the model does not know" if len(models) == 1 else "one of the models does not know"
        strange = dict.fromkeys(symbol for model in models for symbol in model.nats.strange)
        named = strange and f": {', '.join(map(repr, [*strange][:SHOWN]))}"
        yield f"{left_out:,} of {len(counted):,} pairs have symbols that {who}, and do not count{named or ''}"
    elif unknown == "include" and any(model.nats.unknown_rate for model in models):
        yield "symbols that a model does not know were read as <unk>"
    if empty := [name for name, count in models[0].sets.items() if not count.pairs]:
        yield f"no pair counts in {', '.join(empty)}: no accuracy"
    if ties := max(model.total.ties for model in models):
        yield f"ties, both texts equally likely, count as not right: {'up to ' * (len(models) > 1)}{ties:,}"


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p of McNemar's exact test: the binomial test of the pairs on which two models differ."""
    n, few = only_first + only_second, min(only_first, only_second)
    if 2 * few == n:
        return 1.0
    of_all = math.lgamma(n + 1) - n * math.log(2)
    tail = math.fsum(math.exp(of_all - math.lgamma(k + 1) - math.lgamma(n - k + 1)) for k in range(few + 1))
    return min(1.0, 2 * tail)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"

"""Rescoring of n-best lists: old score + weight * ln P, and the weight with the fewest word errors.

`nbest` reads the files; `rescore` and `unroll rescore` call `rescore_list`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import AnyModel, Opened, as_opened
from unroll.errors import UserError
from unroll.files import StrPath, as_path
from unroll.lm.nbest import ADDED, Fields, NBest, check_one_line_each, read_nbest, read_references, with_fields
from unroll.predict.protocols import lines
from unroll.progress import Progress, Work, result


@dataclass(frozen=True)
class Tuned:
    """Word errors of the best hypotheses at a fitted weight, of `words` in the references."""

    words: int
    errors_before: int
    """Word errors by the old scores alone."""
    errors: int
    errors_possible: int
    """Word errors of the hypotheses nearest to the references, whatever their scores."""

    def figures(self) -> dict[str, Any]:
        """Return the word error rates as JSON."""
        counts = {"wer_before": self.errors_before, "wer": self.errors, "wer_possible": self.errors_possible}
        return {name: count / self.words if self.words else None for name, count in counts.items()} | {
            "reference_words": self.words
        }


@dataclass(frozen=True)
class Rescored:
    """An n-best list with new scores: total = old + weight * ln P(hypothesis) + word_bonus * words."""

    nbest: NBest
    log_probability: NDArray[np.float64]
    total: NDArray[np.float64]
    weight: float
    word_bonus: float
    unknown_rate: float
    tuned: Tuned | None

    @property
    def ranked(self) -> dict[str, list[int]]:
        """The numbers of each sentence's hypotheses, the best first; equal ones keep their order."""
        return {
            name: sorted(members, key=lambda k: -float(self.total[k])) for name, members in self.nbest.groups.items()
        }

    def best(self) -> str:
        """Return the best hypothesis of each sentence, one a line. Raises UserError for one of several lines."""
        chosen = [self.nbest.hypotheses[members[0]] for members in self.ranked.values()]
        check_one_line_each(self.nbest.path, chosen)
        return "".join(hypothesis.text + "\n" for hypothesis in chosen)

    def written(self) -> bytes:
        """Return the list in its own format, the best first in each group, each line with ln P and the new score."""
        new_line = next((h.end for h in self.nbest.hypotheses if h.end), b"\n")
        parts = [self.nbest.head]
        for k in (k for members in self.ranked.values() for k in members):
            hypothesis = self.nbest.hypotheses[k]
            values = [f"{value:.6f}".encode() for value in (self.log_probability[k], self.total[k])]
            parts += [with_fields(self.nbest.format, hypothesis.line, values), hypothesis.end or new_line]
        return b"".join(parts)

    def items(self, *, best: bool = False) -> list[dict[str, Any]]:
        """Return the list as JSON, the best first in each group, or the best alone."""
        numbers = [k for members in self.ranked.values() for k in (members[:1] if best else members)]
        hypotheses = self.nbest.hypotheses
        return [
            {"id": hypotheses[k].id, "text": hypotheses[k].text, "score": hypotheses[k].score,
             ADDED[0]: float(self.log_probability[k]), ADDED[1]: float(self.total[k])}
            for k in numbers
        ]  # fmt: skip

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        groups = self.nbest.groups
        old = {name: max(members, key=lambda k: self.nbest.hypotheses[k].score) for name, members in groups.items()}
        notes = []
        if self.unknown_rate:
            notes.append("symbols that the model does not know were read as <unk>")
        if self.tuned:
            notes.append("the weight was fitted on these lists: measure it on others with --weight")
        return {
            "format": self.nbest.format,
            "groups": len(groups),
            "hypotheses": len(self.nbest.hypotheses),
            "weight": self.weight,
            "word_bonus": self.word_bonus,
            "changed": sum(members[0] != old[name] for name, members in self.ranked.items()),
            "unknown_rate": self.unknown_rate,
            **(self.tuned.figures() if self.tuned else {}),
            "notes": notes,
        }


def rescore(
    model: AnyModel,
    nbest: StrPath,
    *,
    weight: float = 1.0,
    word_bonus: float = 0.0,
    tune: StrPath | None = None,
    fields: Fields | None = None,
) -> Rescored:
    """Return an n-best list with total = old score + weight * ln P(hypothesis) + word_bonus * words.

    With `tune`, a file of references, the weight is the one that leaves the fewest word errors. Raises UserError.
    """
    return result(rescore_list(as_opened(model), as_path(nbest), weight, word_bonus, as_path(tune), fields))


def rescore_list(
    opened: Opened,
    path: Path,
    weight: float = 1.0,
    word_bonus: float = 0.0,
    references: Path | None = None,
    fields: Fields | None = None,
    *,
    best: bool = False,
) -> Work[Rescored]:
    """Score the hypotheses of a file, yielding progress; returns the list with new scores.

    Each is read from a fresh state, its end scored with it. With `references` the weight is the one that leaves the
    fewest word errors in the best hypotheses. With `best` the list is for `Rescored.best`, so that each must be one
    line. Raises UserError before anything is scored.
    """
    if not (math.isfinite(weight) and math.isfinite(word_bonus)):
        raise UserError(f"weight is {weight}, word bonus {word_bonus}", allowed="numbers", fix="leave it out")
    nbest = read_nbest(path, fields)
    if best:
        check_one_line_each(path, nbest.hypotheses)
    correct = None if references is None else read_references(references, nbest.groups)
    numbers: dict[str, list[int]] = {}  # a text that occurs several times is read once
    for number, hypothesis in enumerate(nbest.hypotheses):
        numbers.setdefault(hypothesis.text, []).append(number)
    texts = [opened.tokenizer.encode(text + "\n") for text in numbers]
    log_probability = np.zeros(len(nbest.hypotheses))
    order = iter(numbers.values())
    read = 0
    for batch in lines(opened.predictor, texts, opened.tokenizer.start_id):
        for nats in batch:
            log_probability[next(order)] = -nats.sum()
            read += len(nats)
        yield Progress("rescoring", read, sum(map(len, texts)), "symbols")
    times = list(map(len, numbers.values()))
    symbols = sum(len(ids) * count for ids, count in zip(texts, times, strict=True))
    unknown = sum(opened.tokenizer.count_unknown(ids) * count for ids, count in zip(texts, times, strict=True))
    old = np.array([hypothesis.score for hypothesis in nbest.hypotheses])
    words = np.array([len(hypothesis.text.split()) for hypothesis in nbest.hypotheses])
    tuned = None
    if correct is not None:
        weight, tuned = fit_weight(nbest, old, old + word_bonus * words, log_probability, correct)
    total = old + weight * log_probability + word_bonus * words
    return Rescored(nbest, log_probability, total, weight, word_bonus, unknown / symbols, tuned)


def fit_weight(
    nbest: NBest,
    old: NDArray[np.float64],
    offsets: NDArray[np.float64],
    slopes: NDArray[np.float64],
    references: Mapping[str, str],
) -> tuple[float, Tuned]:
    """Return the weight from 0 on at which the best by `offsets + weight * slopes` have the fewest word errors.

    Exact, not a grid (Och 2003): the best of a sentence changes only where two lines cross, so all weights between two
    crossings are equally good. Of the best stretches the longest is taken, and of it the middle.
    """
    errors = np.array([word_errors(references[h.id], h.text) for h in nbest.hypotheses])
    groups = list(nbest.groups.values())
    changes: dict[float, int] = {}
    for members in groups:
        crossings = upper_lines(offsets[members], slopes[members])
        previous = 0
        for weight, best in crossings:
            current = int(errors[members[best]])
            changes[weight] = changes.get(weight, 0) + current - previous
            previous = current
    changes = {weight: change for weight, change in changes.items() if change or not weight}
    starts = sorted(changes)
    after = np.cumsum([changes[weight] for weight in starts])
    ends = [*starts[1:], math.inf]
    fewest = int(after.min())
    stretches = [(low, high) for low, high, count in zip(starts, ends, after, strict=True) if count == fewest]
    low, high = max(stretches, key=lambda stretch: stretch[1] - stretch[0] if stretch[1] < math.inf else 0.0)
    weight = (low + high) / 2 if high < math.inf else 2 * low or 1.0
    return weight, Tuned(
        sum(len(references[name].split()) for name in nbest.groups),
        sum(int(errors[max(members, key=lambda k: old[k])]) for members in groups),
        fewest,
        sum(int(errors[members].min()) for members in groups),
    )


def upper_lines(offsets: NDArray[np.float64], slopes: NDArray[np.float64]) -> list[tuple[float, int]]:
    """Return from which weight on, starting at 0, which line `offset + weight * slope` is the highest."""
    best = int(np.lexsort((-slopes, -offsets))[0])
    highest = [(0.0, best)]
    while True:
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = np.where(slopes > slopes[best], (offsets[best] - offsets) / (slopes - slopes[best]), math.inf)
        weight = float(crossing.min())
        if weight == math.inf:
            return highest
        best = max((int(k) for k in np.flatnonzero(crossing == weight)), key=lambda k: (slopes[k], -k))
        highest.append((weight, best))


def word_errors(reference: str, hypothesis: str) -> int:
    """Return how many words must be replaced, inserted or deleted (Levenshtein 1966)."""
    correct, words = reference.split(), hypothesis.split()
    row = list(range(len(words) + 1))
    for count, word in enumerate(correct, 1):
        corner, row[0] = row[0], count
        for place, variant in enumerate(words, 1):
            corner, row[place] = row[place], min(corner + (word != variant), row[place] + 1, row[place - 1] + 1)
    return row[-1]

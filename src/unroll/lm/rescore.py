"""N-best lists: what a model says of every hypothesis is added to its old score; nothing else of its line changes."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import AnyModel, Opened, as_opened
from unroll.data.lines import LINE_ENDS, json_line, line_text, read_lines
from unroll.errors import UserError
from unroll.files import StrPath, as_path
from unroll.predict.protocols import lines
from unroll.progress import Progress, Work, result

Format = Literal["moses", "tsv", "jsonl"]

FORMATS = "Moses (id ||| hypothesis ||| features ||| total), a table of tabs with a header, JSON lines"
ID_FIELDS = ("id", "utt", "utt_id", "utterance", "key")
TEXT_FIELDS = ("text", "hyp", "hypothesis", "sentence")
SCORE_FIELDS = ("score", "total", "logprob")
ADDED = ("lm", "rescored")
"""What is written beside the fields of a line: ln P(hypothesis), and the new score."""


@dataclass(frozen=True)
class Fields:
    """What the fields of an n-best list are called where they are not called as usual."""

    id: str | None = None
    text: str | None = None
    score: str | None = None
    """A name, or for Moses a number: the old score is its fourth field, or the third of three."""


@dataclass(frozen=True)
class Hypothesis:
    """One line: what was recognised or translated, for which sentence, with which score; the higher the better."""

    id: str
    text: str
    score: float
    line: bytes
    """As it stands in the file, without its end."""
    end: bytes
    number: int
    """Of the line, from 1."""


@dataclass(frozen=True)
class NBest:
    """A list of hypotheses as it stands in a file."""

    format: Format
    hypotheses: tuple[Hypothesis, ...]
    before: bytes
    """What stands before the first hypothesis: a byte order mark, a header and its end."""
    path: Path

    @property
    def groups(self) -> dict[str, list[int]]:
        """The numbers of each sentence's hypotheses, in the order of the file."""
        found: dict[str, list[int]] = {}
        for number, hypothesis in enumerate(self.hypotheses):
            found.setdefault(hypothesis.id, []).append(number)
        return found


@dataclass(frozen=True)
class Tuned:
    """A weight that was fitted: the word errors of the best hypotheses, of `words` in the references."""

    words: int
    errors_before: int
    """By the old scores alone."""
    errors: int
    errors_possible: int
    """Of the hypotheses that are nearest to the references, whatever their scores."""

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
        """The numbers of each sentence's hypotheses, the best first; what is equally good keeps its order."""
        return {
            name: sorted(members, key=lambda k: -float(self.total[k])) for name, members in self.nbest.groups.items()
        }

    def best(self) -> str:
        """Return the best hypothesis of each sentence, one a line. Raises UserError where one would be several."""
        chosen = [self.nbest.hypotheses[members[0]] for members in self.ranked.values()]
        check_one_line_each(self.nbest.path, chosen)
        return "".join(hypothesis.text + "\n" for hypothesis in chosen)

    def written(self) -> bytes:
        """Return the list in its own format, the best first in each group, each line with ln P and the new score."""
        new_line = next((h.end for h in self.nbest.hypotheses if h.end), b"\n")
        parts = [self.nbest.before]
        for k in (k for members in self.ranked.values() for k in members):
            hypothesis = self.nbest.hypotheses[k]
            values = [f"{value:.6f}".encode() for value in (self.log_probability[k], self.total[k])]
            parts += [_with(self.nbest.format, hypothesis.line, values), hypothesis.end or new_line]
        return b"".join(parts)

    def items(self, *, best: bool = False) -> list[dict[str, Any]]:
        """Return the list as JSON, the best first in each group, or the best alone."""
        shown = [k for members in self.ranked.values() for k in (members[:1] if best else members)]
        hypotheses = self.nbest.hypotheses
        return [
            {"id": hypotheses[k].id, "text": hypotheses[k].text, "score": hypotheses[k].score,
             ADDED[0]: float(self.log_probability[k]), ADDED[1]: float(self.total[k])}
            for k in shown
        ]  # fmt: skip

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        groups = self.nbest.groups
        old = {name: max(members, key=lambda k: self.nbest.hypotheses[k].score) for name, members in groups.items()}
        notes = []
        if self.unknown_rate:
            notes.append("symbols that the model does not know were read as <unk>")
        if self.tuned:
            notes.append("the weight was fitted on these very lists: measure it on others, with --weight")
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


def _with(format: Format, line: bytes, values: Sequence[bytes]) -> bytes:
    """Return a line with two fields more."""
    if format == "moses":
        return line + b" ||| " + b" ||| ".join(values)
    if format == "tsv":
        return line + b"\t" + b"\t".join(values)
    end = line.rindex(b"}")
    added = b"".join(b', "%s": %s' % (name.encode(), value) for name, value in zip(ADDED, values, strict=True))
    return line[:end] + added + line[end:]


def check_one_line_each(path: Path, hypotheses: Iterable[Hypothesis]) -> None:
    """Raise UserError for a hypothesis that is more than one line, to whatever program; JSON can hold such.

    Written one a line, every later one would be taken for that of another sentence.
    """
    for hypothesis in hypotheses:
        if end := next((letter for letter in hypothesis.text if letter in LINE_ENDS), None):
            raise UserError(
                f"{path}, line {hypothesis.number} has a hypothesis with an end of a line in it, U+{ord(end):04X}",
                allowed="hypotheses of one line each, if they are to be written one a line",
                fix="replace it by a space, or leave out --best; nothing was written",
            )


def read_nbest(path: Path, fields: Fields | None = None) -> NBest:
    """Return the list of a file, in one of the FORMATS, told by its first line.

    Raises UserError naming the line that is not like the first, whose score is no number, or that is empty.
    """
    fields = fields or Fields()
    raw = list(read_lines(path))
    if not raw:
        raise UserError(f"{path} has no hypotheses", allowed=FORMATS, fix="check the path")
    before = b"\xef\xbb\xbf" if raw[0].startswith(b"\xef\xbb\xbf") else b""
    raw[0] = raw[0].removeprefix(before)
    texts = [line_text(line, path, number) for number, line in enumerate(raw, 1)]
    ends = [re.search(rb"\r?\n?\Z", line)[0] for line in raw]  # type: ignore[index]
    first, start = texts[0], 0
    format: Format = "jsonl" if first.lstrip().startswith("{") else "moses" if "|||" in first else "tsv"
    match format:
        case "jsonl":
            parsed = [_json_cells(path, number, text, fields) for number, text in enumerate(texts, 1)]
        case "moses":
            parsed = _moses_cells(path, texts, fields)
        case "tsv":
            parsed, start = _tsv_cells(path, texts, fields), 1
            header = raw[0].removesuffix(ends[0])
            before += header + b"\t" + "\t".join(ADDED).encode() + (ends[0] or b"\n")
    return NBest(
        format,
        tuple(
            Hypothesis(name, text, score, line.removesuffix(end), end, number)
            for number, ((name, text, score), line, end) in enumerate(
                zip(parsed, raw[start:], ends[start:], strict=True), 1 + start
            )
        ),
        before,
        path,
    )


def _damaged(path: Path, number: int, what: str) -> UserError:
    return UserError(f"{path}, line {number} {what}", allowed=FORMATS, fix="mend the line; nothing was written")


def _moses_cells(path: Path, texts: Sequence[str], fields: Fields) -> list[tuple[str, str, float]]:
    width = texts[0].count("|||") + 1
    if width < 3:
        raise _damaged(path, 1, "has an id and a hypothesis, and no score")
    place = fields.score or ("4" if width > 3 else "3")
    if not place.isdecimal() or not 3 <= int(place) <= width:
        raise UserError(
            f"the score cannot be field {place} of {path}",
            allowed="3, the number of the last field" if width == 3 else f"3 to {width}, the number of a field",
            fix="check the separators, or name another field with --score-field",
        )  # fmt: skip
    found = []
    for number, text in enumerate(texts, 1):
        cells = [cell.strip(" ") for cell in text.split("|||")]
        if len(cells) != width:
            raise _damaged(path, number, f"has {len(cells)} fields, the first line {width}")
        found.append((cells[0], cells[1], _number(path, number, cells[int(place) - 1])))
    return found


def _tsv_cells(path: Path, texts: Sequence[str], fields: Fields) -> list[tuple[str, str, float]]:
    header = texts[0].split("\t")
    if len(header) < 3:
        raise _damaged(path, 1, "is in no format of n-best lists")
    _refuse_added(path, 1, header)
    places = [header.index(name) for name in _names(path, 1, header, fields)]
    found = []
    for number, text in enumerate(texts[1:], 2):
        cells = text.split("\t")
        if len(cells) != len(header):
            raise _damaged(path, number, f"has {len(cells)} columns, the header {len(header)}")
        name, hypothesis, score = (cells[place] for place in places)
        found.append((name, hypothesis, _number(path, number, score)))
    if not found:
        raise _damaged(path, 1, "is a header, with no hypotheses after it")
    return found


def _json_cells(path: Path, number: int, text: str, fields: Fields) -> tuple[str, str, float]:
    item = json_line(text)
    if item is None:
        raise _damaged(path, number, "is no JSON object")
    _refuse_added(path, number, item)
    name, hypothesis, score = (item[key] for key in _names(path, number, item, fields))
    if not isinstance(name, str | int) or not isinstance(hypothesis, str):
        raise _damaged(path, number, "has an id or a hypothesis that is no text")
    return str(name), hypothesis, _number(path, number, score)


def _refuse_added(path: Path, number: int, names: Collection[str]) -> None:
    if taken := [name for name in ADDED if name in names]:
        raise UserError(
            f"{path}, line {number} has the field {taken[0]}, which is to be added",
            allowed=f"lists without the fields {' and '.join(ADDED)}",
            fix="rename it, and name the old score with --score-field",
        )


def _names(path: Path, number: int, names: Collection[str], fields: Fields) -> list[str]:
    """Return what id, hypothesis and score are called there."""
    found = []
    for what, given, usual in (
        ("id", fields.id, ID_FIELDS),
        ("text", fields.text, TEXT_FIELDS),
        ("score", fields.score, SCORE_FIELDS),
    ):
        name = next((name for name in ((given,) if given else usual) if name in names), None)
        if name is None:
            raise UserError(
                f"{path}, line {number} has no {what}: its fields are {', '.join(names)}",
                allowed=FORMATS + f"; the {what} is called {given or ', '.join(usual)}",
                fix=f"mend the line, or say what it is called with --{what}-field; nothing was written",
            )
        found.append(name)
    return found


def _number(path: Path, number: int, value: object) -> float:
    try:
        score = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise _damaged(path, number, f"has {value!r} as its score, which is no number")
    return score


def read_references(path: Path, names: Collection[str]) -> dict[str, str]:
    """Return the right text for each of the sentences `names`.

    The file holds JSON lines with an id and a text, lines id<TAB>text, or one text a line in the order of the
    sentences. Raises UserError where one is missing or told twice.
    """
    texts = [line_text(line, path, number) for number, line in enumerate(read_lines(path), 1)]
    allowed = "JSON lines with id and text, id<TAB>text, or one text for each id in order"
    found: dict[str, str] = {}
    if texts and not texts[0].lstrip().startswith("{") and "\t" not in texts[0]:
        if len(texts) != len(names):
            raise UserError(
                f"{path} has {len(texts):,} lines for {len(names):,} ids", allowed=allowed, fix="give one for each"
            )
        return dict(zip(names, texts, strict=True))
    for number, text in enumerate(texts, 1):
        cells: Sequence[object] = text.split("\t")
        if text.lstrip().startswith("{"):
            item = json_line(text) or {}
            cells = [next((item[key] for key in usual if key in item), None) for usual in (ID_FIELDS, TEXT_FIELDS)]
        if len(cells) != 2 or not isinstance(cells[0], str | int) or not isinstance(cells[1], str):
            raise UserError(f"{path}, line {number} is not an id and a text", allowed=allowed, fix="mend the line")
        if str(cells[0]) in found:
            raise UserError(f"{path}, line {number} repeats the id {cells[0]}", allowed=allowed, fix="leave one out")
        found[str(cells[0])] = cells[1]
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{path} has no text for the id {missing[0]}", allowed=allowed, fix="give one for each id")
    return found


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
    return result(rescore_list(as_opened(model), Path(nbest), weight, word_bonus, as_path(tune), fields))


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
    right = None if references is None else read_references(references, nbest.groups)
    numbers: dict[str, list[int]] = {}  # what occurs several times is read once
    for number, hypothesis in enumerate(nbest.hypotheses):
        numbers.setdefault(hypothesis.text, []).append(number)
    texts = [opened.tokenizer.encode(text + "\n") for text in numbers]
    log_probability = np.zeros(len(nbest.hypotheses))
    done = iter(numbers.values())
    read = 0
    for some in lines(opened.predictor, texts, opened.tokenizer.start_id):
        for nats in some:
            log_probability[next(done)] = -nats.sum()
            read += len(nats)
        yield Progress("rescoring", read, sum(map(len, texts)), "symbols")
    times = list(map(len, numbers.values()))
    symbols = sum(len(ids) * count for ids, count in zip(texts, times, strict=True))
    strange = sum(opened.tokenizer.count_unknown(ids) * count for ids, count in zip(texts, times, strict=True))
    old = np.array([hypothesis.score for hypothesis in nbest.hypotheses])
    words = np.array([len(hypothesis.text.split()) for hypothesis in nbest.hypotheses])
    tuned = None
    if right is not None:
        weight, tuned = fit_weight(nbest, old, old + word_bonus * words, log_probability, right)
    total = old + weight * log_probability + word_bonus * words
    return Rescored(nbest, log_probability, total, weight, word_bonus, strange / symbols, tuned)


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
        before = 0
        for weight, best in crossings:
            now = int(errors[members[best]])
            changes[weight] = changes.get(weight, 0) + now - before
            before = now
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
    found = [(0.0, best)]
    while True:
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = np.where(slopes > slopes[best], (offsets[best] - offsets) / (slopes - slopes[best]), math.inf)
        weight = float(crossing.min())
        if weight == math.inf:
            return found
        best = max((int(k) for k in np.flatnonzero(crossing == weight)), key=lambda k: (slopes[k], -k))
        found.append((weight, best))


def word_errors(reference: str, hypothesis: str) -> int:
    """Return how many words must be replaced, put in or left out (Levenshtein 1966)."""
    right, said = reference.split(), hypothesis.split()
    row = list(range(len(said) + 1))
    for count, word in enumerate(right, 1):
        corner, row[0] = row[0], count
        for place, other in enumerate(said, 1):
            corner, row[place] = row[place], min(corner + (word != other), row[place] + 1, row[place - 1] + 1)
    return row[-1]

"""Files of minimal pairs: BLiMP's JSON lines, colorless-green's tables, good<TAB>bad; `pairs` reads and counts them."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unroll.data.lines import line_text, read_lines
from unroll.data.tables import json_line
from unroll.errors import UserError

FORMATS = (
    "BLiMP's jsonl (sentence_good, sentence_bad), colorless-green's tab (form, class, prefix), good<TAB>bad[<TAB>set]"
)
AGREEMENT = (
    "pattern", "constr_id", "sent_id", "correct_number", "form", "class", "type", "prefix", "n_attr", "punct", "freq",
    "len_context", "len_prefix", "sent",
)  # fmt: skip
"""The columns of colorless-green's tables (Gulordava et al. 2018); any other holds the scores of a model."""
REQUIRED = ("pattern", "constr_id", "sent_id", "form", "class", "type", "prefix")


@dataclass(frozen=True)
class Pair:
    """Two texts, of which the first should be the likelier one: whole sentences, or words after the same prefix."""

    good: str
    bad: str
    set: str
    group: str
    """What the set belongs to: BLiMP's phenomenon, colorless-green's construction; empty where the file names none."""
    file: Path
    line: int
    prefix: str | None = None
    """What is read before both words; None for whole sentences."""
    key: str = ""
    """The name of the item where its format gives one."""
    scores: tuple[tuple[str, float, float], ...] = ()
    """The names of models whose scores the file carries, with their nats for the good and the bad word."""


def read_pairs(paths: Sequence[Path], *, scored: bool = False) -> list[Pair]:
    """Return the pairs of the files, each in one of the FORMATS, recognised by its first line; blank lines are skipped.

    With `scored` the files carry the scores of models, and every item is returned once, with those of all files.
    Raises UserError naming the file and the line that does not follow its format.
    """
    pairs = [pair for path in paths for pair in _pairs_of(path, scored)]
    return _merged(pairs) if scored else pairs


def _pairs_of(path: Path, scored: bool) -> list[Pair]:
    numbered = ((number, line_text(line, path, number)) for number, line in enumerate(read_lines(path), 1))
    rows = [(number, text) for number, text in numbered if text]
    if not rows:
        pairs = []
    elif rows[0][1].lstrip().startswith("{"):
        pairs = [_sentences(path, *row) for row in rows]
    elif {"form", "class", "prefix"} <= set(columns := rows[0][1].split("\t")):
        pairs = list(_agreement(path, rows, scored))
    elif len(columns) in (2, 3):
        header = [name.strip().lower() for name in columns[:2]] == ["good", "bad"]
        pairs = [_good_and_bad(path, *row) for row in rows[header:]]
    else:
        raise _bad_line(path, rows[0][0], "is in no format of minimal pairs")
    if not pairs:
        raise UserError(f"{path} has no pairs", allowed=FORMATS, fix="leave it out")
    if scored and not pairs[0].scores:
        raise UserError(
            f"{path} carries no scores",
            allowed="colorless-green's tab with a column of scores for each model",
            fix="leave --scored out, and name a model that reads it",
        )
    return pairs


def _bad_line(path: Path, number: int, fault: str) -> UserError:
    return UserError(f"{path}, line {number} {fault}", allowed=FORMATS, fix="correct the line or leave it out")


def _sentences(path: Path, number: int, text: str) -> Pair:
    """Return a line of BLiMP (Warstadt et al. 2020): sets by UID, groups by linguistics_term."""
    item = json_line(text)
    if item is None:
        raise _bad_line(path, number, "is not a JSON object")
    fields = {"UID": path.stem, "linguistics_term": ""} | item
    values = [fields.get(key) for key in ("sentence_good", "sentence_bad", "UID", "linguistics_term")]
    good, bad, uid, term = (value if isinstance(value, str) else "" for value in values)
    if not (good and bad and uid):
        raise _bad_line(path, number, "has no text as sentence_good, sentence_bad or UID")
    return Pair(good, bad, uid, term, path, number)


def _good_and_bad(path: Path, number: int, text: str) -> Pair:
    good, *rest = text.split("\t")
    if len(rest) not in (1, 2) or not good or not rest[0]:
        raise _bad_line(path, number, "is not good<TAB>bad or good<TAB>bad<TAB>set")
    return Pair(good, rest[0], rest[1] if len(rest) == 2 else path.stem, "", path, number)


def _agreement(path: Path, rows: Sequence[tuple[int, str]], scored: bool) -> Iterator[Pair]:
    """Yield the items of colorless-green: two lines each, one for the correct form and one for the wrong one."""
    columns = _cells(path, *rows[0])
    if missing := [name for name in REQUIRED if columns.count(name) != 1]:
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
    models = [name for name in columns if name not in AGREEMENT] if scored else []
    for key, item in items.items():
        if len(item) < 2:
            ((form, (number, _)),) = item.items()
            raise _bad_line(path, number, f"is the {form} form of an item that lacks the other")
        (number, good), (bad_number, bad) = item["correct"], item["wrong"]
        if (prefix := _prefix(path, number, good)) != _prefix(path, bad_number, bad):
            raise _bad_line(path, bad_number, f"has another prefix than line {number}, which is of the same item")
        scores = tuple(
            (name, -_score(path, number, good, name), -_score(path, bad_number, bad, name)) for name in models
        )
        kind = "nonsense" if good["type"] == "generated" else good["type"]
        construction = f"{good['pattern']} {kind}"
        yield Pair(good["form"], bad["form"], kind, construction, path, number, prefix, key, scores)


def _cells(path: Path, number: int, text: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter="\t", strict=True))
    except csv.Error as error:
        raise _bad_line(path, number, f"is not a line of a table: {error}") from None


def _prefix(path: Path, number: int, row: Mapping[str, str]) -> str:
    """Return what stands before the target: where the prefix has `<unk>`, the sentence's own words.

    Those are words that the published models did not know; the models read here may know them.
    """
    words, sentence = row["prefix"].split(), row.get("sent", "").split()
    if "<unk>" not in words or not sentence:
        return row["prefix"]
    sentence = sentence[: len(words)]
    if [word for word, written in zip(words, sentence, strict=False) if word in (written, "<unk>")] != words:
        raise _bad_line(path, number, "has a prefix that its sentence does not begin with")
    return " ".join(sentence)


def _score(path: Path, number: int, row: Mapping[str, str], name: str) -> float:
    try:
        score = float(row[name])
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise _bad_line(path, number, f"has {row[name]!r} as the score {name}")
    return score


def _merged(pairs: Sequence[Pair]) -> list[Pair]:
    """Return every item once, with the scores that all files carry for it; UserError where they do not fit together."""

    def clash(pair: Pair, fault: str) -> UserError:
        return UserError(
            f"{pair.file}, line {pair.line} {fault}",
            allowed="files of the same items",
            fix="count the files one by one",
        )

    items: dict[str, Pair] = {}
    for pair in pairs:
        earlier = items.setdefault(pair.key, pair)
        if earlier is pair:
            continue
        if (earlier.good, earlier.bad, earlier.prefix) != (pair.good, pair.bad, pair.prefix):
            raise clash(pair, f"is another item than line {earlier.line} of {earlier.file}, which has its number")
        if repeated := {name for name, *_ in earlier.scores} & {name for name, *_ in pair.scores}:
            raise clash(pair, f"repeats the score {min(repeated)} of {earlier.file}")
        items[pair.key] = replace(earlier, scores=earlier.scores + pair.scores)
    models = {name for pair in items.values() for name, *_ in pair.scores}
    for pair in items.values():
        if len(pair.scores) < len(models):
            raise clash(pair, "is an item that another of the files lacks")
    return list(items.values())

"""N-best lists as files, in three formats, and the references they are tuned on; read by `rescore`."""

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unroll.data.lines import LINE_ENDS, line_text, read_lines
from unroll.data.tables import json_line
from unroll.errors import UserError

Format = Literal["moses", "tsv", "jsonl"]

FORMATS = "Moses (id ||| hypothesis ||| features ||| total), a table of tabs with a header, JSON lines"
ID_FIELDS = ("id", "utt", "utt_id", "utterance", "key")
TEXT_FIELDS = ("text", "hyp", "hypothesis", "sentence")
SCORE_FIELDS = ("score", "total", "logprob")
ADDED = ("lm", "rescored")
"""Fields that are added to each line: ln P(hypothesis), and the new score."""


@dataclass(frozen=True)
class Fields:
    """Names of the fields of an n-best list that are not among the usual ones."""

    id: str | None = None
    text: str | None = None
    score: str | None = None
    """A name, or for Moses the number of a field, by default 4, or 3 where there are three."""


@dataclass(frozen=True)
class Hypothesis:
    """One line: a recognised or translated text, its sentence, and its score; higher is better."""

    id: str
    text: str
    score: float
    line: bytes
    """The bytes of the line, without its end."""
    end: bytes
    number: int
    """Number of the line, from 1."""


@dataclass(frozen=True)
class NBest:
    """A list of hypotheses as it stands in a file."""

    format: Format
    hypotheses: tuple[Hypothesis, ...]
    head: bytes
    """Bytes before the first hypothesis: a byte order mark, a header and its end."""
    path: Path

    @property
    def groups(self) -> dict[str, list[int]]:
        """The numbers of each sentence's hypotheses, in the order of the file."""
        groups: dict[str, list[int]] = {}
        for number, hypothesis in enumerate(self.hypotheses):
            groups.setdefault(hypothesis.id, []).append(number)
        return groups


def with_fields(format: Format, line: bytes, values: Sequence[bytes]) -> bytes:
    """Return a line with the values of the two ADDED fields."""
    if format == "moses":
        return line + b" ||| " + b" ||| ".join(values)
    if format == "tsv":
        return line + b"\t" + b"\t".join(values)
    end = line.rindex(b"}")
    fields = b"".join(b', "%s": %s' % (name.encode(), value) for name, value in zip(ADDED, values, strict=True))
    return line[:end] + fields + line[end:]


def check_one_line_each(path: Path, hypotheses: Iterable[Hypothesis]) -> None:
    """Raise UserError for a hypothesis that any program would take for several lines; JSON can hold one.

    Written one a line, every later one would be taken for that of another sentence.
    """
    for hypothesis in hypotheses:
        if end := next((letter for letter in hypothesis.text if letter in LINE_ENDS), None):
            raise UserError(
                f"{path}, line {hypothesis.number} has a hypothesis that contains a line end, U+{ord(end):04X}",
                allowed="hypotheses of one line each, to write one a line",
                fix="replace it by a space, or leave out --best; nothing was written",
            )


def read_nbest(path: Path, fields: Fields | None = None) -> NBest:
    """Return the list of a file, in one of the FORMATS, recognised by its first line.

    Raises UserError naming a line that is empty, differs from the first, or has no number as its score.
    """
    fields = fields or Fields()
    raw = list(read_lines(path))
    if not raw:
        raise UserError(f"{path} has no hypotheses", allowed=FORMATS, fix="check the path")
    head = b"\xef\xbb\xbf" if raw[0].startswith(b"\xef\xbb\xbf") else b""
    raw[0] = raw[0].removeprefix(head)
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
            head += header + b"\t" + "\t".join(ADDED).encode() + (ends[0] or b"\n")
    return NBest(
        format,
        tuple(
            Hypothesis(name, text, score, line.removesuffix(end), end, number)
            for number, ((name, text, score), line, end) in enumerate(
                zip(parsed, raw[start:], ends[start:], strict=True), 1 + start
            )
        ),
        head,
        path,
    )


def _damaged(path: Path, number: int, fault: str) -> UserError:
    return UserError(f"{path}, line {number} {fault}", allowed=FORMATS, fix="correct the line; nothing was written")


def _moses_cells(path: Path, texts: Sequence[str], fields: Fields) -> list[tuple[str, str, float]]:
    width = texts[0].count("|||") + 1
    if width < 3:
        raise _damaged(path, 1, "has an id and a hypothesis, and no score")
    field = fields.score or ("4" if width > 3 else "3")
    if not field.isdecimal() or not 3 <= int(field) <= width:
        raise UserError(
            f"the score cannot be field {field} of {path}",
            allowed="3, the number of the last field" if width == 3 else f"3 to {width}, the number of a field",
            fix="check the separators, or name another field with --score-field",
        )  # fmt: skip
    rows = []
    for number, text in enumerate(texts, 1):
        cells = [cell.strip(" ") for cell in text.split("|||")]
        if len(cells) != width:
            raise _damaged(path, number, f"has {len(cells)} fields, the first line {width}")
        rows.append((cells[0], cells[1], _number(path, number, cells[int(field) - 1])))
    return rows


def _tsv_cells(path: Path, texts: Sequence[str], fields: Fields) -> list[tuple[str, str, float]]:
    header = texts[0].split("\t")
    if len(header) < 3:
        raise _damaged(path, 1, "is in no format of n-best lists")
    _refuse_added(path, 1, header)
    columns = [header.index(name) for name in _names(path, 1, header, fields)]
    rows = []
    for number, text in enumerate(texts[1:], 2):
        cells = text.split("\t")
        if len(cells) != len(header):
            raise _damaged(path, number, f"has {len(cells)} columns, the header {len(header)}")
        name, hypothesis, score = (cells[column] for column in columns)
        rows.append((name, hypothesis, _number(path, number, score)))
    if not rows:
        raise _damaged(path, 1, "is a header, with no hypotheses after it")
    return rows


def _json_cells(path: Path, number: int, text: str, fields: Fields) -> tuple[str, str, float]:
    item = json_line(text)
    if item is None:
        raise _damaged(path, number, "is not a JSON object")
    _refuse_added(path, number, item)
    name, hypothesis, score = (item[key] for key in _names(path, number, item, fields))
    if not isinstance(name, str | int) or not isinstance(hypothesis, str):
        raise _damaged(path, number, "has an id or a hypothesis that is not text")
    return str(name), hypothesis, _number(path, number, score)


def _refuse_added(path: Path, number: int, names: Collection[str]) -> None:
    if clash := [name for name in ADDED if name in names]:
        raise UserError(
            f"{path}, line {number} already has the field {clash[0]}, which rescoring adds",
            allowed=f"lists without the fields {' and '.join(ADDED)}",
            fix="rename it, and name the old score with --score-field",
        )


def _names(path: Path, number: int, names: Collection[str], fields: Fields) -> list[str]:
    """Return the names of the id, the hypothesis and the score among the `names` of a line's fields."""
    chosen = []
    for field, requested, usual in (
        ("id", fields.id, ID_FIELDS),
        ("text", fields.text, TEXT_FIELDS),
        ("score", fields.score, SCORE_FIELDS),
    ):
        name = next((name for name in ((requested,) if requested else usual) if name in names), None)
        if name is None:
            raise UserError(
                f"{path}, line {number} has no {field}: its fields are {', '.join(names)}",
                allowed=FORMATS + f"; the {field} is called {requested or ', '.join(usual)}",
                fix=f"correct the line, or name the field with --{field}-field; nothing was written",
            )
        chosen.append(name)
    return chosen


def _number(path: Path, number: int, value: object) -> float:
    try:
        score = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise _damaged(path, number, f"has {value!r} as its score, which is not a number")
    return score


def read_references(path: Path, names: Collection[str]) -> dict[str, str]:
    """Return the reference text for each of the sentences `names`.

    The file holds JSON lines with an id and a text, lines id<TAB>text, or one text a line in the order of the
    sentences. Raises UserError where one is missing or repeated.
    """
    texts = [line_text(line, path, number) for number, line in enumerate(read_lines(path), 1)]
    allowed = "JSON lines with id and text, id<TAB>text, or one text for each id in order"
    references: dict[str, str] = {}
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
            raise UserError(f"{path}, line {number} is not an id and a text", allowed=allowed, fix="correct the line")
        if str(cells[0]) in references:
            raise UserError(f"{path}, line {number} repeats the id {cells[0]}", allowed=allowed, fix="leave one out")
        references[str(cells[0])] = cells[1]
    if missing := [name for name in names if name not in references]:
        raise UserError(f"{path} has no text for the id {missing[0]}", allowed=allowed, fix="give one for each id")
    return references

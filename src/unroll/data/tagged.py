"""Sentences of tokens with tags: read from CoNLL-U and from files of columns, and written back with other tags."""

import codecs
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.blocks import MARK, file_size
from unroll.data.kinds import UNPACK, binary
from unroll.data.lines import whole_text
from unroll.data.opening import TextPath, read_bytes
from unroll.errors import UserError, did_you_mean, number_of
from unroll.files import StrPath, as_path
from unroll.progress import Progress, Work

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""The columns of CoNLL-U, by their names in small letters."""
TAGS = ("upos", "xpos", "feats", "lemma", "deprel", "deps", "misc")
"""Those that may be the tags."""
ENDINGS = (".conllu", ".conll", ".tsv", ".iob", ".iob2", ".bio")
"""Of the names of files with tokens and tags."""
MISSING = "_"
"""Stands in a column that has no value."""
DOCUMENT = "-DOCSTART-"
"""The token of a line that begins a document, in files of columns."""
COMMENT = "# "
"""Begins a line that is no token, in files of columns with tabs where it has none."""
BLANK = " \t\r"
"""What a line is made of that ends a sentence."""
MAX_TOKENS = 2**26
"""Tokens of a file."""
MAX_SENTENCE = 2**16
"""Tokens of a sentence."""
REPORT_TOKENS = 50_000
WITH_MARKS = {"utf-8-sig": ("utf-8",), "utf-16": ("utf-16-le", "utf-16-be"), "utf-32": ("utf-32-le", "utf-32-be")}
"""Encodings that drop a byte order mark and write one of their own, with those that keep it."""
_WORD = re.compile("[1-9][0-9]*")
_NO_WORD = re.compile("[1-9][0-9]*-[1-9][0-9]*|[0-9]+[.][1-9][0-9]*")
"""The numbers of ranges and of empty nodes."""
_FIELD = re.compile("[^ \t]+")
"""A field among others that white space separates."""

Sentences = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Tagged:
    """The sentences of a file, with the tags of one of its columns."""

    path: Path
    column: str
    """The name of the column of tags in CoNLL-U; elsewhere its number, from 1."""
    sentences: Sentences
    """The tokens of each sentence, at least one."""
    tags: Sentences
    """The tag of each token; empty where the file was read without them."""
    lines: NDArray[np.int64]
    """The line of each token (tokens,), from 1."""
    text: str
    """The whole file."""
    sha256: str
    """Digest of the text in UTF-8, in hexadecimal."""

    def __len__(self) -> int:
        return len(self.sentences)


class _Token(NamedTuple):
    line: int
    form: str
    tag: str


def is_tagged(path: Path, endings: Collection[str] = ENDINGS) -> bool:
    """Return whether a file has tokens and tags by the ending of its name, packed or not."""
    return (path.with_suffix("") if path.suffix.lower() in UNPACK else path).suffix.lower() in endings


def is_conllu(path: Path) -> bool:
    """Return whether a file is CoNLL-U by the ending of its name, packed or not."""
    return is_tagged(path, (".conllu",))


def read_tagged(path: StrPath, column: str, *, token_column: int = 1, tags: bool = True) -> Work[Tagged]:
    """Read the sentences of a file, and the tags in a column.

    A column with a name is one of CoNLL-U, whose tokens are its words: ranges (`1-2`) and empty nodes (`8.1`) are none,
    nor is a comment. A column with a number, from 1 or from the end (-1), is one of a file with any number of columns,
    as many in each line: tabs separate them or, where the first line of a token has none, white space. There the tokens
    are in `token_column`; a line with -DOCSTART-, or with `# ` and no tab among others with tabs, has none. An empty
    line ends a sentence.

    A token without a tag, an empty one or `_`, is refused; but `_` is a value of FEATS, and of the lemma of `_`.
    Without `tags` none are read, and the column may be one behind the last. Raises UserError, naming file and line.
    """
    path = as_path(path)
    file_size(path)
    text = whole_text(path, keep_mark=True)
    if (place := text.find("\0")) >= 0:
        raise binary(path, text.encode(), f"NUL at character {place:,}")
    lines = text.removeprefix(MARK).split("\n")
    if column.removeprefix("-").isdecimal():
        column, tokens = _of_columns(lines, path, int(column), token_column, tags)
    else:
        if token_column != 1:
            raise UserError(
                f"the tokens of {path}, a file of CoNLL-U, are to be in column {token_column}",
                allowed="a column of tokens for other files; those of CoNLL-U stand in FORM",
                fix="leave it out",
            )
        column, tokens = _of_conllu(lines, path, column, tags)
    sentences: list[tuple[str, ...]] = []
    of_sentences: list[tuple[str, ...]] = []
    numbers: list[int] = []
    shared: dict[str, str] = {}  # equal tokens and tags are kept once
    for sentence in _sentences(tokens):
        sentences.append(tuple(shared.setdefault(token.form, token.form) for token in sentence))
        of_sentences.append(tuple(shared.setdefault(token.tag, token.tag) for token in sentence))
        if len(sentence) > MAX_SENTENCE:
            raise UserError(
                f"a sentence with {len(sentence):,} tokens begins in line {sentence[0].line:,} of {path}",
                allowed=f"at most {MAX_SENTENCE:,}",
                fix="put an empty line behind each sentence",
            )
        before = len(numbers)
        numbers += [token.line for token in sentence]
        if len(numbers) > MAX_TOKENS:
            raise UserError(
                f"{path} has more than {MAX_TOKENS:,} tokens", allowed="at most so many", fix="take a part of it"
            )
        if before // REPORT_TOKENS < len(numbers) // REPORT_TOKENS:
            yield Progress("reading", numbers[-1], len(lines), "lines")
    if not sentences:
        raise UserError(
            f"{path} has no tokens",
            allowed="a token in each line, and an empty line behind each sentence",
            fix="check that it is the file you mean",
        )
    yield Progress("reading", len(lines), len(lines), "lines")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Tagged(
        path, column, tuple(sentences), tuple(of_sentences) if tags else (), np.array(numbers, np.int64), text, digest
    )


def tagged_of(sentences: Sequence[Sequence[str]], tags: Sequence[Sequence[str]], *, name: str = "X") -> Tagged:
    """Return sentences in memory, as many tags as tokens in each; messages call them `name`, and count tokens from 1.

    A sentence without tokens is left out.
    """
    rows = [(tuple(row), tuple(own)) for row, own in zip(sentences, tags, strict=True) if row]
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    lines = np.arange(1, 1 + sum(len(row) for row, _ in rows))
    return Tagged(Path(name), "2", tuple(row for row, _ in rows), tuple(own for _, own in rows), lines, "", digest)


def rewritten(tagged: Tagged, tags: Sequence[Sequence[str]]) -> bytes:
    """Return the file with other tags in its column, in its own encoding, and every other byte as it was.

    What was packed is unpacked. A column behind the last is added. Raises UserError for a tag that cannot be written.
    """
    mark, encoding = _written(tagged)
    lines = tagged.text.removeprefix(MARK).split("\n")
    numbers = tagged.lines.tolist()
    if tagged.column in CONLLU:
        separator, place = "\t", CONLLU.index(tagged.column)
    else:
        separator, place = _separator(_first(lines)[1]), int(tagged.column) - 1
    for number, tag in zip(numbers, chain.from_iterable(tags), strict=True):
        if not tag or re.search(rf"[{separator}\t\n]|\r\Z", tag):
            raise UserError(
                f"the tag {tag!r} cannot be written to line {number:,} of {tagged.path}",
                allowed="tags without what separates columns there",
                fix="separate the columns of the file by tabs, or see the tags with --json",
            )
        lines[number - 1] = _replaced(lines[number - 1], separator, place, tag)
    try:
        return (mark + "\n".join(lines)).encode(encoding)
    except UnicodeEncodeError as error:
        raise UserError(
            f"the tag with {error.object[error.start]!r} cannot be written to {tagged.path}",
            allowed=f"characters of {encoding}",
            fix="convert the file to UTF-8",
        ) from None


def _written(tagged: Tagged) -> tuple[str, str]:
    """Return the byte order mark of a file, or nothing, and the encoding that gives its very bytes behind it."""
    name = (isinstance(tagged.path, TextPath) and tagged.path.encoding) or "UTF-8"
    content = tagged.text.removeprefix(MARK)
    if name == "UTF-8":
        return tagged.text[: len(tagged.text) - len(content)], name
    data = read_bytes(tagged.path)
    for encoding in WITH_MARKS.get(codecs.lookup(name).name, (name,)):
        for mark in ("", MARK):
            with suppress(UnicodeEncodeError):
                if (mark + content).encode(encoding) == data:
                    return mark, encoding
    raise UserError(
        f"{tagged.path} does not come back byte for byte from its text in {name}",
        allowed="an encoding that writes each text in one way",
        fix="convert the file to UTF-8",
    )


def _sentences(tokens: Iterable[_Token | None]) -> Iterator[list[_Token]]:
    """Yield the tokens between the ends of sentences."""
    sentence: list[_Token] = []
    for token in chain(tokens, [None]):
        if token is not None:
            sentence.append(token)
        elif sentence:
            yield sentence
            sentence = []


# ---- CoNLL-U


def _of_conllu(lines: list[str], path: Path, column: str, tags: bool) -> tuple[str, Iterator[_Token | None]]:
    """Return the name of the column and the tokens, with None for the end of a sentence."""
    name = column.lower()
    if name not in TAGS:
        raise UserError(
            f"{column!r} is no column of tags in CoNLL-U",
            allowed=f"{', '.join(TAGS)}; in other files a number",
            fix=did_you_mean(name, TAGS, "name one of them, or give the number of the column"),
        )
    return name, _conllu_tokens(lines, path, CONLLU.index(name), tags)


def _conllu_tokens(lines: list[str], path: Path, place: int, tags: bool) -> Iterator[_Token | None]:
    last = 0
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not line:
            last = 0
            yield None
            continue
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != len(CONLLU):
            raise UserError(
                f"line {number:,} of {path} has {number_of(len(fields), 'column')}, and CoNLL-U ten",
                allowed="ten columns with a tab between them, a comment with #, or an empty line",
                fix="correct the line; in a file with other columns, name the column by its number",
            )
        if _NO_WORD.fullmatch(fields[0]):
            continue
        if not _WORD.fullmatch(fields[0]) or int(fields[0]) != last + 1:
            raise UserError(
                f"line {number:,} of {path} has the ID {fields[0]!r:.60}",
                allowed=f"{last + 1}, the next word; a range as 1-2, an empty node as 8.1",
                fix="correct it; an empty line ends a sentence" if last else "correct it; a sentence begins with 1",
            )
        last += 1
        form, tag = fields[1], fields[place]
        if not form:
            raise _no_token(path, number)
        legitimate = CONLLU[place] == "feats" or (CONLLU[place] == "lemma" and form == MISSING)
        if tags and (not tag or (tag == MISSING and not legitimate)):
            raise _no_tag(path, number, CONLLU[place].upper(), form)
        yield _Token(number, form, tag)


# ---- files of columns


def _of_columns(
    lines: list[str], path: Path, column: int, token_column: int, tags: bool
) -> tuple[str, Iterator[_Token | None]]:
    """Return the number of the column and the tokens, with None for the end of a sentence."""
    if is_conllu(path):
        raise UserError(
            f"{path} is CoNLL-U, and {column} is a number",
            allowed=f"the name of a column: {', '.join(TAGS)}",
            fix="name the column; a range or an empty node would be taken for a token otherwise",
        )
    first, line = _first(lines)
    separator = _separator(line)
    width = len(_fields(line, separator))
    number = column + width + 1 if column < 0 else column
    if not line:
        return str(number), iter(())
    # Without tags the column may be one that is to be added.
    if not (0 < number <= width + (not tags) and 0 < token_column <= width) or number == token_column:
        raise UserError(
            f"line {first:,} of {path} has {number_of(width, 'column')}, with the token in column {token_column} "
            f"and the tag in column {column}",
            allowed="columns that are there: numbers from 1, or from the end: -1 is the last",
            fix="give the number of the column; in CoNLL-U, its name",
        )
    return str(number), _column_tokens(lines, path, separator, width, token_column - 1, number - 1, tags)


def _column_tokens(
    lines: list[str], path: Path, separator: str, width: int, token: int, place: int, tags: bool
) -> Iterator[_Token | None]:
    for number, line in enumerate(lines, 1):
        if not line.strip(BLANK):
            yield None
            continue
        fields = _fields(line, separator)
        if line.startswith(DOCUMENT) or (separator == "\t" and len(fields) == 1 and line.startswith(COMMENT)):
            continue
        if len(fields) != width:
            raise UserError(
                f"line {number:,} of {path} has {number_of(len(fields), 'column')}, the first one {width}",
                allowed="as many columns in each line, separated as in the first: by tabs or by white space",
                fix="correct the line; an empty line ends a sentence",
            )
        if not fields[token]:
            raise _no_token(path, number)
        tag = fields[place] if place < width else ""
        if tags and tag in ("", MISSING):
            raise _no_tag(path, number, f"column {place + 1}", fields[token])
        yield _Token(number, fields[token], tag)


def _first(lines: list[str]) -> tuple[int, str]:
    """Return the first line of a token, with its number; where there is none, an empty one."""
    rows = ((number, line) for number, line in enumerate(lines, 1) if line.strip(BLANK))
    return next((row for row in rows if not row[1].startswith((COMMENT, DOCUMENT))), (1, ""))


def _separator(line: str) -> str:
    """Return what separates the fields of a file, by the line of its first token: a tab, or white space."""
    return "\t" if "\t" in line else " "


def _fields(line: str, separator: str) -> list[str]:
    """Return the fields of a line."""
    line = line.removesuffix("\r")
    return line.split("\t") if separator == "\t" else _FIELD.findall(line)


def _replaced(line: str, separator: str, place: int, tag: str) -> str:
    """Return a line with another tag in the field at `place`, or behind the last one."""
    row = line.removesuffix("\r")
    if place == len(_fields(line, separator)):
        row += separator + tag
    elif separator == "\t":
        fields = row.split("\t")
        fields[place] = tag
        row = "\t".join(fields)
    else:
        start, end = [match.span() for match in _FIELD.finditer(row)][place]
        row = row[:start] + tag + row[end:]
    return row + "\r" * line.endswith("\r")


def _no_token(path: Path, number: int) -> UserError:
    return UserError(f"line {number:,} of {path} has no token", allowed="a token in each line", fix="correct the line")


def _no_tag(path: Path, number: int, column: str, form: str) -> UserError:
    return UserError(
        f"line {number:,} of {path} has no tag in {column} for the token {form!r:.60}",
        allowed=f"a tag for each token: {MISSING} and nothing are none",
        fix="tag the token, leave its sentence out, or name another column",
    )

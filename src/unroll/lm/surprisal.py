"""Surprisal: the nats of texts, symbol by symbol, and of files of any size, summed over words, characters or lines."""

import math
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.open import AnyModel, Opened, as_opened
from unroll.artifact.saved_state import Reading, load_reading, read_on, save_reading
from unroll.data.blocks import MAX_LINE, Block, Seen, read_blocks
from unroll.data.tokenizer import Tokenizer
from unroll.data.utf8 import code_points
from unroll.errors import UserError
from unroll.files import StrPath, refuse_input
from unroll.predict.predictor import Nats, Predictor, log_probabilities
from unroll.predict.protocols import Ids, lines

UnknownRule = Literal["as-unk", "exclude", "penalise", "refuse"]
"""What a symbol that the model has never seen costs, which it always reads as `<unk>`.

`as-unk`: the nats of `<unk>`. `exclude`: nothing, and it is not counted. `penalise`: the nats of `<unk>`, and those of
spelling it in bytes of UTF-8 when each of the 256 is equally probable, for a word with one more for its end: so the
probabilities of all texts sum to at most one, and models with different vocabularies can be compared. `refuse`:
an error that names it. A literal `<unk>` in a text of words counts as unknown too.
"""
UNKNOWN_RULES: tuple[UnknownRule, ...] = get_args(UnknownRule)

UnitName = Literal["token", "word", "char", "line"]
"""What nats are summed over. The units of a text tile it: each begins where the one before it ends.

`word`: a run of other characters and all the white space after it. That white space is what ends the word, so that
its nats are -ln P(this word, and no longer one); summed with the white space before it, as pieces of BPE have it, the
probabilities of words would sum to more than one, and the surprise at a word's end would count for the next (Oh and
Schuler 2024; Pimentel and Meister 2024). A piece of BPE that begins with white space is therefore taken apart: that
the next piece begins so belongs to the word before, the rest to the word itself. White space is Unicode's, at level
byte ASCII's. The symbols of a model of words are its words, and the ends of lines.
`char`: a code point. `line`: up to a newline, with it. `token`: a symbol of the model, at level word with the white
space after it. Where a symbol spans several units (characters in a piece), they are one.
"""
UNITS: tuple[UnitName, ...] = get_args(UnitName)

LN_256 = math.log(256)
READ_BYTES = 2**14
"""Of a file at a time, so that its units come steadily."""
MAX_TEXT = 4 * 2**20
"""Bytes of a unit's text that are kept; its nats are whole however long it is."""

SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()])
"""The code points of white space, which end a word."""
ASCII_SPACES = np.frombuffer(b" \t\n\r\x0b\x0c", np.uint8)


class Token(NamedTuple):
    """One symbol of a text: the bytes of UTF-8 that it stands for, and -ln P(it), None where it is excluded."""

    token: str
    start: int
    end: int
    nats: float | None


@dataclass(frozen=True)
class TextScore:
    """How probable a text is: -ln P(text) in nats, over the symbols that are counted."""

    text: str
    tokens: int
    nats: float
    unknown: int
    per_token: tuple[Token, ...]

    @property
    def nats_per_token(self) -> float | None:
        """Nats per counted symbol; None where there is none."""
        return self.nats / self.tokens if self.tokens else None


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch of a file, from byte `start` to byte `end`, with its nats over the symbols that are counted.

    The bytes are those of the file, gzip unpacked. The first unit has a byte order mark among its bytes, and not in
    its text. Bytes that are not UTF-8 are surrogates in `text` (PEP 383); of very long texts it holds the first 4 MiB.
    """

    start: int
    end: int
    text: str
    tokens: int
    nats: float
    unknown: int

    @property
    def nats_per_token(self) -> float | None:
        """Nats per counted symbol; None where there is none."""
        return self.nats / self.tokens if self.tokens else None


class _Symbols(NamedTuple):
    """Symbols in a row, and where they stand in their text."""

    data: bytes
    ids: Ids  # (N,)
    spans: Ids  # (N, 2) in bytes of the data
    offset: int  # of the data in its text


class _Parts(NamedTuple):
    """A stretch of text in parts that tile it, ready to be summed: symbols, or the two that a piece is taken into."""

    data: bytes
    offset: int  # of the data in its file
    begins: Ids  # where a unit of the text begins, in bytes
    starts: Ids  # (P,) where each part begins, in bytes
    nats: Nats  # (P,)
    tokens: Ids  # (P,) 1 for a symbol that is counted, else 0
    unknown: Ids  # (P,)
    after: Reading


def token_name(tokenizer: Tokenizer, id: int) -> str:
    """Return the text of a symbol where it is one, else its printable name: `<unk>`, `\\xff`."""
    try:
        return tokenizer.specials.get(id) or tokenizer.pieces[id].decode()
    except UnicodeDecodeError:
        return tokenizer.symbol(id)


def beginning(opened: Opened) -> Reading:
    """Return the reading of nothing: a fresh state, and the start symbol, which is read first."""
    return Reading(None, opened.tokenizer.start_id)


def score(
    model: AnyModel,
    texts: str | Sequence[str],
    *,
    eos: bool = False,
    unknown: UnknownRule = "as-unk",
    state: StrPath | None = None,
    save_state: StrPath | None = None,
) -> list[TextScore]:
    """Return how probable texts are, each from a fresh state after the start symbol, or from that in the file `state`.

    With `eos` the end of each is scored too; `unknown` says what a symbol costs that the model has never seen. The
    state after a single text is written to the file `save_state`: score(a + b) = score(a) + score(b | state after a).
    Raises UserError.
    """
    texts = [texts] if isinstance(texts, str) else texts
    opened = as_opened(model)
    if state is None and save_state is None:
        return list(score_texts(opened, texts, eos=eos, unknown=unknown))
    if save_state is not None and len(texts) != 1:
        raise UserError(f"there is no one state after {len(texts)} texts", allowed="one text", fix="score them singly")
    reading = beginning(opened) if state is None else load_reading(Path(state), opened)
    scores = [score_on(opened, text, reading, eos=eos, unknown=unknown) for text in texts]
    if save_state is not None:
        save_reading(Path(save_state), scores[0][1], opened.path)
    return [score for score, _ in scores]


def score_file(
    model: AnyModel,
    file: StrPath,
    *,
    unit: UnitName = "line",
    fresh: bool = False,
    unknown: UnknownRule = "as-unk",
    state: StrPath | None = None,
    save_state: StrPath | None = None,
) -> Iterator[Unit]:
    """Yield the units of a text file of any size, plain or gzip, with their nats; they tile the file.

    It is read as one row with carried state, from the start symbol or the state in the file `state`; that after it is
    written to `save_state`. With `fresh`, each line is read from a fresh state. Raises UserError.
    """
    if fresh and (unit != "line" or state is not None or save_state is not None):
        raise UserError(
            "fresh states are of lines, and go with no other state",
            allowed="lines, each from a fresh state; or any unit, with the state carried on",
            fix="leave out --fresh, or what is not --unit line",
        )
    file = Path(file)
    refuse_input(None if save_state is None else Path(save_state), file)
    opened = as_opened(model)
    if fresh:
        return score_lines(opened, file, unknown=unknown)

    def units() -> Iterator[Unit]:
        reading = beginning(opened) if state is None else load_reading(Path(state), opened)
        reading = yield from score_units(opened, file, reading, unit, unknown=unknown)
        if save_state is not None:
            save_reading(Path(save_state), reading, opened.path)

    return units()


def score_texts(
    opened: Opened, texts: Sequence[str], *, eos: bool = False, unknown: UnknownRule = "as-unk"
) -> Iterator[TextScore]:
    """Yield the score of every text, each from a fresh state after the start symbol; of like length side by side.

    With `eos` the end of the line is scored too. Raises UserError for unknown symbols where they are refused.
    """
    read = [_read_text(opened, text, eos, unknown, f"text {number}") for number, text in enumerate(texts, 1)]
    each = lines(opened.predictor, (symbols.ids for symbols in read), opened.tokenizer.start_id)
    flat = (nats for some in each for nats in some)
    for text, symbols, nats in zip(texts, read, flat, strict=True):
        yield _text_score(opened.tokenizer, text, symbols, nats, unknown)


def score_on(
    opened: Opened, text: str, reading: Reading, *, eos: bool = False, unknown: UnknownRule = "as-unk"
) -> tuple[TextScore, Reading]:
    """Return the score of a text that goes on from `reading`, and how far it is read then."""
    symbols = _read_text(opened, text, eos, unknown, "the text")
    nats, after = read_on(opened.predictor, symbols.ids, reading)
    return _text_score(opened.tokenizer, text, symbols, nats, unknown), after


def score_units(
    opened: Opened, file: Path, reading: Reading, unit: UnitName = "line", *, unknown: UnknownRule = "as-unk"
) -> Generator[Unit, None, Reading]:
    """Yield the units of a file of any size, read as one row that goes on from `reading`; returns how far it is read.

    Memory does not grow with the file. Raises UserError for what is not readable text, and for unknown symbols where
    they are refused.
    """
    if unit not in UNITS:
        raise UserError(f"the unit is {unit!r}", allowed=", ".join(UNITS), fix="choose one of them")
    return (yield from _units(_read_parts(opened, file, unit, unknown, reading)))


def score_lines(opened: Opened, file: Path, *, unknown: UnknownRule = "as-unk") -> Iterator[Unit]:
    """Yield the lines of a file of any size, each from a fresh state after the start symbol; its newline is scored."""
    held: deque[_Symbols] = deque()

    def texts() -> Iterator[Ids]:
        for line in _split_lines(_read_file(file, opened.tokenizer, unknown), opened.tokenizer, file):
            held.append(line)
            yield line.ids

    start = 0  # not that of the first line where a byte order mark stands before it
    for some in lines(opened.predictor, texts(), opened.tokenizer.start_id):
        for nats in some:
            line = held.popleft()
            each, counted, strange = _ruled(opened.tokenizer, line, nats, unknown)
            begin, start = start, line.offset + len(line.data)
            yield Unit(
                begin,
                start,
                _text_of(line.data),
                int(counted.sum()),
                float(each[counted].sum()),
                int(strange.sum()),
            )


# ---- texts


def _read_text(opened: Opened, text: str, eos: bool, unknown: UnknownRule, where: str) -> _Symbols:
    ids, spans = opened.tokenizer.encode_offsets(text)
    data = text.encode()
    if eos:
        ids = np.append(ids, opened.tokenizer.newline_id)
        spans = np.concatenate([spans, [[len(data), len(data)]]])
    symbols = _Symbols(data, ids, spans, 0)
    _refuse_unknown(opened.tokenizer, symbols, unknown, where)
    return symbols


def _text_score(tokenizer: Tokenizer, text: str, symbols: _Symbols, nats: Nats, unknown: UnknownRule) -> TextScore:
    each, counted, strange = _ruled(tokenizer, symbols, nats, unknown)
    names = {id: token_name(tokenizer, id) for id in np.unique(symbols.ids).tolist()}
    rows = zip(symbols.ids.tolist(), symbols.spans.tolist(), each.tolist(), counted.tolist(), strict=True)
    return TextScore(
        text,
        int(counted.sum()),
        float(each[counted].sum()),
        int(strange.sum()),
        tuple(Token(names[id], start, end, value if count else None) for id, (start, end), value, count in rows),
    )


# ---- unknown symbols


def _ruled(
    tokenizer: Tokenizer, symbols: _Symbols, nats: Nats, rule: UnknownRule
) -> tuple[Nats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the nats of each symbol by the rule, whether it is counted, and whether it is unknown."""
    strange = symbols.ids == (-1 if tokenizer.unknown_id is None else tokenizer.unknown_id)
    if rule == "penalise":
        letters = symbols.spans[:, 1] - symbols.spans[:, 0] + (tokenizer.level == "word")
        nats = nats + LN_256 * np.where(strange, letters, 0)
    return nats, ~strange if rule == "exclude" else np.ones_like(strange), strange


def _refuse_unknown(tokenizer: Tokenizer, symbols: _Symbols, rule: UnknownRule, where: str) -> None:
    if rule not in UNKNOWN_RULES:
        raise UserError(
            f"the rule for unknown symbols is {rule!r}", allowed=", ".join(UNKNOWN_RULES), fix="choose one of them"
        )
    if rule != "refuse" or tokenizer.unknown_id is None:
        return
    places = symbols.spans[symbols.ids == tokenizer.unknown_id].tolist()
    if places:
        shown = ", ".join(
            f"{symbols.data[start:end].decode()!r} at byte {symbols.offset + start:,}" for start, end in places[:5]
        )
        more = f" and {len(places) - 5:,} more" if len(places) > 5 else ""
        raise UserError(
            f"{where} has symbols that the model has never seen: {shown}{more}",
            allowed="symbols of the training text",
            fix="change the text, or choose another rule for them: --unknown as-unk, exclude or penalise",
        )


# ---- files


def _read_file(file: Path, tokenizer: Tokenizer, unknown: UnknownRule) -> Iterator[_Symbols]:
    """Yield the symbols of a file, block by block, the first after its byte order mark, if it has one."""
    seen, read = Seen(), 0
    for block in read_blocks([file], tokenizer.level, READ_BYTES, [seen]):
        symbols = _read_block(block, tokenizer, seen.mark_bytes + read)
        _refuse_unknown(tokenizer, symbols, unknown, str(file))
        yield symbols
        read += block.size


def _read_block(block: Block, tokenizer: Tokenizer, offset: int) -> _Symbols:
    if isinstance(block.content, bytes):
        places = np.arange(len(block.content) + 1)
        ids = np.frombuffer(block.content, np.uint8).astype(np.int64)
        return _Symbols(block.content, ids, np.stack([places[:-1], places[1:]], axis=1), offset)
    return _Symbols(block.content.encode(), *tokenizer.encode_offsets(block.content), offset)


def _ends(tokenizer: Tokenizer, symbols: _Symbols) -> Ids:
    """Return where each symbol's share of the text ends (N,): the white space after a word is the word's.

    That at the beginning of a line is the first word's, so that a newline is the last of its line.
    """
    ends = symbols.spans[:, 1].copy()
    if tokenizer.level == "word" and len(ends):
        newline = np.frombuffer(symbols.data, np.uint8)[ends - 1] == ord("\n")
        ends[:-1] = np.where(newline[:-1], ends[:-1], symbols.spans[1:, 0])
        ends[-1] = len(symbols.data)
    return ends


def _read_parts(opened: Opened, file: Path, unit: UnitName, unknown: UnknownRule, reading: Reading) -> Iterator[_Parts]:
    """Read a file on from `reading` and yield it in parts, block by block."""
    tokenizer, level = opened.tokenizer, opened.tokenizer.level
    apart = _pieces_apart(tokenizer) if unit == "word" and level == "bpe" else {}
    last = ord("x")  # the character before; none is no white space
    for symbols in _read_file(file, tokenizer, unknown):
        if apart:
            nats, heads, reading = _read_apart(opened.predictor, symbols.ids, reading, apart)
        else:
            nats, reading = read_on(opened.predictor, symbols.ids, reading)
            heads = np.zeros_like(nats)
        each, counted, strange = _ruled(tokenizer, symbols, nats, unknown)
        two = np.flatnonzero(np.isin(symbols.ids, list(apart)))  # symbols that become white space and the rest
        spaces = np.array([_head(tokenizer.pieces[id]) for id in symbols.ids[two].tolist()], np.int64)
        starts = np.concatenate([[0], _ends(tokenizer, symbols)])[: len(nats)]
        starts = np.insert(starts, two + 1, starts[two] + spaces)
        if unit == "token" or (unit == "word" and level == "word"):
            begins = starts
        else:
            begins, last = _begins(symbols.data, unit, last, as_text=level != "byte")
        yield _Parts(
            symbols.data,
            symbols.offset,
            begins,
            starts,
            np.insert(np.where(counted, each, 0) - heads, two, heads[two]),
            np.insert(counted.astype(np.int64), two, 0),
            np.insert(strange.astype(np.int64), two, 0),
            reading,
        )


def _begins(data: bytes, unit: UnitName, last: int, *, as_text: bool) -> tuple[Ids, int]:
    """Return the places in bytes where a unit of the text begins, given the character before it; and the last one."""
    codes = code_points(data.decode()) if as_text else np.frombuffer(data, np.uint8)
    places = np.flatnonzero((np.frombuffer(data, np.uint8) & 0xC0) != 0x80)  # bytes that do not continue a character
    final = int(codes[-1])
    if unit == "char":
        return places, final
    before = np.concatenate([[last], codes[:-1]])
    if unit == "line":
        begins = before == ord("\n")
    else:
        spaces = SPACES if as_text else ASCII_SPACES
        begins = np.isin(before, spaces) & ~np.isin(codes, spaces)
    return places[begins] if as_text else np.flatnonzero(begins), final


def _units(stretches: Iterable[_Parts]) -> Generator[Unit, None, Reading]:
    """Yield the units of a text that comes in stretches; one ends where a unit of the text and a part end together.

    They tile the file: the first begins at its first byte, also where the text begins after a byte order mark.
    """
    start = end = tokens = unknown = 0
    nats, held = 0.0, bytearray()
    for stretch in stretches:
        end = stretch.offset
        # A stretch begins with a part even where it holds no symbol: white space at the end of words.
        cuts = np.intersect1d(stretch.begins, np.append(stretch.starts, 0))
        number = np.searchsorted(cuts, stretch.starts, side="right")  # of its unit; 0 is the one that is open
        sums = [
            np.bincount(number, weights, len(cuts) + 1).tolist()
            for weights in (stretch.nats, stretch.tokens, stretch.unknown)
        ]
        edges = [0, *cuts.tolist(), len(stretch.data)]
        for place, (begin, finish) in enumerate(pairwise(edges)):
            if place and held:
                yield Unit(start, end, _text_of(held), tokens, nats, unknown)
                start, tokens, nats, unknown = end, 0, 0.0, 0
                held.clear()
            nats += sums[0][place]
            tokens += int(sums[1][place])
            unknown += int(sums[2][place])
            end += finish - begin
            held += stretch.data[begin : min(finish, begin + MAX_TEXT - len(held))]
    if held:
        yield Unit(start, end, _text_of(held), tokens, nats, unknown)
    return stretch.after


def _split_lines(stretches: Iterable[_Symbols], tokenizer: Tokenizer, file: Path) -> Iterator[_Symbols]:
    """Yield line after line, each with its newline; the last one has none where the text does not end with one."""
    held: list[_Symbols] = []
    for symbols in stretches:
        ends = _ends(tokenizer, symbols)
        newlines = np.flatnonzero(np.frombuffer(symbols.data, np.uint8)[ends - 1] == ord("\n")) + 1
        first = begin = 0
        for count in newlines.tolist():
            end = int(ends[count - 1])
            yield _joined([*held, _cut(symbols, slice(first, count), slice(begin, end))])
            held, first, begin = [], count, end
        if begin < len(symbols.data):
            held.append(_cut(symbols, slice(first, None), slice(begin, None)))
        if sum(len(part.data) for part in held) > MAX_LINE:
            raise UserError(
                f"{file} has a line of more than {MAX_LINE:,} bytes",
                allowed="text in lines where each is read from a fresh state",
                fix="leave out --fresh",
            )
    if held:
        yield _joined(held)


def _cut(symbols: _Symbols, some: slice, data: slice) -> _Symbols:
    begin = data.start
    return _Symbols(symbols.data[data], symbols.ids[some], symbols.spans[some] - begin, symbols.offset + begin)


def _joined(parts: Sequence[_Symbols]) -> _Symbols:
    first = parts[0].offset
    return _Symbols(
        b"".join(part.data for part in parts),
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.spans + part.offset - first for part in parts]),
        first,
    )


def _text_of(data: bytes | bytearray) -> str:
    return data[:MAX_TEXT].decode("utf-8", "surrogateescape")


# ---- words of pieces


def _head(piece: bytes) -> int:
    """Return how many bytes of white space a piece begins with."""
    return len(piece) - len(piece.lstrip())


def _pieces_apart(tokenizer: Tokenizer) -> dict[int, Ids]:
    """Return the pieces of white space and more, each with all the pieces that begin with the same white space."""
    pieces = tokenizer.pieces
    heads = {id: piece[: _head(piece)] for id, piece in enumerate(pieces)}
    alike = {
        head: np.array([id for id, piece in enumerate(pieces) if piece.startswith(head)]) for head in {*heads.values()}
    }
    return {id: alike[head] for id, head in heads.items() if head and head != pieces[id]}


def _read_apart(predictor: Predictor, ids: Ids, reading: Reading, apart: dict[int, Ids]) -> tuple[Nats, Nats, Reading]:
    """Return what `read_on` does, and between them, for symbols in `apart`, the nats (T,) of the white space alone.

    Symbol by symbol, since it takes the whole distribution.
    """
    nats, heads, state, before = np.zeros(len(ids)), np.zeros(len(ids)), reading.state, reading.before
    for place, symbol in enumerate(ids.tolist()):
        logits, state = predictor.logits(np.array([[before]], np.int64), state)
        said = log_probabilities(logits[0])
        nats[place] = -said[symbol]
        if symbol in apart:
            heads[place] = -np.logaddexp.reduce(said[apart[symbol]])
        before = symbol
    return nats, heads, Reading(state, before)

"""Surprisal of files of any size: nats summed over words, characters, lines or symbols, in constant memory.

`unroll score --file` calls `score_file`, which calls `score_units` or, where each line starts fresh, `score_lines`;
`curves` calls `score_units`. The cost of unknown symbols is the same as for texts, in `surprisal`.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from unroll.artifact.open import AnyModel, Opened, as_opened
from unroll.artifact.saved_state import Reading, load_reading, read_on, save_reading
from unroll.data.blocks import MAX_LINE, Seen, read_blocks
from unroll.data.tokenizer import Tokenizer
from unroll.data.utf8 import code_points
from unroll.errors import UserError, check_choice
from unroll.files import StrPath, as_path, refuse_input
from unroll.lm.surprisal import Symbols, UnknownRule, beginning, by_rule, refuse_unknown, symbols_of
from unroll.predict.predictor import Nats, Predictor, log_probabilities
from unroll.predict.protocols import Ids, lines

UnitName = Literal["token", "word", "char", "line"]
"""What nats are summed over. The units of a text tile it: each begins where the one before it ends.

`word`: a run of characters that are not white space, and all the white space after it; white space at the start of a
file is a unit of its own. The white space after a word is what ends it, so it is counted with that word: its nats are
-ln P(this word, and no longer one). Counted with the white space before it, as BPE pieces have it, the probabilities
of words would sum to more than one, and the surprise at a word's end would fall on the next word (Oh and Schuler 2024;
Pimentel and Meister 2024). A BPE piece that begins with white space is therefore split: the nats of its white space go
to the word before, the rest to the word it begins. White space is Unicode's, at level byte ASCII's. At level word no
symbol is split: a punctuation mark with a space before it counts wholly for the word it begins. In text that is
tokenised already the words are the model's symbols, the first of a line with the white space before it, and a newline
is a unit too.
`char`: a code point. `line`: up to and including a newline. `token`: a symbol of the model, at level word with the
white space after it. Where one symbol covers several units (characters in a piece), they count as one unit.
"""
UNITS: tuple[UnitName, ...] = get_args(UnitName)

READ_BYTES = 2**14
"""Bytes of a file that are read at a time, so that units come steadily."""
MAX_TEXT = 4 * 2**20
"""Bytes of a unit's text that are kept; its nats are complete however long it is."""

SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()])
"""The code points of white space, which end a word."""
ASCII_SPACES = np.frombuffer(b" \t\n\r\x0b\x0c", np.uint8)


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch of a file, from byte `start` to byte `end`, with its nats over the symbols that are counted.

    The bytes are those of the file, gzip unpacked. The first unit counts a byte order mark among its bytes, but not in
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


class _Parts(NamedTuple):
    """A stretch of text in parts that tile it, ready to be summed: symbols, or the two halves of a split piece."""

    data: bytes
    offset: int  # of the data in its file
    unit_starts: Ids  # where each unit of the text starts, in bytes
    part_starts: Ids  # (P,) where each part starts, in bytes
    nats: Nats  # (P,)
    tokens: Ids  # (P,) 1 for a symbol that is counted, else 0
    unknown: Ids  # (P,)
    after: Reading


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

    The file is read as one row with carried state, from the start symbol or from the state saved in `state`; the final
    state is written to `save_state`. With `fresh`, each line starts from a fresh state. Raises UserError.
    """
    if fresh and (unit != "line" or state is not None or save_state is not None):
        raise UserError(
            "--fresh works with lines only and cannot be combined with --state or --save-state",
            allowed="lines, each from a fresh state, or any unit with carried state",
            fix="leave out --fresh, or the other options",
        )
    file = as_path(file)
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


def score_units(
    opened: Opened, file: Path, reading: Reading, unit: UnitName = "line", *, unknown: UnknownRule = "as-unk"
) -> Generator[Unit, None, Reading]:
    """Yield the units of a file of any size, read as one row that continues from `reading`; returns the reading after.

    Memory does not grow with the file. Raises UserError for unreadable text, and for unknown symbols where they are
    refused.
    """
    check_choice("the unit", unit, UNITS)
    return (yield from _units(_read_parts(opened, file, unit, unknown, reading)))


def score_lines(opened: Opened, file: Path, *, unknown: UnknownRule = "as-unk") -> Iterator[Unit]:
    """Yield the lines of a file of any size, each from a fresh state after the start symbol; its newline is scored."""
    pending: deque[Symbols] = deque()

    def texts() -> Iterator[Ids]:
        for line in _split_lines(_read_file(file, opened.tokenizer, unknown), opened.tokenizer, file):
            pending.append(line)
            yield line.ids

    end = 0
    for text_nats in chain.from_iterable(lines(opened.predictor, texts(), opened.tokenizer.start_id)):
        line = pending.popleft()
        nats, counted, is_unknown = by_rule(opened.tokenizer, line, text_nats, unknown)
        # The first line begins before its text where a byte order mark stands there.
        start, end = end, line.offset + len(line.data)
        sums = int(counted.sum()), float(nats[counted].sum()), int(is_unknown.sum())
        yield Unit(start, end, _text_of(line.data), *sums)


# ---- files


def _read_file(file: Path, tokenizer: Tokenizer, unknown: UnknownRule) -> Iterator[Symbols]:
    """Yield the symbols of a file, block by block, the first after its byte order mark, if it has one."""
    seen, read = Seen(), 0
    for block in read_blocks([file], tokenizer.level, READ_BYTES, [seen], tokenizer.separator):
        symbols = symbols_of(block, tokenizer, seen.mark_bytes + read)
        refuse_unknown(tokenizer, symbols, unknown, f"{file}")
        yield symbols
        read += block.size


def _ends(tokenizer: Tokenizer, symbols: Symbols) -> Ids:
    """Return where each symbol's share of the text ends (N,): the white space after a word is the word's.

    White space at the beginning of a line belongs to the line's first word, so that a newline ends its line.
    """
    ends = symbols.spans[:, 1].copy()
    if tokenizer.level == "word" and len(ends):
        newline = np.frombuffer(symbols.data, np.uint8)[ends - 1] == ord("\n")
        pieces = [tokenizer.pieces[id] for id in symbols.ids[1:].tolist()]
        heads = np.array([_head(piece) if piece.strip() else 0 for piece in pieces], np.int64)
        ends[:-1] = np.where(newline[:-1], ends[:-1], symbols.spans[1:, 0] + heads)
        ends[-1] = len(symbols.data)
    return ends


def _read_parts(opened: Opened, file: Path, unit: UnitName, unknown: UnknownRule, reading: Reading) -> Iterator[_Parts]:
    """Read a file, continuing from `reading`, and yield it in parts, block by block."""
    tokenizer, level = opened.tokenizer, opened.tokenizer.level
    split = _split_pieces(tokenizer) if unit == "word" and level == "bpe" else {}
    last = ord("x")  # the character before: at the start, none that is white space
    for symbols in _read_file(file, tokenizer, unknown):
        if split:
            nats, space_nats, reading = _read_split(opened.predictor, symbols.ids, reading, split)
        else:
            nats, reading = read_on(opened.predictor, symbols.ids, reading)
            space_nats = np.zeros_like(nats)
        nats, counted, is_unknown = by_rule(tokenizer, symbols, nats, unknown)
        # where a piece becomes two parts: its white space, and the rest
        splits = np.flatnonzero(np.isin(symbols.ids, list(split)))
        space_lengths = np.array([_head(tokenizer.pieces[id]) for id in symbols.ids[splits].tolist()], np.int64)
        part_starts = np.concatenate([[0], _ends(tokenizer, symbols)])[: len(nats)]
        part_starts = np.insert(part_starts, splits + 1, part_starts[splits] + space_lengths)
        if unit == "token" or (unit == "word" and not tokenizer.lossless):
            unit_starts = part_starts
        else:
            unit_starts, last = _begins(symbols.data, unit, last, as_text=level != "byte")
        yield _Parts(
            symbols.data,
            symbols.offset,
            unit_starts,
            part_starts,
            np.insert(np.where(counted, nats, 0) - space_nats, splits, space_nats[splits]),
            np.insert(counted.astype(np.int64), splits, 0),
            np.insert(is_unknown.astype(np.int64), splits, 0),
            reading,
        )


def _begins(data: bytes, unit: UnitName, last: int, *, as_text: bool) -> tuple[Ids, int]:
    """Return the bytes at which units of the text begin, given the character before it, and its last character."""
    codes = code_points(data.decode()) if as_text else np.frombuffer(data, np.uint8)
    firsts = np.flatnonzero((np.frombuffer(data, np.uint8) & 0xC0) != 0x80)  # bytes that do not continue a character
    final = int(codes[-1])
    if unit == "char":
        return firsts, final
    before = np.concatenate([[last], codes[:-1]])
    if unit == "line":
        begins = before == ord("\n")
    else:
        spaces = SPACES if as_text else ASCII_SPACES
        begins = np.isin(before, spaces) & ~np.isin(codes, spaces)
    return firsts[begins] if as_text else np.flatnonzero(begins), final


def _units(stretches: Iterable[_Parts]) -> Generator[Unit, None, Reading]:
    """Yield the units of a text that comes in stretches; a new one starts only where a part starts too.

    They tile the file: the first unit starts at byte 0, even if a byte order mark precedes the text.
    """
    start = end = tokens = unknown = 0
    nats, text = 0.0, bytearray()
    for stretch in stretches:
        end = stretch.offset
        # A part starts at 0 even in a stretch without symbols, which holds only white space (at level word).
        cuts = np.intersect1d(stretch.unit_starts, np.append(stretch.part_starts, 0))
        # 0: the unit that the stretch before left open
        units = np.searchsorted(cuts, stretch.part_starts, side="right")
        sums = [
            np.bincount(units, weights, len(cuts) + 1).tolist()
            for weights in (stretch.nats, stretch.tokens, stretch.unknown)
        ]
        edges = [0, *cuts.tolist(), len(stretch.data)]
        for number, (begin, finish) in enumerate(pairwise(edges)):
            if number and text:
                yield Unit(start, end, _text_of(text), tokens, nats, unknown)
                start, tokens, nats, unknown = end, 0, 0.0, 0
                text.clear()
            nats += sums[0][number]
            tokens += int(sums[1][number])
            unknown += int(sums[2][number])
            end += finish - begin
            text += stretch.data[begin : min(finish, begin + MAX_TEXT - len(text))]
    if text:
        yield Unit(start, end, _text_of(text), tokens, nats, unknown)
    return stretch.after


def _split_lines(stretches: Iterable[Symbols], tokenizer: Tokenizer, file: Path) -> Iterator[Symbols]:
    """Yield line after line, each with its newline; the last lacks one where the text does."""
    pending: list[Symbols] = []
    for symbols in stretches:
        ends = _ends(tokenizer, symbols)
        newlines = np.flatnonzero(np.frombuffer(symbols.data, np.uint8)[ends - 1] == ord("\n")) + 1
        first = begin = 0
        for count in newlines.tolist():
            end = int(ends[count - 1])
            yield _joined([*pending, _cut(symbols, slice(first, count), slice(begin, end))])
            pending, first, begin = [], count, end
        if begin < len(symbols.data):
            pending.append(_cut(symbols, slice(first, None), slice(begin, None)))
        if sum(len(part.data) for part in pending) > MAX_LINE:
            raise UserError(
                f"{file} has a line of more than {MAX_LINE:,} bytes",
                allowed="text in lines where each is read from a fresh state",
                fix="leave out --fresh",
            )
    if pending:
        yield _joined(pending)


def _cut(symbols: Symbols, rows: slice, data: slice) -> Symbols:
    begin = data.start
    return Symbols(symbols.data[data], symbols.ids[rows], symbols.spans[rows] - begin, symbols.offset + begin)


def _joined(parts: Sequence[Symbols]) -> Symbols:
    first = parts[0].offset
    return Symbols(
        b"".join(part.data for part in parts),
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.spans + part.offset - first for part in parts]),
        first,
    )


def _text_of(data: bytes | bytearray) -> str:
    return data[:MAX_TEXT].decode("utf-8", "surrogateescape")


# ---- words of pieces


def _head(piece: bytes) -> int:
    """Return the length of the white space that a piece begins with, in bytes."""
    return len(piece) - len(piece.lstrip())


def _split_pieces(tokenizer: Tokenizer) -> dict[int, Ids]:
    """Map each piece of white space and more to the ids of all pieces that begin with that same white space."""
    pieces = tokenizer.pieces
    heads = {id: piece[: _head(piece)] for id, piece in enumerate(pieces)}
    sharing = {
        head: np.array([id for id, piece in enumerate(pieces) if piece.startswith(head)]) for head in {*heads.values()}
    }
    return {id: sharing[head] for id, head in heads.items() if head and head != pieces[id]}


def _read_split(predictor: Predictor, ids: Ids, reading: Reading, split: dict[int, Ids]) -> tuple[Nats, Nats, Reading]:
    """Return nats (T,) as `read_on` does, those of the leading white space alone (0 unless in `split`), the reading.

    Reads symbol by symbol, because it needs the whole distribution at each.
    """
    nats, space_nats, state, before = np.zeros(len(ids)), np.zeros(len(ids)), reading.state, reading.before
    for step, symbol in enumerate(ids.tolist()):
        logits, state = predictor.logits(np.array([[before]], np.int64), state)
        log_p = log_probabilities(logits[0])
        nats[step] = -log_p[symbol]
        if symbol in split:
            space_nats[step] = -np.logaddexp.reduce(log_p[split[symbol]])
        before = symbol
    return nats, space_nats, Reading(state, before)

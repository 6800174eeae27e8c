"""How good a model is on a text, by a named protocol: perplexity, bits per character and byte, unknown symbols."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unroll.data.blocks import Seen, file_size, read_blocks
from unroll.data.encode import block_ids
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError
from unroll.predict.mixture import mixed_nats
from unroll.predict.predictor import Nats, Predictor
from unroll.predict.protocols import Ids, crops_of, lines, stream, together
from unroll.progress import Progress, Work
from unroll.state import State

Protocol = Literal["stream", "crops", "lines"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

READ_TOGETHER = 2**16
"""Symbols between two reports of progress."""


@dataclass(frozen=True)
class Measures:
    """What each id of a vocabulary adds to a text, so that any part of it can be counted."""

    tokenizer: Tokenizer

    @cached_property
    def bytes(self) -> NDArray[np.int64]:
        """The bytes of each id (V,)."""
        return np.array([len(piece) for piece in self.tokenizer.pieces], np.int64)

    @cached_property
    def chars(self) -> NDArray[np.int64]:
        """The characters that begin in each id (V,): bytes that do not continue a UTF-8 sequence."""
        return np.array([sum(byte & 0xC0 != 0x80 for byte in piece) for piece in self.tokenizer.pieces], np.int64)


@dataclass
class Evaluation:
    """What reading a text by one protocol gave; `nats` are summed over `tokens` scored symbols."""

    protocol: Protocol
    tokenizer: Tokenizer
    tokens: int = 0
    nats: float = 0.0
    unknown: int = 0
    chars: int = 0
    bytes: int = 0
    line_nats: list[NDArray[np.float64]] = field(default_factory=list)
    """Of `stream` and `lines`: the nats of line after line, the last one open, in pieces as they were read."""
    remarks: list[str] = field(default_factory=list)
    """What the text has, or has not, that is in the files."""

    @property
    def nats_per_token(self) -> float:
        """Nats per symbol, the end of each line included."""
        return self.nats / self.tokens

    def add(self, measures: Measures, ids: Ids, nats: Nats) -> None:
        """Count symbols (N,) and their nats (N,)."""
        self.tokens += len(ids)
        self.nats += float(nats.sum())
        if self.protocol != "crops":
            self.line_nats.append(_sums_of_lines(ids, nats, measures.tokenizer.newline_id))
        self.chars += int(measures.chars[ids].sum())
        self.bytes += int(measures.bytes[ids].sum())
        self.unknown += measures.tokenizer.count_unknown(ids)

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON; one that does not apply is None, and `notes` says why."""
        words, bits = self.tokenizer.level == "word", self.nats / math.log(2)
        notes = list(self.remarks)
        if words:
            notes.append("bits per character and per byte do not apply to words, which do not give the text back")
        elif self.unknown:
            notes.append(
                f"{self.unknown:,} symbols count as <unk>, whichever they are: bits per byte do not apply, and bits "
                "per character leave out what telling them apart would cost"
            )
        return {
            "protocol": self.protocol,
            "tokens": self.tokens,
            "nats_per_token": self.nats_per_token,
            "perplexity": math.exp(self.nats_per_token) if self.nats_per_token < 700 else None,
            "bits_per_char": None if words or not self.chars else bits / self.chars,
            "bits_per_byte": None if words or self.unknown or not self.bytes else bits / self.bytes,
            "unknown_rate": self.unknown / self.tokens,
            "notes": notes,
        }


def evaluate_predictors(
    predictors: Sequence[Predictor],
    tokenizer: Tokenizer,
    files: Sequence[Path],
    protocol: Protocol,
    weights: NDArray[np.float64] | None = None,
) -> Work[list[Evaluation]]:
    """Read text files of any size as one text, documents in order, with several models of one vocabulary, side by side.

    Yields progress; returns the evaluation of each, and of their mixture where its `weights` (K,) are given.
    `stream`: one row from the start symbol to the end, the state carried on. `lines`: each line, its end included,
    after the start symbol from a fresh state. `crops`: nanoGPT's, crops of 256 symbols from fresh states.
    Raises UserError for what is no text, and for one that is too short for the protocol.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"protocol is {protocol!r}", allowed=", ".join(PROTOCOLS), fix="choose one of them")
    measures, total, place = Measures(tokenizer), sum(map(file_size, files)), 0
    found = [Evaluation(protocol, tokenizer) for _ in range(len(predictors) + (weights is not None))]
    seen = [Seen() for _ in files]

    def blocks() -> Iterator[Ids]:
        nonlocal place
        for block in read_blocks(files, tokenizer.level, seen=seen):
            place = block.read
            yield block_ids(block, tokenizer)

    for ids, nats in scored(predictors, blocks(), tokenizer.start_id, tokenizer.newline_id, protocol):
        rows = nats if weights is None else [*nats, mixed_nats(np.stack(nats), weights)]
        for one, its in zip(found, rows, strict=True):
            one.add(measures, ids, its)
        yield Progress("evaluating", place, total, "bytes")
    if not found[0].tokens:
        need = "one crop of 256 symbols and the one after it" if protocol == "crops" else "one symbol"
        raise UserError(
            f"{files[0]} has too little text for the protocol {protocol}",
            allowed=f"at least {need}",
            fix="give more text, or use --protocol stream",
        )
    for one in found:
        one.remarks += _remarks(seen)
    return found


def _remarks(seen: Sequence[Seen]) -> Iterator[str]:
    """Yield in what the text differs from what is in its files."""
    if marks := sum(file.mark_bytes > 0 for file in seen):
        yield "a byte order mark, which is no part of the text, was left out" + _of(marks, len(seen))
    if added := sum(file.newline_added for file in seen):
        yield f"a final newline was added{_of(added, len(seen))}, for another file follows"


def _of(count: int, files: int) -> str:
    """Return in how many of the files something was done."""
    return "" if files == 1 else f" in {count:,} of {files:,} files"


def scored(
    predictors: Sequence[Predictor], blocks: Iterable[Ids], start_id: int, newline: int, protocol: Protocol
) -> Iterator[tuple[Ids, list[Nats]]]:
    """Yield the symbols (N,) that the protocol scores, in order and some at a time, with the nats each model gives."""
    match protocol:
        case "stream":
            states: list[State | None] = [None] * len(predictors)
            before = start_id
            for ids in regrouped(blocks, READ_TOGETHER):
                columns: list[list[Nats]] = [[] for _ in predictors]
                for number, predictor in enumerate(predictors):
                    for nats, state in stream(predictor, ids, before, states[number]):
                        states[number] = state
                        columns[number].append(nats)
                before = int(ids[-1])
                yield ids, [np.concatenate(column) for column in columns]
        case "lines":
            for some in together(lines_of(blocks, newline), READ_TOGETHER):
                columns = [list(chain(*lines(predictor, some, start_id))) for predictor in predictors]
                yield np.concatenate(some), [np.concatenate(column) for column in columns]
        case "crops":
            # A piece ends with the first symbol of the next one, which is the target of its last.
            for piece, following in pairwise(chain(regrouped(blocks, READ_TOGETHER), [np.zeros(0, np.int64)])):
                found = [list(crops_of(predictor, np.append(piece, following[:1]))) for predictor in predictors]
                if found[0]:
                    targets = np.concatenate([ids for ids, _ in found[0]])
                    yield targets, [np.concatenate([nats for _, nats in column]) for column in found]


def regrouped(blocks: Iterable[Ids], size: int) -> Iterator[Ids]:
    """Yield the same ids in pieces of `size`, the last one shorter, however they came."""
    held: list[Ids] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += len(block)
        if count >= size:
            whole = np.concatenate(held)
            full = count - count % size
            yield from (whole[first : first + size] for first in range(0, full, size))
            held, count = [whole[full:]], count - full
    if count:
        yield np.concatenate(held)


def lines_of(blocks: Iterable[Ids], newline: int) -> Iterator[Ids]:
    """Yield line after line, each with its newline; the last one has none where the text does not end with one."""
    held: list[Ids] = []
    for block in blocks:
        start = 0
        for end in (np.flatnonzero(block == newline) + 1).tolist():
            yield np.concatenate([*held, block[start:end]])
            held, start = [], end
        if start < len(block):
            held.append(block[start:])
    if held:
        yield np.concatenate(held)


def _sums_of_lines(ids: Ids, nats: Nats, newline: int) -> NDArray[np.float64]:
    """Return the nats of each line of a piece of text, of which the first and the last may be cut."""
    ends = ids == newline
    return np.bincount(np.cumsum(ends) - ends, nats, int(ends.sum()) + 1).astype(np.float64)


def nats_of_lines(pieces: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the nats of line after line, of `Evaluation.line_nats`."""
    whole: list[NDArray[np.float64]] = []
    carried = 0.0
    for sums in pieces:
        first = sums.copy()
        first[0] += carried
        carried = float(first[-1])
        whole.append(first[:-1])
    return np.concatenate([*whole, [carried] if carried else []])

"""How good a model is on a text, by a named protocol: perplexity, bits per character and byte, unknown symbols."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.saved_state import Reading, read_on
from unroll.data.blocks import Seen, file_size, read_blocks
from unroll.data.encode import block_ids
from unroll.data.tokenizer import Tokenizer
from unroll.errors import UserError, check_choice
from unroll.lm.surprisal import LN_256, UnknownRule, refuse_unknown, symbols_of
from unroll.predict.mixture import mixed_nats
from unroll.predict.predictor import Nats, Predictor
from unroll.predict.protocols import Ids, crops_of, lines, together
from unroll.progress import Progress, Work

Protocol = Literal["stream", "crops", "lines"]

READ_TOGETHER = 2**16
"""Symbols between two reports of progress."""
TREATMENTS: dict[UnknownRule, tuple[str, str]] = {
    "as-unk": (
        "scored as <unk>",
        ": bits per byte do not apply, and bits per character leave out the cost of telling them apart",
    ),
    "exclude": ("left out of all figures", ": bits per byte do not apply"),
    "penalise": ("scored as <unk> and 5.55 nats (ln 256) for each of their bytes and for the end of a word", ""),
}
"""What each rule does with unknown symbols, and what this means for bits, except of words."""


def sizes_of(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Return the bytes of each piece, the characters that begin in it, and 1 for a word (V, 3).

    A character begins with a byte that continues no other; between two words a space is written.
    """
    sizes = [
        (len(piece), sum(byte & 0xC0 != 0x80 for byte in piece), len(tokenizer.gap(id, id)))
        for id, piece in enumerate(tokenizer.pieces)
    ]
    return np.array(sizes, np.int64).reshape(-1, 3)


@dataclass
class Evaluation:
    """A text read by one protocol; `nats` is the sum over `tokens` scored symbols."""

    protocol: Protocol
    tokenizer: Tokenizer
    rule: UnknownRule = "as-unk"
    tokens: int = 0
    nats: float = 0.0
    unknown: int = 0
    before: int = 0
    """The last symbol, once there is one."""
    chars: int = 0
    bytes: int = 0
    line_nats: list[NDArray[np.float64]] = field(default_factory=list)
    """For `stream` and `lines`: the nats of each line, the last one unfinished, in pieces as they were read."""
    remarks: list[str] = field(default_factory=list)
    """How the text differs from the files."""

    @property
    def nats_per_token(self) -> float:
        """Nats per symbol, the end of each line included."""
        return self.nats / self.tokens

    def add(self, ids: Ids, nats: Nats, sizes: NDArray[np.int64], widths: Sequence[int] = ()) -> None:
        """Count symbols (N,), their nats (N,), and what they add to the text, of the `sizes` (V, 3) of all pieces.

        `widths` are the bytes of the unknown ones, where these are penalised.
        """
        words = sizes[np.append(self.before, ids) if self.tokens + self.unknown else ids, 2]
        unknown = ids == (-1 if self.tokenizer.unknown_id is None else self.tokenizer.unknown_id)
        counted = ids
        if self.rule == "exclude":
            nats, counted = np.where(unknown, 0.0, nats), ids[~unknown]
        elif self.rule == "penalise":
            nats = nats.astype(np.float64)
            nats[unknown] += LN_256 * (np.array(widths) + (self.tokenizer.level == "word"))
            self.bytes += sum(widths) - int(sizes[ids[unknown], 0].sum())
        self.tokens += len(counted)
        self.nats += float(nats.sum())
        if self.protocol != "crops":
            self.line_nats.append(_sums_of_lines(ids, nats, self.tokenizer.newline_id))
        gaps = int(np.count_nonzero(words[:-1] & words[1:]))
        self.before = int(ids[-1]) if len(ids) else self.before
        self.bytes += int(sizes[counted, 0].sum()) + gaps
        self.chars += int(sizes[counted, 1].sum()) + gaps
        self.unknown += int(unknown.sum())

    def figures(self) -> dict[str, Any]:
        """Return the figures as JSON; a figure that does not apply is None, and `notes` says why."""
        level, bits = self.tokenizer.level, self.nats / math.log(2)
        notes, untold = list(self.remarks), self.unknown > 0 and self.rule != "penalise"
        lost = not self.tokenizer.lossless or (level == "word" and self.unknown > 0)
        if not self.tokenizer.lossless:
            notes.append("bits per character and per byte do not apply to words, which cannot restore the text")
        if self.unknown and (self.tokenizer.lossless or self.rule != "as-unk"):
            treatment, meaning = TREATMENTS[self.rule]
            meaning = ": bits per character and per byte do not apply" if lost else meaning
            notes.append(f"unknown symbols: {self.unknown:,}, {treatment}{meaning}")
        return {
            "protocol": self.protocol,
            "tokens": self.tokens,
            "nats_per_token": self.nats_per_token,
            "perplexity": math.exp(self.nats_per_token) if self.nats_per_token < 700 else None,
            "bits_per_char": None if lost or not self.chars else bits / self.chars,
            "bits_per_byte": None if lost or not self.bytes or untold else bits / self.bytes,
            "unknown_rate": self.unknown / (self.tokens + (self.unknown if self.rule == "exclude" else 0)),
            "notes": notes,
        }


def evaluate_predictors(
    predictors: Sequence[Predictor],
    tokenizer: Tokenizer,
    files: Sequence[Path],
    protocol: Protocol,
    weights: NDArray[np.float64] | None = None,
    unknown: UnknownRule = "as-unk",
) -> Work[list[Evaluation]]:
    """Read text files of any size as one text, in order, with several models of one vocabulary side by side.

    Yields progress; returns the evaluation of each, and of their mixture if its `weights` (K,) are given.
    `stream`: one row from the start symbol to the end with carried state. `lines`: each line with its end, after the
    start symbol from a fresh state. `crops`: nanoGPT's, crops of 256 symbols from fresh states. `unknown` says what
    unknown symbols cost. Raises UserError for files that are not text, and for a text too short for the protocol.
    """
    check_choice("protocol", protocol, get_args(Protocol))
    check_choice("the rule for unknown symbols", unknown, get_args(UnknownRule))
    sizes, total, done = sizes_of(tokenizer), sum(map(file_size, files)), 0
    evaluations = [Evaluation(protocol, tokenizer, unknown) for _ in range(len(predictors) + (weights is not None))]
    seen, offsets = [Seen() for _ in files], [0] * len(files)
    by_width = unknown in ("penalise", "refuse") and tokenizer.unknown_id is not None
    widths: deque[int] = deque()
    """The bytes of the unknown symbols that are read and not scored yet."""

    def blocks() -> Iterator[Ids]:
        nonlocal done
        first = True
        for block in read_blocks(files, tokenizer.level, seen=seen, separator=tokenizer.separator):
            done = block.read
            if not by_width:
                yield block_ids(block, tokenizer)
                continue
            symbols = symbols_of(block, tokenizer, seen[block.file].mark_bytes + offsets[block.file])
            offsets[block.file] += block.size
            refuse_unknown(tokenizer, symbols, unknown, str(files[block.file]))
            chosen = symbols.ids == tokenizer.unknown_id
            chosen[:1] &= not (first and protocol == "crops")  # which read the first symbol of all, and score it not
            widths.extend((symbols.spans[chosen, 1] - symbols.spans[chosen, 0]).tolist())
            first = False
            yield symbols.ids

    for ids, nats in scored(predictors, blocks(), tokenizer.start_id, tokenizer.newline_id, protocol):
        rows = nats if weights is None else [*nats, mixed_nats(np.stack(nats), weights)]
        spelt = [widths.popleft() for _ in range(tokenizer.count_unknown(ids))] if by_width else []
        for evaluation, row in zip(evaluations, rows, strict=True):
            evaluation.add(ids, row, sizes, spelt)
        yield Progress("evaluating", done, total, "bytes")
    if not evaluations[0].tokens and evaluations[0].unknown:
        raise UserError(
            f"the model has never seen a symbol of {files[0]}: with the rule exclude nothing is left to evaluate",
            allowed="a text with some symbols of the training text",
            fix="use another text, or --unknown as-unk or penalise",
        )
    if not evaluations[0].tokens:
        need = "one crop of 256 symbols and the one after it" if protocol == "crops" else "one symbol"
        raise UserError(
            f"{files[0]} is too short for the protocol {protocol}",
            allowed=f"at least {need}",
            fix="use a longer text, or --protocol stream",
        )
    for evaluation in evaluations:
        evaluation.remarks += _remarks(seen)
    return evaluations


def _remarks(seen: Sequence[Seen]) -> Iterator[str]:
    """Yield how the text differs from its files."""
    if marks := sum(file.mark_bytes > 0 for file in seen):
        yield "a byte order mark, which is not part of the text, was left out" + _in_files(marks, len(seen))
    if added := sum(file.newline_added for file in seen):
        yield f"a final newline was added{_in_files(added, len(seen))}, because another file follows"


def _in_files(count: int, files: int) -> str:
    """Return the words for a number of files among all files."""
    return "" if files == 1 else f" in {count:,} of {files:,} files"


def scored(
    predictors: Sequence[Predictor], blocks: Iterable[Ids], start_id: int, newline: int, protocol: Protocol
) -> Iterator[tuple[Ids, list[Nats]]]:
    """Yield the symbols (N,) that the protocol scores, in order, a few at a time, with the nats (N,) of each model."""
    match protocol:
        case "stream":
            readings = [Reading(None, start_id)] * len(predictors)
            for ids in regrouped(blocks, READ_TOGETHER):
                read = [
                    read_on(predictor, ids, reading) for predictor, reading in zip(predictors, readings, strict=True)
                ]
                readings = [after for _, after in read]
                yield ids, [nats for nats, _ in read]
        case "lines":
            for group in together(lines_of(blocks, newline), READ_TOGETHER):
                columns = [list(chain(*lines(predictor, group, start_id))) for predictor in predictors]
                yield np.concatenate(group), [np.concatenate(column) for column in columns]
        case "crops":
            # The target of a piece's last symbol is the first of the next piece.
            for piece, following in pairwise(chain(regrouped(blocks, READ_TOGETHER), [np.zeros(0, np.int64)])):
                cropped = [list(crops_of(predictor, np.append(piece, following[:1]))) for predictor in predictors]
                if cropped[0]:
                    targets = np.concatenate([ids for ids, _ in cropped[0]])
                    yield targets, [np.concatenate([nats for _, nats in column]) for column in cropped]


def regrouped(blocks: Iterable[Ids], size: int) -> Iterator[Ids]:
    """Yield the same ids in pieces of `size`, the last one shorter."""
    pending: list[Ids] = []
    count = 0
    for block in blocks:
        pending.append(block)
        count += len(block)
        if count >= size:
            joined = np.concatenate(pending)
            full = count - count % size
            yield from (joined[first : first + size] for first in range(0, full, size))
            pending, count = [joined[full:]], count - full
    if count:
        yield np.concatenate(pending)


def lines_of(blocks: Iterable[Ids], newline: int) -> Iterator[Ids]:
    """Yield each line with its newline; the last one has none if the text does not end with one."""
    pending: list[Ids] = []
    for block in blocks:
        start = 0
        for end in (np.flatnonzero(block == newline) + 1).tolist():
            yield np.concatenate([*pending, block[start:end]])
            pending, start = [], end
        if start < len(block):
            pending.append(block[start:])
    if pending:
        yield np.concatenate(pending)


def _sums_of_lines(ids: Ids, nats: Nats, newline: int) -> NDArray[np.float64]:
    """Return the nats of each line in a piece of text, of which the first and last may be cut."""
    ends = ids == newline
    return np.bincount(np.cumsum(ends) - ends, nats, int(ends.sum()) + 1).astype(np.float64)


def nats_of_lines(pieces: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the nats of each whole line from the pieces in `Evaluation.line_nats`."""
    lines: list[NDArray[np.float64]] = []
    carried = 0.0
    for sums in pieces:
        first = sums.copy()
        first[0] += carried
        carried = float(first[-1])
        lines.append(first[:-1])
    return np.concatenate([*lines, [carried] if carried else []])
